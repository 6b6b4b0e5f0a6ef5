//! A configuration layer: the values that one source gives, before the layers are merged.

use super::backends::GivenBackend;
use super::error::{ConfigError, ValueSource, redact};
use super::settings::SettingSpec;

/// The text that one source gives for one setting.
#[derive(Debug, Clone)]
pub(super) struct GivenSetting {
    pub spec: &'static SettingSpec,
    pub text: String,
    pub source: ValueSource,
}

/// All values of one source: the defaults, the file, the environment or the command line.
#[derive(Debug, Default)]
pub(super) struct ConfigLayer {
    pub values: Vec<GivenSetting>,
    /// `None` if this source names no backends, so that those of the layer below apply.
    pub backends: Option<Vec<GivenBackend>>,
}

impl GivenSetting {
    /// The error for a text that the setting does not allow.
    pub fn to_error(&self) -> ConfigError {
        let problem = format!("must be {}, not `{}`", self.spec.allowed(), redact(&self.text));
        ConfigError::new(self.spec.key, self.source.clone(), problem)
    }
}
