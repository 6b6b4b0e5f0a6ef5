//! The ComfyUI servers as they are configured: the table of their keys, and how each is read.
//! It must not connect to any.

use std::path::Path;

use secrecy::SecretString;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::error::{ConfigError, ValueSource, harmless};
use super::file::whole_number;
use super::kinds::{IntegerKind, ValueKind, is_web};
use super::secrets::{self, ValueError};
use crate::comfy::ComfyEndpoint;
use crate::domain::id::BackendName;
use crate::pool::{self, BackendSettings, DEFAULT_SLOTS};

/// Used when no server is named anywhere.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8188";

const SLOTS: IntegerKind<usize> = IntegerKind(*pool::SLOTS.start(), *pool::SLOTS.end());

/// One key of a `[[backends]]` table.
#[derive(Debug)]
pub struct BackendKey {
    /// The key.
    pub key: &'static str,
    /// The value unless another is given.
    pub default: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// What the value may be; ends the sentence "must be …".
    pub allowed: &'static str,
    read: fn(&mut BackendDraft, &DeValue<'_>, &Path) -> Result<(), ValueError>,
}

/// A server of which some may not be known yet.
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

/// A server and where it was named.
#[derive(Debug)]
pub(super) struct GivenBackend {
    pub key: String,
    pub source: ValueSource,
    pub draft: BackendDraft,
}

/// What servers get that have none of their own.
#[derive(Debug, Default)]
pub(super) struct SharedCredentials {
    pub api_key: Option<SecretString>,
    pub cookies: Option<SecretString>,
}

/// The table of a server's keys, in the order of the documentation.
pub static BACKEND_KEYS: &[BackendKey] = &[
    BackendKey {
        key: "name",
        default: "`gpu-1`, `gpu-2`, … by position",
        help: "What results, logs and metrics call the server.",
        allowed: "1 to 64 letters, digits, `.`, `_` or `-`, unlike any other server's",
        read: |draft, value, _| {
            set(&mut draft.name, BackendName::parse(text(value)?).map_err(|_| ValueError::Value)?)
        },
    },
    BackendKey {
        key: "url",
        default: "none; it must be given",
        help: "Where the server is; a path is kept as a prefix, a user and password are sent as basic authorization.",
        allowed: "an http:// or https:// URL, such as http://127.0.0.1:8188 or https://gpu.example/comfy",
        read: |draft, value, _| set(&mut draft.url, web_url(text(value)?)?),
    },
    BackendKey {
        key: "slots",
        default: "8",
        help: "How many jobs the server is given at once, at the most: one while it runs for long, a second that waits in its own queue so that the GPU never does, more where jobs take milliseconds.",
        allowed: "a whole number from 1 to 64",
        read: |draft, value, _| {
            let number = whole_number(value).and_then(|text| SLOTS.read(&text)).ok_or(ValueError::Value)?;
            set(&mut draft.slots, number)
        },
    },
    BackendKey {
        key: "labels",
        default: "none",
        help: "What the server is called besides.",
        allowed: "a list of names of 1 to 64 letters, digits, `.`, `_` or `-`",
        read: |draft, value, _| {
            draft.labels = labels(value).ok_or(ValueError::Value)?;
            Ok(())
        },
    },
    BackendKey {
        key: "bearer",
        default: "`COMFYUI_API_KEY`",
        help: "Sent as `Authorization: Bearer …`.",
        allowed: "a text without line breaks",
        read: |draft, value, _| set(&mut draft.bearer, secrets::plain(text(value)?)?),
    },
    BackendKey {
        key: "bearer_file",
        default: "none",
        help: "A file to read `bearer` from; relative to the configuration file's directory.",
        allowed: "the path of a readable file",
        read: |draft, value, dir| set(&mut draft.bearer, secrets::plain(&secrets::file(dir, text(value)?)?)?),
    },
    BackendKey {
        key: "cookies",
        default: "`COMFYUI_COOKIES`",
        help: "Sent as the `Cookie` header.",
        allowed: secrets::COOKIES_ALLOWED,
        read: |draft, value, _| set(&mut draft.cookies, secrets::cookies(text(value)?)?),
    },
    BackendKey {
        key: "cookies_file",
        default: "none",
        help: "A file to read `cookies` from; relative to the configuration file's directory.",
        allowed: "the path of a readable file",
        read: |draft, value, dir| {
            set(&mut draft.cookies, secrets::cookies(&secrets::file(dir, text(value)?)?)?)
        },
    },
    BackendKey {
        key: "headers",
        default: "none",
        help: "Further headers for every request, as a table of names and values.",
        allowed: "a table of header names and texts",
        read: |draft, value, _| {
            let table = value.as_table().ok_or(ValueError::Value)?;
            for (name, value) in table {
                let value = secrets::plain(text(value.get_ref())?)?;
                draft.headers.push((name.get_ref().to_string(), value));
            }
            Ok(())
        },
    },
    BackendKey {
        key: "api_key",
        default: "`COMFYUI_API_KEY`",
        help: "Given to ComfyUI's paid API nodes with each job.",
        allowed: "a text without line breaks",
        read: |draft, value, _| set(&mut draft.api_key, secrets::plain(text(value)?)?),
    },
    BackendKey {
        key: "api_key_file",
        default: "none",
        help: "A file to read `api_key` from; relative to the configuration file's directory.",
        allowed: "the path of a readable file",
        read: |draft, value, dir| {
            set(&mut draft.api_key, secrets::plain(&secrets::file(dir, text(value)?)?)?)
        },
    },
];

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, ValueError> {
    value.as_str().ok_or(ValueError::Value)
}

/// A key and its `_file` form set the same: only one of them may.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ValueError> {
    if place.replace(value).is_some() {
        return Err(ValueError::Because("is given twice, as itself and by its `_file`".to_owned()));
    }
    Ok(())
}

fn labels(value: &DeValue<'_>) -> Option<Vec<String>> {
    let labels = value.as_array()?.iter().map(|label| {
        let label = label.get_ref().as_str()?;
        BackendName::parse(label).ok().map(|_| label.to_owned())
    });
    labels.collect()
}

fn web_url(text: &str) -> Result<Url, ValueError> {
    Url::parse(text.trim()).ok().filter(is_web).ok_or(ValueError::Value)
}

/// The server that a `[[backends]]` table describes.
pub(super) fn from_table(
    named: &mut GivenBackend,
    table: &DeTable<'_>,
    dir: &Path,
    source: impl Fn(usize) -> ValueSource,
    errors: &mut Vec<ConfigError>,
) {
    for (key, value) in table {
        let source = source(key.span().start);
        let (name, full) = (key.get_ref().as_ref(), format!("{}.{}", named.key, key.get_ref()));
        let Some(known) = BACKEND_KEYS.iter().find(|known| known.key == name) else {
            let mut error = ConfigError::unknown(name, source, BACKEND_KEYS.iter().map(|known| known.key));
            error.key = full;
            errors.push(error);
            continue;
        };
        if let Err(wrong) = (known.read)(&mut named.draft, value.get_ref(), dir) {
            errors.push(ConfigError::new(full, source, wrong.problem(known.allowed)));
        }
    }
    let failed = |error: &ConfigError| error.key == format!("{}.url", named.key);
    if named.draft.url.is_none() && !errors.iter().any(failed) {
        let key = format!("{}.url", named.key);
        errors.push(ConfigError::new(key, named.source.clone(), "is missing: each server needs its URL"));
    }
}

/// The servers of `texts`, each a URL or `name=URL`.
pub(super) fn from_texts<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    key: &str,
    source: &ValueSource,
    errors: &mut Vec<ConfigError>,
) -> Vec<GivenBackend> {
    let mut servers = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) if !name.contains([':', '/']) => (Some(name.trim()), address),
            _ => (None, text),
        };
        let mut draft = BackendDraft::default();
        match web_url(address) {
            Ok(url) => draft.url = Some(url),
            Err(_) => errors.push(ConfigError::new(key, source.clone(), bad_url(index, address))),
        }
        match name.map(BackendName::parse).transpose() {
            Ok(name) => draft.name = name,
            Err(error) => errors.push(ConfigError::new(key, source.clone(), error.to_string())),
        }
        servers.push(GivenBackend { key: key.to_owned(), source: source.clone(), draft });
    }
    servers
}

/// Says which URL is wrong, but shows none that may hold a secret.
fn bad_url(index: usize, address: &str) -> String {
    let shown = harmless(address);
    format!(
        "the URL of server {} (`{shown}`) must be an http:// or https:// URL, such as http://127.0.0.1:8188, or `name=URL`",
        index + 1
    )
}

/// The servers as the pool takes them. Two of the same name or at the same address are errors.
pub(super) fn finish(
    servers: Vec<GivenBackend>,
    common: &SharedCredentials,
    errors: &mut Vec<ConfigError>,
) -> Vec<BackendSettings> {
    let mut done: Vec<BackendSettings> = Vec::with_capacity(servers.len());
    for (index, GivenBackend { key, source, draft }) in servers.into_iter().enumerate() {
        let Some(backend) = complete(draft, index, common) else { continue };
        let problem = match backend.endpoint.validate() {
            Err(error) => Some(error.reason),
            Ok(()) => backend.fits_beside(&done).err().map(|clash| clash.to_string()),
        };
        errors.extend(problem.map(|problem| ConfigError::new(key, source, problem)));
        done.push(backend);
    }
    done
}

fn complete(draft: BackendDraft, index: usize, common: &SharedCredentials) -> Option<BackendSettings> {
    let name = match draft.name {
        Some(name) => name,
        None => BackendName::parse(&format!("gpu-{}", index + 1)).ok()?,
    };
    let url = draft.url?;
    let sends = |header: &str| draft.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header));
    let has_user = !url.username().is_empty() || url.password().is_some();
    let shared_bearer = common.api_key.clone().filter(|_| !has_user && !sends("authorization"));
    let shared_cookies = common.cookies.clone().filter(|_| !sends("cookie"));
    let mut endpoint = ComfyEndpoint::new(url);
    endpoint.bearer = draft.bearer.or(shared_bearer);
    endpoint.cookies = draft.cookies.or(shared_cookies);
    endpoint.api_key = draft.api_key.or_else(|| common.api_key.clone());
    endpoint.headers = draft.headers;
    Some(BackendSettings {
        name,
        endpoint,
        slots: draft.slots.unwrap_or(DEFAULT_SLOTS),
        labels: draft.labels,
    })
}
