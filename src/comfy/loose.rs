//! Reads JSON objects whose fields may be missing or have the wrong type.
//!
//! Values stay borrowed text until a getter reads them, so a graph of megabytes is skipped, not parsed.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::fields::JsonFields;
use crate::domain::time::UnixMillis;

/// The entries of a JSON object, in their order. A getter returns `None`, or no elements, if the field is absent,
/// `null` or of another type.
#[derive(Deserialize)]
pub(super) struct LooseObject<'a>(#[serde(borrow)] JsonFields<'a>);

impl<'a> LooseObject<'a> {
    /// Reads JSON text without the tokens that `sanitize` replaces.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of `key` unless it is `null`. The last of several equal keys wins.
    pub(super) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.0.value(key)
    }

    pub(super) fn object(&self, key: &str) -> Option<LooseObject<'a>> {
        LooseObject::parse(self.raw(key)?.get()).ok()
    }

    /// A string, or the text of a number, because ComfyUI writes node ids as both.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        text(self.raw(key)?)
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        number(self.raw(key)?)
    }

    /// A whole number of 0 or more.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        let number = self.raw(key)?.get();
        number.parse().ok()
    }

    /// A moment in milliseconds since the epoch. A fraction is cut off.
    pub(super) fn moment(&self, key: &str) -> Option<UnixMillis> {
        let text = self.raw(key)?.get();
        let whole = text.split_once('.').map_or(text, |(whole, _fraction)| whole);
        whole.parse().ok().map(UnixMillis::from_millis)
    }

    pub(super) fn list(&self, key: &str) -> Vec<&'a RawValue> {
        self.raw(key).map(list).unwrap_or_default()
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).into_iter().filter_map(text).collect()
    }

    pub(super) fn entries(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.0.into_entries()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.entries().next().is_none()
    }
}

/// The elements of a list; none if the value is not a list.
pub(super) fn list(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

/// The value of a string, or the text of a number.
pub(super) fn text(value: &RawValue) -> Option<String> {
    let raw = value.get();
    if raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Some(raw.to_owned());
    }
    serde_json::from_str(raw).ok()
}

/// The value of a number.
pub(super) fn number(value: &RawValue) -> Option<f64> {
    serde_json::from_str(value.get()).ok()
}

/// `text` as an owned JSON value; `None` if it is not JSON.
pub(super) fn owned(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_wrong_type_are_absent_and_the_rest_stays() {
        let object = LooseObject::parse(
            r#"{"id":7,"name":"a\u0062","gone":null,"list":[1,"x",null],"n":-2.5,"t":1795330265341.9,"o":{"k":1}}"#,
        )
        .unwrap();
        assert_eq!(object.text("id").as_deref(), Some("7"));
        assert_eq!(object.text("name").as_deref(), Some("ab"));
        assert_eq!(object.text("list"), None);
        assert!(object.raw("gone").is_none() && object.raw("missing").is_none());
        assert_eq!(object.texts("list"), ["1", "x"]);
        assert!(object.texts("name").is_empty());
        assert_eq!(object.number("n"), Some(-2.5));
        assert_eq!(object.number("name"), None);
        assert_eq!((object.count("id"), object.count("n")), (Some(7), None));
        assert_eq!(object.moment("t"), Some(UnixMillis::from_millis(1_795_330_265_341)));
        assert_eq!(object.object("o").and_then(|inner| inner.count("k")), Some(1));
        assert!(object.object("list").is_none());
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_and_the_order_is_kept() {
        let object = LooseObject::parse(r#"{"b":1,"a":2,"b":3}"#).unwrap();
        assert_eq!(object.count("b"), Some(3));
        let keys: Vec<_> = object.entries().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["b", "a", "b"]);
    }

    #[test]
    fn anything_but_an_object_is_an_error() {
        for text in ["", "[]", "null", "\"x\"", "{", "{]", "<html>"] {
            assert!(LooseObject::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_very_deep_value_is_skipped() {
        let deep = format!("{{\"graph\":{}{},\"id\":\"x\"}}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(LooseObject::parse(&deep).unwrap().text("id").as_deref(), Some("x"));
    }
}
