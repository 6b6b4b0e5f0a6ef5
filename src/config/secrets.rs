//! Parsers for credentials. No error message shows the value.

use std::path::Path;

use secrecy::SecretString;
use serde_json::Value;

/// The allowed form of a bearer token or an API key.
pub(super) const TOKEN_ALLOWED: &str = "one non-empty line of text";

/// The allowed form of cookies.
pub(super) const COOKIES_ALLOWED: &str =
    "`name=value; name=value` or a JSON object of names and values (not a URL or a file path)";

/// The largest secret file that is read, in bytes.
const MAX_FILE_BYTES: usize = 64 << 10;

/// Why a value is invalid.
#[derive(Debug)]
pub(super) enum ValueError {
    /// The value does not have the form that the key allows.
    NotAllowed,
    /// Another reason, as the end of the error message.
    Because(String),
}

impl ValueError {
    /// The text of the error message. `allowed` describes the form that the key allows.
    pub fn problem(self, allowed: &str) -> String {
        match self {
            Self::NotAllowed => format!("must be {allowed}"),
            Self::Because(reason) => reason,
        }
    }
}

/// Parses a token: trims it and rejects control characters, because it becomes part of an HTTP header.
pub(super) fn parse_token(text: &str) -> Result<SecretString, ValueError> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(ValueError::NotAllowed);
    }
    Ok(text.into())
}

/// Reads a secret from a file of at most 64 KiB; `path` is relative to `dir`.
pub(super) fn read_file(dir: &Path, path: &str) -> Result<String, ValueError> {
    let path = dir.join(path);
    let error = |reason: String| ValueError::Because(format!("cannot use {}: {reason}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|cause| error(cause.to_string()))?;
    match text.len() {
        0 => Err(error("the file is empty".to_owned())),
        1..=MAX_FILE_BYTES => Ok(text),
        _ => Err(error(format!("the file is larger than {MAX_FILE_BYTES} bytes"))),
    }
}

/// Parses cookies and returns them in the form of the `Cookie` header.
pub(super) fn parse_cookies(text: &str) -> Result<SecretString, ValueError> {
    let text = text.trim();
    let pairs = if text.starts_with('{') { pairs_of_json(text) } else { pairs_of_header(text) };
    let pairs = pairs.filter(|pairs| !pairs.is_empty()).ok_or(ValueError::NotAllowed)?;
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ").into())
}

fn pairs_of_header(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        valid_pair(name.trim(), value.trim())
    });
    pairs.collect()
}

fn pairs_of_json(text: &str) -> Option<Vec<(String, String)>> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    let pairs = object.iter().map(|(name, value)| match value {
        Value::String(value) => valid_pair(name, value),
        Value::Number(value) => valid_pair(name, &value.to_string()),
        Value::Bool(value) => valid_pair(name, &value.to_string()),
        _ => None,
    });
    pairs.collect()
}

/// Checks names strictly by RFC 6265, section 4.1.1. Values may hold more than the RFC allows, because servers set
/// such cookies: everything except control characters and `;`.
fn valid_pair(name: &str, value: &str) -> Option<(String, String)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_valid_name = !name.is_empty() && name.bytes().all(is_token);
    let is_valid_value = !value.chars().any(|character| character.is_control() || character == ';');
    (is_valid_name && is_valid_value).then(|| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn cookies_are_read_in_both_forms() {
        for (text, header) in [
            ("a=1; b=x=y;", "a=1; b=x=y"),
            (r#" {"session": "s3", "n": 7, "on": true} "#, "session=s3; n=7; on=true"),
        ] {
            assert_eq!(parse_cookies(text).unwrap().expose_secret(), header);
        }
    }

    #[test]
    fn urls_file_paths_and_text_that_no_header_carries_are_not_cookies() {
        for text in [
            "",
            "https://h/cookies?x=1",
            "/run/cookies.json",
            "./a/b=c",
            "lonely",
            "{}",
            r#"{"a": [1]}"#,
            r#"{"a": "x;y"}"#,
            "{broken",
            "a=\u{7}",
        ] {
            let problem = parse_cookies(text).unwrap_err().problem(COOKIES_ALLOWED);
            assert!(problem.contains("name=value") && problem.contains("not a URL or a file path"), "{text}");
        }
    }

    #[test]
    fn the_text_of_a_secret_file_is_trimmed_and_errors_name_their_reason() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "t0k\n").unwrap();
        std::fs::write(dir.path().join("empty"), "").unwrap();
        assert_eq!(parse_token(&read_file(dir.path(), "token").unwrap()).unwrap().expose_secret(), "t0k");
        assert!(read_file(dir.path(), "empty").unwrap_err().problem("").contains("is empty"));
        assert!(read_file(dir.path(), "none").unwrap_err().problem("").contains("No such file"));
        assert!(parse_token("a\nb").is_err());
    }
}
