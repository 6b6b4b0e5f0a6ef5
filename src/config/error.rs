//! Configuration errors: the key, where its value was given, and what is allowed. No message contains a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// The built-in default.
    Default,
    /// The configuration file.
    File {
        /// The path as the operator gave it.
        path: PathBuf,
        /// The line, counted from 1; `None` for the file as a whole.
        line: Option<usize>,
    },
    /// The environment variable of this name.
    Env(String),
    /// The command-line flag of this name, dashes included.
    Flag(String),
}

impl ValueSource {
    /// The same source without the line number.
    pub(super) fn without_line(self) -> Self {
        match self {
            Self::File { path, .. } => Self::File { path, line: None },
            other => other,
        }
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{} line {line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One error in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} ({value_source}): {problem}")]
pub struct ConfigError {
    /// The key as the configuration file spells it, or the name of an environment variable.
    pub key: String,
    /// Where the value was given.
    pub value_source: ValueSource,
    /// The error and, where it helps, what is allowed instead.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, value_source: ValueSource, problem: impl Into<String>) -> Self {
        Self { key: key.into(), value_source, problem: problem.into() }
    }

    /// The error for an unknown key. It suggests the key of `known` with the smallest edit distance.
    pub(super) fn unknown<'a>(
        key: &str,
        value_source: ValueSource,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let nearest = known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, key));
        let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
        Self::new(key, value_source, format!("unknown setting{hint}"))
    }
}

/// Returns `text` if it is safe to show, and `…` if it looks like a URL with credentials or a query.
pub(super) fn redact(text: &str) -> &str {
    if text.contains(['@', '?']) { "…" } else { text }
}

/// All errors of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is invalid:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
