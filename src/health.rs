//! `comfy-gateway health`: asks the gateway on this machine whether it is alive, for the health check of a
//! container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the gateway may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests `/healthz` from the gateway that listens on `listen`.
///
/// # Errors
/// One sentence with the reason why the gateway does not count as alive.
pub async fn ask(listen: SocketAddr) -> Result<(), String> {
    let mut last = String::new();
    for address in addresses(listen) {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask_at(address)).await;
        match answer
            .unwrap_or_else(|_elapsed| Err(format!("did not answer within {} s", ANSWER_TIMEOUT.as_secs())))
        {
            Ok(()) => return Ok(()),
            Err(why) => last = format!("the gateway at {address} {why}"),
        }
    }
    Err(last)
}

/// The addresses at which a gateway that listens on `listen` is reachable. A listener on all addresses is
/// asked over the loopback. A listener on all IPv6 addresses usually accepts IPv4 too, and IPv6 may be
/// disabled on the host.
fn addresses(listen: SocketAddr) -> Vec<SocketAddr> {
    let at = |ip: IpAddr| SocketAddr::new(ip, listen.port());
    let (v4, v6) = (at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into()));
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![v4],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => vec![v6, v4],
        _ => vec![listen],
    }
}

async fn ask_at(address: SocketAddr) -> Result<(), String> {
    let unreachable = |error: &dyn std::fmt::Display| format!("cannot be reached: {error}");
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    let request = Request::get("/healthz").header(HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| unreachable(&error))?;
    let answer = tokio::select! {
        answer = requests.send_request(request) => answer.map_err(|error| unreachable(&error))?,
        ended = connection => {
            let why = ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string());
            return Err(unreachable(&why));
        }
    };
    if answer.status().is_success() { Ok(()) } else { Err(format!("answers {}", answer.status())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_on_all_addresses_is_asked_over_the_loopback() {
        let asked = |listen: &str| {
            addresses(listen.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(asked("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(asked("[::]:8080"), "[::1]:8080 127.0.0.1:8080");
        assert_eq!(asked("10.1.2.3:80"), "10.1.2.3:80");
        assert_eq!(asked("[::1]:80"), "[::1]:80");
    }
}
