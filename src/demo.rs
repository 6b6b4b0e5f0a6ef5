//! `comfy-gateway demo`: starts two simulated backends and a gateway, and runs one job from the submit to its
//! image. It uses the HTTP API like any client.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::app::{App, AppSettings};
use crate::clock::Clock;
use crate::config::{ConfigErrors, ConfigFlags, GatewayConfig};
use crate::random::Random;
use crate::simulator::{Simulator, SimulatorConfig};

/// The workflow of the demo: a stock text-to-image graph with markers in its titles.
pub const SAMPLE: &str = include_str!("../examples/workflows/sample.json");
/// The shell commands of the round trip in the README; a test compares both.
pub const COMMANDS: &str = include_str!("../assets/round-trip.sh");
/// The address of the gateway in these commands.
const README_ADDRESS: &str = "http://127.0.0.1:8080";
/// How long the simulated sampler takes.
const SAMPLING_TIME: Duration = Duration::from_millis(1_500);
/// How often the demo fetches its job.
const POLL_INTERVAL: Duration = Duration::from_millis(60);

/// The reasons why the demo fails.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The demo could not start or reach one of its parts.
    #[error("the demo failed: {0}")]
    Io(#[from] std::io::Error),
    /// The gateway cannot listen on the requested address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The error of the operating system.
        reason: std::io::Error,
    },
    /// The configuration of the demo is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The gateway did not start, or it crashed.
    #[error(transparent)]
    App(#[from] crate::app::AppError),
    /// A request to the gateway failed.
    #[error("a request to the gateway failed: {0}")]
    Http(#[from] hyper::Error),
    /// The gateway returned an unexpected response.
    #[error("unexpected response from the gateway: {0}")]
    Answer(String),
}

/// Runs the demo. With `once` it ends after the first result, otherwise it keeps serving until `shutdown`. It has backends
/// and a data directory of its own; `flags` and `environment` give the other settings.
///
/// # Errors
/// See [`DemoError`]. Any result other than a completed job with its image is an error.
pub async fn run(
    once: bool,
    flags: &ConfigFlags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let mut simulators = Vec::new();
    for name in ["gpu-1", "gpu-2"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let settings =
            SimulatorConfig { name: name.to_owned(), exec: SAMPLING_TIME, ..SimulatorConfig::default() };
        simulators.push(Simulator::start(listener, settings, clock.clone())?);
    }
    let random = Arc::new(Random::from_os());
    let data_dir = std::env::temp_dir().join(format!("comfy-gateway-demo-{}", random.attempt_id()));
    let urls: Vec<String> = simulators.iter().map(Simulator::url).collect();
    let own: [(OsString, OsString); 2] = [
        ("COMFYUI_BASE_URL".into(), urls.join(",").into()),
        ("COMFY_GATEWAY_DATA_DIR".into(), data_dir.clone().into()),
    ];
    let others = environment.into_iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name));
    let config = GatewayConfig::load(flags, others.chain(own.clone()))?;
    let listener = listener(&config).await?;
    let app = App::start(AppSettings::from(config), listener, clock.clone(), random).await?;
    let address = reachable(app.address());
    println!("comfy-gateway http://{address} in front of two simulated ComfyUI backends:");
    for simulator in &simulators {
        println!("  {}", simulator.url());
    }
    let shown = async {
        show(address, &clock).await?;
        if once {
            return Ok(());
        }
        println!(
            "\nThe gateway keeps serving. Try the commands of the README:\n\n{}\nStop with Ctrl-C.",
            hints(address)
        );
        shutdown.await;
        Ok(())
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = app.run_until_stopped(async {
        // A dropped sender means the same as a message: the demo is over.
        let _: Result<(), _> = stopped.await;
    });
    let (shown, ended) = tokio::join!(
        async {
            let shown: Result<(), DemoError> = shown.await;
            drop(stop);
            shown
        },
        running
    );
    std::fs::remove_dir_all(&data_dir)?;
    ended?;
    shown
}

/// Listens on the configured address. If none is configured and the default port is taken, it chooses a free port.
async fn listener(config: &GatewayConfig) -> Result<TcpListener, DemoError> {
    let address = config.settings.listen;
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(taken) if taken.kind() == ErrorKind::AddrInUse && !config.is_given("listen") => {
            println!("{address} is taken; the demo chooses another port.");
            Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)
        }
        Err(reason) => Err(DemoError::Listen { address, reason }),
    }
}

/// The address for clients: the loopback if the gateway listens on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let local =
            if address.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(local);
    }
    address
}

fn hints(address: SocketAddr) -> String {
    COMMANDS.replace(README_ADDRESS, &format!("http://{address}"))
}

async fn show(address: SocketAddr, clock: &Arc<dyn Clock>) -> Result<(), DemoError> {
    let workflow: Value =
        serde_json::from_str(SAMPLE).map_err(|error| DemoError::Answer(error.to_string()))?;
    let body = json!({ "workflow": workflow, "params": { "prompt": "a beautiful sunset over the sea" } });
    println!(
        "\nPOST /execute with examples/workflows/sample.json, prompt \"a beautiful sunset over the sea\""
    );
    let (status, answer) = call(address, Method::POST, "/execute", Some(&body)).await?;
    let accepted = expect(status, StatusCode::ACCEPTED, &answer)?;
    let path = text(&accepted, "/urls/self")?;
    println!("202 Accepted, prompt_id {}\n", text(&accepted, "/prompt_id")?);
    let result = follow(address, &path, clock).await?;
    println!("{result:#}\n");
    if result["status"] != "completed" {
        return Err(DemoError::Answer(format!("the job ended as {}", result["status"])));
    }
    let url = text(&result, "/images_by_var/cover/0")?;
    let file = url
        .find("/media/")
        .map(|at| &url[at..])
        .ok_or_else(|| DemoError::Answer(format!("no media URL: {url}")))?;
    let (status, picture) = call(address, Method::GET, file, None).await?;
    if status != StatusCode::OK || !picture.starts_with(b"\x89PNG") {
        return Err(DemoError::Answer(format!(
            "{url} answered {status} with {} bytes that are not a PNG",
            picture.len()
        )));
    }
    println!("GET {url}\n200 OK, a PNG of {} bytes", picture.len());
    Ok(())
}

/// Prints progress until the job has ended, and returns its result.
async fn follow(address: SocketAddr, path: &str, clock: &Arc<dyn Clock>) -> Result<Value, DemoError> {
    let terminal = std::io::stdout().is_terminal();
    let mut last = String::new();
    loop {
        let (status, answer) = call(address, Method::GET, path, None).await?;
        if status == StatusCode::OK {
            if terminal {
                println!();
            }
            return expect(status, StatusCode::OK, &answer);
        }
        let line = progress_line(&expect(status, StatusCode::ACCEPTED, &answer)?);
        if line != last {
            if terminal {
                print!("\r\x1b[2K{line}");
            } else {
                println!("{line}");
            }
            std::io::stdout().flush()?;
            last = line;
        }
        clock.sleep(POLL_INTERVAL).await;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1 in 20 parts"
)]
fn progress_line(job: &Value) -> String {
    let progress = &job["progress"];
    let share = progress["value"].as_f64().unwrap_or(0.0).clamp(0.0, 1.0);
    let done = (share * 20.0) as usize;
    let bar = format!("{}{}", "#".repeat(done), "-".repeat(20 - done));
    let status = job["status"].as_str().unwrap_or_default();
    let node = progress["current_node_class"].as_str().unwrap_or_default();
    let step = match (progress["step"].as_u64(), progress["steps"].as_u64()) {
        (Some(step), Some(steps)) => format!(" {step}/{steps}"),
        _ => String::new(),
    };
    let backend = job["backend"].as_str().map(|name| format!(" on {name}")).unwrap_or_default();
    format!("[{bar}] {:3.0} %  {status}{backend}  {node}{step}", share * 100.0)
}

fn expect(status: StatusCode, wanted: StatusCode, answer: &[u8]) -> Result<Value, DemoError> {
    let unexpected = || DemoError::Answer(format!("{status}: {}", String::from_utf8_lossy(answer)));
    if status != wanted {
        return Err(unexpected());
    }
    serde_json::from_slice(answer).map_err(|_| unexpected())
}

fn text(value: &Value, pointer: &str) -> Result<String, DemoError> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| DemoError::Answer(format!("no text at {pointer}: {value}")))
}

async fn call(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), DemoError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| DemoError::Answer(format!("{path}: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(host) = HeaderValue::from_str(&address.to_string()) {
        headers.insert(HOST, host);
    }
    let response = sender.send_request(request).await?;
    Ok((response.status(), response.into_body().collect().await?.to_bytes()))
}
