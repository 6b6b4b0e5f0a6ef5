//! The table of settings: the one place from which the file's keys, the environment's names, the flags, `check`
//! and the documentation are made. It must not know where values come from.
//!
//! # To add a setting
//! Add a line to the table: help, key, type, default, kind.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::kinds::{
    AllowListKind, BooleanKind, ByteSizeKind, DirectoryKind, DurationKind, IntegerKind, LogFilterKind,
    LogFormat, LogFormatKind, OptionalDirectoryKind, PublicUrlKind, RetentionKind, SocketAddressKind,
    ValueKind,
};
use crate::inputs::AllowList;

/// One setting as the table describes it.
#[derive(Debug)]
pub struct SettingSpec {
    /// Its key in the configuration file.
    pub key: &'static str,
    /// The text that is its value unless another is given.
    pub default: &'static str,
    help: &'static str,
    placeholder: fn() -> &'static str,
    allowed: fn() -> String,
    read: fn(&mut SettingsDraft, &str) -> bool,
}

impl SettingSpec {
    /// What it does, in one sentence.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// Its name in the environment.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.key.to_ascii_uppercase())
    }

    /// Its flag, with the dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// What stands for the value in the command line's help.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        (self.placeholder)()
    }

    /// What its value may be; ends the sentence "must be …".
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Takes the value into `draft`; false if it is not allowed.
    pub(super) fn read(&self, draft: &mut SettingsDraft, text: &str) -> bool {
        (self.read)(draft, text)
    }
}

/// What the names of ours in the environment begin with.
pub(super) const ENV_PREFIX: &str = "COMFY_GATEWAY_";

macro_rules! settings {
    ($( #[doc = $help:literal] $key:ident: $type:ty = $default:literal, $kind:expr; )*) => {
        /// Every setting but the servers.
        #[derive(Debug, Clone)]
        pub struct GatewaySettings {
            $( #[doc = $help] pub $key: $type, )*
        }

        /// Settings of which some may not be read yet.
        #[derive(Debug, Default)]
        pub(super) struct SettingsDraft {
            $( $key: Option<$type>, )*
        }

        impl SettingsDraft {
            /// The settings; `None` while one is missing.
            pub(super) fn finish(self) -> Option<GatewaySettings> {
                Some(GatewaySettings { $( $key: self.$key?, )* })
            }
        }

        /// The table, in the order of the documentation.
        pub static SETTINGS: &[SettingSpec] = &[ $(
            SettingSpec {
                key: stringify!($key),
                default: $default,
                help: $help,
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
    /// Where the gateway listens.
    listen: SocketAddr = "127.0.0.1:8080", SocketAddressKind;
    /// What URLs in answers begin with; empty to take the request's own host.
    public_url: Option<Url> = "", PublicUrlKind;
    /// The directory of the database and of the media files; made if it is not there.
    data_dir: PathBuf = "./data", DirectoryKind;
    /// The free space that files and new jobs leave on the disk, so that running jobs can end and be deleted; with less, new jobs and files are turned away.
    disk_reserve: usize = "256MiB", ByteSizeKind(0, 1 << 44);
    /// A folder of workflow files, each registered under its file's name and followed; empty for none.
    workflows: Option<PathBuf> = "", OptionalDirectoryKind;
    /// The largest request body.
    max_body: usize = "64MiB", ByteSizeKind(1 << 10, 1 << 30);
    /// The most values of a JSON body: members of objects and items of lists.
    max_values: usize = "500000", IntegerKind(1_000, 100_000_000);
    /// The most nodes of a workflow.
    max_nodes: usize = "10000", IntegerKind(1, 1_000_000);
    /// The most parameters of a workflow, and of a request.
    max_params: usize = "1000", IntegerKind(1, 100_000);
    /// The largest file of a form, of `POST /files`, or given as base64.
    max_file: usize = "2GiB", ByteSizeKind(1 << 10, 1 << 40);
    /// The largest file that is fetched from a ComfyUI server as an output of a job; a larger one fails the job.
    max_output_file: usize = "8GiB", ByteSizeKind(1 << 10, 1 << 44);
    /// The most files that one job's parameters may name.
    max_inputs: usize = "64", IntegerKind(1, 10_000);
    /// Whether file inputs may name any path on a ComfyUI server, and files of its output and temp folders.
    allow_backend_paths: bool = "false", BooleanKind;
    /// How long a job may run that names no `timeout`.
    default_timeout: Duration = "1h", DurationKind(SECOND, YEAR);
    /// The longest `timeout` a job may name.
    max_timeout: Duration = "7d", DurationKind(SECOND, YEAR);
    /// Hosts and networks that URLs may lead to although they are not on the public internet.
    fetch_allow: AllowList = "", AllowListKind;
    /// The largest file that is fetched from a URL.
    fetch_max_bytes: usize = "1GiB", ByteSizeKind(1, 1 << 40);
    /// How long fetching one file from a URL may take.
    fetch_timeout: Duration = "2m", DurationKind(SECOND, DAY);
    /// Jobs that may wait in the queue; further ones are turned away.
    max_queued: u64 = "100000", IntegerKind(1, 100_000_000);
    /// Whether callers get the tracebacks of failed jobs, and whole paths in messages; both are of the machines that ComfyUI runs on.
    expose_tracebacks: bool = "false", BooleanKind;
    /// How long results and their files are kept after a job's end.
    retention: Option<Duration> = "7d", RetentionKind(DurationKind(MINUTE, YEAR * 100));
    /// How often a job is tried in all when a server is lost or out of memory.
    max_attempts: u32 = "3", IntegerKind(1, 100);
    /// A job whose server cannot be reached for this long is given to another.
    lost_after: Duration = "60s", DurationKind(SECOND, DAY);
    /// A running job that shows no sign of progress for this long is ended and tried again.
    stall_timeout: Duration = "10m", DurationKind(SECOND * 10, DAY);
    /// How long the first job in line may wait while later ones, whose models a server has loaded, go before it; 0 for never.
    affinity_wait: Duration = "30s", DurationKind(Duration::ZERO, Duration::from_hours(1));
    /// Between two looks at a running job of which nothing is heard.
    poll_interval: Duration = "1s", DurationKind(Duration::from_millis(50), MINUTE);
    /// The longest time a request may wait for a job's end.
    max_wait: Duration = "60s", DurationKind(Duration::ZERO, Duration::from_hours(1));
    /// Connections open at the same time; further ones wait.
    max_connections: usize = "10000", IntegerKind(1, 1_000_000);
    /// How long a client may take to send a request's head, and to begin with the first one of a connection.
    header_timeout: Duration = "10s", DurationKind(Duration::from_millis(100), MINUTE * 10);
    /// How long a connection may stay open between requests.
    keep_alive: Duration = "2m", DurationKind(SECOND, DAY);
    /// In this time a client must send, or take, `transfer_minimum` of a body that it is waited for; else its connection is cut.
    transfer_timeout: Duration = "60s", DurationKind(SECOND, DAY);
    /// The least of a body that must move within `transfer_timeout`, if so much is left of it.
    transfer_minimum: usize = "16KiB", ByteSizeKind(1, 1 << 30);
    /// How long requests may go on after the gateway was told to stop.
    drain_timeout: Duration = "4s", DurationKind(Duration::ZERO, MINUTE * 10);
    /// What is logged.
    log: String = "info", LogFilterKind;
    /// The form of log lines.
    log_format: LogFormat = "text", LogFormatKind;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_together_they_are_complete() {
        let mut draft = SettingsDraft::default();
        for setting in SETTINGS {
            assert!(setting.read(&mut draft, setting.default), "{}", setting.key);
            assert!(!setting.help().is_empty() && !setting.allowed().is_empty());
        }
        let settings = draft.finish().unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.max_body, 64 << 20);
        assert_eq!(settings.retention, Some(DAY * 7));
        assert_eq!(settings.public_url, None);
    }

    #[test]
    fn every_example_of_a_time_or_a_size_is_allowed() {
        let mut of_times_and_sizes = 0;
        for setting in SETTINGS {
            let allowed = setting.allowed();
            let Some((_, examples)) = allowed.split_once(", such as ") else { continue };
            if !(allowed.starts_with("a time") || allowed.starts_with("a size")) {
                continue;
            }
            for example in examples.trim_end_matches(", or `forever`").replace(" or ", ", ").split(", ") {
                assert!(setting.read(&mut SettingsDraft::default(), example), "{}: {example}", setting.key);
            }
            of_times_and_sizes += 1;
        }
        assert!(of_times_and_sizes > 10, "each of them has examples");
    }

    #[test]
    fn names_are_derived_from_the_key() {
        let setting = SETTINGS.iter().find(|setting| setting.key == "max_body").unwrap();
        assert_eq!(setting.env(), "COMFY_GATEWAY_MAX_BODY");
        assert_eq!(setting.flag(), "--max-body");
    }
}
