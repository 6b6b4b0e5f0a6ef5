//! Credentials: how each is read and checked without ever showing it.

use std::path::Path;

use secrecy::SecretString;
use serde_json::Value;

/// What cookies may be.
pub(super) const COOKIES_ALLOWED: &str =
    "`name=value; name=value` or a JSON object of names and values (a URL or a file is not read)";

/// The largest file a secret is read from, in bytes.
const LARGEST: usize = 64 << 10;

/// Why a value is refused.
#[derive(Debug)]
pub(super) enum ValueError {
    /// It is not what the table allows.
    Value,
    /// For a reason of its own.
    Because(String),
}

impl ValueError {
    /// The sentence for people; `allowed` is the table's.
    pub fn problem(self, allowed: &str) -> String {
        match self {
            Self::Value => format!("must be {allowed}"),
            Self::Because(reason) => reason,
        }
    }
}

/// A text that a header can carry.
pub(super) fn plain(text: &str) -> Result<SecretString, ValueError> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(ValueError::Value);
    }
    Ok(text.into())
}

/// The text of a secret's file; `path` is relative to `dir`.
pub(super) fn file(dir: &Path, path: &str) -> Result<String, ValueError> {
    let path = dir.join(path);
    let refuse = |reason: String| ValueError::Because(format!("{} cannot be used: {reason}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
    match text.len() {
        0 => Err(refuse("it is empty".to_owned())),
        1..=LARGEST => Ok(text),
        _ => Err(refuse(format!("it is larger than {LARGEST} bytes"))),
    }
}

/// Cookies in the form of the `Cookie` header.
pub(super) fn cookies(text: &str) -> Result<SecretString, ValueError> {
    let text = text.trim();
    let pairs = if text.starts_with('{') { from_json(text) } else { from_header(text) };
    let pairs = pairs.filter(|pairs| !pairs.is_empty()).ok_or(ValueError::Value)?;
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ").into())
}

fn from_header(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        checked(name.trim(), value.trim())
    });
    pairs.collect()
}

fn from_json(text: &str) -> Option<Vec<(String, String)>> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    let pairs = object.iter().map(|(name, value)| match value {
        Value::String(value) => checked(name, value),
        Value::Number(value) => checked(name, &value.to_string()),
        Value::Bool(value) => checked(name, &value.to_string()),
        _ => None,
    });
    pairs.collect()
}

/// RFC 6265, section 4.1.1, is borne more widely by servers for values than for names.
fn checked(name: &str, value: &str) -> Option<(String, String)> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name_fits = !name.is_empty() && name.bytes().all(token);
    let value_fits = !value.chars().any(|character| character.is_control() || character == ';');
    (name_fits && value_fits).then(|| (name.to_owned(), value.to_owned()))
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
            assert_eq!(cookies(text).unwrap().expose_secret(), header);
        }
    }

    #[test]
    fn urls_files_and_what_no_header_carries_are_no_cookies() {
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
            let wrong = cookies(text).unwrap_err().problem(COOKIES_ALLOWED);
            assert!(wrong.contains("name=value") && wrong.contains("a URL or a file is not read"), "{text}");
        }
    }

    #[test]
    fn a_secrets_file_is_trimmed_and_its_faults_are_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "t0k\n").unwrap();
        std::fs::write(dir.path().join("empty"), "").unwrap();
        assert_eq!(plain(&file(dir.path(), "token").unwrap()).unwrap().expose_secret(), "t0k");
        assert!(file(dir.path(), "empty").unwrap_err().problem("").contains("it is empty"));
        assert!(file(dir.path(), "none").unwrap_err().problem("").contains("No such file"));
        assert!(plain("a\nb").is_err());
    }
}
