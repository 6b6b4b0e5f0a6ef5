//! Bodies: too long, too short, compressed, endless, and the properties of good ones.

use std::sync::Arc;

use bytes::Bytes;
use comfy_gateway::fetch::FetchFault;
use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::scene::{LIMITS, Scene, Server, flood, ok, whole};

async fn fault(reply: String) -> FetchFault {
    let server = Server::sending(move |_| reply.clone()).await;
    Scene::new().await.read(&server.url("a.example", "/?sig=secret")).await.unwrap_err().fault
}

#[tokio::test]
async fn a_good_file_comes_whole_with_all_that_is_known_of_it() {
    let server = Server::sending(|_| {
        ok(
            "Content-Length: 5\r\nContent-Type: image/png\r\nETag: \"x\"\r\n\
             Content-Disposition: attachment; filename=\"../my cat.png\"\r\n",
            "hello",
        )
    })
    .await;
    let scene = Scene::new().await;
    let download = scene.open(&server.url("a.example", "/d/file.bin?sig=secret")).await.unwrap();
    assert_eq!(download.content_length(), Some(5));
    assert_eq!(download.content_type(), Some("image/png"));
    assert_eq!(download.etag(), Some("\"x\""));
    assert_eq!(download.file_name(), "my_cat.png");
    assert_eq!(format!("{download:?}"), "Download { host: Some(\"a.example\"), .. }");
    let pieces: Vec<Bytes> = download.into_stream().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"hello");
    let head = server.heads()[0].to_lowercase();
    assert!(head.starts_with("get /d/file.bin?sig=secret http/1.1\r\n"), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n") && head.contains("user-agent: comfy-gateway/"));
}

#[tokio::test]
async fn names_fall_back_on_the_path_and_lengths_need_not_be_told() {
    let server = Server::sending(|_| ok("content-encoding: identity\r\n", "hello")).await;
    let download = Scene::new().await.open(&server.url("a.example", "/d/cat.jpg")).await.unwrap();
    assert_eq!((download.content_length(), download.content_type(), download.etag()), (None, None, None));
    assert_eq!(download.file_name(), "cat.jpg");
    let pieces: Vec<Bytes> = download.into_stream().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"hello");
}

#[tokio::test]
async fn the_limit_on_bytes_holds_for_what_is_announced_and_for_what_comes() {
    let scene = Scene::new().await;
    let at_limit = Server::sending(|_| whole(&"x".repeat(1000))).await;
    assert_eq!(scene.read(&at_limit.url("a.example", "/")).await.unwrap().len(), 1000);

    let announced = Server::sending(|_| ok("content-length: 1001\r\n", "")).await;
    let error = scene.open(&announced.url("a.example", "/")).await.unwrap_err();
    assert_eq!(error.to_string(), "a.example: is larger than the limit of 1000 B (fetch_max_bytes)");

    let unannounced = Server::sending(|_| ok("", &"x".repeat(1001))).await;
    let download = scene.open(&unannounced.url("a.example", "/")).await.unwrap();
    let error = download.into_stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.fault, FetchFault::TooLarge { limit: LIMITS.bytes });

    let chunked = ok("transfer-encoding: chunked\r\n", &format!("400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024)));
    assert_eq!(fault(chunked).await, FetchFault::TooLarge { limit: LIMITS.bytes });
}

#[tokio::test]
async fn a_lying_length_is_found_out() {
    for short in [
        ok("content-length: 10\r\n", "hello"),
        ok("transfer-encoding: chunked\r\n", "5\r\nhello\r\n"),
        ok("transfer-encoding: chunked\r\n", "a\r\nhello"),
        ok("content-length: 5\r\ncontent-length: 6\r\n", "hello"),
        ok("content-length: -5\r\n", "hello"),
        "HTTP/1.1 200 OK\r\ncontent-".to_owned(),
        "hello".to_owned(),
        String::new(),
    ] {
        let fault = fault(short.clone()).await;
        assert!(
            matches!(&fault, FetchFault::Broken { reason } if !reason.contains("secret")),
            "{short}: {fault:?}"
        );
    }
    let long = Server::sending(|_| ok("content-length: 5\r\n", "hello and more")).await;
    let read = Scene::new().await.read(&long.url("a.example", "/")).await.unwrap();
    assert_eq!(read, b"hello", "no more than announced is taken");
}

#[tokio::test]
async fn a_compressed_body_is_refused_unseen() {
    for encoding in ["gzip", "br", "deflate, gzip", "zstd", "GZIP", "identity, gzip", "x"] {
        let reply = ok(&format!("content-encoding: {encoding}\r\ncontent-length: 3\r\n"), "abc");
        assert_eq!(fault(reply).await, FetchFault::Encoded, "{encoding}");
    }
}

/// Sends `head` and then `piece` without end; how much of it the fetcher took before it closed.
async fn endless(head: &'static str, piece: &'static [u8]) -> (FetchFault, usize) {
    let (done, mut sent) = watch::channel(None);
    let done = Arc::new(done);
    let server = Server::new(move |_, mut socket| {
        let done = Arc::clone(&done);
        async move {
            socket.write_all(head.as_bytes()).await.unwrap();
            done.send_replace(flood(&mut socket, piece).await.ok());
        }
    })
    .await;
    let error = Scene::new().await.read(&server.url("a.example", "/")).await.unwrap_err();
    let sent = sent.wait_for(Option::is_some).await.unwrap().unwrap();
    (error.fault, sent)
}

#[tokio::test]
async fn what_never_ends_is_ended() {
    let within_buffers = 16 << 20;
    let (fault, sent) = endless("HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096]).await;
    assert!(matches!(fault, FetchFault::TooLarge { .. }) && sent < within_buffers, "{fault:?} after {sent}");
    for header in [&b"x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"[..], &[b'x'; 4096]] {
        let (fault, sent) = endless("HTTP/1.1 200 OK\r\n", header).await;
        assert!(
            matches!(fault, FetchFault::Broken { .. }) && sent < within_buffers,
            "{fault:?} after {sent}"
        );
    }
}
