//! What a caller may write for a file, and what is shown of it.

use super::*;

fn read(json: &str) -> Result<MediaValue<'static>, String> {
    let raw = RawValue::from_string(json.to_owned()).unwrap();
    MediaValue::read(&raw).map(|value| match value {
        MediaValue::Inline { base64, filename } => {
            MediaValue::Inline { base64: base64.into_owned().into(), filename }
        }
        MediaValue::OnServer(name) => MediaValue::OnServer(name),
        MediaValue::Url(url) => MediaValue::Url(url),
        MediaValue::File(id) => MediaValue::File(id),
        MediaValue::Result { prompt_id, var, index } => MediaValue::Result { prompt_id, var, index },
        MediaValue::Part(at) => MediaValue::Part(at),
    })
}

const ID: &str = "0198c1c2-7d1e-7abc-8def-0123456789ab";

#[test]
fn every_form_is_told_from_the_others() {
    let inline = |base64: &'static str, filename: Option<&str>| MediaValue::Inline {
        base64: base64.into(),
        filename: filename.map(str::to_owned),
    };
    assert_eq!(read(r#""a.png""#), Ok(MediaValue::OnServer("a.png".to_owned())));
    assert_eq!(
        read(r#""sub/a b.png [output]""#),
        Ok(MediaValue::OnServer("sub/a b.png [output]".to_owned()))
    );
    assert_eq!(read(r#""HTTPS://x/y?z=1""#), Ok(MediaValue::Url("HTTPS://x/y?z=1".to_owned())));
    assert_eq!(read(r#""/media/x/y.png""#), Ok(MediaValue::Url("/media/x/y.png".to_owned())));
    assert_eq!(read(r#""data:image/png;base64,AAEC""#), Ok(inline("AAEC", None)));
    assert_eq!(read(r#""DATA:;BASE64,AAEC""#), Ok(inline("AAEC", None)));
    assert_eq!(read(r#"{"base64":"AAEC","filename":"x.png"}"#), Ok(inline("AAEC", Some("x.png"))));
    assert_eq!(read(&format!(r#"{{"file":"{ID}"}}"#)), Ok(MediaValue::File(FileId::parse(ID).unwrap())));
    let result = |var: Option<&str>, index| MediaValue::Result {
        prompt_id: PromptId::parse(ID).unwrap(),
        var: var.map(str::to_owned),
        index,
    };
    assert_eq!(
        read(&format!(r#"{{"result":"{ID}","var":"cover","index":2}}"#)),
        Ok(result(Some("cover"), 2))
    );
    assert_eq!(read(&format!(r#"{{"result":"{ID}"}}"#)), Ok(result(None, 0)));
}

#[test]
fn what_is_none_of_them_is_told_why() {
    for (json, why) in [
        ("7", "must be a URL"),
        ("null", "must be a URL"),
        ("[]", "must be a URL"),
        ("{}", "must be a URL"),
        (r#""  ""#, "empty"),
        (r#""ftp://x/y""#, "no other scheme"),
        (r#""file:///etc/passwd""#, "no other scheme"),
        (r#""data:image/png,abc""#, "not base64"),
        (r#""data:image/png""#, "comma"),
        (r#"{"base64":7}"#, "not a text"),
        (r#"{"base64":"","name":"x"}"#, "unknown key \"name\""),
        (r#"{"file":"x"}"#, "names no file"),
        (r#"{"result":"x"}"#, "names no job"),
        (r#"{"result":"0198c1c2-7d1e-7abc-8def-0123456789ab","index":-1}"#, "index"),
    ] {
        let told = read(json).unwrap_err();
        assert!(told.contains(why), "{json}: {told}");
    }
}

#[test]
fn names_are_made_of_the_hash_and_urls_stay_out_of_logs() {
    assert_eq!(server_name("ab", "png"), "cg-ab.png");
    assert_eq!(server_name("ab", ""), "cg-ab");
    let job = PromptId::parse(ID).unwrap();
    assert_ne!(placeholder(job, 1), placeholder(job, 11));
    let remote =
        RemoteInput { url: "https://x/?key=secret".into(), placeholder: "p".into(), param: "photo".into() };
    let shown = format!("{:?}", JobInput::Remote(remote));
    assert!(shown.contains("photo") && !shown.contains("secret"), "{shown}");
    let values = [
        (MediaValue::Url("https://x/?key=secret".to_owned()), "Url(..)"),
        (MediaValue::Inline { base64: "c2VjcmV0".into(), filename: None }, "Inline(8 characters)"),
        (MediaValue::OnServer("a.png".to_owned()), "OnServer(\"a.png\")"),
        (MediaValue::Part(3), "Part(3)"),
    ];
    for (value, shown) in values {
        assert_eq!(format!("{value:?}"), shown);
    }
}
