//! The complete configuration of a gateway: how its layers are merged, and what the components take from it.

use std::ffi::OsString;

use super::backends;
use super::environment;
use super::error::{ConfigError, ConfigErrors, ValueSource};
use super::file;
use super::flags::ConfigFlags;
use super::layer::{ConfigLayer, GivenSetting};
use super::settings::{GatewaySettings, SETTINGS, SettingsDraft};
use crate::domain::retry::RetryPolicy;
use crate::fetch;
use crate::pool::BackendSettings;
use crate::scheduler::{self, dispatch};

/// A valid configuration. Its `Debug` and `Display` forms show no secret.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Every setting except the backends.
    pub settings: GatewaySettings,
    /// The configured backends: at least one, with unique names and addresses.
    pub backends: Vec<BackendSettings>,
    /// One value for each setting: the one of the last source that gives it.
    pub(super) effective: Vec<GivenSetting>,
    pub(super) backends_source: ValueSource,
}

impl GatewayConfig {
    /// Merges the defaults, the file, the `environment` and `flags`. The file is the one that `flags` name, or else
    /// the one that the `environment` names.
    ///
    /// # Errors
    /// Every invalid value of every source, and every pair of settings that contradict each other.
    pub fn load(
        flags: &ConfigFlags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let environment = environment::read(environment, &mut errors);
        let path = flags.config.as_ref().or(environment.config.as_ref());
        let file = path.map(|path| file::read(path, &mut errors)).unwrap_or_default();
        let layers = [default_layer(&mut errors), file, environment.layer, flags.layer(&mut errors)];

        let mut draft = SettingsDraft::default();
        let mut effective: Vec<GivenSetting> = Vec::with_capacity(SETTINGS.len());
        let mut given_backends = Vec::new();
        for layer in layers {
            for given in layer.values {
                if !given.spec.read(&mut draft, &given.text) {
                    errors.push(given.to_error());
                }
                effective.retain(|overridden| overridden.spec.key != given.spec.key);
                effective.push(given);
            }
            given_backends = layer.backends.unwrap_or(given_backends);
        }
        let backends_source =
            given_backends.first().map_or(ValueSource::Default, |first| first.source.clone().without_line());
        let backends = backends::complete(given_backends, &environment.shared, &mut errors);
        let settings = draft.finish();
        if let Some(settings) = &settings {
            errors.extend(timeout_contradiction(settings, &effective));
        }
        match settings {
            Some(settings) if errors.is_empty() => {
                Ok(Self { settings, backends, effective, backends_source })
            }
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// Whether any source gives the setting `key`, rather than leaving its default.
    #[must_use]
    pub fn is_given(&self, key: &str) -> bool {
        self.effective.iter().any(|given| given.spec.key == key && given.source != ValueSource::Default)
    }

    /// The keys of all settings, backends excluded, whose text differs from the one in `other`.
    #[must_use]
    pub fn changed_keys(&self, other: &Self) -> Vec<&'static str> {
        let text = |config: &Self, key: &str| {
            let given = config.effective.iter().find(|given| given.spec.key == key);
            given.map(|given| given.text.clone())
        };
        SETTINGS.iter().map(|spec| spec.key).filter(|key| text(self, key) != text(other, key)).collect()
    }

    /// Replaces the backends with those of `fresh`, and the texts of the settings whose keys are `chosen`.
    /// The typed `settings` stay, because components copied them at the start.
    pub fn take_over(&mut self, fresh: Self, chosen: impl Fn(&&'static str) -> bool) {
        self.backends = fresh.backends;
        self.effective.retain(|given| !chosen(&given.spec.key));
        self.effective.extend(fresh.effective.into_iter().filter(|given| chosen(&given.spec.key)));
    }

    /// The limits and the allow list for fetching files from URLs.
    #[must_use]
    pub fn inputs(&self) -> fetch::FetchSettings {
        let settings = &self.settings;
        let limits = fetch::FetchLimits {
            bytes: settings.fetch_max_bytes as u64,
            total: settings.fetch_timeout,
            ..fetch::FetchLimits::default()
        };
        fetch::FetchSettings { allow: settings.fetch_allow.clone(), limits }
    }

    /// The settings of the scheduler.
    #[must_use]
    pub fn scheduler(&self) -> scheduler::SchedulerSettings {
        let settings = &self.settings;
        scheduler::SchedulerSettings {
            retry: RetryPolicy { max_attempts: settings.max_attempts, ..RetryPolicy::default() },
            poll: settings.poll_interval,
            lost_after: settings.lost_after,
            stall: settings.stall_timeout,
            dispatch: dispatch::DispatchSettings { patience: settings.affinity_wait },
            inputs: self.inputs().limits,
            max_output_file: settings.max_output_file as u64,
            ..scheduler::SchedulerSettings::default()
        }
    }
}

fn default_layer(errors: &mut Vec<ConfigError>) -> ConfigLayer {
    let values = SETTINGS.iter().map(|spec| GivenSetting {
        spec,
        text: spec.default.to_owned(),
        source: ValueSource::Default,
    });
    let backend =
        backends::from_texts([backends::DEFAULT_URL], backends::BACKENDS_KEY, &ValueSource::Default, errors);
    ConfigLayer { values: values.collect(), backends: Some(backend) }
}

/// The error if `default_timeout` exceeds `max_timeout`: each is valid alone, but every job would be rejected.
fn timeout_contradiction(settings: &GatewaySettings, effective: &[GivenSetting]) -> Option<ConfigError> {
    if settings.default_timeout <= settings.max_timeout {
        return None;
    }
    let find = |key: &str| effective.iter().find(|given| given.spec.key == key);
    let (default, max) = (find("default_timeout")?, find("max_timeout")?);
    let problem = format!(
        "must not be longer than max_timeout: it is `{}`, and max_timeout is `{}` ({})",
        default.text, max.text, max.source
    );
    Some(ConfigError::new(default.spec.key, default.source.clone(), problem))
}
