//! What is wrong with a configuration: which key, where it was given, and what is allowed. It must not hold a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// Nowhere: the built-in value.
    Default,
    /// In the configuration file.
    File {
        /// Its path as given.
        path: PathBuf,
        /// The line, from 1; `None` for the file as a whole.
        line: Option<usize>,
    },
    /// In the environment, under this name.
    Env(String),
    /// On the command line, as this flag.
    Flag(String),
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

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} ({source_of_value}): {problem}")]
pub struct ConfigError {
    /// The key, as in the configuration file.
    pub key: String,
    /// Where its value was given.
    pub source_of_value: ValueSource,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, source: ValueSource, problem: impl Into<String>) -> Self {
        Self { key: key.into(), source_of_value: source, problem: problem.into() }
    }

    /// A key nobody knows, with the one of `known` that looks most like it.
    pub(super) fn unknown<'a>(
        key: &str,
        source: ValueSource,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let nearest = known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, key));
        let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
        Self::new(key, source, format!("there is no such setting{hint}"))
    }
}

/// A refused text as it may be shown: what looks like an address with a user or a query may hold a secret.
pub(super) fn harmless(text: &str) -> &str {
    if text.contains(['@', '?']) { "…" } else { text }
}

/// All that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
