//! Turns the JSON that Python writes into JSON that strict parsers accept.

use std::borrow::Cow;
use std::ops::Range;

/// Replaces the tokens that Python's `json` writes although they are not JSON. `NaN`, `Infinity` and `-Infinity`
/// become `null`, and a lone half of a surrogate pair (`"\ud83d"`) becomes `\ufffd`.
///
/// Nothing else changes, and text without such tokens is not copied. Text that is not JSON does not become JSON.
pub(super) fn sanitize(text: &str) -> Cow<'_, str> {
    let mut scanner = NanScanner { bytes: text.as_bytes(), at: 0, in_string: false };
    let Some((first, replacement)) = scanner.next_fault() else { return Cow::Borrowed(text) };
    let mut clean = String::with_capacity(text.len());
    clean.push_str(&text[..first.start]);
    clean.push_str(replacement);
    let mut copied = first.end;
    while let Some((range, replacement)) = scanner.next_fault() {
        clean.push_str(&text[copied..range.start]);
        clean.push_str(replacement);
        copied = range.end;
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// A body or message as clean JSON text. Bytes that are not UTF-8 become replacement characters.
pub(super) fn clean_text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match sanitize(&text) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) => text,
    }
}

struct NanScanner<'a> {
    bytes: &'a [u8],
    at: usize,
    in_string: bool,
}

impl NanScanner<'_> {
    /// The next range to replace, with its replacement. Ranges begin and end at ASCII bytes.
    fn next_fault(&mut self) -> Option<(Range<usize>, &'static str)> {
        while self.at < self.bytes.len() {
            let fault = if self.in_string { self.step_inside() } else { self.step_outside() };
            if fault.is_some() {
                return fault;
            }
        }
        None
    }

    fn step_outside(&mut self) -> Option<(Range<usize>, &'static str)> {
        let rest = self.bytes.get(self.at..)?;
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'N' | b'I' | b'-')) else {
            self.at = self.bytes.len();
            return None;
        };
        self.at += found;
        let token = &rest[found..];
        let length = [&b"NaN"[..], b"Infinity", b"-Infinity"]
            .into_iter()
            .find(|word| token.starts_with(word))
            .map(<[u8]>::len);
        let start = self.at;
        self.in_string = token[0] == b'"';
        self.at += length.unwrap_or(1);
        length.map(|length| (start..start + length, "null"))
    }

    fn step_inside(&mut self) -> Option<(Range<usize>, &'static str)> {
        let rest = self.bytes.get(self.at..)?;
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            self.at = self.bytes.len();
            return None;
        };
        let start = self.at + found;
        if rest[found] == b'"' {
            self.in_string = false;
            self.at = start + 1;
            return None;
        }
        match escaped_unit(&self.bytes[start..]) {
            Some(0xD800..=0xDBFF) => {
                let pair = self.bytes.get(start + 6..).and_then(escaped_unit);
                if matches!(pair, Some(0xDC00..=0xDFFF)) {
                    self.at = start + 12;
                    return None;
                }
            }
            Some(0xDC00..=0xDFFF) => {}
            _ => {
                self.at = start + 2;
                return None;
            }
        }
        self.at = start + 6;
        Some((start..start + 6, "\\ufffd"))
    }
}

/// The UTF-16 unit of the `\uXXXX` escape at the start of `bytes`.
fn escaped_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
#[path = "sanitize_tests.rs"]
mod tests;
