//! Log lines: what is written, in which form, and where. It must not know what is worth a line.
//!
//! # Conventions
//! * A message is a plain sentence in lower case without values in it; values are fields.
//! * Fields have these names everywhere: `prompt_id` (the job), `attempt` (its number), `attempt_id` (what ComfyUI
//!   knows the run as), `backend` (the server's configured name), `node_id`, `request_id`, `route`, `status`, `error`
//!   (in `Display` form), `took_ms`.
//! * A span stands for work with a begin and an end that many lines belong to: `request` (one HTTP request),
//!   `attempt` (one attempt, from its claim to its end). Lines inside do not repeat the span's fields.
//! * `error`: somebody must act. `warn`: something went wrong and the gateway deals with it. `info`: what an operator
//!   wants to see of a normal day (start, stop, servers up and down, jobs ended). `debug`: each step. `trace`: each
//!   message from a server.
//! * Never in any field: workflows, parameters, tokens, cookies, the query or user of a URL.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::config::{LogFormat, Settings};

/// What no filter brings to light: a websocket's handshake is traced with all its headers, credentials among them.
const UNSAID: [&str; 2] = ["tungstenite::handshake=debug", "tungstenite::handshake::client=debug"];

/// Why log lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log filter cannot be used: {0}")]
    Filter(#[from] ParseError),
    /// The process writes log lines already.
    #[error("log lines are already written: {0}")]
    Already(#[from] TryInitError),
}

/// Writes the process's log lines to standard error from now on, as `settings` say.
///
/// # Errors
/// The filter cannot be used, or this was called before.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    subscriber(&settings.log, settings.log_format, colours, std::io::stderr)?.try_init()?;
    Ok(())
}

/// What turns events into lines on `writer`.
fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let mut filter = EnvFilter::try_new(filter)?;
    for directive in UNSAID {
        filter = filter.add_directive(directive.parse()?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("attempt", prompt_id = "p1").entered();
            tracing::info!(backend = "gpu-1", "the job ended");
            tracing::debug!("a step");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
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

    #[test]
    fn the_headers_of_a_handshake_are_never_told() {
        for filter in ["trace", "tungstenite=trace", "tungstenite::handshake::client=trace"] {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = subscriber(filter, LogFormat::Text, false, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                tracing::trace!(target: "tungstenite::handshake::client", "Request: authorization: s3cret");
                tracing::debug!(target: "tungstenite::handshake::client", "done");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(text.contains("done") && !text.contains("s3cret"), "{filter}: {text}");
        }
    }

    #[test]
    fn a_bad_filter_is_an_error() {
        assert!(subscriber("a=b=c", LogFormat::Text, false, std::io::sink).is_err());
    }
}
