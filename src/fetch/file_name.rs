//! The file name of a download.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::domain::media::safe_name;

/// The name in the `Content-Disposition` header, or else the last part of the URL's path; safe in a path.
pub(super) fn of(disposition: Option<&str>, url: &Url) -> String {
    let named = disposition.and_then(of_disposition).filter(|name| !name.is_empty());
    let last =
        || url.path_segments().and_then(|mut parts| parts.next_back()).map(decoded).unwrap_or_default();
    safe_name(&named.unwrap_or_else(last))
}

/// RFC 6266: `filename*`, which allows any script, takes precedence over `filename`.
fn of_disposition(header: &str) -> Option<String> {
    let mut plain = None;
    for (name, value) in parameters(header) {
        if name.eq_ignore_ascii_case("filename*") {
            // RFC 8187: charset'language'percent-encoded.
            let encoded = value.splitn(3, '\'').nth(2)?;
            return Some(decoded(encoded));
        }
        if name.eq_ignore_ascii_case("filename") {
            plain = Some(value);
        }
    }
    plain
}

/// The parameters after the disposition's type. A semicolon in a quoted value ends nothing.
fn parameters(header: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, left) = after.strip_prefix('"').map_or_else(|| token(after), quoted);
        rest = left;
        Some((name.trim_matches([' ', '\t', ';']), value))
    })
}

fn token(text: &str) -> (String, &str) {
    let (value, rest) = text.split_once(';').unwrap_or((text, ""));
    (value.trim().to_owned(), rest)
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(header: &str) -> String {
        of(Some(header), &Url::parse("https://h.example/from-url.png").unwrap())
    }

    #[test]
    fn the_header_comes_before_the_path() {
        assert_eq!(named("attachment; filename=\"a;b \\\"c\\\".png\"; size=3"), "a_b_c_.png");
        assert_eq!(named("attachment;FileName=cat.jpg"), "cat.jpg");
        assert_eq!(named("attachment; filename=\"x.png\"; filename*=UTF-8''na%C3%AFve.png"), "na_ve.png");
        assert_eq!(named("inline; filename=\"../../etc/passwd\""), "passwd");
        for header in
            ["inline", "inline; filename=", "attachment; filename", "attachment; =; ;", "\"", "a;b=\"\\"]
        {
            assert_eq!(named(header), "from-url.png", "{header}");
        }
    }

    #[test]
    fn the_path_gives_its_last_part() {
        let of_url = |url| of(None, &Url::parse(url).unwrap());
        assert_eq!(of_url("https://h.example/a/photo%20one.png?x=/y.jpg"), "photo_one.png");
        assert_eq!(of_url("https://h.example/%2e%2e%2fetc%2fpasswd"), "passwd");
        assert_eq!(of_url("https://h.example/"), "file");
    }
}
