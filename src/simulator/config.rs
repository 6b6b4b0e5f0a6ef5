//! The configuration of a simulated ComfyUI: its version, its speed, its access control.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// The release of ComfyUI that is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ComfyVersion {
    /// October 2025: accepts any `prompt_id`, has no `/api/jobs`, and reports an unknown class as
    /// `invalid_prompt`.
    #[value(name = "0.3.64")]
    V0_3_64,
    /// June 2026: accepts only a canonical UUID as `prompt_id`, has `/api/jobs`, and reports an unknown class
    /// as `missing_node_type`.
    #[default]
    #[value(name = "0.24.0")]
    V0_24_0,
}

impl ComfyVersion {
    /// The version number in `/system_stats`.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::V0_3_64 => "0.3.64",
            Self::V0_24_0 => "0.24.0",
        }
    }
}

/// The behaviour of a [`super::Simulator`].
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// The name of this simulator in logs and in `/system_stats` (`argv`), to tell several apart.
    pub name: String,
    /// The release that is simulated.
    pub version: ComfyVersion,
    /// How long an `EmptyImage` or `KSampler` node works; zero for no time.
    pub exec: Duration,
    /// In how many progress steps `EmptyImage` works when [`Self::exec`] is not zero.
    pub steps: u32,
    /// The time between `execution_success` on the websocket and the history entry.
    pub history_gap: Duration,
    /// A path below which every route is mounted, such as `/comfy`.
    pub prefix: Option<String>,
    /// A token required as `Authorization: Bearer …`, as by a proxy in front of ComfyUI.
    pub bearer: Option<SecretString>,
    /// The parent of `output/`, `temp/` and `input/`. Without one, a new directory that is removed with the
    /// simulator.
    pub directory: Option<PathBuf>,
    /// The device's memory in bytes, for `/system_stats`.
    pub vram_total: u64,
    /// The device's free memory in bytes.
    pub vram_free: u64,
    /// The installed models and node packages; see [`super::Simulator::install`].
    pub installed: InstalledContent,
    /// Whether the routes below `/simulator` script faults and read the record.
    pub control: bool,
    /// The file that records the beginning and the end of every run.
    pub run_log: Option<PathBuf>,
}

/// The content of a ComfyUI installation: the files of its model folder, and its packages of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledContent {
    /// The checkpoints that a `CheckpointLoaderSimple` may load.
    pub checkpoints: Vec<String>,
    /// Node classes of the simulator that this one lacks.
    pub without_classes: Vec<String>,
}

impl Default for InstalledContent {
    fn default() -> Self {
        Self {
            checkpoints: vec![
                "v1-5-pruned-emaonly-fp16.safetensors".to_owned(),
                "sd_xl_base_1.0.safetensors".to_owned(),
            ],
            without_classes: Vec::new(),
        }
    }
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            name: "simulator".to_owned(),
            version: ComfyVersion::default(),
            exec: Duration::ZERO,
            steps: 8,
            history_gap: Duration::from_millis(2),
            prefix: None,
            bearer: None,
            directory: None,
            vram_total: 24 << 30,
            vram_free: 22 << 30,
            installed: InstalledContent::default(),
            control: false,
            run_log: None,
        }
    }
}
