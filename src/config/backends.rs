//! The configured backends: the table of their keys, and how lists of URLs and `[[backends]]` tables are read.

use std::path::Path;

use secrecy::SecretString;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::error::{ConfigError, ValueSource, redact};
use super::kinds::{IntegerKind, ValueKind, is_http};
use super::secrets::{self, ValueError};
use crate::comfy::ComfyEndpoint;
use crate::domain::id::BackendName;
use crate::pool::{self, BackendSettings, DEFAULT_SLOTS};

/// The key of the list of backends in the configuration file.
pub(super) const BACKENDS_KEY: &str = "backends";

/// The backend that is used if no source names one.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8188";

const SLOTS: IntegerKind<usize> = IntegerKind(*pool::SLOTS.start(), *pool::SLOTS.end());

/// One key of a `[[backends]]` table.
#[derive(Debug)]
pub struct BackendKey {
    /// The name of the key; unique in the table.
    pub key: &'static str,
    /// The default for the documentation, as Markdown.
    pub default: &'static str,
    /// The effect of the key, in one or two sentences.
    pub help: &'static str,
    /// The allowed values, as the end of the sentence "must be …".
    pub allowed: &'static str,
    read: fn(&mut BackendDraft, &DeValue<'_>, &Path) -> Result<(), ValueError>,
}

/// A backend that is being read: a value is `None` until a key gives it.
#[derive(Debug, Default)]
pub(super) struct BackendDraft {
    name: Option<BackendName>,
    url: Option<Url>,
    slots: Option<usize>,
    labels: Vec<String>,
    bearer: Option<SecretString>,
    cookies: Option<SecretString>,
    api_key: Option<SecretString>,
    headers: Vec<(String, SecretString)>,
}

/// A backend that a source gives, not yet complete.
#[derive(Debug)]
pub(super) struct GivenBackend {
    pub key: String,
    pub source: ValueSource,
    pub draft: BackendDraft,
}

/// The credentials of backends that do not set their own.
#[derive(Debug, Default)]
pub(super) struct SharedCredentials {
    pub api_key: Option<SecretString>,
    pub cookies: Option<SecretString>,
}

/// The keys of a `[[backends]]` table, in the order of the documentation.
pub static BACKEND_KEYS: &[BackendKey] = &[
    BackendKey {
        key: "name",
        default: "`gpu-1`, `gpu-2`, … by position",
        help: "The name of the backend in results, logs and metrics.",
        allowed: "1 to 64 letters, digits, `.`, `_` or `-`, different from the name of every other backend",
        read: |draft, value, _| {
            set(&mut draft.name, BackendName::parse(text(value)?).map_err(|_| ValueError::NotAllowed)?)
        },
    },
    BackendKey {
        key: "url",
        default: "none; required",
        help: "The address of the backend. A path is kept as a prefix; a user and a password are sent with HTTP basic authentication.",
        allowed: "an http:// or https:// URL, such as http://127.0.0.1:8188 or https://gpu.example/comfy",
        read: |draft, value, _| set(&mut draft.url, http_url(text(value)?)?),
    },
    BackendKey {
        key: "slots",
        default: "8",
        help: "The most jobs that are handed to the backend at once. The gateway often hands over fewer: one long job, and the next one shortly before that ends, so that the GPU never idles. It hands over more only if jobs take milliseconds.",
        allowed: "a whole number from 1 to 64",
        read: |draft, value, _| {
            let number =
                integer_text(value).and_then(|text| SLOTS.read(&text)).ok_or(ValueError::NotAllowed)?;
            set(&mut draft.slots, number)
        },
    },
    BackendKey {
        key: "labels",
        default: "none",
        help: "Labels that jobs can require with `requires`.",
        allowed: "a list of names of 1 to 64 letters, digits, `.`, `_` or `-`",
        read: |draft, value, _| {
            draft.labels = labels(value).ok_or(ValueError::NotAllowed)?;
            Ok(())
        },
    },
    BackendKey {
        key: "bearer",
        default: "`COMFYUI_API_KEY`",
        help: "The token that is sent as `Authorization: Bearer …`.",
        allowed: secrets::TOKEN_ALLOWED,
        read: |draft, value, _| set(&mut draft.bearer, secrets::parse_token(text(value)?)?),
    },
    BackendKey {
        key: "bearer_file",
        default: "none",
        help: "A file with the value of `bearer`. The path is relative to the directory of the configuration file.",
        allowed: "the path of a readable file of at most 64 KiB",
        read: |draft, value, dir| {
            set(&mut draft.bearer, secrets::parse_token(&secrets::read_file(dir, text(value)?)?)?)
        },
    },
    BackendKey {
        key: "cookies",
        default: "`COMFYUI_COOKIES`",
        help: "The cookies that are sent in the `Cookie` header.",
        allowed: secrets::COOKIES_ALLOWED,
        read: |draft, value, _| set(&mut draft.cookies, secrets::parse_cookies(text(value)?)?),
    },
    BackendKey {
        key: "cookies_file",
        default: "none",
        help: "A file with the value of `cookies`. The path is relative to the directory of the configuration file.",
        allowed: "the path of a readable file of at most 64 KiB",
        read: |draft, value, dir| {
            set(&mut draft.cookies, secrets::parse_cookies(&secrets::read_file(dir, text(value)?)?)?)
        },
    },
    BackendKey {
        key: "headers",
        default: "none",
        help: "Additional headers of every request.",
        allowed: "a table of header names and string values",
        read: |draft, value, _| {
            let table = value.as_table().ok_or(ValueError::NotAllowed)?;
            for (name, value) in table {
                let value = secrets::parse_token(text(value.get_ref())?)?;
                draft.headers.push((name.get_ref().to_string(), value));
            }
            Ok(())
        },
    },
    BackendKey {
        key: "api_key",
        default: "`COMFYUI_API_KEY`",
        help: "The key that ComfyUI's paid API nodes get with each job.",
        allowed: secrets::TOKEN_ALLOWED,
        read: |draft, value, _| set(&mut draft.api_key, secrets::parse_token(text(value)?)?),
    },
    BackendKey {
        key: "api_key_file",
        default: "none",
        help: "A file with the value of `api_key`. The path is relative to the directory of the configuration file.",
        allowed: "the path of a readable file of at most 64 KiB",
        read: |draft, value, dir| {
            set(&mut draft.api_key, secrets::parse_token(&secrets::read_file(dir, text(value)?)?)?)
        },
    },
];

/// The string that `value` holds.
fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, ValueError> {
    value.as_str().ok_or(ValueError::NotAllowed)
}

/// Sets a value once: a key and its `_file` form set the same value, so only one of them may be given.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ValueError> {
    if place.replace(value).is_some() {
        return Err(ValueError::Because(
            "is given twice: remove either the key or its `_file` form".to_owned(),
        ));
    }
    Ok(())
}

/// A whole number as decimal text; TOML also allows hexadecimal, octal and binary numbers.
pub(super) fn integer_text(value: &DeValue<'_>) -> Option<String> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

fn labels(value: &DeValue<'_>) -> Option<Vec<String>> {
    let labels = value.as_array()?.iter().map(|label| {
        let label = label.get_ref().as_str()?;
        BackendName::parse(label).ok().map(|_| label.to_owned())
    });
    labels.collect()
}

fn http_url(text: &str) -> Result<Url, ValueError> {
    Url::parse(text.trim()).ok().filter(is_http).ok_or(ValueError::NotAllowed)
}

/// Reads a `[[backends]]` table into `given`. `dir` is the directory of the configuration file; `source`
/// turns a byte offset into a line.
pub(super) fn from_table(
    given: &mut GivenBackend,
    table: &DeTable<'_>,
    dir: &Path,
    source: impl Fn(usize) -> ValueSource,
    errors: &mut Vec<ConfigError>,
) {
    for (key, value) in table {
        let source = source(key.span().start);
        let (name, full) = (key.get_ref().as_ref(), format!("{}.{}", given.key, key.get_ref()));
        let Some(known) = BACKEND_KEYS.iter().find(|known| known.key == name) else {
            let mut error = ConfigError::unknown(name, source, BACKEND_KEYS.iter().map(|known| known.key));
            error.key = full;
            errors.push(error);
            continue;
        };
        if let Err(error) = (known.read)(&mut given.draft, value.get_ref(), dir) {
            errors.push(ConfigError::new(full, source, error.problem(known.allowed)));
        }
    }
    let key = format!("{}.url", given.key);
    let is_reported = errors.iter().any(|error| error.key == key);
    if given.draft.url.is_none() && !is_reported {
        errors.push(ConfigError::new(key, given.source.clone(), "is missing: each backend needs a URL"));
    }
}

/// Reads the backends of `texts`, each a URL or `name=URL`. `key` is the key of errors.
pub(super) fn from_texts<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    key: &str,
    source: &ValueSource,
    errors: &mut Vec<ConfigError>,
) -> Vec<GivenBackend> {
    let mut backends = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) if !name.contains([':', '/']) => (Some(name.trim()), address),
            _ => (None, text),
        };
        let mut draft = BackendDraft::default();
        match http_url(address) {
            Ok(url) => draft.url = Some(url),
            Err(_) => errors.push(ConfigError::new(key, source.clone(), url_problem(index, address))),
        }
        match name.map(BackendName::parse).transpose() {
            Ok(name) => draft.name = name,
            Err(error) => errors.push(ConfigError::new(key, source.clone(), error.to_string())),
        }
        backends.push(GivenBackend { key: key.to_owned(), source: source.clone(), draft });
    }
    backends
}

/// The message for an invalid URL. It shows the URL unless that may contain a secret.
fn url_problem(index: usize, address: &str) -> String {
    let shown = redact(address);
    format!(
        "the URL of backend {} (`{shown}`) must begin with http:// or https://, such as http://127.0.0.1:8188 or name=http://127.0.0.1:8188",
        index + 1
    )
}

/// Completes the backends with their default names and the `shared` credentials. Two backends with the same name or
/// address are an error.
pub(super) fn complete(
    backends: Vec<GivenBackend>,
    shared: &SharedCredentials,
    errors: &mut Vec<ConfigError>,
) -> Vec<BackendSettings> {
    let mut completed: Vec<BackendSettings> = Vec::with_capacity(backends.len());
    for (index, GivenBackend { key, source, draft }) in backends.into_iter().enumerate() {
        let Some(backend) = complete_one(draft, index, shared) else { continue };
        let problem = match backend.endpoint.validate() {
            Err(error) => Some(error.reason),
            Ok(()) => backend.check_clash(&completed).err().map(|clash| clash.to_string()),
        };
        errors.extend(problem.map(|problem| ConfigError::new(key, source, problem)));
        completed.push(backend);
    }
    completed
}

/// `None` if the URL is missing; that error is reported already.
fn complete_one(draft: BackendDraft, index: usize, shared: &SharedCredentials) -> Option<BackendSettings> {
    let name = match draft.name {
        Some(name) => name,
        None => BackendName::parse(&format!("gpu-{}", index + 1)).ok()?,
    };
    let url = draft.url?;
    let sets_header = |header: &str| draft.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header));
    let has_user = !url.username().is_empty() || url.password().is_some();
    let shared_bearer = shared.api_key.clone().filter(|_| !has_user && !sets_header("authorization"));
    let shared_cookies = shared.cookies.clone().filter(|_| !sets_header("cookie"));
    let mut endpoint = ComfyEndpoint::new(url);
    endpoint.bearer = draft.bearer.or(shared_bearer);
    endpoint.cookies = draft.cookies.or(shared_cookies);
    endpoint.api_key = draft.api_key.or_else(|| shared.api_key.clone());
    endpoint.headers = draft.headers;
    Some(BackendSettings {
        name,
        endpoint,
        slots: draft.slots.unwrap_or(DEFAULT_SLOTS),
        labels: draft.labels,
    })
}
