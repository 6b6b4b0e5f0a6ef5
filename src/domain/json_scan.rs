//! One pass over a JSON text before anything is built from it: how deep and how large it is, and whether its
//! numbers can be meant. It does not check the syntax otherwise.

use super::text::cut;

/// The longest part of a number that a message shows, in characters.
const SHOWN: usize = 20;
/// Numbers of fewer characters without an exponent are within the range of a double.
const SURELY_FINITE: usize = 300;

/// What a JSON text may have.
#[derive(Debug, Clone, Copy)]
pub struct JsonLimits {
    /// The most levels of arrays and objects.
    pub depth: usize,
    /// The most values: members of objects and items of arrays.
    pub values: usize,
}

/// What is too much in a JSON text; goes on after its name, as in "the body".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonExcess {
    /// More levels than allowed.
    #[error("is nested deeper than {0} levels")]
    Depth(usize),
    /// More values than allowed.
    #[error("has more than {0} values (max_values)")]
    Values(usize),
    /// A number beyond the range of a double: ComfyUI takes it for infinity or fails on it.
    #[error(
        "has the number {number} at byte {at}, which is beyond the range of JSON numbers (about 1.8e308)"
    )]
    Number {
        /// The beginning of the number.
        number: String,
        /// Where it begins.
        at: usize,
    },
}

/// Looks through a text.
///
/// # Errors
/// The first thing that is too much.
pub fn scan(text: &str, limits: JsonLimits) -> Result<(), JsonExcess> {
    let (mut depth, mut values) = (0usize, 0usize);
    for (at, token) in tokens(text) {
        match token {
            JsonToken::Open => {
                depth += 1;
                values += 1;
                if depth > limits.depth {
                    return Err(JsonExcess::Depth(limits.depth));
                }
            }
            JsonToken::Close => depth = depth.saturating_sub(1),
            JsonToken::Comma => values += 1,
            JsonToken::Number(number) if is_infinite(number) => {
                return Err(JsonExcess::Number { number: cut(number, SHOWN).into_owned(), at });
            }
            JsonToken::Number(_) => {}
        }
        if values > limits.values {
            return Err(JsonExcess::Values(limits.values));
        }
    }
    Ok(())
}

/// Whether JSON is nested deeper than `most` levels: `RawValue` would accept any depth.
#[must_use]
pub fn is_deeper_than(text: &str, most: usize) -> bool {
    let mut depth = 0usize;
    tokens(text).any(|(_, token)| {
        match token {
            JsonToken::Open => depth += 1,
            JsonToken::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > most
    })
}

fn is_infinite(number: &str) -> bool {
    let surely_finite = number.len() < SURELY_FINITE && !number.contains(['e', 'E']);
    !surely_finite && number.parse::<f64>().is_ok_and(f64::is_infinite)
}

enum JsonToken<'a> {
    Open,
    Close,
    Comma,
    Number(&'a str),
}

/// What stands outside of strings, with its place.
fn tokens(text: &str) -> impl Iterator<Item = (usize, JsonToken<'_>)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(&byte) = bytes.get(at) {
            let start = at;
            at += 1;
            let token = match byte {
                b'"' => {
                    at = end_of_string(bytes, at);
                    continue;
                }
                b'[' | b'{' => JsonToken::Open,
                b']' | b'}' => JsonToken::Close,
                b',' => JsonToken::Comma,
                b'-' | b'0'..=b'9' => {
                    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                    at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                    JsonToken::Number(&text[start..at])
                }
                _ => continue,
            };
            return Some((start, token));
        }
        None
    })
}

/// The place after the quote that ends a string whose content begins at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => at += 1,
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: JsonLimits = JsonLimits { depth: 3, values: 10 };

    #[test]
    fn depth_and_values_are_counted_outside_of_strings() {
        assert_eq!(scan(r#"{"a":[1,2,{"b":"[[[[,,,,,,,,,,,\\"}]}"#, LIMITS), Ok(()));
        assert_eq!(scan("[[[[", LIMITS), Err(JsonExcess::Depth(3)));
        assert_eq!(scan(&format!("[{}1]", "1,".repeat(10)), LIMITS), Err(JsonExcess::Values(10)));
        assert!(is_deeper_than("[[[[]]]]", 3) && !is_deeper_than("[[],[],[],[]]", 2));
        assert!(!is_deeper_than(r#""[[[[\"[[[["#, 1), "a string that does not end");
    }

    #[test]
    fn numbers_beyond_a_double_are_found_and_others_are_not() {
        for number in ["1e999", "-1E+400", &"9".repeat(400), "1.5e309", "0.1e9999999999"] {
            let found = scan(&format!(r#"{{"a":{number}}}"#), LIMITS);
            assert!(matches!(found, Err(JsonExcess::Number { at: 5, .. })), "{number}: {found:?}");
            assert!(found.unwrap_err().to_string().len() < 140);
        }
        for number in
            ["1.7e308", "1e-999", "18446744073709551615", "0", "-0.0", "\"1e999\"", &"9".repeat(300)]
        {
            assert_eq!(scan(&format!("[{number}]"), LIMITS), Ok(()), "{number}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            let _result: Result<(), JsonExcess> = scan(&text, LIMITS);
        }

        #[test]
        fn the_depth_is_that_of_the_value(depth in 1usize..40, most in 1usize..40) {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            prop_assert_eq!(is_deeper_than(&text, most), depth > most);
        }
    }
}
