//! Image nodes.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use serde_json::{Value, json};

use super::data::LinkData;
use super::stage::{NodeFailure, NodeInputs, NodeResult, NodeStage, raised};
use crate::simulator::files::{FolderKind, NameSlot};
use crate::simulator::media::ImageBatch;
use crate::simulator::pyjson;

pub(super) async fn empty(
    inputs: &NodeInputs,
    stage: &mut NodeStage<'_, '_>,
) -> Result<NodeResult, NodeFailure> {
    let config = &stage.server.world.config;
    if !config.exec.is_zero() {
        let (time, steps) = (config.exec, config.steps.max(1));
        stage.work(time, steps, None).await?;
    }
    let (width, height) = (inputs.whole("width")?, inputs.whole("height")?);
    let image = ImageBatch::flat(width, height, inputs.whole("batch_size")?, inputs.whole("color")?);
    Ok(NodeResult::data(LinkData::Image(Arc::new(image))))
}

pub(super) fn invert(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    Ok(NodeResult::data(LinkData::Image(Arc::new(inputs.image("image")?.invert()))))
}

pub(super) fn scale(inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
    let scaled = inputs.image("image")?.scale(inputs.whole("width")?, inputs.whole("height")?);
    Ok(NodeResult::data(LinkData::Image(Arc::new(scaled))))
}

pub(super) fn load(inputs: &NodeInputs, stage: &NodeStage<'_, '_>) -> Result<NodeResult, NodeFailure> {
    let name = inputs.text("image");
    let bytes = stage.server.world.files.annotated(&name).and_then(|path| std::fs::read(path).ok());
    let Some(bytes) = bytes else {
        return raised("FileNotFoundError", format!("[Errno 2] No such file or directory: '{name}'"));
    };
    let Some(image) = ImageBatch::read(&bytes) else {
        return raised("PIL.UnidentifiedImageError", format!("cannot identify image file '{name}'"));
    };
    let image = Arc::new(image);
    Ok(NodeResult {
        outputs: vec![LinkData::Image(Arc::clone(&image)), LinkData::Image(image)],
        ..NodeResult::default()
    })
}

pub(super) async fn save(inputs: &NodeInputs, stage: &NodeStage<'_, '_>) -> Result<NodeResult, NodeFailure> {
    write(inputs, stage, FolderKind::Output, &inputs.text("filename_prefix")).await
}

pub(super) async fn preview(
    inputs: &NodeInputs,
    stage: &NodeStage<'_, '_>,
) -> Result<NodeResult, NodeFailure> {
    let prefix = format!("ComfyUI_temp_{}", stage.server.temp_tag);
    write(inputs, stage, FolderKind::Temp, &prefix).await
}

async fn write(
    inputs: &NodeInputs,
    stage: &NodeStage<'_, '_>,
    folder: FolderKind,
    prefix: &str,
) -> Result<NodeResult, NodeFailure> {
    let image = inputs.image("images")?;
    let prefix =
        prefix.replace("%width%", &image.width.to_string()).replace("%height%", &image.height.to_string());
    let prefix = dated(&prefix, &stage.server.world.clock.now().to_string());
    let Some(slot) = stage.server.world.files.slot(folder, &prefix)? else {
        return raised("Exception", "**** ERROR: Saving image outside the output folder is not allowed.");
    };
    let texts = texts(stage);
    // Painting and encoding take long for large images. The directories stay until that is done.
    let world = Arc::clone(&stage.server.world);
    let written = tokio::task::spawn_blocking(move || {
        let written = write_all(&image, slot, &texts);
        drop(world);
        written
    });
    let written = written.await;
    let saved = written.map_err(std::io::Error::other)??;
    Ok(NodeResult::shows(json!({ "images": saved }), Vec::new()))
}

fn write_all(
    image: &ImageBatch,
    mut slot: NameSlot,
    texts: &[(String, String)],
) -> std::io::Result<Vec<Value>> {
    (0..image.batch)
        .map(|frame| {
            let (path, saved) = slot.next(frame, "png");
            image.write_png(frame, texts, BufWriter::new(File::create(path)?))?;
            Ok(saved.to_json())
        })
        .collect()
}

/// The prompt and the caller's extras, as ComfyUI writes them into its PNG files.
fn texts(stage: &NodeStage<'_, '_>) -> Vec<(String, String)> {
    let graph = Value::Object(stage.job.graph.clone());
    let extras = stage.job.extra.get("extra_pnginfo").and_then(Value::as_object);
    let extras =
        extras.into_iter().flatten().map(|(key, value)| (key.clone(), pyjson::ascii(&pyjson::render(value))));
    std::iter::once(("prompt".to_owned(), pyjson::ascii(&pyjson::render(&graph)))).chain(extras).collect()
}

/// Fills in `%year%` and its like from a moment such as `2026-11-22T07:00:00.123Z`.
fn dated(prefix: &str, moment: &str) -> String {
    const PARTS: [(&str, usize, usize); 6] = [
        ("%year%", 0, 4),
        ("%month%", 5, 7),
        ("%day%", 8, 10),
        ("%hour%", 11, 13),
        ("%minute%", 14, 16),
        ("%second%", 17, 19),
    ];
    PARTS.iter().fold(prefix.to_owned(), |text, (name, from, to)| {
        text.replace(name, moment.get(*from..*to).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_filled_in() {
        assert_eq!(dated("a/%year%-%month%_%second%", "2026-11-22T07:00:05.123Z"), "a/2026-11_05");
    }
}
