//! A name that resolves differently from one question to the next: only checked addresses are connected to.

use comfy_gateway::fetch::{FetchFault, GuardRefusal};
use tokio::io::AsyncWriteExt;

use crate::scene::{PRIVATE, PUBLIC, Scene, Server, Trap, ip, ok, read_head, whole};

#[tokio::test]
async fn a_name_is_asked_once_and_what_was_checked_is_connected_to() {
    let server = Server::sending(|_| whole("public")).await;
    let trap = Trap::new(PRIVATE, server.port);
    let scene =
        Scene::with(PUBLIC, |_, times| Some(vec![ip(if times == 0 { PUBLIC } else { PRIVATE })])).await;
    let url = server.url("turning.example", "/a");
    assert_eq!(scene.read(&url).await.unwrap(), b"public");
    assert_eq!(scene.dns.asked(), ["turning.example"], "no second question between check and connection");
    let error = scene.read(&url).await.unwrap_err();
    assert_eq!(error.fault, FetchFault::Refused(GuardRefusal::Address("a loopback address")));
    assert_eq!(error.host, "turning.example");
    assert!(trap.is_empty() && server.heads().len() == 1);
}

#[tokio::test]
async fn a_redirect_to_the_same_name_is_resolved_and_checked_again() {
    let server = Server::new(|_, mut socket| async move {
        let redirect = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: /again\r\n\r\n";
        socket.write_all(redirect.as_bytes()).await.unwrap();
        // The connection stays open, but may not be used again: it leads where the name led before.
        while read_head(&mut socket).await.is_some() {
            socket.write_all(whole("by the old connection").as_bytes()).await.unwrap();
        }
    })
    .await;
    let trap = Trap::new(PRIVATE, server.port);
    let scene =
        Scene::with(PUBLIC, |_, times| Some(vec![ip(if times == 0 { PUBLIC } else { PRIVATE })])).await;
    let error = scene.read(&server.url("turning.example", "/")).await.unwrap_err();
    assert!(matches!(error.fault, FetchFault::Refused(GuardRefusal::Address(_))), "{error}");
    assert!(trap.is_empty() && server.heads().len() == 1);
}

#[tokio::test]
async fn one_forbidden_address_among_good_ones_refuses_the_name() {
    let server = Server::sending(|_| ok("", "x")).await;
    let trap = Trap::new(PRIVATE, server.port);
    let scene = Scene::with(PUBLIC, |_, _| Some(vec![ip(PUBLIC), ip(PRIVATE)])).await;
    let error = scene.read(&server.url("both.example", "/")).await.unwrap_err();
    assert!(matches!(error.fault, FetchFault::Refused(GuardRefusal::Address(_))), "{error}");
    assert!(trap.is_empty() && server.heads().is_empty());
}

#[tokio::test]
async fn a_name_without_an_address_is_told_as_such() {
    let scene = Scene::with("", |_, _| Some(vec![])).await;
    let error = scene.read("http://nowhere.example/secret").await.unwrap_err();
    assert_eq!(error.to_string(), "nowhere.example: its name cannot be resolved: it has no address");
    assert!(error.is_retryable());
}
