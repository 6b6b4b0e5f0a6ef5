//! The self-description of a backend: its version, its devices and its node classes.

use serde_json::value::RawValue;

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::LooseObject;
use super::routes::{ComfyRoute, SYSTEM_STATS};
use crate::domain::workflow::ObjectEntries;

const OBJECT_INFO: ComfyRoute = ComfyRoute::get("/object_info");
const NODE_REPLACEMENTS: ComfyRoute = ComfyRoute::get("/node_replacements");

/// The version and the devices of a backend. Memory is in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemStats {
    /// The version of ComfyUI, such as `0.24.0`.
    pub version: Option<String>,
    /// The version of Python, as in `sys.version`.
    pub python: Option<String>,
    /// The version of `PyTorch`, such as `2.9.1+cu128`.
    pub pytorch: Option<String>,
    /// The memory of the machine.
    pub ram_total: Option<u64>,
    /// The free memory of the machine.
    pub ram_free: Option<u64>,
    /// The GPUs that ComfyUI uses, or the CPU.
    pub devices: Vec<ComputeDevice>,
}

/// One GPU, or the CPU. Memory is in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ComputeDevice {
    /// The name of the device.
    pub name: Option<String>,
    /// The type of the device, such as `cuda`, `cpu` or `mps`.
    pub kind: Option<String>,
    /// The memory of the device.
    pub vram_total: Option<u64>,
    /// The free memory of the device.
    pub vram_free: Option<u64>,
    /// The memory that `PyTorch` has reserved.
    pub torch_vram_total: Option<u64>,
    /// The part of the reserved memory that is free.
    pub torch_vram_free: Option<u64>,
}

impl ComfyClient {
    /// Reads the version and the devices. The call is cheap, so it serves as a probe. An answer does not prove that
    /// the worker of ComfyUI still runs jobs.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn system_stats(&self) -> Result<SystemStats, ComfyError> {
        let request = self.call(SYSTEM_STATS, None, &[]).await?;
        let body = self.read_json(SYSTEM_STATS, request).await?;
        let answer = LooseObject::parse(&body).map_err(|error| self.malformed(SYSTEM_STATS, error))?;
        Ok(read(&answer))
    }

    /// Reads the descriptions of all node classes: one JSON object keyed by class, of 600 KB or more, in which `NaN`
    /// became `null`.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn object_info(&self) -> Result<Box<RawValue>, ComfyError> {
        let request = self.call(OBJECT_INFO, None, &[]).await?;
        let body = self.read_json(OBJECT_INFO, request).await?;
        if !body.trim_start().starts_with('{') {
            return Err(self.malformed(OBJECT_INFO, "it is not a JSON object"));
        }
        RawValue::from_string(body).map_err(|error| self.malformed(OBJECT_INFO, error))
    }
}

impl ComfyClient {
    /// Reads the names of the classes that ComfyUI replaces by others if they are missing. Versions before 0.4 have no
    /// such list, which gives no names.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`] but [`super::CallFault::NotFound`].
    pub async fn node_replacements(&self) -> Result<Vec<String>, ComfyError> {
        let request = self.call(NODE_REPLACEMENTS, None, &[]).await?;
        let body = match self.read_json(NODE_REPLACEMENTS, request).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            body => body?,
        };
        let ObjectEntries(entries) =
            serde_json::from_str(&body).map_err(|error| self.malformed(NODE_REPLACEMENTS, error))?;
        Ok(entries.into_iter().map(|(class, _)| class).collect())
    }

    /// The error for an answer to `/object_info` that is JSON but does not describe node classes.
    #[must_use]
    pub fn not_object_info(&self, reason: &dyn std::fmt::Display) -> ComfyError {
        self.malformed(OBJECT_INFO, reason)
    }
}

fn read(answer: &LooseObject<'_>) -> SystemStats {
    let devices = answer.list("devices").into_iter().filter_map(device).collect();
    let Some(system) = answer.object("system") else {
        return SystemStats { devices, ..SystemStats::default() };
    };
    SystemStats {
        version: system.text("comfyui_version"),
        python: system.text("python_version"),
        pytorch: system.text("pytorch_version"),
        ram_total: system.count("ram_total"),
        ram_free: system.count("ram_free"),
        devices,
    }
}

fn device(raw: &RawValue) -> Option<ComputeDevice> {
    let device = LooseObject::parse(raw.get()).ok()?;
    Some(ComputeDevice {
        name: device.text("name"),
        kind: device.text("type"),
        vram_total: device.count("vram_total"),
        vram_free: device.count("vram_free"),
        torch_vram_total: device.count("torch_vram_total"),
        torch_vram_free: device.count("torch_vram_free"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_describe_themselves() {
        for (version, body) in [
            ("0.24.0", include_str!("../../tests/fixtures/comfyui/0.24.0/system_stats.json")),
            ("0.3.64", include_str!("../../tests/fixtures/comfyui/0.3.64/system_stats.json")),
        ] {
            let stats = read(&LooseObject::parse(body).unwrap());
            assert_eq!(stats.version.as_deref(), Some(version));
            assert_eq!(stats.ram_total, Some(25_276_063_744));
            let [device] = stats.devices.as_slice() else { panic!("{stats:?}") };
            assert_eq!((device.kind.as_deref(), device.vram_total), (Some("cpu"), Some(25_276_063_744)));
        }
    }

    #[test]
    fn everything_may_be_missing() {
        assert_eq!(read(&LooseObject::parse("{}").unwrap()), SystemStats::default());
        let odd = read(
            &LooseObject::parse(r#"{"system":[],"devices":[7,{"name":"gpu","vram_total":-1}]}"#).unwrap(),
        );
        assert_eq!(odd.devices.len(), 1);
        assert_eq!(odd.devices[0].vram_total, None);
    }
}
