//! The configuration: one typed value, merged from defaults, a TOML file, the environment and command-line
//! flags.
//!
//! Later sources override earlier ones. Every value of every source is validated, including overridden ones,
//! and all errors are reported together. Callers pass the environment and the flags in, so that tests control
//! both.

mod backends;
mod display;
mod environment;
mod error;
mod file;
mod flags;
mod gateway;
mod kinds;
mod layer;
mod reference;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;

pub use backends::{BACKEND_KEYS, BackendKey};
pub use environment::OTHER_VARIABLES;
pub use error::{ConfigError, ConfigErrors, ValueSource};
pub use flags::ConfigFlags;
pub use gateway::GatewayConfig;
pub use kinds::LogFormat;
pub use reference::markdown_reference;
pub use settings::{GatewaySettings, SETTINGS, SettingSpec};
