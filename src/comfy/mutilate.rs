//! Damaged copies of captured answers, for tests: one part missing or replaced, or the end cut off.

use serde_json::Value;

/// Copies of `json` in which one value is left out or replaced by an odd one; one copy per value and replacement.
pub(super) fn variants(json: &str) -> Vec<String> {
    let whole: Value = serde_json::from_str(json).unwrap();
    let mut paths = Vec::new();
    collect(&whole, String::new(), &mut paths);
    let odd =
        [None, Some("null"), Some("[]"), Some("{}"), Some("-1.5e300"), Some("\"\\u0000\""), Some("true")];
    paths.iter().flat_map(|path| odd.iter().map(|odd| replaced(&whole, path, *odd))).collect()
}

fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| collect(value, format!("{path}/{key}"), paths));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| collect(value, format!("{path}/{at}"), paths));
        }
        _ => {}
    }
    paths.push(path);
}

fn replaced(whole: &Value, path: &str, by: Option<&str>) -> String {
    let mut changed = whole.clone();
    match (by, path.rsplit_once('/')) {
        (Some(by), _) => *changed.pointer_mut(path).unwrap() = serde_json::from_str(by).unwrap(),
        (None, Some((parent, part))) => match changed.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.shift_remove(part)),
            Value::Array(list) => drop(list.remove(part.parse().unwrap())),
            _ => unreachable!("only objects and lists have parts"),
        },
        (None, None) => return String::new(),
    }
    changed.to_string()
}

/// Every proper prefix of `text`.
pub(super) fn beginnings(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[..at])
}
