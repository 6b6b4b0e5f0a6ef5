//! The files and texts that a run made, found in ComfyUI's `outputs`, with their names.

use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::RawValue;

use super::dsl::{TitleMarker, read_title};
use super::media::MediaKind;
use super::workflow::Workflow;

/// The `$output.NAME` of each node that has one, and the nodes' classes.
#[derive(Debug, Clone, Default)]
pub struct OutputNames(IndexMap<String, String>);

impl OutputNames {
    /// The names in the titles of `workflow`.
    #[must_use]
    pub fn of(workflow: &Workflow<'_>) -> Self {
        let named = workflow.nodes().iter().filter_map(|node| match read_title(node.title.as_deref()?) {
            Ok(TitleMarker::Output(name)) => Some((node.id.clone(), name.to_owned())),
            _ => None,
        });
        Self(named.collect())
    }

    /// The ids of the nodes with a name, in the workflow's order.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The name of the outputs of `node_id`: its own name, or else that of the node it was expanded from (`5`
    /// for `5.0.0.2`), or else the id.
    #[must_use]
    pub fn of_node(&self, node_id: &str) -> String {
        let origin = node_id.split('.').next().unwrap_or(node_id);
        self.0.get(node_id).or_else(|| self.0.get(origin)).cloned().unwrap_or_else(|| node_id.to_owned())
    }
}

/// A file as ComfyUI names it. `/view` takes the three parts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileRef {
    /// The name within the folder.
    pub filename: String,
    /// The folder below the type's own; empty for none.
    pub subfolder: String,
    /// `output`, `temp` or `input`: `type` in ComfyUI's JSON.
    pub kind: String,
}

/// One file that a run made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// The `$output.NAME`, or the node's id.
    pub var: String,
    /// The node that made it.
    pub node_id: String,
    /// The kind of media.
    pub kind: MediaKind,
    /// Where to fetch it.
    pub file: FileRef,
}

/// One text that a run made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputText {
    /// The `$output.NAME`, or the node's id.
    pub var: String,
    /// The node that made it.
    pub node_id: String,
    /// The text.
    pub text: String,
}

/// All files and texts of a run, in ComfyUI's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOutputs {
    /// Every file object under any key.
    pub files: Vec<OutputFile>,
    /// Every text under `text` and `string`.
    pub texts: Vec<OutputText>,
}

/// Finds files and texts in ComfyUI's `outputs` dictionary.
#[must_use]
pub fn read_outputs(outputs: &RawValue, names: &OutputNames) -> RunOutputs {
    let mut found = RunOutputs::default();
    let Ok(Value::Object(nodes)) = serde_json::from_str::<Value>(outputs.get()) else { return found };
    for (node_id, ui) in &nodes {
        let Value::Object(ui) = ui else { continue };
        let var = names.of_node(node_id);
        for (key, value) in ui {
            if matches!(key.as_str(), "text" | "string") {
                let owned = |text| OutputText { var: var.clone(), node_id: node_id.clone(), text };
                found.texts.extend(texts(value).into_iter().map(owned));
            }
            let items = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
            found.files.extend(items.iter().filter_map(|item| {
                let (file, format) = file_ref(item)?;
                let kind = kind_of(&file.filename, format, key);
                Some(OutputFile { var: var.clone(), node_id: node_id.clone(), kind, file })
            }));
        }
    }
    found
}

fn kind_of(filename: &str, format: Option<&str>, key: &str) -> MediaKind {
    MediaKind::by_extension(filename)
        .or_else(|| format.and_then(MediaKind::by_format))
        .or_else(|| MediaKind::by_key(key))
        .unwrap_or(MediaKind::File)
}

fn file_ref(item: &Value) -> Option<(FileRef, Option<&str>)> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let filename = text("filename").filter(|name| !name.is_empty())?;
    let file = FileRef {
        filename: filename.to_owned(),
        subfolder: text("subfolder").unwrap_or_default().to_owned(),
        kind: text("type").unwrap_or("output").to_owned(),
    };
    Some((file, text("format")))
}

/// A list of texts, or a single text. A list of single characters is a text that Python took for a list.
fn texts(value: &Value) -> Vec<String> {
    let Value::Array(items) = value else { return text(value).into_iter().collect() };
    let single = |item: &Value| item.as_str().is_some_and(|text| text.chars().count() == 1);
    if items.len() > 1 && items.iter().all(single) {
        return vec![items.iter().filter_map(Value::as_str).collect()];
    }
    items.iter().filter_map(text).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(outputs: &str) -> RunOutputs {
        let graph = r#"{"9":{"class_type":"SaveImage","inputs":{},"_meta":{"title":"$output.cover"}}}"#;
        let names = OutputNames::of(&Workflow::parse(graph).unwrap());
        read_outputs(&RawValue::from_string(outputs.to_owned()).unwrap(), &names)
    }

    fn kinds(outputs: &str) -> Vec<(String, MediaKind)> {
        read(outputs).files.into_iter().map(|file| (file.var, file.kind)).collect()
    }

    #[test]
    fn every_file_object_under_any_key_counts_and_extension_comes_first() {
        let found = kinds(
            r#"{"9":{"images":[{"filename":"v.mp4","subfolder":"","type":"output"}],"animated":[true]},
            "3":{"gifs":[{"filename":"noext","format":"video/h264-mp4","type":"temp"}],"a_images":[{"filename":"x.bin"}],
            "latents":[{"filename":"l.latent"}],"one":{"filename":"o.wav"},"result":["x.glb",null,null]}}"#,
        );
        let expected = [
            ("cover", MediaKind::Video),
            ("3", MediaKind::Video),
            ("3", MediaKind::Image),
            ("3", MediaKind::File),
            ("3", MediaKind::Audio),
        ];
        assert_eq!(found, expected.map(|(var, kind)| (var.to_owned(), kind)));
    }

    #[test]
    fn expanded_nodes_go_by_the_name_of_their_origin() {
        let found = kinds(
            r#"{"9.0.0.2":{"images":[{"filename":"a.png"}]},"10:2":{"images":[{"filename":"b.png"}]}}"#,
        );
        assert_eq!(found[0].0, "cover");
        assert_eq!(found[1].0, "10:2");
    }

    #[test]
    fn texts_come_from_lists_bare_values_and_split_characters() {
        let texts = |value: &str| {
            let found = read(&format!(r#"{{"1":{{"text":{value}}}}}"#));
            found.texts.into_iter().map(|text| text.text).collect::<Vec<_>>()
        };
        assert_eq!(texts(r#"["one","two"]"#), ["one", "two"]);
        assert_eq!(texts(r#""bare""#), ["bare"]);
        assert_eq!(texts(r#"["h","é","y"]"#), ["héy"]);
        assert_eq!(texts(r#"["7"]"#), ["7"]);
        assert_eq!(texts("[1, true, null]"), ["1", "true"]);
        assert_eq!(read(r#"{"1":{"string":["s"]}}"#).texts[0].var, "1");
    }

    #[test]
    fn odd_shapes_are_passed_over() {
        for outputs in [
            "null",
            "[]",
            r#"{"1":null,"2":[],"3":{"images":null,"x":[[1],{"filename":3},{"filename":""}]}}"#,
        ] {
            assert_eq!(read(outputs), RunOutputs::default(), "{outputs}");
        }
    }
}
