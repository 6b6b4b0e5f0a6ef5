//! What a server says of itself: its version, its devices, its node classes. It must not judge whether it is
//! healthy.

use serde_json::value::RawValue;

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::LooseObject;
use super::routes::{ComfyRoute, SYSTEM_STATS};
use crate::domain::workflow::ObjectEntries;

const OBJECT_INFO: ComfyRoute = ComfyRoute::get("/object_info");
const NODE_REPLACEMENTS: ComfyRoute = ComfyRoute::get("/node_replacements");

/// A server's version and devices. Memory is in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemStats {
    /// ComfyUI's version, such as `0.24.0`.
    pub version: Option<String>,
    /// Python's version, as Python says it.
    pub python: Option<String>,
    /// `PyTorch`'s version, such as `2.9.1+cu128`.
    pub pytorch: Option<String>,
    /// The machine's memory.
    pub ram_total: Option<u64>,
    /// The machine's memory that is free.
    pub ram_free: Option<u64>,
    /// The GPUs that ComfyUI uses, or the CPU.
    pub devices: Vec<ComputeDevice>,
}

/// One GPU, or the CPU. Memory is in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ComputeDevice {
    /// The device's name.
    pub name: Option<String>,
    /// `cuda`, `cpu`, `mps` and the like.
    pub kind: Option<String>,
    /// The device's memory.
    pub vram_total: Option<u64>,
    /// The device's memory that is free.
    pub vram_free: Option<u64>,
    /// The part of it that `PyTorch` holds.
    pub torch_vram_total: Option<u64>,
    /// The part of `PyTorch`'s that is free.
    pub torch_vram_free: Option<u64>,
}

impl ComfyClient {
    /// The server's version and devices. Cheap, so good for asking whether the server answers at all; that it
    /// does says nothing of whether its worker still runs jobs.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn system_stats(&self) -> Result<SystemStats, ComfyError> {
        let request = self.call(SYSTEM_STATS, None, &[]).await?;
        let body = self.json(SYSTEM_STATS, request).await?;
        let answer = LooseObject::parse(&body).map_err(|error| self.malformed(SYSTEM_STATS, error))?;
        Ok(read(&answer))
    }

    /// The description of every node class the server has, as one JSON object keyed by class (some 600 KB and
    /// more). `NaN` in it is `null`.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn object_info(&self) -> Result<Box<RawValue>, ComfyError> {
        let request = self.call(OBJECT_INFO, None, &[]).await?;
        let body = self.json(OBJECT_INFO, request).await?;
        if !body.trim_start().starts_with('{') {
            return Err(self.malformed(OBJECT_INFO, "it is not a JSON object"));
        }
        RawValue::from_string(body).map_err(|error| self.malformed(OBJECT_INFO, error))
    }
}

impl ComfyClient {
    /// The names of classes that the server replaces by others of its own when they are missing. Servers before
    /// 0.4 have no such list.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn node_replacements(&self) -> Result<Vec<String>, ComfyError> {
        let request = self.call(NODE_REPLACEMENTS, None, &[]).await?;
        let body = match self.json(NODE_REPLACEMENTS, request).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            body => body?,
        };
        let ObjectEntries(entries) =
            serde_json::from_str(&body).map_err(|error| self.malformed(NODE_REPLACEMENTS, error))?;
        Ok(entries.into_iter().map(|(class, _)| class).collect())
    }

    /// The error of an answer to `/object_info` that is JSON and yet does not describe node classes.
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
    fn both_versions_say_what_they_are() {
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
