//! The kinds of setting values: each parses text and describes the allowed values for error messages and
//! documentation.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::{Span, SpanRelativeTo};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

use crate::fetch::AllowList;

/// One kind of setting value.
pub(super) trait ValueKind {
    /// The parsed type.
    type Value;

    /// The placeholder of the value in `--help`.
    fn placeholder(&self) -> &'static str;

    /// Parses `text`; `None` if it is not an allowed value.
    fn read(&self, text: &str) -> Option<Self::Value>;

    /// The allowed values, as the end of the sentence "must be …".
    fn allowed(&self) -> String;
}

/// The `candidates` that `kind` allows, as a clause that begins with ", such as".
fn examples(kind: &impl ValueKind, candidates: &[&str]) -> String {
    let allowed: Vec<_> = candidates.iter().copied().filter(|text| kind.read(text).is_some()).collect();
    match allowed.split_last() {
        Some((last, [])) => format!(", such as {last}"),
        Some((last, others)) => format!(", such as {} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// An IP address and a port.
pub(super) struct SocketAddressKind;

impl ValueKind for SocketAddressKind {
    type Value = SocketAddr;

    fn placeholder(&self) -> &'static str {
        "IP:PORT"
    }

    fn read(&self, text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned()
    }
}

/// `true` or `false`.
pub(super) struct BooleanKind;

impl ValueKind for BooleanKind {
    type Value = bool;

    fn placeholder(&self) -> &'static str {
        "BOOL"
    }

    fn read(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "`true` or `false`".to_owned()
    }
}

/// The base URL of links to the gateway, or empty. A user, query or fragment cannot be part of such links.
pub(super) struct PublicUrlKind;

impl ValueKind for PublicUrlKind {
    type Value = Option<Url>;

    fn placeholder(&self) -> &'static str {
        "URL"
    }

    fn read(&self, text: &str) -> Option<Option<Url>> {
        if text.is_empty() {
            return Some(None);
        }
        let url = Url::parse(text).ok().filter(is_http)?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        plain.then_some(Some(url))
    }

    fn allowed(&self) -> String {
        "an absolute http:// or https:// URL without user, query or fragment, or empty".to_owned()
    }
}

/// Whether the URL is an absolute `http` or `https` URL with a host.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// The hosts and networks that fetches may reach; empty allows the public internet only.
pub(super) struct AllowListKind;

impl ValueKind for AllowListKind {
    type Value = AllowList;

    fn placeholder(&self) -> &'static str {
        "LIST"
    }

    fn read(&self, text: &str) -> Option<AllowList> {
        AllowList::parse(text)
    }

    fn allowed(&self) -> String {
        "a comma-separated list of networks, and of host names, `*.` wildcards and IP addresses with an optional \
         port, such as media.corp:8080, *.lan, 10.1.0.0/16"
            .to_owned()
    }
}

/// A directory that is readable at the start, or empty.
pub(super) struct OptionalDirectoryKind;

impl ValueKind for OptionalDirectoryKind {
    type Value = Option<PathBuf>;

    fn placeholder(&self) -> &'static str {
        DirectoryKind.placeholder()
    }

    fn read(&self, text: &str) -> Option<Option<PathBuf>> {
        if text.is_empty() {
            return Some(None);
        }
        DirectoryKind.read(text).filter(|path| std::fs::read_dir(path).is_ok()).map(Some)
    }

    fn allowed(&self) -> String {
        "the path of a directory that exists and is readable, or empty".to_owned()
    }
}

/// The path of a directory, which may not exist yet.
pub(super) struct DirectoryKind;

impl ValueKind for DirectoryKind {
    type Value = PathBuf;

    fn placeholder(&self) -> &'static str {
        "DIR"
    }

    fn read(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains('\0')).then(|| text.into())
    }

    fn allowed(&self) -> String {
        "the path of a directory".to_owned()
    }
}

/// A whole number from the minimum to the maximum, both included.
pub(super) struct IntegerKind<T>(pub T, pub T);

impl<T: std::str::FromStr + PartialOrd + std::fmt::Display> ValueKind for IntegerKind<T> {
    type Value = T;

    fn placeholder(&self) -> &'static str {
        "N"
    }

    fn read(&self, text: &str) -> Option<T> {
        text.parse().ok().filter(|number| (&self.0..=&self.1).contains(&number))
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }
}

/// A size from the minimum to the maximum in bytes, both included. Text without a unit counts bytes.
pub(super) struct ByteSizeKind(pub usize, pub usize);

impl ValueKind for ByteSizeKind {
    type Value = usize;

    fn placeholder(&self) -> &'static str {
        "SIZE"
    }

    fn read(&self, text: &str) -> Option<usize> {
        let bytes = usize::try_from(text.parse::<ByteSize>().ok()?.as_u64()).ok()?;
        (self.0..=self.1).contains(&bytes).then_some(bytes)
    }

    fn allowed(&self) -> String {
        let format = |bytes: usize| ByteSize(bytes as u64).display().iec().to_string();
        let examples = examples(self, &["65536", "10MB", "64MiB", "2GiB"]);
        format!("a size from {} to {}{examples}", format(self.0), format(self.1))
    }
}

/// A duration from the minimum to the maximum, both included. Text needs a unit; a day has 24 hours.
pub(super) struct DurationKind(pub Duration, pub Duration);

impl ValueKind for DurationKind {
    type Value = Duration;

    fn placeholder(&self) -> &'static str {
        "DURATION"
    }

    fn read(&self, text: &str) -> Option<Duration> {
        let span: Span = text.parse().ok()?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(duration).ok().filter(|duration| (self.0..=self.1).contains(duration))
    }

    fn allowed(&self) -> String {
        let examples = examples(self, &["500ms", "30s", "10m", "1h30m", "7d"]);
        format!("a duration from {} to {}{examples}", format_duration(self.0), format_duration(self.1))
    }
}

/// A duration, or `forever`, which parses to `None`.
pub(super) struct RetentionKind(pub DurationKind);

impl ValueKind for RetentionKind {
    type Value = Option<Duration>;

    fn placeholder(&self) -> &'static str {
        "DURATION"
    }

    fn read(&self, text: &str) -> Option<Option<Duration>> {
        if text == "forever" { Some(None) } else { self.0.read(text).map(Some) }
    }

    fn allowed(&self) -> String {
        format!("{}, or `forever`", self.0.allowed())
    }
}

/// Formats a duration in the largest unit that gives a whole number, such as `90s`.
fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
        .unwrap_or((1_000, "s"));
    format!("{}{name}", millis / unit)
}

/// The log filter.
pub(super) struct LogFilterKind;

impl ValueKind for LogFilterKind {
    type Value = String;

    fn placeholder(&self) -> &'static str {
        "FILTER"
    }

    fn read(&self, text: &str) -> Option<String> {
        let parsed = EnvFilter::try_new(text).is_ok();
        (parsed && text.split(',').all(has_level)).then(|| text.to_owned())
    }

    fn allowed(&self) -> String {
        "a level (error, warn, info, debug, trace, off), or a list of levels by module, such as info,comfy_gateway=debug"
            .to_owned()
    }
}

/// Whether one directive of a filter is a level or ends with one. The parser of `tracing` reads any other word as a
/// module whose lines are all logged, so a misspelt level would switch off every other module.
fn has_level(directive: &str) -> bool {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
    level.trim().parse::<LevelFilter>().is_ok() && !level.trim().is_empty()
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per event, for people.
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// A [`LogFormat`].
pub(super) struct LogFormatKind;

impl ValueKind for LogFormatKind {
    type Value = LogFormat;

    fn placeholder(&self) -> &'static str {
        "FORMAT"
    }

    fn read(&self, text: &str) -> Option<LogFormat> {
        match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }

    fn allowed(&self) -> String {
        "`text` or `json`".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        let kind = DurationKind(Duration::from_millis(100), Duration::from_hours(7 * 24));
        for (text, millis) in
            [("100ms", 100), ("30s", 30_000), ("10m", 600_000), ("1h30m", 5_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(kind.read(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "99ms", "8d", "-5s", "1mo", "1y", "soon", "1e9999d"] {
            assert_eq!(kind.read(text), None, "{text}");
        }
        assert!(kind.allowed().starts_with("a duration from 100ms to 7d"));
        assert_eq!(RetentionKind(kind).read("forever"), Some(None));
    }

    #[test]
    fn durations_are_formatted_in_their_largest_whole_unit() {
        let formatted =
            [0, 1, 1_500, 90_000, 3_600_000, 86_400_000].map(|ms| format_duration(Duration::from_millis(ms)));
        assert_eq!(formatted, ["0s", "1ms", "1500ms", "90s", "1h", "1d"]);
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        let kind = ByteSizeKind(1 << 10, 1 << 30);
        for (text, bytes) in [("64MiB", 64 << 20), ("10MB", 10_000_000), ("65536", 65_536), ("1 KiB", 1024)] {
            assert_eq!(kind.read(text), Some(bytes), "{text}");
        }
        for text in ["", "1023", "2GiB", "-1", "much", "64 parsecs", "99999999999999999999TiB"] {
            assert_eq!(kind.read(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let kind = IntegerKind(1u32, 100);
        assert_eq!(kind.read("100"), Some(100));
        for text in ["0", "101", "-1", "1.5", "", "99999999999999999999"] {
            assert_eq!(kind.read(text), None, "{text}");
        }
    }

    #[test]
    fn a_public_url_is_absolute_and_has_no_user_query_or_fragment() {
        assert_eq!(PublicUrlKind.read(""), Some(None));
        assert!(PublicUrlKind.read("https://gw.example/base/").is_some());
        for text in
            ["gw.example", "localhost:80", "ftp://h/", "/x", "http://u@h/", "http://h/?q", "http://h/#f"]
        {
            assert_eq!(PublicUrlKind.read(text), None, "{text}");
        }
    }

    #[test]
    fn filters_and_formats_are_checked() {
        for text in
            ["off", "WARN", "info,comfy_gateway::store=trace", "sqlx=off", "info,[attempt{attempt=1}]=debug"]
        {
            assert_eq!(LogFilterKind.read(text).as_deref(), Some(text));
        }
        for text in
            ["", " ", "inof", "info,comfy_gateway", "comfy_gateway=", "a=b=c", "info,comfy=loud", "info,,"]
        {
            assert_eq!(LogFilterKind.read(text), None, "{text}");
        }
        assert_eq!(LogFormatKind.read("json"), Some(LogFormat::Json));
        assert_eq!(LogFormatKind.read("JSON"), None);
        assert!(
            SocketAddressKind.read("localhost:80").is_none() && SocketAddressKind.read("[::1]:0").is_some()
        );
        assert!(DirectoryKind.read("").is_none() && DirectoryKind.read("a\0b").is_none());
    }
}
