//! Python's view of JSON values: numbers, equality, list indexes. In doubt, a value is accepted.

use serde_json::Value;

use crate::domain::fields;

/// A number, kept as an integer as long as possible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PythonNumber {
    Int(i128),
    Float(f64),
}

impl PythonNumber {
    #[expect(clippy::cast_precision_loss, reason = "used only where one side is a float anyway")]
    fn as_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// Whether it is certainly less than `other`. Nothing is less or greater than NaN.
    pub fn is_less(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => one < other,
            (one, other) => one.as_f64() < other.as_f64(),
        }
    }
}

/// The result of Python's `int()` for a JSON value; `None` if it fails.
pub(super) fn int(raw: &str) -> Option<PythonNumber> {
    if let Some(text) = fields::text(raw) {
        let text = digits(&text);
        if !text.is_ascii() {
            // Python accepts the digits of every script.
            return Some(PythonNumber::Float(f64::NAN));
        }
        let number = text.strip_prefix(['+', '-']).unwrap_or(&text);
        let whole = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        return whole.then(|| number_of(&text)).flatten();
    }
    match float(raw)? {
        PythonNumber::Float(number) if !number.is_finite() => None,
        PythonNumber::Float(number) => Some(PythonNumber::Float(number.trunc())),
        whole @ PythonNumber::Int(_) => Some(whole),
    }
}

/// The result of Python's `float()` for a JSON value; `None` if it fails. Integers stay exact.
pub(super) fn float(raw: &str) -> Option<PythonNumber> {
    match raw {
        "true" => return Some(PythonNumber::Int(1)),
        "false" => return Some(PythonNumber::Int(0)),
        _ => {}
    }
    let Some(text) = fields::text(raw) else { return number_of(raw) };
    let text = digits(&text);
    if text.is_ascii() { number_of(&text) } else { Some(PythonNumber::Float(f64::NAN)) }
}

/// A text without surrounding white space and without underscores between digits.
fn digits(text: &str) -> String {
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    text.trim_matches(is_space).replace('_', "")
}

fn number_of(text: &str) -> Option<PythonNumber> {
    text.parse().map(PythonNumber::Int).or_else(|_| text.parse().map(PythonNumber::Float)).ok()
}

/// The index that a link's second element means in a list of `count`: an integer, from the end if negative.
pub(super) fn index(raw: &str, count: usize) -> Option<usize> {
    let at: i64 = match raw {
        "true" => 1,
        "false" => 0,
        _ => raw.parse().ok()?,
    };
    let at = if at < 0 { at.checked_add(i64::try_from(count).ok()?)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < count)
}

/// Whether two values are equal in Python: `1`, `1.0` and `true` are.
pub(super) fn are_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_) | Value::Bool(_), Value::Number(_) | Value::Bool(_)) => {
            match (float(&one.to_string()), float(&other.to_string())) {
                (Some(one), Some(other)) => !one.is_less(other) && !other.is_less(one),
                _ => false,
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| are_equal(value, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_numbers_are_read_as_int_reads_them() {
        for (raw, number) in [
            ("12", 12),
            ("\"12\"", 12),
            ("\" +1_2\\n\"", 12),
            ("16.7", 16),
            ("-16.7", -16),
            ("true", 1),
            ("18446744073709551615", 18_446_744_073_709_551_615),
            ("\"-0\"", 0),
            ("\"007\"", 7),
            ("1e3", 1000),
        ] {
            let read = int(raw).unwrap();
            assert!(
                !read.is_less(PythonNumber::Int(number)) && !PythonNumber::Int(number).is_less(read),
                "{raw}: {read:?}"
            );
        }
        for raw in
            ["null", "{}", "\"abc\"", "\"\"", "\"1.5\"", "\"1e3\"", "\"0x10\"", "\"nan\"", "\"--1\"", "1e999"]
        {
            assert_eq!(int(raw), None, "{raw}");
        }
        for raw in ["\"१२\"", &format!("\"{}\"", "9".repeat(60)), &"9".repeat(60)] {
            assert!(int(raw).is_some(), "{raw}");
        }
    }

    #[test]
    fn numbers_are_read_as_float_reads_them() {
        for raw in [
            "1",
            "1.5",
            "\"1.5\"",
            "\" .5 \"",
            "\"1e3\"",
            "\"inf\"",
            "\"NaN\"",
            "\"1_0.5\"",
            "false",
            "\"٣\"",
        ] {
            assert!(float(raw).is_some(), "{raw}");
        }
        for raw in ["null", "{}", "\"abc\"", "\"\"", "\"1,5\"", "\"0x1\""] {
            assert_eq!(float(raw), None, "{raw}");
        }
        let nothing = float("\"nan\"").unwrap();
        assert!(!nothing.is_less(PythonNumber::Int(0)) && !PythonNumber::Int(0).is_less(nothing));
    }

    #[test]
    fn places_count_from_either_end() {
        let at = |raw| index(raw, 3);
        assert_eq!(["0", "2", "-1", "-3", "true", "false"].map(at), [0, 2, 2, 0, 1, 0].map(Some));
        for raw in ["3", "-4", "0.0", "\"0\"", "null", "99999999999999999999", "-9223372036854775808"] {
            assert_eq!(at(raw), None, "{raw}");
        }
    }

    #[test]
    fn equal_is_what_python_holds_equal() {
        for (one, other) in [
            (json!(1), json!(1.0)),
            (json!(1), json!(true)),
            (json!([1, {"a": 2}]), json!([1.0, {"a": 2.0}])),
            (json!("a"), json!("a")),
            (json!(null), json!(null)),
        ] {
            assert!(are_equal(&one, &other), "{one} {other}");
        }
        for (one, other) in [
            (json!(1), json!("1")),
            (json!(0), json!(null)),
            (json!("a"), json!("A")),
            (json!([1]), json!([1, 1])),
            (json!({"a": 1}), json!({"b": 1})),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)),
        ] {
            assert!(!are_equal(&one, &other), "{one} {other}");
        }
    }
}
