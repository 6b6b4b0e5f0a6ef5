//! The additions of the editor to some classes, which no backend reports.
//!
//! Source: observed from the official frontend 1.45.15 / 1.58.1.

/// A value that the editor keeps in `widgets_values` and that is not an input of the class.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExtraSlot {
    /// The name under which a prompt may contain it.
    pub(super) name: &'static str,
    /// The JSON of a new node at this place, if the value appears in the API graph.
    pub(super) emitted: Option<&'static str>,
}

const fn kept(name: &'static str) -> ExtraSlot {
    ExtraSlot { name, emitted: None }
}

const fn emitted(name: &'static str, default: &'static str) -> ExtraSlot {
    ExtraSlot { name, emitted: Some(default) }
}

/// The class, the input after which its extra values stand (empty: after all inputs), and these values.
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

/// The extra values after `input` of `class`; after all inputs if `input` is empty.
pub(super) fn behind(class: &str, input: &str) -> &'static [ExtraSlot] {
    let found = EXTRAS.iter().find(|(of, after, _)| *of == class && *after == input);
    found.map_or(&[], |(_, _, slots)| slots)
}

/// The extra values after a field of type `BOUNDING_BOX`: its numbers once more.
pub(super) const BEHIND_A_BOX: &[ExtraSlot] = &[kept("x"), kept("y"), kept("width"), kept("height")];

/// The place of the upload button.
pub(super) const UPLOAD: ExtraSlot = kept("upload");

/// Types besides numbers, texts, switches and combos for which the editor has a field.
const FIELD_TYPES: [&str; 7] =
    ["COLOR", "CURVE", "BOUNDING_BOX", "IMAGECOMPARE", "WEBCAM", "AUDIO_RECORD", "LOAD_3D"];

/// Whether the editor has a field for a type that is not a number, text, switch or combo.
pub(super) fn has_field(type_name: &str) -> bool {
    FIELD_TYPES.contains(&type_name)
}

/// Titles for which the editor's own texts differ from the backend's `display_name`.
const TITLES: [(&str, &str); 4] = [
    ("SaveAudio", "Save Audio (FLAC)"),
    ("SaveAudioMP3", "Save Audio (MP3)"),
    ("SaveAudioOpus", "Save Audio (Opus)"),
    ("ColorToRGBInt", "Color to RGB Int"),
];

/// The title of a new node, if it is not the class's `display_name`.
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
