//! Generates the reference tables of `docs/CONFIGURATION.md`.

use std::fmt::{self, Write};

use super::backends::{BACKEND_KEYS, BackendKey};
use super::environment::OTHER_VARIABLES;
use super::settings::SETTINGS;

/// The tables of all settings, backend keys and other environment variables, as Markdown.
#[must_use]
pub fn markdown_reference() -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _: fmt::Result = write_tables(&mut out);
    out
}

fn write_tables(out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "| Key | Environment | Flag | Default | Effect and allowed values |\n|---|---|---|---|---|"
    )?;
    for spec in SETTINGS {
        let default = if spec.default.is_empty() { "–".to_owned() } else { format!("`{}`", spec.default) };
        let (key, env, flag) = (spec.key, spec.env(), spec.flag());
        let (help, allowed) = (spec.help(), spec.allowed());
        writeln!(out, "| `{key}` | `{env}` | `{flag}` | {default} | {help} {}. |", capitalize(&allowed))?;
    }
    writeln!(out, "\n## Backends\n\nEach `[[backends]]` table of the file describes one backend:\n")?;
    writeln!(out, "| Key | Default | Effect and allowed values |\n|---|---|---|")?;
    for BackendKey { key, default, help, allowed, .. } in BACKEND_KEYS {
        writeln!(out, "| `{key}` | {default} | {help} {}. |", capitalize(allowed))?;
    }
    writeln!(out, "\n## Other environment variables\n\n| Environment | Effect |\n|---|---|")?;
    OTHER_VARIABLES.iter().try_for_each(|(name, help)| writeln!(out, "| `{name}` | {help} |"))
}

fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
