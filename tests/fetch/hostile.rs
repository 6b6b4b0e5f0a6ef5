//! Hostile URLs: none may be connected to, and no public one may be refused.

use std::net::IpAddr;

use comfy_gateway::fetch::{AddressGuard, FetchFault, GuardRefusal};

use crate::scene::{Scene, Trap, ip};

/// `{p}` is the port of a trap on this machine's loopback address.
const HOSTILE: &[&str] = &[
    // Loopback, in every form that some parser takes.
    "http://127.0.0.1:{p}/",
    "http://127.0.0.1.:{p}/",
    "http://127.1:{p}/",
    "http://127.0.1:{p}/",
    "http://2130706433:{p}/",
    "http://0x7f000001:{p}/",
    "http://0x7F.1:{p}/",
    "http://017700000001:{p}/",
    "http://0177.0.0.1:{p}/",
    "http://0x7f.0.0.0x1:{p}/",
    "http://127.0.0.01:{p}/",
    "http://127.255.255.254:{p}/",
    "http://0:{p}/",
    "http://0.0.0.0:{p}/",
    "http://0x0:{p}/",
    "http://%31%32%37.0.0.1:{p}/",
    "http://127%2e0%2e0%2e1:{p}/",
    "http://127。0。0。1:{p}/",
    "http://１２７.0.0.1:{p}/",
    "http://①②⑦.0.0.1:{p}/",
    "http:127.0.0.1:{p}/",
    "http:/127.0.0.1:{p}/",
    "http:\\\\127.0.0.1:{p}\\",
    "ht\ntp://127.0.0.1:{p}/",
    " \thttp://127.0.\t0.1:{p}/",
    "http://4294967296:{p}/",
    "http://256.0.0.1:{p}/",
    "http://127.0.0.1:{p}#@a.example/",
    // The same in IPv6.
    "http://[::1]:{p}/",
    "http://[0:0:0:0:0:0:0:1]:{p}/",
    "http://[::]:{p}/",
    "http://[::ffff:127.0.0.1]:{p}/",
    "http://[::ffff:7f00:1]:{p}/",
    "http://[::127.0.0.1]:{p}/",
    "http://[::ffff:0:127.0.0.1]:{p}/",
    "http://[64:ff9b::127.0.0.1]:{p}/",
    "http://[64:ff9b:1::127.0.0.1]:{p}/",
    "http://[2002:7f00:1::]:{p}/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{p}/",
    "http://[2606:4700::5efe:7f00:1]:{p}/",
    "http://[fe80::1%25lo]:{p}/",
    "http://[fe80::1%lo]:{p}/",
    "http://[::1%25lo]:{p}/",
    "http://[fe80::1]:{p}/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd12:3456:789a::1]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[4000::1]/",
    // Networks that are not public.
    "http://10.0.0.1/",
    "http://10.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.1/",
    "http://3232235777/",
    "http://169.254.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://192.0.0.8/",
    "http://192.0.2.1/",
    "http://203.0.113.5/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://0300.0250.0.1/",
    // The clouds' metadata.
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[fd00:ec2::254]/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://metadata.google.internal/",
    "http://METADATA/",
    "http://metadata.goog/",
    // Names of local networks.
    "http://localhost:{p}/",
    "http://LOCALHOST.:{p}/",
    "http://a.localhost:{p}/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{p}/",
    "http://localhost%2e:{p}/",
    "http://printer.local/",
    "http://db.internal/",
    "http://redis:6379/",
    "http://kubernetes.default.svc/",
    "http://nas.home.arpa/",
    "http://router.lan/",
    "http://localhost.localdomain:{p}/",
    // Names of the public DNS that lead where no public name should: the zone below.
    "http://loopback.example:{p}/",
    "http://loopback.example.:{p}/",
    "http://private.example/",
    "http://six.example:{p}/",
    "http://mapped.example:{p}/",
    "http://metadata.example/",
    "http://mixed.example:{p}/",
    "http://mixed-six.example:{p}/",
    // Credentials, and hosts hidden behind them.
    "http://user@a.example/",
    "http://user:pw@a.example/",
    "http://:pw@a.example/",
    "http://a.example@127.0.0.1:{p}/",
    "http://a.example:80@127.0.0.1:{p}/",
    "http://127.0.0.1\\@a.example:{p}/",
    "http://a.example%20@127.0.0.1:{p}/",
    // Other schemes, and no URL at all.
    "file:///etc/passwd",
    "ftp://a.example/",
    "gopher://127.0.0.1:{p}/",
    "data:text/plain,x",
    "javascript:1",
    "dict://127.0.0.1:{p}/",
    "ws://a.example/",
    "unix:/run/x.sock",
    "http+unix://x/",
    "jar:http://a.example!/",
    "view-source:http://a.example/",
    "a.example/x.png",
    "//a.example/",
    "http://",
    "http:///",
    "https://?x",
    "",
    "http://a b.example/",
    "http://[::1",
    "http://a.example:99999/",
    "http://a..example\0/",
    "http://%00.example/",
];

const PUBLIC_URLS: &[&str] = &[
    "https://example.com/",
    "http://example.com:8080/x?y#z",
    "HTTPS://EXAMPLE.COM/",
    "https://8.8.8.8/",
    "https://1.1.1.1:8443/",
    "https://134744072/",
    "https://[2606:4700::1111]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::808:808]/",
    "https://bücher.example/ä ö.png",
    "https://xn--bcher-kva.example/",
    "https://localhost.example.com/",
    "https://10.0.0.1.example.com/",
    "https://my-internal.com/",
    "https://a_b.example/",
    "https://172.32.0.1/",
    "https://192.169.0.1/",
    "https://100.128.0.1/",
    "https://11.0.0.1/",
    "https://example.com./",
];

fn zone(name: &str) -> Vec<IpAddr> {
    let addresses: &[&str] = match name {
        "loopback.example" | "loopback.example." => &["127.0.0.1"],
        "private.example" => &["10.0.0.1"],
        "six.example" => &["::1"],
        "mapped.example" => &["::ffff:127.0.0.1"],
        "metadata.example" => &["169.254.169.254"],
        "mixed.example" => &["9.9.9.9", "127.0.0.1"],
        "mixed-six.example" => &["9.9.9.9", "::1"],
        _ => &[],
    };
    addresses.iter().map(|address| ip(address)).collect()
}

#[tokio::test]
async fn no_hostile_url_is_connected_to() {
    assert!(HOSTILE.len() >= 120, "{}", HOSTILE.len());
    let scene = Scene::with("", |name, _| Some(zone(name))).await;
    let trap = Trap::new("127.0.0.1", 0);
    for text in HOSTILE {
        let text = text.replace("{p}", &trap.port().to_string());
        if let Ok(url) = scene.fetcher.guard().parse(&text) {
            let error = scene.open(url.as_str()).await.expect_err(&text);
            assert!(matches!(error.fault, FetchFault::Refused(_)), "{text}: {error}");
            assert!(!error.is_retryable(), "{text}");
        }
        assert!(trap.is_empty(), "{text} came through");
    }
    let led_there = scene.dns.asked().len();
    assert_eq!(led_there, 8, "only what the table's names of the public DNS are had to be asked");
}

#[test]
fn what_is_public_passes() {
    for text in PUBLIC_URLS {
        assert!(AddressGuard::default().parse(text).is_ok(), "{text}");
    }
}

#[tokio::test]
async fn what_an_operator_allows_is_reached_by_name_and_by_address() {
    let server = crate::scene::Server::sending(|_| crate::scene::whole("here")).await;
    let port = server.port;
    let loopback = |_: &str, _: usize| Some(vec![ip("127.0.0.1")]);
    for (allow, host) in [
        (format!("media.corp:{port}"), "media.corp"),
        ("*.corp".to_owned(), "media.corp"),
        ("localhost".to_owned(), "localhost"),
        ("127.0.0.0/8".to_owned(), "127.0.0.1"),
        ("127.0.0.0/8".to_owned(), "0x7f.1"),
        ("127.0.0.1".to_owned(), "any.example"),
        (format!("127.0.0.1:{port}"), "127.0.0.1"),
    ] {
        let scene = Scene::with(&allow, loopback).await;
        assert_eq!(scene.read(&server.url(host, "/")).await.unwrap(), b"here", "{allow}");
    }
    for (allow, host) in [
        (format!("media.corp:{}", port ^ 1), "media.corp"),
        (format!("127.0.0.1:{port}"), "any.example"),
        ("other.example".to_owned(), "any.example"),
    ] {
        let scene = Scene::with(&allow, loopback).await;
        let error = scene.read(&server.url(host, "/")).await.unwrap_err();
        assert!(
            matches!(error.fault, FetchFault::Refused(GuardRefusal::Address(_) | GuardRefusal::LocalName)),
            "{error}"
        );
    }
    assert_eq!(server.heads().len(), 7);
}
