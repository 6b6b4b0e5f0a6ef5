//! Reading the configuration again while the gateway runs: what can be changed is, and the log says of the rest that it
//! takes a restart.

use std::ffi::OsString;

use crate::app::ConfiguredBackends;
use crate::config::{ConfigFlags, GatewayConfig};
use crate::telemetry::LogControl;

/// The configuration of a running gateway, and what of it can be changed.
#[derive(Debug)]
pub struct ConfigReload {
    /// The flags of the start.
    pub flags: ConfigFlags,
    /// What is in effect.
    pub config: GatewayConfig,
    /// What is logged.
    pub log: LogControl,
    /// The servers.
    pub servers: ConfiguredBackends,
}

impl ConfigReload {
    /// Reads the configuration again and takes over the log filter and the servers. If anything is wrong with it,
    /// nothing is changed.
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
        if !same_servers(&fresh, &self.config) {
            reloaded.push("backends");
        }
        let reloaded = if reloaded.is_empty() { "nothing new".to_owned() } else { reloaded.join(", ") };
        tracing::info!(reloaded, "the configuration was reloaded");
        let rest: Vec<&str> = changed.into_iter().filter(|key| !is_reloaded(key)).collect();
        if !rest.is_empty() {
            tracing::warn!(
                settings = rest.join(", "),
                "settings have changed that take effect with the next start"
            );
        }
        // The others stay as they are in effect, so that the next reload tells of them again.
        self.config.take_over(fresh, is_reloaded);
    }
}

fn same_servers(one: &GatewayConfig, two: &GatewayConfig) -> bool {
    one.backends.len() == two.backends.len()
        && one.backends.iter().zip(&two.backends).all(|(one, two)| one.is_same(two))
}
