//! Which file names are model weights.

/// The extensions of weights that ComfyUI's loaders and common node packs list.
const EXTENSIONS: [&str; 12] =
    ["safetensors", "ckpt", "pt", "pt2", "pth", "bin", "gguf", "sft", "onnx", "pkl", "engine", "torchscript"];

/// Whether a text is the name of a file with model weights, by its extension.
#[must_use]
pub fn is_model_file(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    !name.contains('\n')
        && extension.is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}
