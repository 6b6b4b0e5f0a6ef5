//! Converts an input's value to the type of its class, with Python's rules and Python's messages.

use serde_json::{Number, Value, json};

use super::classes::ClassInputKind;
use super::pyjson;

/// Why a value is refused.
#[derive(Debug, PartialEq)]
pub(super) enum ValueRefusal {
    /// The conversion failed with this message of Python's.
    WrongType(String),
    TooSmall(String),
    TooBig(String),
    NotInList,
}

/// The value as the node receives it.
///
/// # Errors
/// The value cannot be converted, or lies outside the limits.
pub(super) fn coerce(kind: ClassInputKind, value: &Value) -> Result<Value, ValueRefusal> {
    match kind {
        ClassInputKind::Int { min, max, .. } => {
            let number = to_int(value).map_err(ValueRefusal::WrongType)?;
            limits(&number, &min, &max, ToString::to_string)?;
            Ok(Value::Number(number_of(&number.to_string())))
        }
        ClassInputKind::Float { min, max, .. } => {
            let number = to_float(value).map_err(ValueRefusal::WrongType)?;
            limits(&number, &min, &max, |number| float_text(*number))?;
            let text = float_text(number);
            // A float whose text does not change keeps the caller's digits.
            if value.as_f64() == Some(number) && value.to_string().contains(['.', 'e', 'E']) {
                return Ok(value.clone());
            }
            Ok(Value::Number(number_of(&text)))
        }
        ClassInputKind::Text { .. } => Ok(Value::String(pyjson::python(value))),
        ClassInputKind::Switch(_) => Ok(json!(is_true(value))),
        ClassInputKind::Choice(list) => {
            let found = value.as_str().is_some_and(|text| list.contains(&text));
            found.then(|| value.clone()).ok_or(ValueRefusal::NotInList)
        }
        ClassInputKind::Link(_) | ClassInputKind::Checkpoint | ClassInputKind::Picture => Ok(value.clone()),
    }
}

fn limits<T: PartialOrd>(
    number: &T,
    min: &T,
    max: &T,
    show: impl Fn(&T) -> String,
) -> Result<(), ValueRefusal> {
    if number < min {
        return Err(ValueRefusal::TooSmall(format!(
            "Value {} smaller than min of {}",
            show(number),
            show(min)
        )));
    }
    if number > max {
        return Err(ValueRefusal::TooBig(format!("Value {} bigger than max of {}", show(number), show(max))));
    }
    Ok(())
}

/// A JSON number from digits this module wrote itself.
fn number_of(digits: &str) -> Number {
    digits.parse().unwrap_or_else(|_| Number::from(0))
}

/// A float as Python prints it: with a point even when it is whole.
fn float_text(number: f64) -> String {
    format!("{number:?}")
}

fn to_int(value: &Value) -> Result<i128, String> {
    match value {
        Value::Bool(flag) => Ok(i128::from(*flag)),
        Value::Number(number) => {
            let text = number.to_string();
            text.parse().or_else(|_| {
                let float = number.as_f64().unwrap_or(f64::NAN);
                #[expect(clippy::cast_possible_truncation, reason = "Python's int() cuts as well")]
                Ok(float as i128)
            })
        }
        Value::String(text) => text
            .trim()
            .replace('_', "")
            .parse()
            .map_err(|_| format!("invalid literal for int() with base 10: {}", pyjson::repr(value))),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(format!(
            "int() argument must be a string, a bytes-like object or a real number, not '{}'",
            type_name(value)
        )),
    }
}

fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        Value::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("could not convert string to float: {}", pyjson::repr(value))),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("float() argument must be a string or a real number, not '{}'", type_name(value)))
        }
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Python's name for the type of a JSON value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.to_string().contains(['.', 'e', 'E']) => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: ClassInputKind = ClassInputKind::Int { default: 0, min: 0, max: u64::MAX as i128 };
    const FLOAT: ClassInputKind = ClassInputKind::Float { default: 0.0, min: 0.0, max: 100.0 };

    fn coerced(kind: ClassInputKind, text: &str) -> Result<String, ValueRefusal> {
        coerce(kind, &serde_json::from_str(text).unwrap()).map(|value| value.to_string())
    }

    #[test]
    fn values_become_what_python_would_make_of_them() {
        assert_eq!(coerced(INT, "18446744073709551615").unwrap(), "18446744073709551615");
        assert_eq!(coerced(INT, r#"" 16 ""#).unwrap(), "16");
        assert_eq!(coerced(INT, "16.7").unwrap(), "16");
        assert_eq!(coerced(INT, "true").unwrap(), "1");
        assert_eq!(coerced(FLOAT, "3").unwrap(), "3.0");
        assert_eq!(coerced(FLOAT, "7.50").unwrap(), "7.50");
        assert_eq!(
            coerced(ClassInputKind::Text { default: "", multiline: false }, "null").unwrap(),
            r#""None""#
        );
        assert_eq!(coerced(ClassInputKind::Switch(true), "[]").unwrap(), "false");
    }

    #[test]
    fn refusals_read_as_pythons() {
        let wrong = |text: &str| ValueRefusal::WrongType(text.to_owned());
        assert_eq!(coerced(INT, r#""abc""#), Err(wrong("invalid literal for int() with base 10: 'abc'")));
        assert_eq!(
            coerced(INT, "null"),
            Err(wrong(
                "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"
            ))
        );
        assert_eq!(
            coerced(INT, "-1"),
            Err(ValueRefusal::TooSmall("Value -1 smaller than min of 0".to_owned()))
        );
        assert_eq!(
            coerced(FLOAT, "101"),
            Err(ValueRefusal::TooBig("Value 101.0 bigger than max of 100.0".to_owned()))
        );
        assert_eq!(coerced(ClassInputKind::Choice(&["a"]), r#""b""#), Err(ValueRefusal::NotInList));
    }
}
