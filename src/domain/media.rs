//! Kinds of media and names that are safe in a path and in a URL.

use serde::{Deserialize, Serialize};

use super::id::PromptId;

/// What a file is to a web page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// A still or animated picture.
    Image,
    /// A film.
    Video,
    /// A sound.
    Audio,
    /// Anything else.
    File,
}

impl MediaKind {
    /// The name that clients and the store use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::File => "file",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Image, Self::Video, Self::Audio, Self::File].into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind that a file name's extension tells, in any case.
    #[must_use]
    pub fn by_extension(filename: &str) -> Option<Self> {
        let (stem, extension) = filename.rsplit_once('.')?;
        if stem.is_empty() {
            return None;
        }
        match extension.to_ascii_lowercase().as_str() {
            "png" | "jpg" | "jpeg" | "webp" | "bmp" | "tiff" | "tif" | "avif" | "jxl" | "svg" | "ico"
            | "heic" => Some(Self::Image),
            "mp4" | "mov" | "avi" | "webm" | "gif" | "mkv" | "m4v" => Some(Self::Video),
            "mp3" | "wav" | "flac" | "ogg" | "aac" | "m4a" | "wma" | "opus" => Some(Self::Audio),
            _ => None,
        }
    }

    /// The kind that ComfyUI's `format` (as in `video/h264-mp4`) tells.
    #[must_use]
    pub fn by_format(format: &str) -> Option<Self> {
        match format.split('/').next() {
            Some("image") => Some(Self::Image),
            Some("video") => Some(Self::Video),
            Some("audio") => Some(Self::Audio),
            _ => None,
        }
    }

    /// The kind that the key of an output list (as in `gifs`) tells.
    #[must_use]
    pub fn by_key(key: &str) -> Option<Self> {
        match key {
            "images" | "a_images" | "b_images" => Some(Self::Image),
            "gifs" | "video" | "videos" => Some(Self::Video),
            "audio" | "audios" => Some(Self::Audio),
            _ => None,
        }
    }
}

/// A file of a finished job, as it lies in the media store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// The `$output.NAME`, or the node's id.
    pub var: String,
    /// The node that made it.
    pub node_id: String,
    /// What it is.
    pub kind: MediaKind,
    /// The name in the media store and in the URL: unique within the job, safe in a path.
    pub stored_as: String,
    /// The name ComfyUI gave it, verbatim.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The lowercase hexadecimal SHA-256 of its bytes.
    pub sha256: String,
}

/// The URL path, below the gateway's own base, at which a stored file is served.
#[must_use]
pub fn media_path(prompt_id: PromptId, stored_as: &str) -> String {
    format!("/media/{prompt_id}/{stored_as}")
}

/// The job and the file that a media URL of the gateway itself names: its path alone, or the whole URL with
/// `own_url` in front.
#[must_use]
pub fn own_media<'u>(url: &'u str, own_url: &str) -> Option<(PromptId, &'u str)> {
    let path =
        if url.starts_with('/') { url } else { url.strip_prefix(own_url).filter(|_| !own_url.is_empty())? };
    let (id, name) = path.strip_prefix("/media/")?.split_once('/')?;
    PromptId::parse(id).ok().map(|id| (id, name))
}

/// The longest stored name, in bytes: file systems stop at 255, and a temporary suffix needs room.
const LONGEST_NAME: usize = 180;

/// A name made from a `filename` of any origin that is safe in a path and needs no escape in a URL.
///
/// ASCII letters, digits, `.`, `_` and `-` stay, all else between them becomes one `_`, and a leading dot
/// goes. A name of which nothing but marks would be left is `file`, with its extension.
#[must_use]
pub fn safe_name(filename: &str) -> String {
    let mut plain = String::new();
    let mut replaced = false;
    for c in base_name(filename).chars() {
        let stays = c.is_ascii_alphanumeric() || "._-".contains(c);
        if replaced && (!stays || c == '_') {
            continue;
        }
        plain.push(if stays { c } else { '_' });
        replaced = !stays;
    }
    let plain = plain.trim_start_matches('.');
    let tells = |text: &str| text.bytes().any(|byte| byte.is_ascii_alphanumeric());
    let (stem, extension) = split_extension(plain);
    let stem = if tells(stem) { &stem[..stem.len().min(LONGEST_NAME - 1 - extension.len())] } else { "file" };
    if tells(extension) { format!("{stem}.{extension}") } else { stem.to_owned() }
}

/// A name made from a `filename` of any origin that is safe to show and to save under, in any script: without
/// folders, without characters that control a terminal or a text's direction, and without those that file
/// systems refuse.
#[must_use]
pub fn display_name(filename: &str) -> String {
    let hidden = |c: &char| {
        let code = u32::from(*c);
        c.is_control()
            || matches!(code, 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB)
    };
    let shown: String = base_name(filename)
        .chars()
        .filter(|c| !hidden(c))
        .map(|c| if "<>:\"|?*".contains(c) { '_' } else { c })
        .collect();
    let shown = shown.trim_matches([' ', '.']);
    let (stem, extension) = split_extension(shown);
    let room = LONGEST_NAME - 1 - extension.len();
    let end = (0..=room.min(stem.len())).rev().find(|end| stem.is_char_boundary(*end)).unwrap_or_default();
    match (&stem[..end], extension) {
        ("", "") => "file".to_owned(),
        ("", extension) => format!("file.{extension}"),
        (stem, "") => stem.to_owned(),
        (stem, extension) => format!("{stem}.{extension}"),
    }
}

fn base_name(filename: &str) -> &str {
    filename.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// The stem and the extension without its dot, which has at most 16 bytes; empty if there is none.
fn split_extension(name: &str) -> (&str, &str) {
    name.rsplit_once('.').filter(|(_, extension)| extension.len() <= 16).unwrap_or((name, ""))
}

/// Hands out stored names that are unique within one job, whatever the letters' case.
#[derive(Debug, Default)]
pub struct StoredNames(std::collections::HashSet<String>);

impl StoredNames {
    /// A name for `filename` that was not handed out before.
    pub fn take(&mut self, filename: &str) -> String {
        let name = safe_name(filename);
        if self.0.insert(name.to_ascii_lowercase()) {
            return name;
        }
        let (stem, extension) =
            name.rsplit_once('.').map_or((name.as_str(), None), |(stem, ext)| (stem, Some(ext)));
        let mut number = 2u32;
        loop {
            let candidate =
                extension.map_or_else(|| format!("{stem}-{number}"), |ext| format!("{stem}-{number}.{ext}"));
            if self.0.insert(candidate.to_ascii_lowercase()) {
                return candidate;
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_go_by_extension_in_any_case() {
        assert_eq!(MediaKind::by_extension("a_00001_.PNG"), Some(MediaKind::Image));
        assert_eq!(MediaKind::by_extension("clip.webm"), Some(MediaKind::Video));
        assert_eq!(MediaKind::by_extension("loop.gif"), Some(MediaKind::Video));
        assert_eq!(MediaKind::by_extension("a.flac"), Some(MediaKind::Audio));
        for name in ["x.glb", "x.latent", "noext", ".png"] {
            assert_eq!(MediaKind::by_extension(name), None, "{name}");
        }
    }

    #[test]
    fn formats_and_keys_tell_what_extensions_do_not() {
        assert_eq!(MediaKind::by_format("video/h264-mp4"), Some(MediaKind::Video));
        assert_eq!(MediaKind::by_format("h264"), None);
        assert_eq!(MediaKind::by_key("gifs"), Some(MediaKind::Video));
        assert_eq!(MediaKind::by_key("latents"), None);
    }

    #[test]
    fn a_media_url_of_our_own_is_known_with_and_without_its_host() {
        let id = "0198c1c2-7d1e-7abc-8def-0123456789ab";
        let (job, own) = (PromptId::parse(id).unwrap(), "https://gw/base");
        assert_eq!(own_media(&format!("/media/{id}/a.png"), own), Some((job, "a.png")));
        assert_eq!(own_media(&format!("https://gw/base/media/{id}/a.png"), own), Some((job, "a.png")));
        for other in [
            "https://other/media/{id}/a.png",
            "https://gw/base/media/x/a.png",
            "/media/{id}",
            "/x/{id}/a.png",
        ] {
            assert_eq!(own_media(&other.replace("{id}", id), own), None, "{other}");
        }
        assert_eq!(own_media(&format!("https://gw/media/{id}/a.png"), ""), None);
    }

    #[test]
    fn hostile_names_become_harmless() {
        assert_eq!(safe_name("../../etc/passwd"), "passwd");
        assert_eq!(safe_name("..\\x.png"), "x.png");
        assert_eq!(safe_name("a (1).png"), "a_1_.png");
        assert_eq!(safe_name(".."), "file");
        assert_eq!(safe_name("日本.png"), "file.png");
        assert_eq!(safe_name("日本_00001_.png"), "_00001_.png");
        assert_eq!(safe_name("x.日本"), "x");
        assert_eq!(safe_name(""), "file");
    }

    #[test]
    fn names_to_show_keep_their_script_and_lose_what_is_dangerous() {
        for (filename, shown) in [
            ("Füchse 🦊_00001_.png", "Füchse 🦊_00001_.png"),
            ("日本.png", "日本.png"),
            ("../../etc/passwd", "passwd"),
            ("..\\x\r\nSet-Cookie: a.png", "xSet-Cookie_ a.png"),
            ("a\u{202e}gnp.exe", "agnp.exe"),
            (".hidden", "hidden"),
            ("\u{7}.png", "png"),
            ("..", "file"),
            ("", "file"),
        ] {
            assert_eq!(display_name(filename), shown, "{filename:?}");
        }
    }

    #[test]
    fn the_same_name_twice_is_numbered() {
        let mut names = StoredNames::default();
        let taken: Vec<_> =
            ["a.png", "A.png", "a-2.png", "a.png", "b", "b"].map(|name| names.take(name)).into();
        assert_eq!(taken, ["a.png", "A-2.png", "a-2-2.png", "a-3.png", "b", "b-2"]);
    }

    proptest! {
        #[test]
        fn every_safe_name_stays_in_its_folder(name in ".{0,400}") {
            let safe = safe_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= LONGEST_NAME && !safe.starts_with('.'));
            prop_assert!(safe.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
        }

        #[test]
        fn every_name_to_show_is_one_short_line(name in "(?s).{0,400}") {
            let shown = display_name(&name);
            prop_assert!(!shown.is_empty() && shown.len() <= LONGEST_NAME && !shown.starts_with('.'));
            prop_assert!(!shown.contains(['/', '\\', '"']) && !shown.chars().any(char::is_control));
        }
    }
}
