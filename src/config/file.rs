//! The configuration file. It must not know of the environment and the flags.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::backends::{self, BackendDraft, GivenBackend};
use super::error::{ConfigError, ValueSource};
use super::settings::SETTINGS;
use super::{ConfigLayer, GivenValue};

/// The key of the list of servers.
pub(super) const BACKENDS: &str = "backends";

/// All that the file at `path` gives.
pub(super) fn read(path: &Path, errors: &mut Vec<ConfigError>) -> ConfigLayer {
    let whole = || ValueSource::File { path: path.to_owned(), line: None };
    match std::fs::read_to_string(path) {
        Ok(text) => FileReader { path: path.to_owned(), text: &text, errors }.read(),
        Err(error) => {
            errors.push(ConfigError::new("config", whole(), format!("the file cannot be read: {error}")));
            ConfigLayer::default()
        }
    }
}

/// A whole number as decimal text.
pub(super) fn whole_number(value: &DeValue<'_>) -> Option<String> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

struct FileReader<'a> {
    path: PathBuf,
    text: &'a str,
    errors: &'a mut Vec<ConfigError>,
}

impl FileReader<'_> {
    fn read(mut self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        let (text, source) = (self.text, self.source_of(0));
        match DeTable::parse(text) {
            Ok(table) => self.table(table.get_ref(), &mut layer),
            Err(error) => {
                let source = error.span().map_or(source, |span| self.source_of(span.start));
                // The message alone: the whole error shows the line, which may hold a secret.
                let problem = format!("the file is not valid TOML: {}", error.message().replace('\n', ", "));
                self.errors.push(ConfigError::new("config", source, problem));
            }
        }
        layer
    }

    fn source_of(&self, offset: usize) -> ValueSource {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        ValueSource::File { path: self.path.clone(), line: Some(line) }
    }

    fn table(&mut self, table: &DeTable<'_>, layer: &mut ConfigLayer) {
        for (key, value) in table {
            let source = self.source_of(key.span().start);
            let (name, value) = (key.get_ref().as_ref(), value.get_ref());
            if name == BACKENDS {
                layer.backends = Some(self.backends(value, source));
                continue;
            }
            match Self::setting(name, value, source) {
                Ok(given) => layer.values.push(given),
                Err(error) => self.errors.push(error),
            }
        }
    }

    fn setting(name: &str, value: &DeValue<'_>, source: ValueSource) -> Result<GivenValue, ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == name) else {
            let known = SETTINGS.iter().map(|setting| setting.key).chain([BACKENDS]);
            return Err(ConfigError::unknown(name, source, known));
        };
        let plain = || value.as_bool().map(|switch| switch.to_string()).or_else(|| whole_number(value));
        let text = value.as_str().map(str::to_owned).or_else(plain);
        text.map(|text| GivenValue { setting, text, source: source.clone() }).ok_or_else(|| {
            let problem = format!("must be {}, not a {}", setting.allowed(), value.type_str());
            ConfigError::new(name, source, problem)
        })
    }

    fn backends(&mut self, value: &DeValue<'_>, source: ValueSource) -> Vec<GivenBackend> {
        let tables: Option<Vec<_>> = value.as_array().map(|list| {
            list.iter()
                .filter_map(|item| item.get_ref().as_table().map(|table| (item.span(), table)))
                .collect()
        });
        let Some(tables) = tables.filter(|tables| !tables.is_empty()) else {
            let problem = "must be one or more [[backends]] tables, each with a `url`";
            self.errors.push(ConfigError::new(BACKENDS, source, problem));
            return Vec::new();
        };
        let dir = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let mut servers = Vec::with_capacity(tables.len());
        for (index, (span, table)) in tables.into_iter().enumerate() {
            let mut named = GivenBackend {
                key: format!("{BACKENDS}[{index}]"),
                source: self.source_of(span.start),
                draft: BackendDraft::default(),
            };
            let mut errors = Vec::new();
            backends::from_table(&mut named, table, &dir, |offset| self.source_of(offset), &mut errors);
            self.errors.append(&mut errors);
            servers.push(named);
        }
        servers
    }
}
