//! Reads the text and binary messages that ComfyUI sends on its websocket.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::event::{ComfyEvent, NodeProgress};
use super::failure::ExecutionError;
use super::loose::LooseObject;
use super::sanitize::sanitize;
use crate::domain::time::UnixMillis;

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
