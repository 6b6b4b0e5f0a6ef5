//! One typed configuration from a file, the environment and flags, each outweighing the ones before.
//! It must not read the process's environment or arguments itself, nor connect to anything.
//!
//! Every value given anywhere is checked, also one that a weightier source replaces, and all faults are told at
//! once.

mod backends;
mod environment;
mod error;
mod file;
mod flags;
mod kinds;
mod secrets;
mod settings;
mod show;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

pub use backends::{BACKEND_KEYS, BackendKey};
pub use environment::OTHER_NAMES;
pub use error::{ConfigError, ConfigErrors, ValueSource};
pub use flags::ConfigFlags;
pub use kinds::LogFormat;
pub use settings::{GatewaySettings, SETTINGS, SettingSpec};
pub use show::reference;

use self::backends::GivenBackend;
use self::settings::SettingsDraft;
use crate::domain::retry::RetryPolicy;
use crate::inputs;
use crate::pool::BackendSettings;
use crate::scheduler::{self, dispatch};

/// The configuration, valid as a whole. Its `Debug` form shows no secret.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Every setting but the servers.
    pub settings: GatewaySettings,
    /// The ComfyUI servers; never empty, each name only once.
    pub backends: Vec<BackendSettings>,
    effective: Vec<GivenValue>,
    backends_from: ValueSource,
}

/// A setting's text and where it was given.
#[derive(Debug, Clone)]
struct GivenValue {
    setting: &'static SettingSpec,
    text: String,
    source: ValueSource,
}

/// All that one source gives.
#[derive(Debug, Default)]
struct ConfigLayer {
    values: Vec<GivenValue>,
    backends: Option<Vec<GivenBackend>>,
}

impl GatewayConfig {
    /// The configuration that `flags`, the `environment` and the file either of them names make together.
    ///
    /// # Errors
    /// Everything that is wrong, in every source.
    pub fn load(
        flags: &ConfigFlags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let environment = environment::read(environment, &mut errors);
        let path = flags.config.as_ref().or(environment.config.as_ref());
        let file = path.map(|path| file::read(path, &mut errors)).unwrap_or_default();
        let layers = [defaults(&mut errors), file, environment.layer, flags.layer(&mut errors)];

        let mut draft = SettingsDraft::default();
        let mut effective: Vec<GivenValue> = Vec::with_capacity(SETTINGS.len());
        let mut servers = Vec::new();
        for layer in layers {
            for given in layer.values {
                if !given.setting.read(&mut draft, &given.text) {
                    errors.push(given.refused());
                }
                effective.retain(|lighter| lighter.setting.key != given.setting.key);
                effective.push(given);
            }
            servers = layer.backends.unwrap_or(servers);
        }
        let backends_from =
            servers.first().map_or(ValueSource::Default, |first| first.source.clone().whole());
        let backends = backends::finish(servers, &environment.common, &mut errors);
        let settings = draft.finish();
        if let Some(settings) = &settings {
            errors.extend(contradictions(settings, &effective));
        }
        match settings {
            Some(settings) if errors.is_empty() => Ok(Self { settings, backends, effective, backends_from }),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// Whether the setting of that key was given anywhere, rather than left at its default.
    #[must_use]
    pub fn is_given(&self, key: &str) -> bool {
        self.effective.iter().any(|given| given.setting.key == key && given.source != ValueSource::Default)
    }

    /// The keys of the settings, servers aside, whose values are not those of `other`.
    #[must_use]
    pub fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let text = |config: &Self, key: &str| {
            let given = config.effective.iter().find(|given| given.setting.key == key);
            given.map(|given| given.text.clone())
        };
        SETTINGS.iter().map(|setting| setting.key).filter(|key| text(self, key) != text(other, key)).collect()
    }

    /// Takes over the servers of `fresh`, and the texts of those settings whose keys are `chosen`.
    pub fn take_over(&mut self, fresh: Self, chosen: impl Fn(&&'static str) -> bool) {
        self.backends = fresh.backends;
        self.effective.retain(|given| !chosen(&given.setting.key));
        self.effective.extend(fresh.effective.into_iter().filter(|given| chosen(&given.setting.key)));
    }

    /// What may be fetched from URLs.
    #[must_use]
    pub fn inputs(&self) -> inputs::Settings {
        let settings = &self.settings;
        let limits = inputs::Limits {
            bytes: settings.fetch_max_bytes as u64,
            total: settings.fetch_timeout,
            ..inputs::Limits::default()
        };
        inputs::Settings { allow: settings.fetch_allow.clone(), limits }
    }

    /// How the scheduler behaves.
    #[must_use]
    pub fn scheduler(&self) -> scheduler::Settings {
        let settings = &self.settings;
        scheduler::Settings {
            retry: RetryPolicy { max_attempts: settings.max_attempts, ..RetryPolicy::default() },
            poll: settings.poll_interval,
            lost_after: settings.lost_after,
            stall: settings.stall_timeout,
            dispatch: dispatch::Settings { patience: settings.affinity_wait },
            retention: settings.retention,
            inputs: self.inputs().limits,
            max_output_file: settings.max_output_file as u64,
            ..scheduler::Settings::default()
        }
    }
}

impl GivenValue {
    fn refused(&self) -> ConfigError {
        let problem = format!("must be {}, not `{}`", self.setting.allowed(), error::harmless(&self.text));
        ConfigError::new(self.setting.key, self.source.clone(), problem)
    }
}

impl ValueSource {
    /// The file as a whole instead of one of its lines.
    fn whole(self) -> Self {
        match self {
            Self::File { path, .. } => Self::File { path, line: None },
            other => other,
        }
    }
}

fn defaults(errors: &mut Vec<ConfigError>) -> ConfigLayer {
    let values = SETTINGS.iter().map(|setting| GivenValue {
        setting,
        text: setting.default.to_owned(),
        source: ValueSource::Default,
    });
    let server = backends::from_texts([backends::DEFAULT_URL], file::BACKENDS, &ValueSource::Default, errors);
    ConfigLayer { values: values.collect(), backends: Some(server) }
}

/// Settings that are each allowed but not together.
fn contradictions(settings: &GatewaySettings, effective: &[GivenValue]) -> Option<ConfigError> {
    if settings.default_timeout <= settings.max_timeout {
        return None;
    }
    let of = |key: &str| effective.iter().find(|given| given.setting.key == key);
    let (least, most) = (of("default_timeout")?, of("max_timeout")?);
    let problem = format!(
        "must not be longer than max_timeout, but is `{}`; max_timeout is `{}` ({})",
        least.text, most.text, most.source
    );
    Some(ConfigError::new(least.setting.key, least.source.clone(), problem))
}
