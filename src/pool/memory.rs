//! The memory of one backend's ComfyUI: the device's size and the models that are loaded.

use std::sync::Mutex;

use crate::comfy::SystemStats;
use crate::lock::LockExt;

/// The memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The whole memory of the device.
    pub total: u64,
    /// The free part, as of the last probe.
    pub free: u64,
}

/// The memory of one backend.
#[derive(Debug, Default)]
pub struct BackendMemory {
    vram: Mutex<Option<DeviceMemory>>,
    loaded: Mutex<Vec<String>>,
}

impl BackendMemory {
    /// The memory of the first device; `None` until ComfyUI has reported it.
    #[must_use]
    pub fn vram(&self) -> Option<DeviceMemory> {
        *self.vram.lock_anyway()
    }

    /// The model files that the scheduler expects to be in memory; empty after a restart of ComfyUI.
    #[must_use]
    pub fn loaded_models(&self) -> Vec<String> {
        self.loaded.lock_anyway().clone()
    }

    /// Records which model files are expected to be in memory.
    pub fn set_loaded_models(&self, models: Vec<String>) {
        *self.loaded.lock_anyway() = models;
    }

    pub(super) fn forget_models(&self) {
        self.loaded.lock_anyway().clear();
    }

    pub(super) fn set_vram(&self, stats: &SystemStats) {
        let first = stats.devices.first();
        let vram = first
            .and_then(|device| Some(DeviceMemory { total: device.vram_total?, free: device.vram_free? }));
        *self.vram.lock_anyway() = vram;
    }
}
