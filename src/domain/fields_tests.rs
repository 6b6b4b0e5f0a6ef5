//! Tests of the fields of a JSON object that somebody else wrote.

use super::*;

#[test]
fn what_is_absent_null_or_of_another_type_is_not_there() {
    let fields = JsonFields::parse(r#"{"a":"x\u0062","n":null,"l":[1,"y"],"o":{"k":2},"a":"last"}"#).unwrap();
    assert_eq!(fields.text("a").as_deref(), Some("last"));
    assert_eq!((fields.raw("n"), fields.raw("none")), (None, None));
    assert_eq!(fields.list("l"), ["1", "\"y\""]);
    assert!(fields.list("a").is_empty() && fields.text("l").is_none() && fields.fields("l").is_none());
    assert_eq!(fields.fields("o").and_then(|inner| inner.get::<u8>("k")), Some(2));
    assert_eq!(fields.entries().count(), 5);
    for text in ["[]", "null", "", "{", "3"] {
        assert!(JsonFields::parse(text).is_none(), "{text}");
    }
}

#[test]
fn truth_is_what_python_and_javascript_agree_on() {
    let fields =
        JsonFields::parse(r#"{"a":true,"b":{},"c":1,"d":false,"e":0,"f":"","g":null,"h":"x"}"#).unwrap();
    for (key, truth) in [
        ("a", true),
        ("b", true),
        ("c", true),
        ("d", false),
        ("e", false),
        ("f", false),
        ("g", false),
        ("h", true),
    ] {
        assert_eq!(fields.truth(key), truth, "{key}");
    }
}

#[test]
fn plain_text_is_borrowed() {
    assert!(matches!(text("\"plain\""), Some(Cow::Borrowed("plain"))));
    assert_eq!(text(r#""a\nb""#).as_deref(), Some("a\nb"));
    assert_eq!(text("3"), None);
}
