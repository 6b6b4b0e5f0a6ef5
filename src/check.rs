//! `comfy-gateway check`: prints the configuration, asks every backend whether it answers, and tests whether
//! the data directory is usable. It changes nothing, because a gateway may be running on the same directory.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::clock::Clock;
use crate::comfy::{CallFault, ComfyClient, SystemStats};
use crate::config::GatewayConfig;
use crate::data_dir::DataDir;
use crate::pool::BackendSettings;

/// How long a backend may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a check.
#[derive(Debug)]
pub struct CheckReport {
    /// The text to print; it ends with a newline.
    pub text: String,
    /// Whether a gateway with this configuration could run a job: at least one backend answers, and the data
    /// directory is usable.
    pub usable: bool,
}

/// Prints `config`, asks all its backends at the same time and probes the data directory. Takes at most 5 s.
pub async fn check(config: &GatewayConfig, clock: &Arc<dyn Clock>) -> CheckReport {
    let answers = join_all(config.backends.iter().map(|backend| ask(backend, clock))).await;
    let answered = answers.iter().any(Result::is_ok);
    let mut text = format!("{config}\n");
    for (backend, answer) in config.backends.iter().zip(&answers) {
        let address = backend.endpoint.shown_url();
        // Writing to a `String` cannot fail.
        let _: std::fmt::Result = match answer {
            Ok(stats) => writeln!(text, "{}  {address}  answers: {}", backend.name, describe(stats)),
            Err(reason) => writeln!(text, "{}  {address}  does not answer: {reason}", backend.name),
        };
    }
    if !answered {
        text.push_str("No backend answers: jobs would be accepted and wait until one does.\n");
    }
    let storage = DataDir::probe(&config.settings.data_dir);
    if let Err(error) = &storage {
        let _: std::fmt::Result = writeln!(text, "{error}");
    }
    CheckReport { text, usable: answered && storage.is_ok() }
}

async fn ask(backend: &BackendSettings, clock: &Arc<dyn Clock>) -> Result<SystemStats, String> {
    let client =
        ComfyClient::new(backend.endpoint.clone(), clock.clone()).map_err(|error| error.to_string())?;
    tokio::select! {
        answer = client.system_stats() => answer.map_err(|error| match error.fault {
            CallFault::NotFound => "there is no ComfyUI at this address: it answered 404. If ComfyUI is below a path, add the path to its url".to_owned(),
            fault => fault.to_string(),
        }),
        () = clock.sleep(ANSWER_TIMEOUT) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn describe(stats: &SystemStats) -> String {
    let version = stats.version.as_deref().unwrap_or("of unknown version");
    let devices: Vec<_> = stats.devices.iter().filter_map(|device| device.name.as_deref()).collect();
    let on = if devices.is_empty() { String::new() } else { format!(" on {}", devices.join(", ")) };
    format!("ComfyUI {version}{on}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::config::ConfigFlags;
    use crate::domain::time::UnixMillis;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::{AbortOnDropHandle, TaskTracker};

    async fn listening() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    /// The URL of a backend that answers every request with `answer`, and its task.
    async fn backend(answer: &'static str) -> (String, AbortOnDropHandle<()>) {
        let (listener, url) = listening().await;
        let task = TaskTracker::new().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _read = socket.read(&mut request).await;
                let _written = socket.write_all(answer.as_bytes()).await;
            }
        });
        (url, AbortOnDropHandle::new(task))
    }

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 83\r\n\r\n{\"system\":{\"comfyui_version\":\"0.24.0\"},\"devices\":[{\"name\":\"cuda:0 Test\"}]}         ";

    fn config(urls: &str) -> GatewayConfig {
        let environment = [("COMFYUI_BASE_URL", urls), ("COMFYUI_API_KEY", "s3cret")];
        GatewayConfig::load(
            &ConfigFlags::default(),
            environment.map(|(name, value)| (name.into(), value.into())),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn each_backend_is_listed_and_one_that_answers_is_enough() {
        let (good, _good) = backend(ANSWER).await;
        let (bad, _bad) =
            backend("HTTP/1.1 500 X\r\nconnection: close\r\ncontent-length: 4\r\n\r\noops").await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let report = check(&config(&format!("{good},broken={bad}")), &clock).await;
        let text = &report.text;
        assert!(report.usable);
        assert!(text.contains(&format!("gpu-1  {good}  answers: ComfyUI 0.24.0 on cuda:0 Test")), "{text}");
        assert!(text.contains(&format!("broken  {bad}  does not answer: answered 500: oops")), "{text}");
        assert!(text.contains("max_body") && text.contains("bearer [redacted]"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[tokio::test]
    async fn an_address_without_a_comfyui_is_described() {
        const PAGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 20\r\n\r\n<!doctype html><p>hi";
        const NOTHING: &str = "HTTP/1.1 404 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        // The alert with which a TLS server answers plain HTTP.
        const ALERT: &str = "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{46}";
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        for (answer, scheme, expected) in [
            (PAGE, "http", "it is a web page (HTML)"),
            (ANSWER, "https", "does not speak TLS; should its URL begin with http://?"),
            (ALERT, "http", "is not HTTP; should the URL begin with https://?"),
            (NOTHING, "http", "there is no ComfyUI at this address"),
        ] {
            let (url, _backend) = backend(answer).await;
            let report = check(&config(&url.replace("http:", &format!("{scheme}:"))), &clock).await;
            assert!(!report.usable && report.text.contains(expected), "{expected}: {}", report.text);
        }
    }

    #[tokio::test]
    async fn without_an_answering_backend_the_report_is_not_usable() {
        let (listener, url) = listening().await;
        drop(listener);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let report = check(&config(&url), &clock).await;
        assert!(!report.usable);
        assert!(report.text.contains("does not answer: no connection"), "{}", report.text);
        assert!(report.text.contains("No backend answers"), "{}", report.text);
    }

    #[tokio::test]
    async fn a_backend_that_hangs_is_given_up_after_five_seconds() {
        let (listener, url) = listening().await;
        let manual = Arc::new(ManualClock::new(UnixMillis::from_millis(0)));
        let clock: Arc<dyn Clock> = manual.clone();
        let config = config(&url);
        let turn = async {
            let (_socket, _) = listener.accept().await.unwrap();
            manual.advance(ANSWER_TIMEOUT);
            std::future::pending::<()>().await;
        };
        let report = tokio::select! {
            report = check(&config, &clock) => report,
            () = turn => unreachable!(),
        };
        assert!(report.text.contains("no answer within 5 s"), "{}", report.text);
    }
}
