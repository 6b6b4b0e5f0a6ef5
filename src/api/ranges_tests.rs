//! Tests of byte ranges.

use super::*;

fn requested_part(range: &str, if_range: Option<&str>) -> FilePart {
    let mut headers = HeaderMap::new();
    insert(&mut headers, RANGE, range);
    if let Some(tag) = if_range {
        insert(&mut headers, IF_RANGE, tag);
    }
    part(&headers, "\"a\"", 100)
}

#[test]
fn ranges_as_the_standard_has_them() {
    assert_eq!(part(&HeaderMap::new(), "\"a\"", 100), FilePart::Whole);
    assert_eq!(requested_part("bytes=0-9", None), FilePart::Range(0..10));
    assert_eq!(requested_part("bytes=90-", None), FilePart::Range(90..100));
    assert_eq!(requested_part("bytes=-10", None), FilePart::Range(90..100));
    assert_eq!(requested_part("bytes=90-200", None), FilePart::Range(90..100));
    assert_eq!(requested_part("bytes=0-1,5-6", None), FilePart::Whole);
    assert_eq!(requested_part("lines=0-1", None), FilePart::Whole);
    assert_eq!(requested_part("Bytes= 007-9", None), FilePart::Range(7..10));
    assert_eq!(requested_part("bytes=-200", None), FilePart::Range(0..100));
    assert_eq!(requested_part("bytes=0-18446744073709551615", None), FilePart::Range(0..100));
    for outside in ["bytes=100-", "bytes=100-200", "bytes=18446744073709551615-", "bytes=-0"] {
        assert_eq!(requested_part(outside, None), FilePart::Unsatisfiable, "{outside}");
    }
    for bad in [
        "bytes=5-1",
        "bytes=x",
        "bytes=",
        "bytes=-",
        "bytes",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=1.0-2",
        "",
        "bytes=18446744073709551616-",
        "bytes=0-99999999999999999999",
        "bytes=-99999999999999999999",
    ] {
        assert_eq!(requested_part(bad, None), FilePart::Whole, "{bad}");
    }
}

#[test]
fn an_empty_file_has_no_part() {
    let mut headers = HeaderMap::new();
    for range in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
        insert(&mut headers, RANGE, range);
        assert_eq!(part(&headers, "\"a\"", 0), FilePart::Unsatisfiable, "{range}");
    }
}

#[test]
fn a_range_of_another_version_is_the_whole_file() {
    assert_eq!(requested_part("bytes=0-9", Some("\"a\"")), FilePart::Range(0..10));
    assert_eq!(requested_part("bytes=0-9", Some("\"b\"")), FilePart::Whole);
}
