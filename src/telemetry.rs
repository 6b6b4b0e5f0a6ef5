//! Log lines: their format, their destination and the conventions for them.
//!
//! # Conventions
//! * A message is a plain sentence in lower case without values in it; values are fields.
//! * Fields have these names everywhere: `prompt_id` (the job), `attempt` (its number), `attempt_id` (the id of the run
//!   at ComfyUI), `backend` (the configured name), `node_id`, `request_id`, `route`, `status`, `error`
//!   (in `Display` form), `took_ms`.
//! * A span covers work that many lines belong to: `request` (one HTTP request) or `attempt` (one attempt, from its
//!   claim to its end). Lines inside do not repeat the fields of the span.
//! * `error`: somebody must act. `warn`: something went wrong and the gateway handles it. `info`: normal events that an
//!   operator wants to see (start, stop, backends up and down, ended jobs). `debug`: each step. `trace`: each message
//!   from a backend.
//! * Never in any field: workflows, parameters, tokens, cookies, the query or user of a URL. ComfyUI's messages about a
//!   job quote its parameters, so they are never in a field either.

use std::fmt;
use std::io::{self, IsTerminal};

use serde_json::Value;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{GatewaySettings, LogFormat};

/// The longest value of a field, in bytes. Text from clients and backends may have any length.
const LONGEST_VALUE: usize = 2_048;

/// The reasons why logging cannot start or change.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The text is not a valid filter.
    #[error("the log filter is invalid: {0}")]
    Filter(#[from] ParseError),
    /// Logging was started before in this process.
    #[error("logging is already started: {0}")]
    Already(#[from] SetGlobalDefaultError),
    /// The subscriber that writes the log lines is gone.
    #[error("the log filter cannot be replaced: {0}")]
    Reload(#[from] reload::Error),
}

/// A handle that replaces the log filter of the running process.
#[derive(Debug, Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

impl LogControl {
    /// Replaces the log filter.
    ///
    /// # Errors
    /// The text is not a valid filter; the previous filter stays in effect.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        Ok(self.0.reload(EnvFilter::try_new(filter)?)?)
    }
}

/// Starts logging to standard error, with the filter and the format of `settings`.
///
/// Messages that dependencies send to the `log` crate are discarded. They contain paths of the build machine, and all
/// headers of websocket handshakes, including credentials.
///
/// # Errors
/// The filter is invalid, or logging was started before.
pub fn init(settings: &GatewaySettings) -> Result<LogControl, TelemetryError> {
    let colours = io::stderr().is_terminal();
    let (subscriber, control) = subscriber(&settings.log, settings.log_format, colours, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(control)
}

/// A subscriber that writes events as lines to `writer`, and the handle of its filter.
fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogControl), TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Text => {
            let fields = debug_fn(write_field).delimited(" ");
            Box::new(registry.with(layer().fmt_fields(fields).with_ansi(colours).with_writer(writer)))
        }
        LogFormat::Json => {
            let lines = ShortLines(writer);
            Box::new(registry.with(layer().json().flatten_event(true).with_writer(lines)))
        }
    };
    Ok((subscriber, LogControl(handle)))
}

/// Writes a message or a field in the text format: on one line, at most [`LONGEST_VALUE`] bytes long, and
/// with terminal control characters escaped.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        name => write!(writer, "{}=", name.strip_prefix("r#").unwrap_or(name))?,
    }
    for letter in shortened(&format!("{value:?}")).chars() {
        if is_unprintable(letter) {
            write!(writer, "{}", letter.escape_default())?;
        } else {
            writer.write_char(letter)?;
        }
    }
    Ok(())
}

/// Whether the character is a control character, ends a line, or changes the text direction.
fn is_unprintable(letter: char) -> bool {
    let embeddings = '\u{202a}'..='\u{202e}';
    let isolates = '\u{2066}'..='\u{2069}';
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}')
        || embeddings.contains(&letter)
        || isolates.contains(&letter)
}

/// Cuts a value that is longer than [`LONGEST_VALUE`], and appends its full length.
fn shortened(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= LONGEST_VALUE {
        return text.into();
    }
    format!("{}… ({} bytes)", &text[..text.floor_char_boundary(LONGEST_VALUE)], text.len()).into()
}

/// A factory of writers that cut long values of JSON lines.
struct ShortLines<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for ShortLines<W> {
    type Writer = ShortLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        ShortLine(self.0.make_writer())
    }
}

/// A writer that expects one whole line per call, as the formatter writes them.
struct ShortLine<W>(W);

impl<W: io::Write> io::Write for ShortLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() > LONGEST_VALUE
            && let Ok(mut object) = serde_json::from_slice::<Value>(line)
        {
            shorten(&mut object);
            self.0.write_all(format!("{object}\n").as_bytes())?;
        } else {
            self.0.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LONGEST_VALUE => *text = shortened(text).into_owned(),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct LineFormat(Arc<Mutex<Vec<u8>>>);

    impl Write for LineFormat {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `events` write. `events` gets the handle of the filter.
    fn lines(filter: &str, format: LogFormat, events: impl FnOnce(&LogControl)) -> String {
        let lines = LineFormat::default();
        let writer = lines.clone();
        let (subscriber, control) = subscriber(filter, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&control));
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        lines(filter, format, |_| {
            let _span = tracing::info_span!("attempt", prompt_id = "p1").entered();
            tracing::info!(backend = "gpu-1", "the job ended");
            tracing::debug!("a step");
        })
    }

    #[test]
    fn text_lines_carry_message_fields_and_span() {
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("the job ended") && text.contains("backend=\"gpu-1\""), "{text}");
        assert!(text.contains("attempt{prompt_id=\"p1\"}"), "{text}");
        assert!(!text.contains("a step") && !text.contains('\u{1b}'), "{text}");
        assert!(logged("debug", LogFormat::Text).contains("a step"));
    }

    #[test]
    fn json_lines_are_objects_with_the_same() {
        let text = logged("info", LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "the job ended");
        assert_eq!(line["backend"], "gpu-1");
        assert_eq!(line["span"]["prompt_id"], "p1");
    }

    /// A value that ends its line, forges another one and contains terminal control characters.
    const HOSTILE: &str =
        "x.png\r\n2026-11-24T00:00:00Z ERROR forged\u{1b}[2J\u{9b}1m\u{7f}\u{2028}\u{202e}\u{2066}\0";

    #[test]
    fn no_value_can_end_a_text_line_or_control_a_terminal() {
        let text = lines("info", LogFormat::Text, |_| {
            let _span = tracing::info_span!("request", method = %HOSTILE, quoted = HOSTILE).entered();
            let error = std::io::Error::other(HOSTILE);
            tracing::info!(displayed = %HOSTILE, debugged = ?HOSTILE, %error, text = HOSTILE, "{HOSTILE}");
            tracing::info!(error = &error as &dyn std::error::Error, "an error");
        });
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(!text.chars().any(|letter| letter != '\n' && is_unprintable(letter)), "{text:?}");
        assert_eq!(text.matches("ERROR forged").count(), 10, "{text:?}");
        assert!(text.contains("displayed=x.png\\r\\n2026"), "{text:?}");
    }

    #[test]
    fn long_values_are_cut_in_both_formats() {
        let long = "é".repeat(500_000);
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = lines("info", format, |_| {
                let _span = tracing::info_span!("request", method = %long).entered();
                tracing::info!(error = %long, reason = long, short = "s", "{long}");
            });
            assert!(text.len() < 6 * LONGEST_VALUE && text.matches("bytes)").count() >= 4, "{}", text.len());
            assert!(text.contains("short"), "{text}");
            if format == LogFormat::Json {
                let line: Value = serde_json::from_str(text.trim()).unwrap();
                assert_eq!(line["short"], "s");
                assert!(line["span"]["method"].as_str().unwrap().ends_with("… (1000000 bytes)"), "{line}");
            }
        }
    }

    #[test]
    fn the_filter_can_be_replaced_and_an_invalid_one_changes_nothing() {
        let text = lines("warn", LogFormat::Text, |control| {
            tracing::info!("first");
            control.set_filter("a=b=c").unwrap_err();
            tracing::warn!("second");
            control.set_filter("debug").unwrap();
            tracing::debug!("third");
        });
        assert!(!text.contains("first") && text.contains("second") && text.contains("third"), "{text}");
    }

    #[test]
    fn an_invalid_filter_is_an_error() {
        assert!(subscriber("a=b=c", LogFormat::Text, false, std::io::sink).is_err());
    }
}
