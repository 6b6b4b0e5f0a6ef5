//! Downloading and uploading files.

use std::io;

use bytes::Bytes;
use comfy_gateway::comfy::{CallFault, InputUpload};
use comfy_gateway::domain::outputs::FileRef;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::support::{FakeBackend, Reply, Request, answer, impatient, ok};

fn file(filename: &str) -> FileRef {
    FileRef { filename: filename.to_owned(), subfolder: "a b".to_owned(), kind: "output".to_owned() }
}

fn view(request: &Request) -> Reply {
    let head = |length: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n{length}\r\n\r\n");
    match request.line.split(['=', '&']).nth(1).unwrap_or_default() {
        "whole" => answer(200, "content-type: image/png\r\n", "0123456789"),
        "chunked" => {
            let head = head("transfer-encoding: chunked\r\nconnection: close");
            Reply::Bytes(format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").into())
        }
        "short" => Reply::Bytes(format!("{}01234", head("content-length: 10")).into()),
        "stalled" => Reply::Stall(format!("{}01234", head("content-length: 10")).into()),
        "headless" => Reply::Stall(Vec::new()),
        "stalled-error" => Reply::Stall(b"HTTP/1.1 500 X\r\ncontent-length: 5\r\n\r\n".into()),
        "outside" => answer(403, "", ""),
        _ => answer(404, "", ""),
    }
}

#[tokio::test]
async fn a_file_arrives_piece_by_piece_with_its_size_and_type() {
    let backend = FakeBackend::new(view).await;
    let client = backend.client();
    let whole = client.view(&file("whole")).await.unwrap();
    assert_eq!((whole.content_length(), whole.content_type()), (Some(10), Some("image/png")));
    let pieces: Vec<Bytes> = whole.into_stream().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"0123456789");
    let chunked = client.view(&file("chunked")).await.unwrap();
    assert_eq!(chunked.content_length(), None);
    let pieces: Vec<Bytes> = chunked.into_stream().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"abcde");
}

#[tokio::test]
async fn every_part_of_a_files_name_is_encoded() {
    let backend = FakeBackend::new(view).await;
    let error = backend.client().view(&file("é &type=temp#?/..png")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let line = &backend.lines()[1];
    assert_eq!(line, "GET /view?filename=%C3%A9+%26type%3Dtemp%23%3F%2F..png&subfolder=a+b&type=output");
}

#[tokio::test]
async fn a_file_that_ends_early_or_stalls_is_never_taken_for_whole() {
    let backend = FakeBackend::new(view).await;
    let client = impatient(&backend.url);
    let mut short = client.view(&file("short")).await.unwrap();
    assert_eq!(short.chunk().await.unwrap().unwrap(), "01234");
    let error = short.chunk().await.unwrap_err();
    assert!(matches!(error.fault, CallFault::Broken { .. }), "{error}");

    let stalled = client.view(&file("stalled")).await.unwrap();
    let mut stalled = std::pin::pin!(stalled.into_stream());
    assert_eq!(stalled.next().await.unwrap().unwrap(), "01234");
    let error = stalled.next().await.unwrap().unwrap_err();
    assert!(matches!(error.fault, CallFault::Timeout { .. }), "{error}");
    assert!(stalled.next().await.is_none());
}

#[tokio::test]
async fn a_failed_download_reports_its_cause() {
    let backend = FakeBackend::new(view).await;
    let client = impatient(&backend.url);
    for name in ["headless", "stalled-error"] {
        let error = client.view(&file(name)).await.unwrap_err();
        assert!(matches!(error.fault, CallFault::Timeout { .. }), "{error}");
    }
    assert_eq!(client.view(&file("outside")).await.unwrap_err().status(), Some(403));
}

#[tokio::test]
async fn a_file_is_uploaded_as_a_form_and_the_name_in_the_answer_counts() {
    let backend = FakeBackend::new(|_| ok(r#"{"name":"a (1).png","subfolder":"gw/1","type":"input"}"#)).await;
    let upload = InputUpload::bytes("a.png", "PNGDATA").subfolder("gw/1").overwrite(true);
    let uploaded = backend.client().upload(upload).await.unwrap();
    assert_eq!((uploaded.input_value().as_str(), uploaded.kind.as_str()), ("gw/1/a (1).png", "input"));
    let [request] = backend.requests().try_into().unwrap();
    assert!(request.is("POST /upload/image") && request.headers.contains("content-length: "));
    let body = request.text();
    for part in [
        "name=\"image\"; filename=\"a.png\"",
        "PNGDATA",
        "name=\"subfolder\"\r\n\r\ngw/1\r\n",
        "name=\"overwrite\"\r\n\r\ntrue\r\n",
        "name=\"type\"\r\n\r\ninput\r\n",
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_uploaded_and_its_error_aborts_the_upload() {
    let backend = FakeBackend::new(|_| ok(r#"{"name":"v.mp4"}"#)).await;
    let client = backend.client();
    let pieces = ["one", "two"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
    let uploaded = client.upload(InputUpload::stream("v.mp4", None, stream::iter(pieces))).await.unwrap();
    assert_eq!(uploaded.input_value(), "v.mp4");
    assert!(backend.requests()[0].text().contains("one"));

    let pieces = [Ok(Bytes::from_static(b"one")), Err(io::Error::other("the source is gone"))];
    let error = client.upload(InputUpload::stream("v.mp4", Some(6), stream::iter(pieces))).await.unwrap_err();
    assert!(error.to_string().contains("the source is gone"), "{error}");
    assert_eq!(backend.requests().len(), 1, "the aborted upload is no complete request");
}

#[tokio::test]
async fn a_file_that_is_too_large_for_the_backend_is_reported_as_such() {
    let backend = FakeBackend::new(|_| answer(413, "", "Maximum request body size 104857600 exceeded")).await;
    let error = backend.client().upload(InputUpload::bytes("a.png", "x")).await.unwrap_err();
    assert_eq!(error.status(), Some(413));
    assert!(error.to_string().contains("104857600"), "{error}");
}
