//! Redirects: each is a new URL to check, and none carries anything along.

use comfy_gateway::fetch::{FetchFault, GuardRefusal};

use crate::scene::{LIMITS, PRIVATE, PUBLIC, Scene, Server, Trap, ip, ok, whole};

fn to(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\ncontent-length: 0\r\nset-cookie: a=b\r\nlocation: {location}\r\n\r\n")
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// The result of a redirect to `location`; `{p}` is the port of the server.
async fn redirected(location: &str) -> (Result<Vec<u8>, FetchFault>, Vec<String>) {
    let scene = Scene::with(PUBLIC, |name, _| {
        Some(vec![ip(if name == "private.example" { PRIVATE } else { PUBLIC })])
    })
    .await;
    let wanted = location.to_owned();
    let server = Server::sending(move |head| match path(head) {
        "/dir/start?sig=secret" => {
            let port = head.split_once("host: a.example:").unwrap().1.split_once('\r').unwrap().0;
            to(302, &wanted.replace("{p}", port))
        }
        _ => whole("there"),
    })
    .await;
    let trap = Trap::new(PRIVATE, server.port);
    let read = scene.read(&server.url("a.example", "/dir/start?sig=secret")).await;
    assert!(trap.is_empty(), "{location}");
    let heads = server.heads();
    if let Err(error) = &read {
        assert_eq!(heads.len(), 1, "{location}: nobody was asked again");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    (read.map_err(|error| error.fault), heads)
}

#[tokio::test]
async fn every_location_is_checked_like_the_first_url() {
    for location in [
        "http://127.0.0.2:{p}/",
        "http://2130706434:{p}/",
        "http://[::ffff:127.0.0.2]:{p}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://private.example:{p}/",
        "http://localhost:{p}/",
        "//127.0.0.2:{p}/",
        "file:///etc/passwd",
        "ftp://b.example/",
        "gopher://127.0.0.2:{p}/",
        "data:text/plain,x",
        "http://user:secret@b.example:{p}/",
        "http://b.example@127.0.0.2:{p}/",
    ] {
        let (read, _) = redirected(location).await;
        assert!(matches!(read, Err(FetchFault::Refused(_))), "{location}: {read:?}");
    }
    let (read, _) = redirected("http://secret@b.example:{p}/").await;
    assert_eq!(read, Err(FetchFault::Refused(GuardRefusal::Credentials)));
    for location in ["http://", "http://[::1", "http://a b/"] {
        assert_eq!(redirected(location).await.0, Err(FetchFault::Location), "{location}");
    }
}

#[tokio::test]
async fn relative_and_absolute_locations_lead_on_and_carry_nothing() {
    for (location, asked) in [
        ("next", "/dir/next"),
        ("/next?x=y#f", "/next?x=y"),
        ("?x", "/dir/start?x"),
        ("//b.example:{p}/z", "/z"),
        ("http://b.example:{p}/z", "/z"),
        ("../ü", "/%C3%BC"),
    ] {
        let (read, heads) = redirected(location).await;
        assert_eq!(read.unwrap(), b"there", "{location}");
        assert_eq!(path(&heads[1]), asked, "{location}");
        for header in ["referer", "cookie", "authorization", "secret"] {
            assert!(!heads[1].to_lowercase().contains(header), "{location}: {}", heads[1]);
        }
    }
}

#[tokio::test]
async fn five_redirects_are_followed_and_a_sixth_is_not() {
    let scene = Scene::new().await;
    for status in [301, 302, 303, 307, 308] {
        let server = Server::sending(move |head| match path(head)[1..].parse::<usize>().unwrap() {
            0 => whole("end"),
            left => to(status, &format!("/{}", left - 1)),
        })
        .await;
        assert_eq!(scene.read(&server.url("a.example", "/5")).await.unwrap(), b"end");
        let error = scene.read(&server.url("a.example", "/6")).await.unwrap_err();
        assert_eq!(error.to_string(), "a.example: redirects more than 5 times");
        assert_eq!(server.heads().len(), 12, "{status}");
    }
    let looping = Server::sending(|_| to(302, "/")).await;
    let error = scene.read(&looping.url("a.example", "/")).await.unwrap_err();
    assert_eq!(error.fault, FetchFault::Redirects { limit: 5 });
}

#[tokio::test]
async fn a_redirect_without_a_place_and_other_answers_are_no_file() {
    let scene = Scene::new().await;
    let server =
        Server::sending(|head| format!("HTTP/1.1 {} X\r\ncontent-length: 6\r\n\r\nsecret", &path(head)[1..]))
            .await;
    for status in ["301", "302", "307"] {
        let error = scene.read(&server.url("a.example", &format!("/{status}"))).await.unwrap_err();
        assert_eq!(error.fault, FetchFault::Location, "{status}");
    }
    for code in [201, 206, 300, 305, 400, 401, 403, 404, 410, 429, 500, 503] {
        let error = scene.read(&server.url("a.example", &format!("/{code}"))).await.unwrap_err();
        assert_eq!(error.to_string(), format!("a.example: answered {code}"));
        assert_eq!(error.is_retryable(), code >= 429, "{code}");
    }
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    let scene = Scene::new().await;
    let server = Server::sending(|head| {
        if path(head) == "/moved" {
            return to(302, "/file");
        }
        if head.contains("if-none-match: \"v1\"") {
            return "HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n".to_owned();
        }
        ok("content-length: 1\r\netag: \"v2\"\r\n", "x")
    })
    .await;
    let url = server.url("a.example", "/moved").parse().unwrap();
    let same = scene.fetcher.open_if_none_match(&url, "\"v1\"", LIMITS).await.unwrap();
    assert!(same.is_none());
    let other = scene.fetcher.open_if_none_match(&url, "\"v0\"", LIMITS).await.unwrap();
    assert_eq!(other.unwrap().etag(), Some("\"v2\""));
    let unasked = Server::sending(|_| "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned()).await;
    let error = scene.open(&unasked.url("a.example", "/")).await.unwrap_err();
    assert_eq!(error.fault, FetchFault::Status { code: 304 });
}
