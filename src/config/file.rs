//! Reads the configuration file, which is TOML.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::backends::{self, BACKENDS_KEY, BackendDraft, GivenBackend, integer_text};
use super::error::{ConfigError, ValueSource};
use super::layer::{ConfigLayer, GivenSetting};
use super::settings::SETTINGS;

/// Reads the file at `path`. Adds its errors to `errors`, each with the line of the value.
pub(super) fn read(path: &Path, errors: &mut Vec<ConfigError>) -> ConfigLayer {
    match std::fs::read_to_string(path) {
        Ok(text) => FileReader { path: path.to_owned(), text: &text, errors }.read(),
        Err(error) => {
            let source = ValueSource::File { path: path.to_owned(), line: None };
            errors.push(ConfigError::new("config", source, format!("cannot read the file: {error}")));
            ConfigLayer::default()
        }
    }
}

struct FileReader<'a> {
    path: PathBuf,
    text: &'a str,
    errors: &'a mut Vec<ConfigError>,
}

impl FileReader<'_> {
    fn read(mut self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        let (text, first_line) = (self.text, self.source_at(0));
        match DeTable::parse(text) {
            Ok(table) => self.read_table(table.get_ref(), &mut layer),
            Err(error) => {
                let source = error.span().map_or(first_line, |span| self.source_at(span.start));
                // Only the message: the error's `Display` form quotes the line, which may hold a secret.
                let problem = format!("the file is not valid TOML: {}", error.message().replace('\n', ", "));
                self.errors.push(ConfigError::new("config", source, problem));
            }
        }
        layer
    }

    /// The source of the value that begins at this byte offset.
    fn source_at(&self, offset: usize) -> ValueSource {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        ValueSource::File { path: self.path.clone(), line: Some(line) }
    }

    fn read_table(&mut self, table: &DeTable<'_>, layer: &mut ConfigLayer) {
        for (key, value) in table {
            let source = self.source_at(key.span().start);
            let (name, value) = (key.get_ref().as_ref(), value.get_ref());
            if name == BACKENDS_KEY {
                layer.backends = Some(self.read_backends(value, source));
                continue;
            }
            match Self::read_setting(name, value, source) {
                Ok(given) => layer.values.push(given),
                Err(error) => self.errors.push(error),
            }
        }
    }

    fn read_setting(
        name: &str,
        value: &DeValue<'_>,
        source: ValueSource,
    ) -> Result<GivenSetting, ConfigError> {
        let Some(spec) = SETTINGS.iter().find(|spec| spec.key == name) else {
            let known = SETTINGS.iter().map(|spec| spec.key).chain([BACKENDS_KEY]);
            return Err(ConfigError::unknown(name, source, known));
        };
        let bare = || value.as_bool().map(|boolean| boolean.to_string()).or_else(|| integer_text(value));
        let text = value.as_str().map(str::to_owned).or_else(bare);
        text.map(|text| GivenSetting { spec, text, source: source.clone() }).ok_or_else(|| {
            let problem = format!("must be {}, not a TOML {}", spec.allowed(), value.type_str());
            ConfigError::new(name, source, problem)
        })
    }

    fn read_backends(&mut self, value: &DeValue<'_>, source: ValueSource) -> Vec<GivenBackend> {
        let tables: Option<Vec<_>> = value.as_array().map(|list| {
            list.iter()
                .filter_map(|item| item.get_ref().as_table().map(|table| (item.span(), table)))
                .collect()
        });
        let Some(tables) = tables.filter(|tables| !tables.is_empty()) else {
            let problem = "must be one or more [[backends]] tables, each with a `url`";
            self.errors.push(ConfigError::new(BACKENDS_KEY, source, problem));
            return Vec::new();
        };
        let dir = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let mut backends = Vec::with_capacity(tables.len());
        for (index, (span, table)) in tables.into_iter().enumerate() {
            let mut given = GivenBackend {
                key: format!("{BACKENDS_KEY}[{index}]"),
                source: self.source_at(span.start),
                draft: BackendDraft::default(),
            };
            let mut errors = Vec::new();
            backends::from_table(&mut given, table, &dir, |offset| self.source_at(offset), &mut errors);
            self.errors.append(&mut errors);
            backends.push(given);
        }
        backends
    }
}
