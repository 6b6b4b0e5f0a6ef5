//! The configuration for people: the effective one, and the reference of all that can be set. It must not show a
//! secret.

use std::fmt::{self, Write};

use super::backends::{BACKEND_KEYS, BackendKey};
use super::environment::OTHER_NAMES;
use super::settings::SETTINGS;
use super::{GatewayConfig, GivenValue};
use crate::pool::BackendSettings;

/// Lists every setting with its value and where that was given, then the servers.
impl fmt::Display for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = SETTINGS.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
        let shown =
            |given: &GivenValue| if given.text.is_empty() { "-".to_owned() } else { given.text.clone() };
        let values = self.effective.iter().map(|given| shown(given).len()).max().unwrap_or(0);
        for setting in SETTINGS {
            if let Some(given) = self.effective.iter().find(|given| given.setting.key == setting.key) {
                writeln!(f, "{:width$}  {:values$}  {}", setting.key, shown(given), given.source)?;
            }
        }
        writeln!(f, "{:width$}  {}", "backends", self.backends_from)?;
        self.backends.iter().try_for_each(|backend| server(f, backend))
    }
}

fn server(f: &mut fmt::Formatter<'_>, backend: &BackendSettings) -> fmt::Result {
    let endpoint = &backend.endpoint;
    write!(f, "  {}  {}  slots {}", backend.name, endpoint.server(), backend.slots)?;
    if !backend.labels.is_empty() {
        write!(f, "  labels {}", backend.labels.join(", "))?;
    }
    let url = &endpoint.url;
    let secrets = [
        ("user in the url", !url.username().is_empty() || url.password().is_some()),
        ("query of the url", url.query().is_some()),
        ("bearer", endpoint.bearer.is_some()),
        ("cookies", endpoint.cookies.is_some()),
        ("api_key", endpoint.api_key.is_some()),
    ];
    for (name, _) in secrets.iter().filter(|(_, given)| *given) {
        write!(f, "  {name} [redacted]")?;
    }
    for (name, _) in &endpoint.headers {
        write!(f, "  header {name} [redacted]")?;
    }
    writeln!(f)
}

/// All that can be set, as tables in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _: fmt::Result = write_reference(&mut out);
    out
}

fn write_reference(out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "| Key | EnvironmentValues | Flag | Default | What it does; what it may be |\n|---|---|---|---|---|"
    )?;
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { "–".to_owned() } else { format!("`{}`", setting.default) };
        let (key, env, flag) = (setting.key, setting.env(), setting.flag());
        let (help, allowed) = (setting.help(), setting.allowed());
        writeln!(out, "| `{key}` | `{env}` | `{flag}` | {default} | {help} {}. |", capital(&allowed))?;
    }
    writeln!(out, "\nEach `[[backends]]` table of the file is one ComfyUI server:\n")?;
    writeln!(out, "| Key | Default | What it does; what it may be |\n|---|---|---|")?;
    for BackendKey { key, default, help, allowed, .. } in BACKEND_KEYS {
        writeln!(out, "| `{key}` | {default} | {help} {}. |", capital(allowed))?;
    }
    writeln!(out, "\nOther environment variables:\n\n| EnvironmentValues | What it does |\n|---|---|")?;
    OTHER_NAMES.iter().try_for_each(|(name, help)| writeln!(out, "| `{name}` | {help} |"))
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
