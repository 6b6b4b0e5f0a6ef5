//! The media type of a file, by its content first and its name second.

/// The bytes at a file's beginning that suffice to detect its type.
pub const HEAD: usize = 512;

/// The media type of a file that begins with `head` and is called `name`.
#[must_use]
pub fn content_type(head: &[u8], name: &str) -> String {
    if let Some(kind) = infer::get(head) {
        return kind.mime_type().to_owned();
    }
    let guess = mime_guess::from_path(name).first();
    match guess {
        // Binary types have magic bytes, so a name that claims such a type without them is not trusted.
        Some(mime) if mime.type_() == "text" => format!("{mime}; charset=utf-8"),
        Some(mime) if mime.subtype() == "json" || mime.suffix().is_some() => mime.to_string(),
        Some(mime) if std::str::from_utf8(head).is_err() => mime.to_string(),
        _ => "application/octet-stream".to_owned(),
    }
}

/// The extension, without its dot, of a file that begins with `head` and is called `name`; empty if unknown.
#[must_use]
pub fn extension(head: &[u8], name: &str) -> String {
    if let Some(kind) = infer::get(head) {
        return kind.extension().to_owned();
    }
    let given = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let plain = (1..=8).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { given.to_ascii_lowercase() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_goes_by_the_content_and_else_by_a_harmless_name() {
        assert_eq!(extension(b"\x89PNG\r\n\x1a\n....", "x.exe"), "png");
        assert_eq!(extension(b"{}", "scene.JSON"), "json");
        for name in ["noext", "x.", "x.tar gz", "x.../../y", "x.verylongone"] {
            assert_eq!(extension(b"hello", name), "", "{name}");
        }
    }

    #[test]
    fn content_comes_before_the_name() {
        assert_eq!(content_type(b"\x89PNG\r\n\x1a\n....", "x.txt"), "image/png");
        assert_eq!(content_type(b"RIFF\x24\0\0\0WAVEfmt ", "x.wav"), "audio/x-wav");
        assert_eq!(content_type(b"hello", "x.txt"), "text/plain; charset=utf-8");
        assert_eq!(content_type(b"{}", "x.json"), "application/json");
        assert_eq!(content_type(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg"), "image/svg+xml");
        assert_eq!(content_type(b"hello", "x.png"), "application/octet-stream");
        assert_eq!(content_type(b"\xff\x00\x01", "x.glb"), "model/gltf-binary");
        assert_eq!(content_type(b"", "noext"), "application/octet-stream");
    }
}
