//! JSON as Python reads and writes it: with bare `NaN` and `Infinity`.

use serde_json::Value;

/// Marks a string that stands for a number JSON does not have. A private-use character: no caller sends it.
const MARK: char = '\u{F8FF}';

/// The number tokens Python's JSON has beyond the standard, longest first.
const TOKENS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The value that is written as a bare `NaN`.
pub(super) fn nan() -> Value {
    Value::String(format!("{MARK}NaN"))
}

/// Reads JSON, taking Python's `NaN`, `Infinity` and `-Infinity` for values as well.
///
/// # Errors
/// When it is no JSON even by Python's rules.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|error| {
        let marked = mark(text);
        if marked == text { Err(error) } else { serde_json::from_str(&marked) }
    })
}

/// Writes JSON, with the values of [`parse`] and [`nan`] as bare tokens.
pub(super) fn render(value: &Value) -> String {
    let mut text = value.to_string();
    if text.contains(MARK) {
        for token in TOKENS {
            text = text.replace(&format!("\"{MARK}{token}\""), token);
        }
    }
    text
}

/// Turns the bare tokens outside of strings into marked strings.
fn mark(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut in_string) = (text, false);
    while let Some(first) = rest.chars().next() {
        if !in_string && let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            out.push('"');
            out.push(MARK);
            out.push_str(token);
            out.push('"');
            rest = &rest[token.len()..];
            continue;
        }
        let mut taken = first.len_utf8();
        match first {
            '"' => in_string = !in_string,
            '\\' if in_string => taken += rest[taken..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// A value as Python's `str()` shows it: in error messages and in `PreviewAny`.
pub(super) fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.trim_start_matches(MARK).to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("'{key}': {}", repr(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// A value as Python's `repr()` shows it.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::String(text) if !text.starts_with(MARK) => format!("'{text}'"),
        other => python(other),
    }
}

/// The text with everything beyond ASCII as `\u` escapes, as Python writes JSON into PNG files.
pub(super) fn ascii(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ok = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_nan_and_infinity_survive_and_strings_are_left_alone() {
        let text = r#"{"v":[NaN,-Infinity,Infinity,1.50],"s":"NaN \" Infinity"}"#;
        assert_eq!(render(&parse(text).unwrap()), text);
        assert_eq!(render(&nan()), "NaN");
        assert!(parse("{not json").is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = r#"{"seed":18446744073709551615,"cfg":7.50}"#;
        assert_eq!(render(&parse(text).unwrap()), text);
    }

    #[test]
    fn values_look_as_python_shows_them() {
        let value = parse(r#"{"a":[true,null,"x",1]}"#).unwrap();
        assert_eq!(python(&value), "{'a': [True, None, 'x', 1]}");
        assert_eq!(ascii("к😀a"), "\\u043a\\ud83d\\ude00a");
    }
}
