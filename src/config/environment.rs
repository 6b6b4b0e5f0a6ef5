//! Reads the environment variables of the gateway and those that ComfyKit defines.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::backends::{self, SharedCredentials};
use super::error::{ConfigError, ValueSource};
use super::layer::{ConfigLayer, GivenSetting};
use super::secrets;
use super::settings::{ENV_PREFIX, SETTINGS, SettingSpec};

const CONFIG: &str = "COMFY_GATEWAY_CONFIG";
const BASE_URL: &str = "COMFYUI_BASE_URL";
const API_KEY: &str = "COMFYUI_API_KEY";
const COOKIES: &str = "COMFYUI_COOKIES";

/// The environment variables that no setting defines, each with its description.
pub static OTHER_VARIABLES: [(&str, &str); 4] = [
    (CONFIG, "The path of the configuration file, like `--config`."),
    (BASE_URL, "The URLs of the backends, separated by commas, each as `URL` or `name=URL`."),
    (API_KEY, "`bearer` and `api_key` of every configured backend that does not set its own."),
    (COOKIES, "`cookies` of every configured backend that does not set its own."),
];

/// The values that the environment gives.
#[derive(Debug, Default)]
pub(super) struct EnvironmentValues {
    pub config: Option<PathBuf>,
    pub layer: ConfigLayer,
    pub shared: SharedCredentials,
}

/// Reads `variables`. An empty variable counts as unset, because compose files pass unset variables as empty ones.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    errors: &mut Vec<ConfigError>,
) -> EnvironmentValues {
    let mut environment = EnvironmentValues::default();
    for (name, value) in gateway_variables(variables) {
        let source = ValueSource::Env(name.clone());
        let spec = SETTINGS.iter().find(|spec| spec.env() == name);
        let value = match value.into_string() {
            Ok(value) if value.is_empty() && is_known(&name) => continue,
            Ok(value) => value,
            Err(_) => {
                errors.push(ConfigError::new(&name, source, "must be valid UTF-8"));
                continue;
            }
        };
        match (spec, name.as_str()) {
            (Some(spec), _) => environment.layer.values.push(GivenSetting { spec, text: value, source }),
            (None, CONFIG) => environment.config = Some(value.into()),
            (None, BASE_URL) => {
                let urls = value.split(',').map(str::trim).filter(|url| !url.is_empty());
                let backends = backends::from_texts(urls, BASE_URL, &source, errors);
                environment.layer.backends = Some(backends).filter(|backends| !backends.is_empty());
            }
            (None, API_KEY) => match secrets::parse_token(&value) {
                Ok(key) => environment.shared.api_key = Some(key),
                Err(error) => {
                    let problem = error.problem(secrets::TOKEN_ALLOWED);
                    errors.push(ConfigError::new(&name, source, problem));
                }
            },
            (None, COOKIES) => match secrets::parse_cookies(&value) {
                Ok(cookies) => environment.shared.cookies = Some(cookies),
                Err(error) => {
                    let problem = error.problem(secrets::COOKIES_ALLOWED);
                    errors.push(ConfigError::new(&name, source, problem));
                }
            },
            _ => errors.push(unknown_variable(&name, source)),
        }
    }
    environment
}

/// The known variables and all others with the gateway's prefix, sorted by name so that errors have a stable order.
fn gateway_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, OsString> {
    let utf8 = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    utf8.filter(|(name, _)| name.starts_with(ENV_PREFIX) || is_known(name)).collect()
}

fn is_known(name: &str) -> bool {
    OTHER_VARIABLES.iter().any(|(known, _)| *known == name) || SETTINGS.iter().any(|spec| spec.env() == name)
}

fn unknown_variable(name: &str, source: ValueSource) -> ConfigError {
    if name.starts_with("COMFY_GATEWAY_BACKEND") || name.starts_with("COMFY_GATEWAY_COMFYUI") {
        let problem = format!("unknown setting; set `{BASE_URL}` to the URLs of the backends");
        return ConfigError::new(name, source, problem);
    }
    let known: Vec<_> = SETTINGS.iter().map(SettingSpec::env).chain([CONFIG.to_owned()]).collect();
    ConfigError::unknown(name, source, known.iter().map(String::as_str))
}
