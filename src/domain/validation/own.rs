//! Classes of ComfyUI's own that check some of their inputs themselves, in place of the general check: a value that
//! is no choice, or a number out of range, may be right there. `/object_info` does not say so.
//!
//! Source: the classes of ComfyUI 0.3.64 and 0.24.0 that have `VALIDATE_INPUTS` or `validate_inputs`.

use crate::domain::object_info::NodeClass;

/// What a class checks itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClassOwnChecks {
    /// Its inputs by name.
    inputs: &'static [&'static str],
    /// All its inputs.
    all: bool,
    /// The types of what is linked to it.
    pub types: bool,
}

impl ClassOwnChecks {
    /// Whether the general check of values is not made for `input`.
    pub fn replaces(&self, input: &str) -> bool {
        self.all || self.inputs.contains(&input)
    }
}

const NONE: ClassOwnChecks = ClassOwnChecks { inputs: &[], all: false, types: false };

const fn inputs(inputs: &'static [&'static str]) -> ClassOwnChecks {
    ClassOwnChecks { inputs, ..NONE }
}

static OWN: [(&str, ClassOwnChecks); 16] = [
    ("ComfySoftSwitchNode", inputs(&["switch", "on_false", "on_true"])),
    ("CustomCombo", ClassOwnChecks { all: true, ..NONE }),
    ("FluxProUltraImageNode", inputs(&["aspect_ratio"])),
    (
        "KlingCameraControls",
        inputs(&["horizontal_movement", "vertical_movement", "pan", "tilt", "roll", "zoom"]),
    ),
    ("Load3D", ClassOwnChecks { all: true, ..NONE }),
    ("LoadAudio", inputs(&["audio"])),
    ("LoadImage", inputs(&["image"])),
    ("LoadImageMask", inputs(&["image"])),
    ("LoadImageOutput", inputs(&["image"])),
    ("LoadImageSetNode", inputs(&["images", "resize_method"])),
    ("LoadLatent", inputs(&["latent"])),
    ("LoadVideo", inputs(&["file"])),
    ("SelectCLIPDevice", inputs(&["device"])),
    ("SelectModelDevice", inputs(&["device"])),
    ("SelectVAEDevice", inputs(&["device"])),
    ("TripoConversionNode", ClassOwnChecks { types: true, ..NONE }),
];

/// What `class` checks itself, as far as it is known.
pub(super) fn of(class: &NodeClass) -> ClassOwnChecks {
    OWN.iter().find(|(name, _)| *name == class.name).map_or(NONE, |(_, own)| *own)
}
