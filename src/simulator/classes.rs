//! The node classes of the simulator: their inputs, outputs and titles.

/// The kind of value that an input takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum ClassInputKind {
    /// The output of a node, of this type; `*` takes any.
    Link(&'static str),
    Int {
        default: i128,
        min: i128,
        max: i128,
    },
    Float {
        default: f64,
        min: f64,
        max: f64,
    },
    Text {
        default: &'static str,
        multiline: bool,
    },
    Switch(bool),
    Choice(&'static [&'static str]),
    /// One of the configured checkpoints.
    Checkpoint,
    /// A file of the input directory.
    Picture,
}

impl ClassInputKind {
    /// The type a link into this input must have.
    pub(super) const fn type_name(self) -> &'static str {
        match self {
            Self::Link(name) => name,
            Self::Int { .. } => "INT",
            Self::Float { .. } => "FLOAT",
            Self::Text { .. } => "STRING",
            Self::Switch(_) => "BOOLEAN",
            Self::Choice(_) | Self::Checkpoint | Self::Picture => "COMBO",
        }
    }
}

/// One input of a class.
#[derive(Debug)]
pub(super) struct ClassInput {
    pub(super) name: &'static str,
    pub(super) kind: ClassInputKind,
    pub(super) required: bool,
}

/// One node class.
#[derive(Debug)]
pub(super) struct SimulatedClass {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) category: &'static str,
    pub(super) inputs: &'static [ClassInput],
    pub(super) outputs: &'static [&'static str],
    pub(super) output_node: bool,
}

const SIDE: i128 = 16_384;
const U64: i128 = u64::MAX as i128;
const I64: i128 = i64::MAX as i128;

const SAMPLERS: &[&str] = &[
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "ddpm",
    "lcm",
    "ipndm",
    "deis",
    "res_multistep",
    "er_sde",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
];
const SCHEDULERS: &[&str] = &[
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
];

const fn needs(name: &'static str, kind: ClassInputKind) -> ClassInput {
    ClassInput { name, kind, required: true }
}

const fn may(name: &'static str, kind: ClassInputKind) -> ClassInput {
    ClassInput { name, kind, required: false }
}

const fn int(default: i128, min: i128, max: i128) -> ClassInputKind {
    ClassInputKind::Int { default, min, max }
}

const fn float(default: f64, min: f64, max: f64) -> ClassInputKind {
    ClassInputKind::Float { default, min, max }
}

const fn text(default: &'static str) -> ClassInputKind {
    ClassInputKind::Text { default, multiline: false }
}

const fn class(
    name: &'static str,
    title: &'static str,
    category: &'static str,
    inputs: &'static [ClassInput],
    outputs: &'static [&'static str],
) -> SimulatedClass {
    SimulatedClass { name, title, category, inputs, outputs, output_node: false }
}

const fn output(
    name: &'static str,
    title: &'static str,
    category: &'static str,
    inputs: &'static [ClassInput],
    outputs: &'static [&'static str],
) -> SimulatedClass {
    SimulatedClass { name, title, category, inputs, outputs, output_node: true }
}

const LINES: ClassInputKind = ClassInputKind::Text { default: "", multiline: true };
const IMAGE: ClassInputKind = ClassInputKind::Link("IMAGE");
const ANY: ClassInputKind = ClassInputKind::Link("*");

pub(super) static CLASSES: &[SimulatedClass] = &[
    class(
        "EmptyImage",
        "Empty Image",
        "image",
        &[
            needs("width", int(512, 1, SIDE)),
            needs("height", int(512, 1, SIDE)),
            needs("batch_size", int(1, 1, 4_096)),
            needs("color", int(0, 0, 0xff_ff_ff)),
        ],
        &["IMAGE"],
    ),
    output(
        "SaveImage",
        "Save Image",
        "image",
        &[needs("images", IMAGE), needs("filename_prefix", text("ComfyUI"))],
        &[],
    ),
    output("PreviewImage", "Preview Image", "image", &[needs("images", IMAGE)], &[]),
    class("LoadImage", "Load Image", "image", &[needs("image", ClassInputKind::Picture)], &["IMAGE", "MASK"]),
    class("ImageInvert", "Invert Image Colors", "image/color", &[needs("image", IMAGE)], &["IMAGE"]),
    class(
        "ImageScale",
        "Upscale Image",
        "image/upscaling",
        &[
            needs("image", IMAGE),
            needs(
                "upscale_method",
                ClassInputKind::Choice(&["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]),
            ),
            needs("width", int(512, 0, SIDE)),
            needs("height", int(512, 0, SIDE)),
            needs("crop", ClassInputKind::Choice(&["disabled", "center"])),
        ],
        &["IMAGE"],
    ),
    output("PreviewAny", "Preview as Text", "utilities", &[needs("source", ANY)], &["STRING"]),
    class("PrimitiveString", "Text String", "utilities/primitive", &[needs("value", text(""))], &["STRING"]),
    class(
        "PrimitiveStringMultiline",
        "Text String (Multiline)",
        "utilities/primitive",
        &[needs("value", LINES)],
        &["STRING"],
    ),
    class("PrimitiveInt", "Int", "utilities/primitive", &[needs("value", int(0, -I64, I64))], &["INT"]),
    class(
        "PrimitiveFloat",
        "Float",
        "utilities/primitive",
        &[needs("value", float(0.0, -9.223_372_036_854_776e18, 9.223_372_036_854_776e18))],
        &["FLOAT"],
    ),
    class(
        "CheckpointLoaderSimple",
        "Load Checkpoint",
        "model/loaders",
        &[needs("ckpt_name", ClassInputKind::Checkpoint)],
        &["MODEL", "CLIP", "VAE"],
    ),
    class(
        "CLIPTextEncode",
        "CLIP Text Encode (Prompt)",
        "model/conditioning",
        &[needs("text", LINES), needs("clip", ClassInputKind::Link("CLIP"))],
        &["CONDITIONING"],
    ),
    class(
        "EmptyLatentImage",
        "Empty Latent Image",
        "model/latent",
        &[
            needs("width", int(512, 16, SIDE)),
            needs("height", int(512, 16, SIDE)),
            needs("batch_size", int(1, 1, 4_096)),
        ],
        &["LATENT"],
    ),
    class(
        "KSampler",
        "KSampler",
        "model/sampling",
        &[
            needs("model", ClassInputKind::Link("MODEL")),
            needs("seed", int(0, 0, U64)),
            needs("steps", int(20, 1, 10_000)),
            needs("cfg", float(8.0, 0.0, 100.0)),
            needs("sampler_name", ClassInputKind::Choice(SAMPLERS)),
            needs("scheduler", ClassInputKind::Choice(SCHEDULERS)),
            needs("positive", ClassInputKind::Link("CONDITIONING")),
            needs("negative", ClassInputKind::Link("CONDITIONING")),
            needs("latent_image", ClassInputKind::Link("LATENT")),
            needs("denoise", float(1.0, 0.0, 1.0)),
        ],
        &["LATENT"],
    ),
    class(
        "VAEDecode",
        "VAE Decode",
        "model/latent",
        &[needs("samples", ClassInputKind::Link("LATENT")), needs("vae", ClassInputKind::Link("VAE"))],
        &["IMAGE"],
    ),
    class(
        "SimTone",
        "Simulated Tone",
        "simulator",
        &[needs("seconds", float(1.0, 0.0, 600.0)), needs("hertz", float(440.0, 1.0, 8_000.0))],
        &["AUDIO"],
    ),
    output(
        "SimSaveWav",
        "Save Simulated Audio (WAV)",
        "simulator",
        &[needs("audio", ClassInputKind::Link("AUDIO")), needs("filename_prefix", text("audio/ComfyUI"))],
        &[],
    ),
    output("SimServerError", "Fail the Server", "simulator", &[may("any", ANY)], &[]),
    output(
        "SimHold",
        "Hold until Released",
        "simulator",
        &[needs("name", text("hold")), may("any", ANY)],
        &["STRING"],
    ),
    output(
        "LabSleep",
        "LabSleep",
        "lab",
        &[
            needs("seconds", float(1.0, 0.0, 3_600.0)),
            needs("steps", int(5, 1, 1_000)),
            needs("preview", ClassInputKind::Switch(false)),
            needs("interruptible", ClassInputKind::Switch(true)),
            needs("seed", int(0, 0, 1 << 63)),
        ],
        &["STRING"],
    ),
    output(
        "LabFail",
        "LabFail",
        "lab",
        &[
            needs("mode", ClassInputKind::Choice(&["raise", "oom", "exit", "interrupt"])),
            needs("message", text("boom")),
            may("any", ANY),
        ],
        &["STRING"],
    ),
    output("LabUI", "LabUI", "lab", &[needs("ui_json", LINES), may("any", ANY)], &["STRING"]),
    class(
        "LabBlock",
        "LabBlock",
        "lab",
        &[needs("message", text("blocked!")), needs("silent", ClassInputKind::Switch(false))],
        &["IMAGE"],
    ),
    output(
        "LabExpand",
        "LabExpand",
        "lab",
        &[needs("prefix", text("expanded")), needs("color", int(255, 0, 0xff_ff_ff))],
        &["IMAGE"],
    ),
];

/// The class of this name.
pub(super) fn find(name: &str) -> Option<&'static SimulatedClass> {
    CLASSES.iter().find(|class| class.name == name)
}
