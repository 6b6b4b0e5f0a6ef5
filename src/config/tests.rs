//! The rules of the configuration, each with the message of its error.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, FromArgMatches};
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::fetch;

struct TestConfig<'a> {
    file: Option<&'a str>,
    env: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

fn load(given: &TestConfig<'_>) -> Result<GatewayConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let arguments = std::iter::once("x").chain(given.flags.iter().copied());
    let command = <ConfigFlags as clap::Args>::augment_args(Command::new("x"));
    let mut flags = ConfigFlags::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
    if let Some(text) = given.file {
        std::fs::write(dir.path().join("token"), "from-a-file\n").unwrap();
        let path = dir.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        flags.config = Some(path);
    }
    let env = given.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let dir = format!("{}/", dir.path().display());
    GatewayConfig::load(&flags, env).map_err(|errors| errors.to_string().replace(&dir, ""))
}

fn file(text: &str) -> Result<GatewayConfig, String> {
    load(&TestConfig { file: Some(text), env: &[], flags: &[] })
}

fn env(env: &[(&str, &str)]) -> Result<GatewayConfig, String> {
    load(&TestConfig { file: None, env, flags: &[] })
}

fn flags(flags: &[&str]) -> Result<GatewayConfig, String> {
    load(&TestConfig { file: None, env: &[], flags })
}

fn assert_error_contains(loaded: Result<GatewayConfig, String>, parts: &[&str]) {
    let message = loaded.unwrap_err();
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in\n{message}");
    }
}

fn shown(secret: Option<&SecretString>) -> &str {
    secret.map_or("", |secret| secret.expose_secret())
}

#[test]
fn the_defaults_apply_if_nothing_is_given() {
    let config = env(&[]).unwrap();
    let [backend] = config.backends.as_slice() else { panic!("{config}") };
    assert_eq!((backend.name.as_str(), backend.slots), ("gpu-1", 8));
    assert_eq!(backend.endpoint.shown_url(), "http://127.0.0.1:8188");
    let settings = &config.settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.data_dir, PathBuf::from("./data"));
    assert_eq!(settings.max_timeout, Duration::from_hours(7 * 24));
    assert_eq!(settings.log_format, LogFormat::Text);
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let given = TestConfig {
        file: Some("max_attempts = 4\nmax_queued = 5\nlost_after = \"6s\"\nlog = \"warn\""),
        env: &[("COMFY_GATEWAY_MAX_QUEUED", "50"), ("COMFY_GATEWAY_LOST_AFTER", "60s")],
        flags: &["--lost-after", "10m"],
    };
    let config = load(&given).unwrap();
    assert_eq!(config.settings.max_attempts, 4);
    assert_eq!(config.settings.max_queued, 50);
    assert_eq!(config.settings.lost_after, Duration::from_mins(10));
    let text = config.to_string();
    for line in ["gateway.toml line 1", "environment variable COMFY_GATEWAY_MAX_QUEUED", "flag --lost-after"]
    {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_scheduler_gets_its_settings() {
    let config = env(&[
        ("COMFY_GATEWAY_MAX_ATTEMPTS", "7"),
        ("COMFY_GATEWAY_POLL_INTERVAL", "250ms"),
        ("COMFY_GATEWAY_LOST_AFTER", "9s"),
        ("COMFY_GATEWAY_RETENTION", "forever"),
    ])
    .unwrap();
    let scheduler = config.scheduler();
    assert_eq!(scheduler.retry.max_attempts, 7);
    assert_eq!(scheduler.poll, Duration::from_millis(250));
    assert_eq!(scheduler.lost_after, Duration::from_secs(9));
    assert_eq!(config.settings.retention, None);
}

#[test]
fn fetching_gets_its_settings() {
    let config = env(&[
        ("COMFY_GATEWAY_FETCH_ALLOW", "media.corp:8080, 10.1.0.0/16"),
        ("COMFY_GATEWAY_FETCH_MAX_BYTES", "5MB"),
        ("COMFY_GATEWAY_FETCH_TIMEOUT", "9s"),
    ]);
    let inputs = config.unwrap().inputs();
    assert_eq!(Some(inputs.allow), fetch::AllowList::parse("media.corp:8080,10.1.0.0/16"));
    assert_eq!((inputs.limits.bytes, inputs.limits.total), (5_000_000, Duration::from_secs(9)));
    assert_eq!(env(&[]).unwrap().inputs().limits, fetch::FetchLimits::default());
    assert_error_contains(
        env(&[("COMFY_GATEWAY_FETCH_ALLOW", "10.0.0.0/33")]),
        &["must be a comma-separated list", "not `10.0.0.0/33`"],
    );
}

#[test]
fn an_invalid_value_names_its_key_its_source_and_what_is_allowed() {
    assert_error_contains(
        file("listen = \"here\"\n\nretention = 7\nmax_body = true"),
        &[
            "listen (gateway.toml line 1): must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080, not `here`",
            "retention (gateway.toml line 3): must be a duration from 1m to",
            "or `forever`, not `7`",
            "max_body (gateway.toml line 4): must be a size from",
            "not `true`",
        ],
    );
    assert_error_contains(
        env(&[("COMFY_GATEWAY_MAX_ATTEMPTS", "many")]),
        &[
            "max_attempts (environment variable COMFY_GATEWAY_MAX_ATTEMPTS): must be a whole number from 1 to 100, not `many`",
        ],
    );
    assert_error_contains(
        flags(&["--log-format", "xml"]),
        &["log_format (flag --log-format): must be `text` or `json`, not `xml`"],
    );
    assert_error_contains(
        flags(&["--max-queued", "-1"]),
        &["max_queued (flag --max-queued): must be a whole number from 1"],
    );
}

#[test]
fn an_unknown_key_suggests_the_nearest_one() {
    assert_error_contains(
        file("max_bodi = 1\n[[backends]]\nurl = \"http://h\"\nslot = 1"),
        &[
            "max_bodi (gateway.toml line 1): unknown setting; did you mean `max_body`?",
            "backends[0].slot (gateway.toml line 4): unknown setting; did you mean `slots`?",
        ],
    );
    assert_error_contains(
        env(&[("COMFY_GATEWAY_RETENTOIN", "7d"), ("COMFY_GATEWAY_BACKENDS", "http://h")]),
        &[
            "COMFY_GATEWAY_RETENTOIN (environment variable COMFY_GATEWAY_RETENTOIN): unknown setting; did you mean `COMFY_GATEWAY_RETENTION`?",
            "set `COMFYUI_BASE_URL` to the URLs of the backends",
        ],
    );
}

#[test]
fn errors_of_all_sources_are_reported_together_even_of_overridden_values() {
    let given = TestConfig {
        file: Some("listen = 1\nnope = 2"),
        env: &[("COMFY_GATEWAY_LISTEN", "x"), ("COMFYUI_COOKIES", "https://h/c")],
        flags: &["--listen", "127.0.0.1:1", "--backend", "gpu:8188"],
    };
    let message = load(&given).unwrap_err();
    assert_eq!(message.lines().count(), 6, "{message}");
    assert!(message.starts_with("the configuration is invalid:\n"), "{message}");
}

#[test]
fn settings_that_contradict_each_other_are_rejected() {
    assert_error_contains(
        env(&[("COMFY_GATEWAY_MAX_TIMEOUT", "30m")]),
        &[
            "default_timeout (default): must not be longer than max_timeout",
            "`30m` (environment variable COMFY_GATEWAY_MAX_TIMEOUT)",
        ],
    );
}

#[test]
fn an_error_about_an_invalid_or_missing_file_does_not_quote_it() {
    let message = file("log = \"info\"\n[[backends]]\nbearer = \"s3cret\nurl = 1").unwrap_err();
    assert!(message.contains("config (gateway.toml line 3): the file is not valid TOML"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    assert_error_contains(
        env(&[("COMFY_GATEWAY_CONFIG", "/no/such.toml")]),
        &["config (/no/such.toml): cannot read the file"],
    );
}

#[test]
fn empty_variables_count_as_unset_and_foreign_ones_are_ignored() {
    let config = env(&[
        ("COMFY_GATEWAY_LISTEN", ""),
        ("COMFY_GATEWAY_CONFIG", ""),
        ("COMFYUI_BASE_URL", ""),
        ("COMFYUI_API_KEY", ""),
        ("COMFYUI_COOKIES", ""),
        ("COMFYUI_ELSE", "x"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(config.backends[0].name.as_str(), "gpu-1");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_rejected() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![0xff]);
    let errors =
        GatewayConfig::load(&ConfigFlags::default(), [("COMFY_GATEWAY_LOG".into(), value)]).unwrap_err();
    assert!(errors.to_string().contains("must be valid UTF-8"), "{errors}");
}

#[test]
fn a_table_of_the_file_describes_a_whole_backend() {
    let config = file(
        r#"
        [[backends]]
        name = "fast"
        url = "https://gpu.example/comfy/"
        slots = 3
        labels = ["sdxl", "24gb"]
        bearer_file = "token"
        cookies = "a=1; b=2"
        headers = { X-Key = "h3ader" }
        api_key = "k3y"
        [[backends]]
        url = "http://user:p4ss@other:8188"
        "#,
    )
    .unwrap();
    let [fast, other] = config.backends.as_slice() else { panic!("{config}") };
    assert_eq!((fast.name.as_str(), fast.slots), ("fast", 3));
    assert_eq!(fast.labels, ["sdxl", "24gb"]);
    assert_eq!(fast.endpoint.url.as_str(), "https://gpu.example/comfy/");
    assert_eq!(shown(fast.endpoint.bearer.as_ref()), "from-a-file");
    assert_eq!(shown(fast.endpoint.cookies.as_ref()), "a=1; b=2");
    assert_eq!(shown(fast.endpoint.api_key.as_ref()), "k3y");
    assert_eq!(fast.endpoint.headers[0].1.expose_secret(), "h3ader");
    assert_eq!((other.name.as_str(), other.slots), ("gpu-2", 8));
    for text in [config.to_string(), format!("{config:?}")] {
        for secret in ["from-a-file", "a=1", "h3ader", "k3y", "p4ss"] {
            assert!(!text.contains(secret), "{secret} is shown in\n{text}");
        }
    }
    let text = config.to_string();
    for part in [
        "bearer [redacted]",
        "cookies [redacted]",
        "header X-Key [redacted]",
        "user in the url [redacted]",
        "labels sdxl, 24gb",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn an_invalid_value_of_a_backend_names_its_place_and_is_never_shown() {
    let message = file(
        r#"
        [[backends]]
        name = "a b"
        slots = 65
        labels = "sdxl"
        bearer = 5
        bearer_file = "none"
        cookies = "https://s3cret.example/"
        headers = { "X A" = "s3cret" }
        [[backends]]
        url = "ftp://s3cret@h"
        bearer = "s3cret"
        bearer_file = "token"
        [[backends]]
        url = "http://h"
        headers = { "X A" = "s3cret" }
        "#,
    )
    .unwrap_err();
    for part in [
        "backends[0].name (gateway.toml line 3): must be 1 to 64 letters, digits, `.`, `_` or `-`",
        "backends[0].slots (gateway.toml line 4): must be a whole number from 1 to 64",
        "backends[0].labels (gateway.toml line 5): must be a list of names",
        "backends[0].bearer (gateway.toml line 6): must be one non-empty line of text",
        "backends[0].bearer_file (gateway.toml line 7): cannot use none",
        "backends[0].cookies (gateway.toml line 8): must be `name=value; name=value` or a JSON object of names and values (not a URL or a file path)",
        "backends[0].url (gateway.toml line 2): is missing",
        "backends[1].url (gateway.toml line 11): must be an http:// or https:// URL",
        "backends[1].bearer_file (gateway.toml line 13): is given twice",
        "backends[2] (gateway.toml line 14): `X A` is not a valid header name",
    ] {
        assert!(message.contains(part), "`{part}` is missing in\n{message}");
    }
    assert!(!message.contains("s3cret"), "{message}");
    assert_error_contains(
        file("backends = []"),
        &["backends (gateway.toml line 1): must be one or more [[backends]] tables"],
    );
    assert_error_contains(file("backends = \"http://h\""), &["must be one or more [[backends]] tables"]);
}

#[test]
fn urls_of_the_environment_or_the_flags_replace_the_backends_of_lower_layers() {
    let given = TestConfig {
        file: Some("[[backends]]\nurl = \"http://file\""),
        env: &[("COMFYUI_BASE_URL", " http://a:1 , big=https://b/comfy?x=y,")],
        flags: &[],
    };
    let config = load(&given).unwrap();
    let names: Vec<_> =
        config.backends.iter().map(|backend| (backend.name.as_str(), backend.endpoint.shown_url())).collect();
    assert_eq!(names, [("gpu-1", "http://a:1".to_owned()), ("big", "https://b/comfy".to_owned())]);
    assert_eq!(config.backends[1].endpoint.url.query(), Some("x=y"));

    let given = TestConfig { flags: &["--backend", "http://c", "--backend", "d=http://d"], ..given };
    let config = load(&given).unwrap();
    let names: Vec<_> = config.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["gpu-1", "d"]);
    assert!(config.to_string().contains("flag --backend"), "{config}");
}

#[test]
fn an_invalid_url_of_a_list_is_named_without_its_password() {
    assert_error_contains(
        env(&[("COMFYUI_BASE_URL", "http://a,127.0.0.1:8188")]),
        &[
            "COMFYUI_BASE_URL (environment variable COMFYUI_BASE_URL): the URL of backend 2 (`127.0.0.1:8188`) must begin with http:// or https://",
        ],
    );
    let message = flags(&["--backend", "ftp://user:s3cret@h"]).unwrap_err();
    assert!(message.contains("backend (flag --backend): the URL of backend 1"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    let message = flags(&["--public-url", "http://user:s3cret@h"]).unwrap_err();
    assert!(message.contains("must be an absolute") && !message.contains("s3cret"), "{message}");
    assert_error_contains(flags(&["--backend", "ü=http://h"]), &["a backend name has 1 to 64 letters"]);
}

#[test]
fn two_backends_with_one_name_or_address_are_rejected() {
    assert_error_contains(
        env(&[("COMFYUI_BASE_URL", "a=http://x,a=http://y")]),
        &["the name `a` is taken by another backend"],
    );
    assert_error_contains(
        env(&[("COMFYUI_BASE_URL", "http://x/,http://x")]),
        &["`gpu-1` and `gpu-2` are the same backend http://x; raise its `slots` instead"],
    );
    for (one, two) in [("localhost", "127.0.0.1"), ("127.0.0.1", "[::1]"), ("LOCALHOST", "[::1]")] {
        let both = |path: &str, port: u16| format!("http://{one}:8188,http://{two}:{port}/{path}");
        assert_error_contains(env(&[("COMFYUI_BASE_URL", &both("", 8188))]), &["are the same backend"]);
        env(&[("COMFYUI_BASE_URL", &both("", 8189))]).unwrap();
        env(&[("COMFYUI_BASE_URL", &both("other", 8188))]).unwrap();
    }
}

#[test]
fn the_shared_key_and_cookies_go_to_every_backend_without_its_own() {
    let given = TestConfig {
        file: Some(
            r#"
            [[backends]]
            url = "http://a"
            [[backends]]
            url = "http://b"
            bearer = "own"
            cookies = "own=1"
            [[backends]]
            url = "http://user@c"
            [[backends]]
            url = "http://d"
            headers = { authorization = "Custom x", Cookie = "own=2" }
            "#,
        ),
        env: &[("COMFYUI_API_KEY", "shared"), ("COMFYUI_COOKIES", r#"{"s": "1"}"#)],
        flags: &[],
    };
    let config = load(&given).unwrap();
    let credentials: Vec<_> = config
        .backends
        .iter()
        .map(|backend| &backend.endpoint)
        .map(|e| (shown(e.bearer.as_ref()), shown(e.api_key.as_ref()), shown(e.cookies.as_ref())))
        .collect();
    let expected =
        [("shared", "shared", "s=1"), ("own", "shared", "own=1"), ("", "shared", "s=1"), ("", "shared", "")];
    assert_eq!(credentials, expected);
}

#[test]
fn the_reference_lists_every_key() {
    let text = markdown_reference();
    for setting in SETTINGS {
        assert!(text.contains(&format!(
            "| `{}` | `{}` | `{}` |",
            setting.key,
            setting.env(),
            setting.flag()
        )));
    }
    for key in BACKEND_KEYS {
        assert!(text.contains(&format!("| `{}` |", key.key)));
    }
    for (name, _) in OTHER_VARIABLES {
        assert!(text.contains(name));
    }
}
