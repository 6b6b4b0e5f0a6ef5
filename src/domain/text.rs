//! Shortens callers' texts before they appear in messages, because a name may be megabytes long.

use std::borrow::Cow;

/// The longest name that a message shows, in characters.
pub const SHOWN: usize = 100;

/// `text` if it has no more than [`SHOWN`] characters, else its beginning with an ellipsis.
#[must_use]
pub fn brief(text: &str) -> Cow<'_, str> {
    cut(text, SHOWN)
}

/// `text` if it has no more than `most` characters, else its beginning with an ellipsis.
#[must_use]
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The end of a shortened list, "and 3 more"; `None` if nothing was left out.
#[must_use]
pub fn and_more(more: usize) -> Option<String> {
    (more > 0).then(|| format!("and {more} more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_long_is_cut_and_never_within_a_character() {
        assert_eq!(cut("ünder", 5), "ünder");
        assert_eq!(cut("ünderneath", 1), "ü…");
        assert_eq!(brief(&"x".repeat(1_000_000)).chars().count(), SHOWN + 1);
    }
}
