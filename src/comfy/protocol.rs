//! The messages that ComfyUI sends on its websocket.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::failure::ExecutionError;
use super::loose::LooseObject;
use super::sanitize::sanitize;
use crate::domain::time::UnixMillis;

/// One message, with times by the clock of the backend.
///
/// Every message is a hint: any can be missing, and after a reconnect most are.
#[derive(Debug, Clone)]
pub enum ComfyEvent {
    /// `status`: the length of the queue. ComfyUI sends it to every client, and as the first message of a connection.
    Status {
        /// The waiting and running jobs of all clients.
        queue_remaining: Option<u64>,
        /// The client id of the connection, only in its first message.
        sid: Option<String>,
    },
    /// `execution_start`.
    ExecutionStart {
        /// The id of the job.
        prompt_id: String,
        /// When the job started.
        timestamp: Option<UnixMillis>,
    },
    /// `execution_cached`: these nodes do not run because their results are cached.
    Cached {
        /// The id of the job.
        prompt_id: String,
        /// The ids of the nodes.
        nodes: Vec<String>,
    },
    /// `executing`: a node starts. With a job but no node, the job has ended and its history entry exists.
    Executing {
        /// The id of the job; missing in the message that ComfyUI repeats after a reconnect.
        prompt_id: Option<String>,
        /// The node that starts.
        node: Option<String>,
    },
    /// `progress`: the steps of one node.
    Progress {
        /// The id of the job.
        prompt_id: Option<String>,
        /// The id of the node.
        node: Option<String>,
        /// The completed steps.
        value: f64,
        /// All steps.
        max: f64,
    },
    /// `progress_state`: all nodes that have started.
    ProgressState {
        /// The id of the job.
        prompt_id: String,
        /// The progress of each node.
        nodes: Vec<NodeProgress>,
    },
    /// `executed`: an output node has finished.
    Executed {
        /// The id of the job.
        prompt_id: String,
        /// The node, by the id that its output has in the history.
        node: String,
        /// Its output as in the history; `None` if it has none.
        output: Option<Box<RawValue>>,
    },
    /// `execution_success`: all nodes have run. The history entry appears some milliseconds later.
    Success {
        /// The id of the job.
        prompt_id: String,
        /// When the job ended.
        timestamp: Option<UnixMillis>,
    },
    /// `execution_error`: a node failed, and the job with it.
    Error {
        /// The id of the job.
        prompt_id: String,
        /// The failed node and its exception.
        error: Box<ExecutionError>,
        /// When the job ended.
        timestamp: Option<UnixMillis>,
    },
    /// `execution_error` of the type `ExecutionBlocked`: a node was skipped, and the job continues.
    Blocked {
        /// The id of the job.
        prompt_id: String,
        /// The skipped node, with the reason as its message.
        error: Box<ExecutionError>,
    },
    /// `execution_interrupted`: some client interrupted the job.
    Interrupted {
        /// The id of the job.
        prompt_id: String,
        /// The node that was running.
        node: Option<String>,
        /// When the job ended.
        timestamp: Option<UnixMillis>,
    },
    /// A preview image of a running node.
    Preview {
        /// The id of the job; missing from versions before 0.3.41.
        prompt_id: Option<String>,
        /// The node; missing from versions before 0.3.41.
        node: Option<String>,
        /// `image/jpeg` or `image/png`.
        mime: &'static str,
        /// The encoded image.
        bytes: Bytes,
    },
    /// A text that a node shows while it runs.
    ProgressText {
        /// The id of the node.
        node: String,
        /// The text.
        text: String,
    },
    /// A message that this client does not use or understand.
    Unknown {
        /// The type of the message, or the fault in it.
        kind: String,
    },
}

/// The progress of one node, from `progress_state`.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeProgress {
    /// The id of the node in the workflow, or the id that ComfyUI gave to a node made by another one.
    pub node: String,
    /// The node of the workflow that represents it.
    pub display_node: Option<String>,
    /// `pending`, `running`, `finished` or `error`.
    pub state: String,
    /// The completed steps.
    pub value: f64,
    /// All steps.
    pub max: f64,
}

impl ComfyEvent {
    /// Reads a text message. An unreadable one becomes [`Self::Unknown`].
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let clean = sanitize(text);
        let Ok(message) = LooseObject::parse(&clean) else { return unknown("not a JSON object") };
        let Some(kind) = message.text("type") else { return unknown("no type") };
        message.object("data").and_then(|data| read(&kind, &data)).unwrap_or(Self::Unknown { kind })
    }

    /// Reads a binary message, whose type is a big-endian u32 at its start. An unreadable one becomes
    /// [`Self::Unknown`].
    #[must_use]
    pub fn from_binary(mut message: Bytes) -> Self {
        let Some(kind) = take_u32(&mut message) else { return unknown("binary without a type") };
        let read = match kind {
            1 => legacy_preview(message),
            3 => progress_text(message),
            4 => preview(message),
            _ => None,
        };
        read.unwrap_or_else(|| Self::Unknown { kind: format!("binary {kind}") })
    }

    /// The id of the job that the message is about, if it names one.
    #[must_use]
    pub fn prompt_id(&self) -> Option<&str> {
        match self {
            Self::ExecutionStart { prompt_id, .. }
            | Self::Cached { prompt_id, .. }
            | Self::ProgressState { prompt_id, .. }
            | Self::Executed { prompt_id, .. }
            | Self::Success { prompt_id, .. }
            | Self::Error { prompt_id, .. }
            | Self::Blocked { prompt_id, .. }
            | Self::Interrupted { prompt_id, .. } => Some(prompt_id),
            Self::Executing { prompt_id, .. }
            | Self::Progress { prompt_id, .. }
            | Self::Preview { prompt_id, .. } => prompt_id.as_deref(),
            Self::Status { .. } | Self::ProgressText { .. } | Self::Unknown { .. } => None,
        }
    }
}

fn unknown(kind: &str) -> ComfyEvent {
    ComfyEvent::Unknown { kind: kind.to_owned() }
}

/// Reads the data of a message; `None` if an indispensable part is missing.
fn read(kind: &str, data: &LooseObject<'_>) -> Option<ComfyEvent> {
    let prompt_id = data.text("prompt_id");
    let timestamp = data.moment("timestamp");
    Some(match kind {
        "status" => status(data),
        "execution_start" => ComfyEvent::ExecutionStart { prompt_id: prompt_id?, timestamp },
        "execution_cached" => ComfyEvent::Cached { prompt_id: prompt_id?, nodes: data.texts("nodes") },
        "executing" => ComfyEvent::Executing { prompt_id, node: data.text("node") },
        "progress" => ComfyEvent::Progress {
            prompt_id,
            node: data.text("node"),
            value: data.number("value")?,
            max: data.number("max")?,
        },
        "progress_state" => ComfyEvent::ProgressState { prompt_id: prompt_id?, nodes: nodes(data) },
        "executed" => ComfyEvent::Executed {
            prompt_id: prompt_id?,
            node: data.text("node")?,
            output: data.raw("output").map(ToOwned::to_owned),
        },
        "execution_success" => ComfyEvent::Success { prompt_id: prompt_id?, timestamp },
        "execution_error" => failure(prompt_id?, data, timestamp),
        "execution_interrupted" => {
            ComfyEvent::Interrupted { prompt_id: prompt_id?, node: data.text("node_id"), timestamp }
        }
        _ => return None,
    })
}

fn status(data: &LooseObject<'_>) -> ComfyEvent {
    let exec_info = data.object("status").and_then(|status| status.object("exec_info"));
    ComfyEvent::Status {
        queue_remaining: exec_info.and_then(|info| info.count("queue_remaining")),
        sid: data.text("sid"),
    }
}

fn failure(prompt_id: String, data: &LooseObject<'_>, timestamp: Option<UnixMillis>) -> ComfyEvent {
    let error = Box::new(ExecutionError::read(data));
    if error.is_blocked() {
        ComfyEvent::Blocked { prompt_id, error }
    } else {
        ComfyEvent::Error { prompt_id, error, timestamp }
    }
}

fn nodes(data: &LooseObject<'_>) -> Vec<NodeProgress> {
    let Some(nodes) = data.object("nodes") else { return Vec::new() };
    let read = |(id, raw): (_, &RawValue)| {
        let node = LooseObject::parse(raw.get()).ok()?;
        Some(NodeProgress {
            node: String::from(id),
            display_node: node.text("display_node_id"),
            state: node.text("state").unwrap_or_default(),
            value: node.number("value").unwrap_or(0.0),
            max: node.number("max").unwrap_or(0.0),
        })
    };
    nodes.entries().into_iter().filter_map(read).collect()
}

/// `[1 jpeg | 2 png][image]`, sent to clients that did not request metadata, and by old versions.
fn legacy_preview(mut message: Bytes) -> Option<ComfyEvent> {
    let mime = if take_u32(&mut message)? == 2 { "image/png" } else { "image/jpeg" };
    Some(ComfyEvent::Preview { prompt_id: None, node: None, mime, bytes: message })
}

/// `[length][node id][text]`.
fn progress_text(mut message: Bytes) -> Option<ComfyEvent> {
    let node = take_text(&mut message)?;
    Some(ComfyEvent::ProgressText { node, text: String::from_utf8_lossy(&message).into_owned() })
}

/// `[length][JSON metadata][image]`.
fn preview(mut message: Bytes) -> Option<ComfyEvent> {
    let text = take_text(&mut message)?;
    let clean = sanitize(&text);
    let metadata = LooseObject::parse(&clean).ok()?;
    let png = metadata.text("image_type").as_deref() == Some("image/png");
    Some(ComfyEvent::Preview {
        prompt_id: metadata.text("prompt_id"),
        node: metadata.text("node_id"),
        mime: if png { "image/png" } else { "image/jpeg" },
        bytes: message,
    })
}

fn take_u32(message: &mut Bytes) -> Option<u32> {
    let word = *message.first_chunk()?;
    let _taken = message.split_to(4);
    Some(u32::from_be_bytes(word))
}

fn take_text(message: &mut Bytes) -> Option<String> {
    let length = usize::try_from(take_u32(message)?).ok().filter(|length| *length <= message.len())?;
    Some(String::from_utf8_lossy(&message.split_to(length)).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::mutilate;
    use super::*;

    /// The captured messages of both versions, one of each kind.
    fn captured() -> Vec<ComfyEvent> {
        [
            include_str!("../../tests/fixtures/comfyui/0.24.0/ws.jsonl"),
            include_str!("../../tests/fixtures/comfyui/0.3.64/ws.jsonl"),
        ]
        .iter()
        .flat_map(|lines| lines.lines())
        .map(ComfyEvent::from_text)
        .collect()
    }

    /// Exactly one message of each version must satisfy `like`.
    fn assert_twice(like: impl Fn(&ComfyEvent) -> bool) {
        let events = captured();
        assert_eq!(events.iter().filter(|event| like(event)).count(), 2, "{events:?}");
    }

    #[test]
    fn every_kind_of_message_of_both_versions_is_read() {
        use ComfyEvent as E;
        assert_twice(|e| matches!(e, E::Status { queue_remaining: Some(_), sid: Some(_) }));
        assert_twice(|e| matches!(e, E::Status { queue_remaining: Some(_), sid: None }));
        assert_twice(|e| matches!(e, E::ExecutionStart { timestamp: Some(_), .. }));
        assert_twice(|e| matches!(e, E::Cached { .. }));
        assert_twice(|e| matches!(e, E::Executing { prompt_id: Some(_), node: Some(_) }));
        assert_twice(|e| matches!(e, E::Executing { prompt_id: Some(_), node: None }));
        assert_twice(|e| matches!(e, E::Executing { prompt_id: None, node: Some(_) }));
        assert_twice(
            |e| matches!(e, E::Progress { prompt_id: Some(_), node: Some(_), max, .. } if *max > 0.0),
        );
        assert_twice(|e| matches!(e, E::Success { timestamp: Some(_), .. }));
        assert_twice(|e| matches!(e, E::Interrupted { node: Some(_), timestamp: Some(_), .. }));
        assert_twice(|e| matches!(e, E::Unknown { kind } if kind == "feature_flags"));
    }

    #[test]
    fn a_failure_ends_the_job_and_a_block_does_not() {
        assert_twice(|event| {
            matches!(event, ComfyEvent::Error { error, timestamp: Some(_), .. }
                if error.node_type.as_deref() == Some("LoadImage") && !error.exception_message.ends_with('\n'))
        });
        assert_twice(
            |event| matches!(event, ComfyEvent::Blocked { error, .. } if error.exception_message == "Execution Blocked: blocked!"),
        );
    }

    #[test]
    fn an_output_with_nan_is_read() {
        assert_twice(
            |event| matches!(event, ComfyEvent::Executed { output: Some(output), .. } if output.get() == r#"{"v": [null]}"#),
        );
        let none =
            ComfyEvent::from_text(r#"{"type":"executed","data":{"prompt_id":"p","node":"1","output":null}}"#);
        assert!(matches!(none, ComfyEvent::Executed { output: None, .. }));
    }

    #[test]
    fn the_progress_of_all_nodes_is_read() {
        assert_twice(|event| {
            let ComfyEvent::ProgressState { nodes, .. } = event else { return false };
            nodes.len() == 1 && nodes[0].node == "1" && nodes[0].state == "running" && nodes[0].max >= 1.0
        });
    }

    #[test]
    fn unreadable_messages_are_unknown() {
        for text in [
            "",
            "garbage",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"executed"}"#,
            r#"{"type":"executed","data":[]}"#,
            r#"{"type":"execution_success","data":{}}"#,
            r#"{"type":"progress","data":{"value":NaN,"max":3}}"#,
            r#"{"type":"crystools.monitor","data":{"cpu":1}}"#,
        ] {
            assert!(matches!(ComfyEvent::from_text(text), ComfyEvent::Unknown { .. }), "{text}");
        }
    }

    #[test]
    fn a_message_without_any_one_of_its_parts_is_read_or_unknown() {
        for line in include_str!("../../tests/fixtures/comfyui/0.24.0/ws.jsonl").lines() {
            let kind = ComfyEvent::from_text(line);
            for changed in mutilate::variants(&sanitize(line)) {
                let event = ComfyEvent::from_text(&changed);
                let same = std::mem::discriminant(&event) == std::mem::discriminant(&kind);
                let other = matches!(event, ComfyEvent::Unknown { .. } | ComfyEvent::Error { .. });
                assert!(same || other, "{changed}: {event:?}");
            }
            for cut in mutilate::beginnings(line) {
                assert!(matches!(ComfyEvent::from_text(cut), ComfyEvent::Unknown { .. }), "{cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_binary_message_causes_a_panic(kind in 0..6_u32, length in any::<u32>(), rest in any::<Vec<u8>>()) {
            let _event = binary(&[kind, length], &rest);
            let _event = binary(&[kind, length % 8], &rest);
            let _event = ComfyEvent::from_binary(rest.into());
        }
    }

    fn binary(words: &[u32], rest: &[u8]) -> ComfyEvent {
        let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        message.extend_from_slice(rest);
        ComfyEvent::from_binary(message.into())
    }

    #[test]
    fn previews_and_texts_come_as_binary_messages() {
        let ComfyEvent::Preview { prompt_id: None, node: None, mime: "image/png", bytes } =
            binary(&[1, 2], b"PNG")
        else {
            panic!()
        };
        assert_eq!(bytes, "PNG");
        let ComfyEvent::ProgressText { node, text } = binary(&[3, 1], b"1slept 0.6") else { panic!() };
        assert_eq!((node.as_str(), text.as_str()), ("1", "slept 0.6"));
        let metadata = br#"{"node_id":"4","prompt_id":"p","image_type":"image/jpeg"}"#;
        let event = binary(&[4, u32::try_from(metadata.len()).unwrap()], &[&metadata[..], b"JPG"].concat());
        assert_eq!(event.prompt_id(), Some("p"));
        let ComfyEvent::Preview { node: Some(node), mime: "image/jpeg", bytes, .. } = event else { panic!() };
        assert_eq!((node.as_str(), &bytes[..]), ("4", &b"JPG"[..]));
    }

    #[test]
    fn broken_binary_messages_are_unknown() {
        for event in [
            ComfyEvent::from_binary(Bytes::from_static(b"\0\0\0")),
            binary(&[1], b""),
            binary(&[3, 9], b"1"),
            binary(&[4, u32::MAX], b"{}"),
            binary(&[4, 2], b"[]"),
            binary(&[77], b"x"),
        ] {
            assert!(matches!(event, ComfyEvent::Unknown { .. }), "{event:?}");
        }
    }
}
