//! The command-line flags of the configuration, derived from the table of settings.

use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use secrecy::{ExposeSecret, SecretString};

use super::backends;
use super::error::{ConfigError, ValueSource};
use super::layer::{ConfigLayer, GivenSetting};
use super::settings::{SETTINGS, SettingSpec};

const BACKEND: &str = "backend";
const CONFIG: &str = "config";

/// The configuration flags of a command line, not yet validated.
#[derive(Clone, Default)]
pub struct ConfigFlags {
    /// The path of the configuration file.
    pub config: Option<PathBuf>,
    values: Vec<(&'static SettingSpec, String)>,
    /// Secret, because URLs may contain passwords.
    backends: Vec<SecretString>,
}

impl ConfigFlags {
    /// Merges these flags with later ones. Later values override earlier ones; backends add up.
    #[must_use]
    pub fn merge(mut self, later: Self) -> Self {
        self.config = later.config.or(self.config);
        let is_given = |key: &str| later.values.iter().any(|(spec, _)| spec.key == key);
        self.values.retain(|(spec, _)| !is_given(spec.key));
        self.values.extend(later.values);
        self.backends.extend(later.backends);
        self
    }

    /// The names of the given flags, with their dashes.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let config = self.config.as_ref().map(|_| format!("--{CONFIG}"));
        let backend = self.backends.first().map(|_| format!("--{BACKEND}"));
        let settings = self.values.iter().map(|(spec, _)| spec.flag());
        config.into_iter().chain(backend).chain(settings)
    }

    pub(super) fn layer(&self, errors: &mut Vec<ConfigError>) -> ConfigLayer {
        let values = self.values.iter().map(|(spec, text)| GivenSetting {
            spec,
            text: text.clone(),
            source: ValueSource::Flag(spec.flag()),
        });
        let source = ValueSource::Flag(format!("--{BACKEND}"));
        let urls = self.backends.iter().map(ExposeSecret::expose_secret);
        let backends = backends::from_texts(urls, BACKEND, &source, errors);
        ConfigLayer {
            values: values.collect(),
            backends: Some(backends).filter(|backends| !backends.is_empty()),
        }
    }
}

impl fmt::Debug for ConfigFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.values.iter().map(|(spec, text)| (spec.key, text)).collect();
        f.debug_struct("ConfigFlags")
            .field(CONFIG, &self.config)
            .field("values", &values)
            .field("backends", &self.backends)
            .finish()
    }
}

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration file, in TOML. [env: COMFY_GATEWAY_CONFIG]");
        let backend =
            Arg::new(BACKEND).long(BACKEND).value_name("[NAME=]URL").action(ArgAction::Append).help(
                "The URL of a ComfyUI backend. May be repeated. [env: COMFYUI_BASE_URL] [default: http://127.0.0.1:8188]",
            );
        command.args([config, backend]).args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(spec: &'static SettingSpec) -> Arg {
    let mut help = format!("{} [env: {}]", spec.help(), spec.env());
    if !spec.default.is_empty() {
        help = format!("{help} [default: {}]", spec.default);
    }
    Arg::new(spec.key)
        .long(spec.flag().trim_start_matches('-').to_owned())
        .value_name(spec.placeholder())
        .allow_hyphen_values(true)
        .long_help(format!("{help}\nMust be {}.", spec.allowed()))
        .help(help)
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value =
            |spec: &'static SettingSpec| matches.get_one::<String>(spec.key).map(|text| (spec, text.clone()));
        let backends = matches.get_many::<String>(BACKEND).unwrap_or_default();
        Ok(Self {
            config: matches.get_one::<PathBuf>(CONFIG).cloned(),
            values: SETTINGS.iter().filter_map(value).collect(),
            backends: backends.map(|url| url.as_str().into()).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
