//! Classes of ComfyUI that validate some of their inputs themselves, instead of the general check. A value
//! that is not a choice, or a number out of range, may be valid there. `/object_info` does not report this.
//!
//! Source: the classes of ComfyUI 0.3.64 and 0.24.0 that have `VALIDATE_INPUTS` or `validate_inputs`.

use crate::domain::object_info::NodeClass;

/// The inputs that a class validates itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClassOwnChecks {
    /// Inputs by name.
    inputs: &'static [&'static str],
    /// All inputs.
    all: bool,
    /// The types of linked values.
    pub types: bool,
}

impl ClassOwnChecks {
    /// Whether the general check of values is skipped for `input`.
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

/// The inputs that `class` validates itself, if it is known.
pub(super) fn of(class: &NodeClass) -> ClassOwnChecks {
    OWN.iter().find(|(name, _)| *name == class.name).map_or(NONE, |(_, own)| *own)
}
