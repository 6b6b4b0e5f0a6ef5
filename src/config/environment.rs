//! The environment: our own names and those of ComfyKit. It must not read the process's environment itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::backends::{self, SharedCredentials};
use super::error::{ConfigError, ValueSource};
use super::secrets;
use super::settings::{ENV_PREFIX, SETTINGS};
use super::{ConfigLayer, GivenValue};

const CONFIG: &str = "COMFY_GATEWAY_CONFIG";
const BASE_URL: &str = "COMFYUI_BASE_URL";
const API_KEY: &str = "COMFYUI_API_KEY";
const COOKIES: &str = "COMFYUI_COOKIES";

/// Names that are not made from the table, and what they do.
pub static OTHER_NAMES: [(&str, &str); 4] = [
    (CONFIG, "The path of the configuration file, as `--config`."),
    (BASE_URL, "The URLs of the ComfyUI servers, separated by commas, each as `URL` or `name=URL`."),
    (API_KEY, "`bearer` and `api_key` of every server that has none of its own."),
    (COOKIES, "`cookies` of every server that has none of its own."),
];

/// All that the environment gives.
#[derive(Debug, Default)]
pub(super) struct EnvironmentValues {
    pub config: Option<PathBuf>,
    pub layer: ConfigLayer,
    pub common: SharedCredentials,
}

/// Reads `variables`. An empty one counts as not given: that is what compose files make of an unset one.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    errors: &mut Vec<ConfigError>,
) -> EnvironmentValues {
    let mut environment = EnvironmentValues::default();
    for (name, value) in ours(variables) {
        let source = ValueSource::Env(name.clone());
        let setting = SETTINGS.iter().find(|setting| setting.env() == name);
        let value = match value.into_string() {
            Ok(value) if value.is_empty() && is_known(&name) => continue,
            Ok(value) => value,
            Err(_) => {
                errors.push(ConfigError::new(&name, source, "must be text in UTF-8"));
                continue;
            }
        };
        match (setting, name.as_str()) {
            (Some(setting), _) => environment.layer.values.push(GivenValue { setting, text: value, source }),
            (None, CONFIG) => environment.config = Some(value.into()),
            (None, BASE_URL) => {
                let urls = value.split(',').map(str::trim).filter(|url| !url.is_empty());
                let servers = backends::from_texts(urls, BASE_URL, &source, errors);
                environment.layer.backends = Some(servers).filter(|servers| !servers.is_empty());
            }
            (None, API_KEY) => match secrets::plain(&value) {
                Ok(key) => environment.common.api_key = Some(key),
                Err(wrong) => {
                    errors.push(ConfigError::new(&name, source, wrong.problem("a text without line breaks")));
                }
            },
            (None, COOKIES) => match secrets::cookies(&value) {
                Ok(cookies) => environment.common.cookies = Some(cookies),
                Err(wrong) => {
                    errors.push(ConfigError::new(&name, source, wrong.problem(secrets::COOKIES_ALLOWED)));
                }
            },
            _ => errors.push(unknown(&name, source)),
        }
    }
    environment
}

/// The variables that are meant for the gateway, in the order of their names.
fn ours(variables: impl IntoIterator<Item = (OsString, OsString)>) -> BTreeMap<String, OsString> {
    let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| name.starts_with(ENV_PREFIX) || is_known(name)).collect()
}

fn is_known(name: &str) -> bool {
    OTHER_NAMES.iter().any(|(known, _)| *known == name) || SETTINGS.iter().any(|known| known.env() == name)
}

fn unknown(name: &str, source: ValueSource) -> ConfigError {
    if name.starts_with("COMFY_GATEWAY_BACKEND") || name.starts_with("COMFY_GATEWAY_COMFYUI") {
        let problem = format!("there is no such setting; the servers are given in `{BASE_URL}`");
        return ConfigError::new(name, source, problem);
    }
    let known: Vec<_> = SETTINGS.iter().map(super::SettingSpec::env).chain([CONFIG.to_owned()]).collect();
    ConfigError::unknown(name, source, known.iter().map(String::as_str))
}
