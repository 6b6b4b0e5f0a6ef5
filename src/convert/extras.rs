//! What the editor adds to some classes and no server tells.
//!
//! Source: observed from the official frontend 1.45.15 / 1.58.1.

/// A value the editor keeps in `widgets_values` that is no input of the class.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExtraSlot {
    /// Its name, by which a prompt may hold it.
    pub(super) name: &'static str,
    /// The JSON a new node has there, where the value appears in the API graph.
    pub(super) emitted: Option<&'static str>,
}

const fn kept(name: &'static str) -> ExtraSlot {
    ExtraSlot { name, emitted: None }
}

const fn emitted(name: &'static str, default: &'static str) -> ExtraSlot {
    ExtraSlot { name, emitted: Some(default) }
}

/// The class, the input its extra values stand behind (empty: all of them), and these values.
const EXTRAS: &[(&str, &str, &[ExtraSlot])] = &[
    ("LoadImageOutput", "", &[kept("Auto-refresh after generation"), emitted("refresh", "\"refresh\"")]),
    (
        "Load3D",
        "model_file",
        &[
            emitted("upload 3d model", "\"upload3dmodel\""),
            emitted("upload extra resources", "\"uploadExtraResources\""),
            emitted("clear", "\"clear\""),
        ],
    ),
    ("Preview3D", "model_file", &[emitted("image", "\"\"")]),
    ("SaveGLB", "filename_prefix", &[emitted("image", "\"\"")]),
    ("WebcamCapture", "", &[emitted("waiting for camera...", "\"capture\"")]),
    ("RecordAudio", "", &[kept("audio")]),
    ("PreviewAny", "", &[kept("previewMode")]),
    ("PrimitiveInt", "value", &[kept("fixed")]),
];

/// The extra values behind `input` of `class`; of an empty `input`, those behind all.
pub(super) fn behind(class: &str, input: &str) -> &'static [ExtraSlot] {
    let found = EXTRAS.iter().find(|(of, after, _)| *of == class && *after == input);
    found.map_or(&[], |(_, _, slots)| slots)
}

/// What stands behind a field of type `BOUNDING_BOX`: its numbers once more.
pub(super) const BEHIND_A_BOX: &[ExtraSlot] = &[kept("x"), kept("y"), kept("width"), kept("height")];

/// The place of the button for uploading.
pub(super) const UPLOAD: ExtraSlot = kept("upload");

/// Types other than numbers, texts, switches and combos that the editor has a field for.
const FIELD_TYPES: [&str; 7] =
    ["COLOR", "CURVE", "BOUNDING_BOX", "IMAGECOMPARE", "WEBCAM", "AUDIO_RECORD", "LOAD_3D"];

/// Whether the editor has a field for a type that is no number, text, switch or combo.
pub(super) fn has_field(type_name: &str) -> bool {
    FIELD_TYPES.contains(&type_name)
}

/// Titles in which the editor's own texts differ from the server's `display_name`.
const TITLES: [(&str, &str); 4] = [
    ("SaveAudio", "Save Audio (FLAC)"),
    ("SaveAudioMP3", "Save Audio (MP3)"),
    ("SaveAudioOpus", "Save Audio (Opus)"),
    ("ColorToRGBInt", "Color to RGB Int"),
];

/// The title of a new node, where it is not the class's `display_name`.
pub(super) fn title(class: &str) -> Option<&'static str> {
    TITLES.iter().find(|(of, _)| *of == class).map(|(_, title)| *title)
}

/// Classes in whose `filename_prefix` the editor fills in `%Node.field%` and `%date:…%`.
const PREFIXED: [&str; 12] = [
    "SaveImage",
    "SaveVideo",
    "SaveAnimatedWEBP",
    "SaveAnimatedPNG",
    "SaveWEBM",
    "SaveAudio",
    "SaveGLB",
    "SaveLatent",
    "CLIPSave",
    "VAESave",
    "ModelSave",
    "LoraSave",
];

/// Whether the editor fills in this input.
pub(super) fn is_filled_in(class: &str, input: &str) -> bool {
    input == "filename_prefix" && PREFIXED.contains(&class)
}
