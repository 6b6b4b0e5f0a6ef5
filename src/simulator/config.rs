//! What a simulated ComfyUI is like: its version, its pace, its door.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// The release of ComfyUI whose behaviour is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ComfyVersion {
    /// October 2025: any `prompt_id` is taken, there is no `/api/jobs`, an unknown class is `invalid_prompt`.
    #[value(name = "0.3.64")]
    V0_3_64,
    /// June 2026: a `prompt_id` must be a canonical UUID, `/api/jobs` exists, an unknown class is
    /// `missing_node_type`.
    #[default]
    #[value(name = "0.24.0")]
    V0_24_0,
}

impl ComfyVersion {
    /// The number as `/system_stats` shows it.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::V0_3_64 => "0.3.64",
            Self::V0_24_0 => "0.24.0",
        }
    }
}

/// How a [`super::Simulator`] behaves.
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// The name of this server in logs and in `/system_stats` (`argv`), to tell several apart.
    pub name: String,
    /// The release that is imitated.
    pub version: ComfyVersion,
    /// How long an `EmptyImage` or `KSampler` node works. With zero they are done at once.
    pub exec: Duration,
    /// In how many progress steps `EmptyImage` works when [`Self::exec`] is not zero.
    pub steps: u32,
    /// The time between `execution_success` on the websocket and the history entry.
    pub history_gap: Duration,
    /// A path below which every route is mounted, such as `/comfy`.
    pub prefix: Option<String>,
    /// A token that must come as `Authorization: Bearer …`, as a proxy in front of ComfyUI would ask for.
    pub bearer: Option<SecretString>,
    /// Where `output/`, `temp/` and `input/` are. Without one: a directory of its own, removed with the simulator.
    pub directory: Option<PathBuf>,
    /// The device's memory in bytes, as `/system_stats` shows it.
    pub vram_total: u64,
    /// The device's free memory in bytes.
    pub vram_free: u64,
    /// What it has; see [`super::Simulator::install`].
    pub installed: InstalledContent,
    /// Whether faults can be scripted and the record be read over HTTP, below `/simulator`.
    pub control: bool,
    /// The file to which the beginning and end of every run are appended.
    pub run_log: Option<PathBuf>,
}

/// What a server has: the files of its model folder, and the packages of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledContent {
    /// The checkpoints a `CheckpointLoaderSimple` may load.
    pub checkpoints: Vec<String>,
    /// Node classes that this server lacks, of all that the simulator knows.
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
