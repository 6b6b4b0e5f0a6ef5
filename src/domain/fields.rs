//! The fields of a JSON object from outside: any may be missing or of another type.
//!
//! Values stay borrowed text until they are read, so that unread fields are skipped instead of parsed.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The entries of an object in their order. A getter returns `None` for a value that is missing, `null` or of
/// another type. Of a repeated key, the last value counts.
#[derive(Debug, Default)]
pub struct JsonFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> JsonFields<'a> {
    /// The fields of an object; `None` if the text is not an object.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of `key`, unless it is `null`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.0.iter().rev().find(|(name, _)| name == key)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// The text of the value of `key`, unless it is `null`.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&'a str> {
        self.value(key).map(RawValue::get)
    }

    /// The value of `key`, parsed as a `T`.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.raw(key)?).ok()
    }

    /// The string value of `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        text(self.raw(key)?)
    }

    /// The fields of the object that is the value of `key`.
    #[must_use]
    pub fn fields(&self, key: &str) -> Option<Self> {
        Self::parse(self.raw(key)?)
    }

    /// The raw elements of the list at `key`; empty if it is not a list.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<&'a str> {
        self.raw(key).map(list).unwrap_or_default()
    }

    /// Whether the value of `key` is truthy: anything but `false`, `0`, `""` and a missing value.
    #[must_use]
    pub fn truth(&self, key: &str) -> bool {
        self.raw(key).is_some_and(|raw| !matches!(raw, "false" | "0" | "\"\""))
    }

    /// The entries.
    #[must_use]
    pub fn into_entries(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.0
    }

    /// All entries in their order, repeated keys included.
    pub fn entries(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a str)> {
        self.0.iter().map(|(key, raw)| (key, raw.get()))
    }
}

/// The raw elements of a list; empty if it is not a list.
#[must_use]
pub fn list(raw: &str) -> Vec<&str> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
    elements.into_iter().map(RawValue::get).collect()
}

/// The content of a JSON string, borrowed if it has no escapes.
#[must_use]
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw).ok().map(|MemberName(text)| text)
}

#[derive(Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = JsonFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(16);
        while let Some((MemberName(key), value)) = map.next_entry()? {
            entries.push((key, value));
        }
        Ok(JsonFields(entries))
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
