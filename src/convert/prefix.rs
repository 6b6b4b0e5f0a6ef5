//! Fills in the prefix of a file's name, as the editor does when it submits a graph.
//!
//! Source: observed from the official frontend 1.45.15 / 1.58.1.

use std::fmt::Write as _;

use jiff::civil::DateTime;

/// The longest filled-in prefix in bytes. The rest stays as it is, because no file name is this long.
const LONGEST_PREFIX: usize = 1 << 16;

/// Fills in `%Node.field%` with `look_up` and `%date:yyyy-MM-dd%` with `now`. Unknown names stay, because the
/// backend fills in `%width%`, `%year%` and others itself.
pub(super) fn fill_prefix(
    prefix: &str,
    now: DateTime,
    look_up: &mut dyn FnMut(&str, &str) -> Option<String>,
) -> String {
    let mut filled = String::with_capacity(prefix.len());
    let mut rest = prefix;
    while let Some((before, after)) = rest.split_once('%').filter(|_| filled.len() < LONGEST_PREFIX) {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once('%').filter(|(name, _)| !name.is_empty()) else {
            filled.push('%');
            rest = after;
            continue;
        };
        match fill(name, now, look_up) {
            Some(value) => filled.push_str(&value),
            None => {
                let _always_ok = write!(filled, "%{name}%");
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

fn fill(name: &str, now: DateTime, look_up: &mut dyn FnMut(&str, &str) -> Option<String>) -> Option<String> {
    let mut parts = name.split('.');
    if let (Some(node), Some(field), None) = (parts.next(), parts.next(), parts.next()) {
        let value = look_up(node, field)?;
        let unsafe_in_a_name = |char: char| "/?<>\\:*|\"".contains(char) || char.is_ascii_control();
        return Some(value.replace(unsafe_in_a_name, "_"));
    }
    let format = name.split('.').next()?.strip_prefix("date:")?;
    Some(date(format, now))
}

/// `yyyy`, `yy`, and one or two of `M`, `d`, `h` (of 24), `m`, `s`; all else stays.
fn date(format: &str, now: DateTime) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some(letter) = rest.chars().next() {
        let run = |most: usize| rest.chars().take_while(|next| *next == letter).take(most).count();
        let number = match letter {
            'd' => Some(now.day()),
            'M' => Some(now.month()),
            'h' => Some(now.hour()),
            'm' => Some(now.minute()),
            's' => Some(now.second()),
            _ => None,
        };
        let (taken, piece) = match (letter, number) {
            ('y', _) => match run(4) {
                4 => (4, now.year().to_string()),
                2 => (2, format!("{:02}", now.year() % 100)),
                other => (other, "y".repeat(other)),
            },
            (_, Some(number)) => {
                let width = run(2);
                (width, format!("{number:0width$}"))
            }
            _ => (letter.len_utf8(), letter.to_string()),
        };
        text.push_str(&piece);
        rest = &rest[taken..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> DateTime {
        jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0)
    }

    #[test]
    fn known_fields_are_filled_in_and_unknown_ones_stay() {
        let filled = |prefix: &str| {
            fill_prefix(prefix, now(), &mut |node, field| {
                (node == "KSampler" && field == "seed").then(|| "1/2:\"3\"\n".to_owned())
            })
        };
        assert_eq!(filled("a_%KSampler.seed%_b"), "a_1_2__3___b");
        for same in
            ["100%", "%width%", "%year%-%month%", "%nothing.here%", "%KSampler.nope%", "%a.b.c%", "%date%"]
        {
            assert_eq!(filled(same), same);
        }
        assert_eq!(filled("%%KSampler.seed%"), "%1_2__3__");
    }

    #[test]
    fn dates_are_filled_in_the_editors_way() {
        let filled = |prefix: &str| fill_prefix(prefix, now(), &mut |_, _| None);
        assert_eq!(filled("%date:yyyy-MM-dd%/%date:hhmmss%"), "2026-03-09/070504");
        assert_eq!(filled("%date:yy M d h m s yyy y%"), "26 3 9 7 5 4 yyy y");
        // A dot makes it a field of a node named `date:yyyy`, in the editor as well.
        assert_eq!(filled("%date:yyyy.MM%"), "%date:yyyy.MM%");
        assert_eq!(filled("%date:é%"), "é");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in r"[%.:a-zA-Zé\n]{0,60}") {
            let filled = fill_prefix(&text, now(), &mut |_, _| None);
            if !text.contains("date:") {
                prop_assert_eq!(filled, text);
            }
        }
    }

    #[test]
    fn a_prefix_stops_growing() {
        let filled = fill_prefix(&"%a.b%".repeat(100_000), now(), &mut |_, _| Some("x".repeat(60_000)));
        assert!(filled.len() < 700_000, "{}", filled.len());
    }
}
