//! Reloads the configuration of a running gateway: applies the log filter and the backends, and logs which
//! other changed settings need a restart.

use std::ffi::OsString;

use crate::app::ConfiguredBackends;
use crate::config::{ConfigFlags, GatewayConfig};
use crate::telemetry::LogControl;

/// The configuration of a running gateway, with handles to the parts that a reload can change.
#[derive(Debug)]
pub struct ConfigReload {
    /// The flags of the command line, which do not change.
    pub flags: ConfigFlags,
    /// The configuration in effect.
    pub config: GatewayConfig,
    /// The handle that replaces the log filter.
    pub log: LogControl,
    /// The handle that replaces the configured backends.
    pub servers: ConfiguredBackends,
}

impl ConfigReload {
    /// Reads the configuration again and applies the log filter and the backends. If it has an error, nothing
    /// changes and the error is logged.
    pub fn reload(&mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) {
        let fresh = match GatewayConfig::load(&self.flags, environment) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded; nothing has changed");
                return;
            }
        };
        if let Err(error) = self.servers.configure(fresh.backends.clone()) {
            tracing::error!(%error, "the configuration was not reloaded; nothing has changed");
            return;
        }
        if let Err(error) = self.log.set_filter(&fresh.settings.log) {
            tracing::error!(%error, "the log filter could not be replaced");
        }
        let is_reloaded = |key: &&'static str| *key == "log";
        let changed = fresh.changed_keys(&self.config);
        let mut reloaded: Vec<&str> = changed.iter().copied().filter(is_reloaded).collect();
        if !has_same_backends(&fresh, &self.config) {
            reloaded.push("backends");
        }
        let reloaded = if reloaded.is_empty() { "nothing".to_owned() } else { reloaded.join(", ") };
        tracing::info!(reloaded, "the configuration was reloaded");
        let need_restart: Vec<&str> = changed.into_iter().filter(|key| !is_reloaded(key)).collect();
        if !need_restart.is_empty() {
            tracing::warn!(
                settings = need_restart.join(", "),
                "changed settings take effect with the next start"
            );
        }
        // Other settings keep their value in effect, so that the next reload logs them again.
        self.config.take_over(fresh, is_reloaded);
    }
}

fn has_same_backends(one: &GatewayConfig, two: &GatewayConfig) -> bool {
    one.backends.len() == two.backends.len()
        && one.backends.iter().zip(&two.backends).all(|(one, two)| one.is_same(two))
}
