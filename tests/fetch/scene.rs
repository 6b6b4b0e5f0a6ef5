//! A fetcher with its own DNS and a manual clock, and web servers that do with a request whatever a test
//! wants.

use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comfy_gateway::clock::{Clock, ManualClock};
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::fetch::{AddressGuard, AllowList, FetchError, FetchLimits, OpenDownload, UrlFetcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::dns::Dns;

pub const LIMITS: FetchLimits =
    FetchLimits { bytes: 1000, total: Duration::from_mins(2), idle: Duration::from_secs(30) };

/// A longer wait never ends, because the clock of the limits stands still.
const STUCK: Duration = Duration::from_secs(20);

/// The address that stands for the public internet, which is the only allowed one.
pub const PUBLIC: &str = "127.0.0.1";
/// The address that stands for a private network.
pub const PRIVATE: &str = "127.0.0.2";

pub struct Scene {
    pub dns: Dns,
    pub clock: Arc<ManualClock>,
    pub fetcher: UrlFetcher,
}

impl Scene {
    /// Every name leads to [`PUBLIC`].
    pub async fn new() -> Self {
        Self::with(PUBLIC, |_, _| Some(vec![ip(PUBLIC)])).await
    }

    pub async fn with(
        allow: &str,
        zone: impl Fn(&str, usize) -> Option<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let dns = Dns::new(Arc::new(zone)).await;
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(1_000_000)));
        let guard = AddressGuard::new(AllowList::parse(allow).unwrap());
        let fetcher =
            UrlFetcher::with_lookup(guard, dns.lookup(), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self { dns, clock, fetcher }
    }

    pub async fn open(&self, url: &str) -> Result<OpenDownload, FetchError> {
        let url = url.parse().unwrap();
        let open = tokio::time::timeout(STUCK, self.fetcher.open(&url, LIMITS)).await;
        open.unwrap_or_else(|_| panic!("{url} is waited for without end"))
    }

    /// Opens and reads to the end.
    pub async fn read(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        read(self.open(url).await?).await
    }

    /// Lets time pass as soon as `ready` is true and something waits for it.
    pub async fn pass(&self, time: Duration, ready: impl Fn() -> bool) {
        while self.clock.sleepers() == 0 || !ready() {
            tokio::task::yield_now().await;
        }
        self.clock.advance(time);
    }
}

pub async fn read(mut download: OpenDownload) -> Result<Vec<u8>, FetchError> {
    let all = async {
        let mut body = Vec::new();
        while let Some(piece) = download.chunk().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    tokio::time::timeout(STUCK, all).await.expect("the body comes without end")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn background(future: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(TaskTracker::new().spawn(future))
}

/// A server at [`PUBLIC`].
pub struct Server {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Gives each request's head and its connection to `handle`.
    pub async fn new<F>(handle: impl Fn(String, TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((PUBLIC, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, handle) = (Arc::clone(&heads), Arc::new(handle));
        let task = background(async move {
            let connections = TaskTracker::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
                connections.spawn(async move {
                    let Some(head) = read_head(&mut socket).await else { return };
                    seen.lock().unwrap().push(head.clone());
                    handle(head, socket).await;
                });
            }
        });
        Self { port, heads, _task: task }
    }

    /// Answers each request with these bytes and closes.
    pub async fn sending(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |head, mut socket| {
            let reply = reply(&head);
            async move {
                let _gone = socket.write_all(reply.as_bytes()).await;
                let _gone = socket.shutdown().await;
            }
        })
        .await
    }

    pub fn url(&self, host: &str, rest: &str) -> String {
        format!("http://{host}:{}{rest}", self.port)
    }

    /// The requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

pub fn ok(head: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}")
}

/// An answer with the right length.
pub fn whole(body: &str) -> String {
    ok(&format!("content-length: {}\r\n", body.len()), body)
}

/// Sends `piece` until the other side closes. Returns the number of bytes sent.
pub async fn flood(socket: &mut TcpStream, piece: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while socket.write_all(piece).await.is_ok() {
        sent += piece.len();
    }
    Ok(sent)
}

pub async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        (socket.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A trap: an address that nobody may connect to.
pub struct Trap(StdListener);

impl Trap {
    pub fn new(address: &str, port: u16) -> Self {
        let listener = StdListener::bind((address, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether nobody connected since the last call.
    pub fn is_empty(&self) -> bool {
        self.0.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}
