//! A proxy in the environment is ignored, because it would connect to addresses that nobody checked.

use std::process::Stdio;

use tokio::process::Command;

use crate::scene::{Scene, Server, Trap, whole};

const INSIDE: &str = "COMFY_GATEWAY_TEST_BEHIND_A_PROXY";

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    if std::env::var_os(INSIDE).is_some() {
        let server = Server::sending(|_| whole("direct")).await;
        let read = Scene::new().await.read(&server.url("a.example", "/")).await;
        assert_eq!(read.unwrap(), b"direct");
        return;
    }
    let trap = Trap::new("127.0.0.1", 0);
    let proxy = format!("http://127.0.0.1:{}", trap.port());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "proxy::a_proxy_in_the_environment_is_not_used"]).env(INSIDE, "1");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        again.env(name, &proxy);
    }
    again.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = again.stdout(Stdio::piped()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert!(trap.is_empty());
}
