//! Prints the effective configuration for `comfy-gateway check`, with credentials redacted.

use std::fmt;

use super::gateway::GatewayConfig;
use super::layer::GivenSetting;
use super::settings::SETTINGS;
use crate::pool::BackendSettings;

/// Prints one line per setting with its value and source, then one line per backend.
impl fmt::Display for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_width = SETTINGS.iter().map(|spec| spec.key.len()).max().unwrap_or(0);
        let shown =
            |given: &GivenSetting| if given.text.is_empty() { "-".to_owned() } else { given.text.clone() };
        let value_width = self.effective.iter().map(|given| shown(given).len()).max().unwrap_or(0);
        for spec in SETTINGS {
            if let Some(given) = self.effective.iter().find(|given| given.spec.key == spec.key) {
                writeln!(f, "{:key_width$}  {:value_width$}  {}", spec.key, shown(given), given.source)?;
            }
        }
        writeln!(f, "{:key_width$}  {}", "backends", self.backends_source)?;
        self.backends.iter().try_for_each(|backend| write_backend(f, backend))
    }
}

fn write_backend(f: &mut fmt::Formatter<'_>, backend: &BackendSettings) -> fmt::Result {
    let endpoint = &backend.endpoint;
    write!(f, "  {}  {}  slots {}", backend.name, endpoint.shown_url(), backend.slots)?;
    if !backend.labels.is_empty() {
        write!(f, "  labels {}", backend.labels.join(", "))?;
    }
    let url = &endpoint.url;
    let secrets = [
        ("user in the url", !url.username().is_empty() || url.password().is_some()),
        ("query of the url", url.query().is_some()),
        ("bearer", endpoint.bearer.is_some()),
        ("cookies", endpoint.cookies.is_some()),
        ("api_key", endpoint.api_key.is_some()),
    ];
    for (name, _) in secrets.iter().filter(|(_, given)| *given) {
        write!(f, "  {name} [redacted]")?;
    }
    for (name, _) in &endpoint.headers {
        write!(f, "  header {name} [redacted]")?;
    }
    writeln!(f)
}
