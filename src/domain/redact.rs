//! Removes the paths and tracebacks of ComfyUI's machine from what callers see of a failure.

use serde_json::Value;

use super::failure::Failure;

impl Failure {
    /// The failure as callers see it: without traceback, and with only the last part of every absolute path.
    #[must_use]
    pub fn redacted(self) -> Self {
        Self {
            message: cut_paths(&self.message),
            traceback: None,
            node_errors: self.node_errors.map(|errors| cut_json(&errors)),
            ..self
        }
    }
}

/// The text with only the last part of every absolute path, of Unix (`/a/b`) and of Windows (`C:\a\b`, `\\host\a`).
/// URLs and relative paths stay.
#[must_use]
pub fn cut_paths(text: &str) -> String {
    let mut cut = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(now) = rest.chars().next() {
        let before = cut.chars().next_back();
        let path = if may_begin_path(before) { path_at(rest, before) } else { 0 };
        if path > 0 {
            let (path, after) = rest.split_at(path);
            let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
            cut.push_str(name);
            rest = after;
        } else {
            cut.push(now);
            rest = &rest[now.len_utf8()..];
        }
    }
    cut
}

/// Whether a path may begin after this character: not inside a word, a relative path or a URL.
fn may_begin_path(before: Option<char>) -> bool {
    before.is_none_or(|before| !before.is_alphanumeric() && !"/\\._-~)]".contains(before))
}

/// The length of the absolute path at the beginning of `text`, which follows the character `before`; 0 if
/// there is none. A quoted path ends at the closing quote, because it may contain spaces. A single `/name` is
/// not taken for a path.
fn path_at(text: &str, before: Option<char>) -> usize {
    let bytes = text.as_bytes();
    let has_drive = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    let (root, least_parts) = if has_drive { (2, 1) } else { (0, 2) };
    let slashed = &text[root..];
    // `//` without a drive is the beginning of a URL's host.
    let is_absolute = if has_drive {
        slashed.starts_with(['/', '\\'])
    } else {
        slashed.starts_with("\\\\") || slashed.starts_with('/') && !slashed.starts_with("//")
    };
    if !is_absolute {
        return 0;
    }
    let quote = before.filter(|before| "'\"`".contains(*before));
    let ends = |c: char| match quote {
        Some(quote) => c == quote || c == '\n',
        None => c.is_whitespace() || "'\"`,;:()[]{}<>|".contains(c),
    };
    let path = slashed.split(ends).next().unwrap_or_default().trim_end_matches(['.', '/', '\\']);
    let parts = path.split(['/', '\\']).filter(|part| !part.is_empty()).count();
    if parts >= least_parts { root + path.len() } else { 0 }
}

/// JSON with every text shortened, and without lists of traceback lines.
fn cut_json(json: &str) -> Box<str> {
    let Ok(mut value) = serde_json::from_str(json) else { return "{}".into() };
    cut_value(&mut value);
    value.to_string().into()
}

fn cut_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = cut_paths(text),
        Value::Array(items) => items.iter_mut().for_each(cut_value),
        Value::Object(fields) => {
            for hidden in ["traceback", "current_inputs"] {
                fields.shift_remove(hidden);
            }
            fields.values_mut().for_each(cut_value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;
    use proptest::prelude::*;

    #[test]
    fn of_an_absolute_path_only_the_last_part_stays() {
        for (told, cut) in [
            ("No such file: '/home/ann/Comfy UI/models/a b.safetensors'", "No such file: 'a b.safetensors'"),
            ("cannot open /opt/comfy/input/x.png.", "cannot open x.png."),
            ("File \"/opt/comfy/nodes.py\", line 3", "File \"nodes.py\", line 3"),
            ("[Errno 2] /a/b/: gone", "[Errno 2] b/: gone"),
            ("(/a/b/c)", "(c)"),
            (r"C:\Users\ann\x.png is not there", "x.png is not there"),
            (r"'D:\my models\a.ckpt'", "'a.ckpt'"),
            ("at C:/Users/ann/x.png", "at x.png"),
            (r"\\nas\share\x.png", "x.png"),
            ("path=/mnt/x/y,z", "path=y,z"),
            ("file:/mnt/x/y", "file:y"),
        ] {
            assert_eq!(cut_paths(told), cut, "{told}");
        }
    }

    #[test]
    fn what_is_no_absolute_path_stays() {
        for text in [
            "https://example.org/a/b.png is refused",
            "http://10.0.0.1:8188/view?x=/a",
            "models/checkpoints/a.ckpt not in list",
            "ask GET /backends",
            "1/2 and/or 3 // 4",
            "Value 8 bigger than max: cfg",
            "a\\nb",
            "Größe 3×4 / 2",
            "",
        ] {
            assert_eq!(cut_paths(text), text);
        }
    }

    #[test]
    fn a_failure_for_callers_has_no_traceback_and_no_paths_in_its_node_errors() {
        let failure = Failure {
            traceback: Some("File \"/opt/comfy/nodes.py\"".to_owned()),
            exception_type: Some("ValueError".to_owned()),
            node_errors: Some(
                r#"{"4":{"errors":[{"details":"C:\\comfy\\x.png","extra_info":{"traceback":["/a/b"],"n":1.50}}]}}"#
                    .into(),
            ),
            ..Failure::new(FailureCode::NodeError, "LoadImage failed: /opt/comfy/input/x.png")
        };
        let told = failure.redacted();
        assert_eq!((told.message.as_str(), told.traceback), ("LoadImage failed: x.png", None));
        assert_eq!(told.exception_type.as_deref(), Some("ValueError"));
        let errors = r#"{"4":{"errors":[{"details":"x.png","extra_info":{"n":1.50}}]}}"#;
        assert_eq!(told.node_errors.as_deref(), Some(errors));
    }

    proptest! {
        #[test]
        fn no_text_stops_it(text in "(?s).{0,200}", odd in "[/\\\\:'é C.]{0,40}") {
            prop_assert!(cut_paths(&text).len() <= text.len());
            prop_assert!(cut_paths(&odd).len() <= odd.len());
        }

        #[test]
        fn the_folders_of_a_quoted_path_never_show(folder in "[a-z][a-z ]{5,9}", name in "[a-z]{1,5}") {
            let cut = cut_paths(&format!("cannot read '/secret/{folder}/{name}' at all"));
            prop_assert_eq!(cut, format!("cannot read '{name}' at all"));
        }
    }
}
