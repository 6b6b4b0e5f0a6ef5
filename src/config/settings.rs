//! The table of settings. The keys of the file, the environment variables, the flags, the output of `check` and
//! `docs/CONFIGURATION.md` are all derived from it.
//!
//! # To add a setting
//! Add an entry to the table: help, key, type, default and kind. The help is one or two sentences with units.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::kinds::{
    AllowListKind, BooleanKind, ByteSizeKind, DirectoryKind, DurationKind, IntegerKind, LogFilterKind,
    LogFormat, LogFormatKind, OptionalDirectoryKind, PublicUrlKind, RetentionKind, SocketAddressKind,
    ValueKind,
};
use crate::fetch::AllowList;

/// The description of one setting.
#[derive(Debug)]
pub struct SettingSpec {
    /// The key in the configuration file, in snake case; unique in the table.
    pub key: &'static str,
    /// The default as text; the kind of the setting allows it.
    pub default: &'static str,
    help: &'static str,
    placeholder: fn() -> &'static str,
    allowed: fn() -> String,
    read: fn(&mut SettingsDraft, &str) -> bool,
}

impl SettingSpec {
    /// The effect of the setting, in one or two sentences.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// The name of the environment variable, such as `COMFY_GATEWAY_MAX_BODY`.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.key.to_ascii_uppercase())
    }

    /// The command-line flag, such as `--max-body`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// The placeholder of the value in `--help`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        (self.placeholder)()
    }

    /// The allowed values, as the end of the sentence "must be …".
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Parses `text` and stores the value in `draft`. Returns `false` if the value is not allowed.
    pub(super) fn read(&self, draft: &mut SettingsDraft, text: &str) -> bool {
        (self.read)(draft, text)
    }
}

/// The prefix of the gateway's environment variables.
pub(super) const ENV_PREFIX: &str = "COMFY_GATEWAY_";

macro_rules! settings {
    ($( $( #[doc = $help:literal] )+ $key:ident: $type:ty = $default:literal, $kind:expr; )*) => {
        /// The value of every setting except the backends.
        #[derive(Debug, Clone)]
        pub struct GatewaySettings {
            $( $( #[doc = $help] )+ pub $key: $type, )*
        }

        /// Settings that are being read: a value is `None` until a source gives it.
        #[derive(Debug, Default)]
        pub(super) struct SettingsDraft {
            $( $key: Option<$type>, )*
        }

        impl SettingsDraft {
            /// The settings; `None` if any value is missing.
            pub(super) fn finish(self) -> Option<GatewaySettings> {
                Some(GatewaySettings { $( $key: self.$key?, )* })
            }
        }

        /// The table of settings, in the order of the documentation.
        pub static SETTINGS: &[SettingSpec] = &[ $(
            SettingSpec {
                key: stringify!($key),
                default: $default,
                help: concat!($($help),+),
                placeholder: || $kind.placeholder(),
                allowed: || $kind.allowed(),
                read: |draft, text| $kind.read(text).map(|value| draft.$key = Some(value)).is_some(),
            },
        )* ];
    };
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);

settings! {
    /// The address that the HTTP server listens on. There is no authentication, so listen on other addresses than
    /// 127.0.0.1 only in a private network or behind a proxy that authenticates callers.
    listen: SocketAddr = "127.0.0.1:8080", SocketAddressKind;
    /// The base of the URLs in responses. Set it if clients reach the gateway through a proxy. While it is empty, URLs
    /// begin with `http://` and the `Host` of the request.
    public_url: Option<Url> = "", PublicUrlKind;
    /// The directory of the database and the media files. The gateway creates it if it is missing, and locks it against
    /// a second gateway.
    data_dir: PathBuf = "./data", DirectoryKind;
    /// Free disk space that new jobs and files must leave, so that running jobs can still finish and be deleted. With
    /// less, new jobs and uploads get 503 `disk_full`.
    disk_reserve: usize = "256MiB", ByteSizeKind(0, 1 << 44);
    /// A folder of workflow files. Each `*.json` file is registered under its file name and registered again when it
    /// changes. Empty for no folder.
    workflows: Option<PathBuf> = "", OptionalDirectoryKind;
    /// The largest JSON body, the most data of a form besides its files, and the largest workflow that is fetched from a
    /// URL.
    max_body: usize = "64MiB", ByteSizeKind(1 << 10, 1 << 30);
    /// The most values in a JSON body. Each member of an object and each item of a list counts as one.
    max_values: usize = "500000", IntegerKind(1_000, 100_000_000);
    /// The most nodes of a workflow.
    max_nodes: usize = "10000", IntegerKind(1, 1_000_000);
    /// The most parameters of a workflow, and the most that a request may set.
    max_params: usize = "1000", IntegerKind(1, 100_000);
    /// The largest single file of a form, of `POST /files`, or in base64.
    max_file: usize = "2GiB", ByteSizeKind(1 << 10, 1 << 40);
    /// The largest output file that is fetched from a backend. A job with a larger output fails.
    max_output_file: usize = "8GiB", ByteSizeKind(1 << 10, 1 << 44);
    /// The most files that the parameters of one job may name.
    max_inputs: usize = "64", IntegerKind(1, 10_000);
    /// Whether a file parameter may name any path on a backend, and files of its output and temp folders. Keep it off
    /// unless you trust every caller: it lets a caller read any image on the host of a backend.
    allow_backend_paths: bool = "false", BooleanKind;
    /// How long a job may run if it does not set `timeout`.
    default_timeout: Duration = "1h", DurationKind(SECOND, YEAR);
    /// The longest `timeout` and `queue_timeout` that a job may set.
    max_timeout: Duration = "7d", DurationKind(SECOND, YEAR);
    /// Hosts and networks outside the public internet that the gateway may fetch from. By default URLs must lead to the
    /// public internet, so that callers cannot reach internal services through the gateway.
    fetch_allow: AllowList = "", AllowListKind;
    /// The largest file that is fetched from a URL.
    fetch_max_bytes: usize = "1GiB", ByteSizeKind(1, 1 << 40);
    /// How long fetching one file from a URL may take.
    fetch_timeout: Duration = "2m", DurationKind(SECOND, DAY);
    /// The most jobs in the queue. With more, new jobs get 503 `queue_full`.
    max_queued: u64 = "100000", IntegerKind(1, 100_000_000);
    /// Whether results show the Python tracebacks of failed jobs and full paths in messages. Both reveal details of the
    /// hosts of the backends.
    expose_tracebacks: bool = "false", BooleanKind;
    /// How long a job and its files are kept after its end. A lower value also applies to jobs that have ended already.
    retention: Option<Duration> = "7d", RetentionKind(DurationKind(MINUTE, YEAR * 100));
    /// How many attempts of a job may fail before the job fails, unless it sets `max_attempts`. Attempts fail, for
    /// example, when a backend is lost, stalls or runs out of memory.
    max_attempts: u32 = "3", IntegerKind(1, 100);
    /// How long a backend may be unreachable before its jobs run on another one.
    lost_after: Duration = "60s", DurationKind(SECOND, DAY);
    /// How long a run may show no progress before it is interrupted and the job is requeued. Raise it if a node of
    /// yours works longer than this without reporting progress.
    stall_timeout: Duration = "10m", DurationKind(SECOND * 10, DAY);
    /// How long the first job of the queue may be passed over by later jobs whose models a backend has loaded. 0s keeps
    /// the order of the queue.
    affinity_wait: Duration = "30s", DurationKind(Duration::ZERO, Duration::from_hours(1));
    /// How often a backend is asked about a run while its websocket is silent.
    poll_interval: Duration = "1s", DurationKind(Duration::from_millis(50), MINUTE);
    /// The longest time that a request may wait for the end of a job with `Prefer: wait` or `?wait=`.
    max_wait: Duration = "60s", DurationKind(Duration::ZERO, Duration::from_hours(1));
    /// The most open connections. Further ones wait until one closes.
    max_connections: usize = "10000", IntegerKind(1, 1_000_000);
    /// How long a client may take to send the headers of a request, and how long a new connection may wait before its
    /// first request.
    header_timeout: Duration = "10s", DurationKind(Duration::from_millis(100), MINUTE * 10);
    /// How long a connection may stay idle between two requests.
    keep_alive: Duration = "2m", DurationKind(SECOND, DAY);
    /// The window in which a client must send or receive `transfer_minimum` of a body. A slower
    /// request gets 408 `request_timeout`; a slower response is cut off.
    transfer_timeout: Duration = "60s", DurationKind(SECOND, DAY);
    /// How much of a body a client must send or receive within each `transfer_timeout`, unless less of it is left.
    transfer_minimum: usize = "16KiB", ByteSizeKind(1, 1 << 30);
    /// How long requests in progress may continue after SIGTERM or SIGINT.
    drain_timeout: Duration = "4s", DurationKind(Duration::ZERO, MINUTE * 10);
    /// The log level, or one level for each module.
    log: String = "info", LogFilterKind;
    /// The format of log lines on standard error.
    log_format: LogFormat = "text", LogFormatKind;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_the_defaults_are_complete() {
        let mut draft = SettingsDraft::default();
        for spec in SETTINGS {
            assert!(spec.read(&mut draft, spec.default), "{}", spec.key);
            assert!(!spec.help().is_empty() && !spec.allowed().is_empty());
        }
        let settings = draft.finish().unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.max_body, 64 << 20);
        assert_eq!(settings.retention, Some(DAY * 7));
        assert_eq!(settings.public_url, None);
    }

    #[test]
    fn every_example_of_a_duration_or_a_size_is_allowed() {
        let mut checked = 0;
        for spec in SETTINGS {
            let allowed = spec.allowed();
            let Some((_, examples)) = allowed.split_once(", such as ") else { continue };
            if !(allowed.starts_with("a duration") || allowed.starts_with("a size")) {
                continue;
            }
            for example in examples.trim_end_matches(", or `forever`").replace(" or ", ", ").split(", ") {
                assert!(spec.read(&mut SettingsDraft::default(), example), "{}: {example}", spec.key);
            }
            checked += 1;
        }
        assert!(checked > 10, "every duration and size has examples");
    }

    #[test]
    fn names_are_derived_from_the_key() {
        let spec = SETTINGS.iter().find(|spec| spec.key == "max_body").unwrap();
        assert_eq!(spec.env(), "COMFY_GATEWAY_MAX_BODY");
        assert_eq!(spec.flag(), "--max-body");
    }
}
