//! The needs of a job, and the shape of its workflow, by which run times are estimated.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::id::BackendName;
use super::model_files::is_model_file;
use super::workflow::{NodeInput, Workflow};

/// What a job needs of its backend, and how similar jobs are recognized.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobNeeds {
    /// Labels that the backend must have, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The only backend that may run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendName>,
    /// The model files that its nodes load; sorted, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Equal for workflows that differ only in texts, seeds and fractions, which take about as long.
    pub shape: String,
    /// Equal for workflows that differ also in other numbers: the second-best basis for an estimate.
    pub family: String,
}

/// A larger number is a seed under another name, not a size, a count or a number of steps.
const LARGEST_SIZE: u64 = 1 << 24;

impl JobNeeds {
    /// The needs of a workflow with all its parameters bound. It requires no backend by name.
    #[must_use]
    pub fn of(workflow: &Workflow<'_>) -> Self {
        let mut needs = Self::default();
        let (mut shape, mut family) = (Sha256::new(), Sha256::new());
        for node in workflow.nodes() {
            for hash in [&mut shape, &mut family] {
                part(hash, b'n', &node.id);
                part(hash, b'c', &node.class_type);
            }
            for input in &node.inputs {
                let value = workflow.value(input);
                let told = tell(input, value);
                if let NeedHint::Model(name) = &told {
                    needs.models.push(name.clone());
                }
                match &told {
                    NeedHint::Nothing => {}
                    NeedHint::Number => {
                        part(&mut shape, b'i', &input.name);
                        part(&mut shape, b'v', value);
                    }
                    NeedHint::Kind | NeedHint::Model(_) => {
                        for hash in [&mut shape, &mut family] {
                            part(hash, b'i', &input.name);
                            part(hash, b'v', value);
                        }
                    }
                }
            }
        }
        needs.models.sort_unstable();
        needs.models.dedup();
        needs.shape = short(shape);
        needs.family = short(family);
        needs
    }
}

/// How an input influences the work.
enum NeedHint {
    /// Hardly at all: a text, a seed, a fraction.
    Nothing,
    /// A size, a count, a number of steps.
    Number,
    /// By the structure of the graph, or by the way it works.
    Kind,
    /// A model file.
    Model(String),
}

fn tell(input: &NodeInput, value: &str) -> NeedHint {
    if input.link.is_some() || value == "true" || value == "false" {
        return NeedHint::Kind;
    }
    if let Ok(number) = value.parse::<u64>() {
        let is_seed = input.name.contains("seed") || number > LARGEST_SIZE;
        return if is_seed { NeedHint::Nothing } else { NeedHint::Number };
    }
    if !value.starts_with('"') {
        return NeedHint::Nothing;
    }
    match serde_json::from_str::<String>(value) {
        Ok(text) if is_model_file(&text) => NeedHint::Model(text),
        _ => NeedHint::Nothing,
    }
}

/// Hashes one part with its length, so that no two lists of parts hash alike.
fn part(hash: &mut Sha256, kind: u8, text: &str) {
    hash.update([kind]);
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _: fmt::Result = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needs(graph: &str) -> JobNeeds {
        JobNeeds::of(&Workflow::parse(graph).unwrap())
    }

    fn sampler(seed: u64, steps: u32, cfg: f64, text: &str, model: &str) -> JobNeeds {
        needs(&format!(
            r#"{{"1":{{"class_type":"CheckpointLoaderSimple","inputs":{{"ckpt_name":"{model}"}}}},
                "2":{{"class_type":"CLIPTextEncode","inputs":{{"text":"{text}","clip":["1",1]}}}},
                "3":{{"class_type":"KSampler","inputs":{{"seed":{seed},"steps":{steps},"cfg":{cfg},"model":["1",0],"positive":["2",0]}}}}}}"#
        ))
    }

    #[test]
    fn texts_seeds_and_fractions_do_not_change_the_shape() {
        let one = sampler(1, 20, 7.5, "a cat", "a.safetensors");
        assert_eq!(one.shape, sampler(18_446_744_073_709_551_615, 20, 6.25, "a dog", "a.safetensors").shape);
        assert_eq!(one.models, ["a.safetensors"]);
    }

    #[test]
    fn sizes_and_steps_change_the_shape_but_not_the_family() {
        let (one, more) = (sampler(1, 20, 7.5, "a", "a.ckpt"), sampler(1, 50, 7.5, "a", "a.ckpt"));
        assert_ne!(one.shape, more.shape);
        assert_eq!(one.family, more.family);
    }

    #[test]
    fn another_model_or_another_link_is_another_family() {
        let one = sampler(1, 20, 7.5, "a", "a.ckpt");
        assert_ne!(one.family, sampler(1, 20, 7.5, "a", "b.ckpt").family);
        let linked = needs(
            r#"{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"B","inputs":{"x":["1",0],"tiled":true}}}"#,
        );
        let other = needs(
            r#"{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"B","inputs":{"x":["1",1],"tiled":true}}}"#,
        );
        assert_ne!(linked.family, other.family);
        assert!(linked.models.is_empty());
    }

    #[test]
    fn models_are_told_by_their_files_in_any_loader_each_once() {
        let needs = needs(
            r#"{"1":{"class_type":"LoraLoader","inputs":{"lora_name":"style/b.SAFETENSORS","model":["2",0]}},
                "2":{"class_type":"UNETLoader","inputs":{"unet_name":"a.gguf","weight_dtype":"default"}},
                "3":{"class_type":"UNETLoader","inputs":{"unet_name":"a.gguf","text":"my model.\n.ckpt"}}}"#,
        );
        assert_eq!(needs.models, ["a.gguf", "style/b.SAFETENSORS"]);
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_an_older_version_kept_too() {
        let mut needs = sampler(1, 2, 3.0, "x", "m.pth");
        needs.labels = vec!["big".to_owned()];
        needs.backend = Some(BackendName::parse("gpu-1").unwrap());
        let kept = serde_json::to_string(&needs).unwrap();
        assert_eq!(serde_json::from_str::<JobNeeds>(&kept).unwrap(), needs);
        assert_eq!(serde_json::from_str::<JobNeeds>("{}").unwrap(), JobNeeds::default());
        assert!(serde_json::from_str::<JobNeeds>(r#"{"backend":"not a name"}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_two_parts_look_like_one(one in "[a-z]{0,6}", two in "[a-z]{0,6}") {
            let graph = |a: &str, b: &str| format!(r#"{{"1":{{"class_type":"x{a}","inputs":{{"{b}":true}}}}}}"#);
            let joined = format!("{one}{two}");
            prop_assume!(!two.is_empty());
            prop_assert_ne!(needs(&graph(&one, &two)).shape, needs(&graph(&joined, "")).shape);
        }
    }
}
