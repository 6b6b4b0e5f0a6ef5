//! Tests of turning Python's JSON into strict JSON.

use proptest::prelude::*;

use super::*;

#[test]
fn text_without_pythons_tokens_is_not_copied() {
    let text = r#"{"a":[1,-2.5,true,null],"b":"NaN, -Infinity and \"Infinity\" in \\ a string"}"#;
    assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text));
}

#[test]
fn bare_tokens_become_null_wherever_a_value_is_allowed() {
    assert_eq!(
        sanitize(r#"{"a":NaN,"b":[Infinity,-Infinity,-1],"NaN":"é NaN","c":NaN}"#),
        r#"{"a":null,"b":[null,null,-1],"NaN":"é NaN","c":null}"#
    );
    assert_eq!(sanitize("NaN"), "null");
}

#[test]
fn half_a_surrogate_pair_becomes_a_replacement_character() {
    assert_eq!(
        sanitize(r#"["\ud83d\ude00 \ud83d. \ude00\\ud83d"]"#),
        r#"["\ud83d\ude00 \ufffd. \ufffd\\ud83d"]"#
    );
    assert_eq!(sanitize(r#"["\ud83d\ud83d\ude00"]"#), r#"["\ufffd\ud83d\ude00"]"#);
}

#[test]
fn broken_text_causes_no_panic() {
    for text in ["", "\"", "\"\\", "\"\\u", "\"\\ud8", "\"\\ud83d", "-", "N", "Infinit", "\"\\ud83d\\u"] {
        let _clean = sanitize(text);
    }
    assert_eq!(clean_text(vec![b'"', 0xff, b'"']), "\"\u{fffd}\"");
    assert_eq!(clean_text(b"[NaN]".to_vec()), "[null]");
}

proptest! {
    #[test]
    fn valid_json_is_never_changed(text in any::<String>(), number in any::<f64>()) {
        let json = serde_json::json!({ &text: [&text, number] }).to_string();
        prop_assert_eq!(sanitize(&json), json.as_str());
    }

    #[test]
    fn no_text_causes_a_panic_and_a_second_pass_changes_nothing(text in r#"(NaN|Infinity|-|"|\\|u|d83d|de00|é|,)*"#) {
        let once = sanitize(&text).into_owned();
        prop_assert_eq!(sanitize(&once), once.as_str());
    }
}
