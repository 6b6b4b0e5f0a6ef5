//! The flags of the configuration, made from the table of settings. It must not know of subcommands.

use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use secrecy::{ExposeSecret, SecretString};

use super::backends;
use super::error::{ConfigError, ValueSource};
use super::settings::SETTINGS;
use super::{ConfigLayer, GivenValue, SettingSpec};

const BACKEND: &str = "backend";
const CONFIG: &str = "config";

/// What was given on the command line, not yet read.
#[derive(Clone, Default)]
pub struct ConfigFlags {
    /// The path of the configuration file.
    pub config: Option<PathBuf>,
    values: Vec<(&'static SettingSpec, String)>,
    /// URLs may hold passwords.
    backends: Vec<SecretString>,
}

impl ConfigFlags {
    /// These flags and those that came `after` them, which outweigh; servers are added.
    #[must_use]
    pub fn then(mut self, after: Self) -> Self {
        self.config = after.config.or(self.config);
        let given = |key: &str| after.values.iter().any(|(setting, _)| setting.key == key);
        self.values.retain(|(setting, _)| !given(setting.key));
        self.values.extend(after.values);
        self.backends.extend(after.backends);
        self
    }

    /// The names of the flags that were given, with their dashes.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let config = self.config.as_ref().map(|_| format!("--{CONFIG}"));
        let backend = self.backends.first().map(|_| format!("--{BACKEND}"));
        let settings = self.values.iter().map(|(setting, _)| setting.flag());
        config.into_iter().chain(backend).chain(settings)
    }

    pub(super) fn layer(&self, errors: &mut Vec<ConfigError>) -> ConfigLayer {
        let values = self.values.iter().map(|(setting, text)| GivenValue {
            setting,
            text: text.clone(),
            source: ValueSource::Flag(setting.flag()),
        });
        let source = ValueSource::Flag(format!("--{BACKEND}"));
        let urls = self.backends.iter().map(ExposeSecret::expose_secret);
        let servers = backends::from_texts(urls, BACKEND, &source, errors);
        ConfigLayer {
            values: values.collect(),
            backends: Some(servers).filter(|servers| !servers.is_empty()),
        }
    }
}

impl fmt::Debug for ConfigFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.values.iter().map(|(setting, text)| (setting.key, text)).collect();
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
            .help("The configuration file, in TOML [env: COMFY_GATEWAY_CONFIG]");
        let backend =
            Arg::new(BACKEND).long(BACKEND).value_name("[NAME=]URL").action(ArgAction::Append).help(
                "A ComfyUI server; may be repeated [env: COMFYUI_BASE_URL] [default: http://127.0.0.1:8188]",
            );
        command.args([config, backend]).args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static SettingSpec) -> Arg {
    let mut help = format!("{} [env: {}]", setting.help().trim_end_matches('.'), setting.env());
    if !setting.default.is_empty() {
        help = format!("{help} [default: {}]", setting.default);
    }
    Arg::new(setting.key)
        .long(setting.flag().trim_start_matches('-').to_owned())
        .value_name(setting.placeholder())
        .allow_hyphen_values(true)
        .long_help(format!("{help}\nMust be {}.", setting.allowed()))
        .help(help)
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |setting: &'static SettingSpec| {
            matches.get_one::<String>(setting.key).map(|text| (setting, text.clone()))
        };
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
