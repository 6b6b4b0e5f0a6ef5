//! How ComfyUI reports that a node failed, in history and on the websocket. It must not judge what follows
//! from it.

use super::loose::{self, LooseObject};

/// A node that raised an exception, from `execution_error`. Fields that ComfyUI left out are `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutionError {
    /// The node's id in the workflow; of a node made by another one, the id ComfyUI gave it (`5.0.0.2`).
    pub node_id: Option<String>,
    /// The node's class.
    pub node_type: Option<String>,
    /// The exception's Python class, such as `ValueError` or `torch.OutOfMemoryError`.
    pub exception_type: String,
    /// The exception's message without the line end ComfyUI adds.
    pub exception_message: String,
    /// Python's traceback, as one text of many lines.
    pub traceback: String,
}

impl ExecutionError {
    pub(super) fn read(data: &LooseObject<'_>) -> Self {
        Self {
            node_id: data.text("node_id"),
            node_type: data.text("node_type"),
            exception_type: data.text("exception_type").unwrap_or_default(),
            exception_message: data.text("exception_message").unwrap_or_default().trim_end().to_owned(),
            traceback: traceback(data),
        }
    }

    /// The GPU's memory did not suffice; the same job may succeed after `free` or on another server.
    /// `torch.OutOfMemoryError` and `torch.cuda.OutOfMemoryError` have both been seen.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.exception_type.rsplit('.').next() == Some("OutOfMemoryError")
    }

    /// No failure at all: a node asked that what depends on it be skipped, and the job goes on.
    pub(super) fn is_blocked(&self) -> bool {
        self.exception_type == "ExecutionBlocked"
    }
}

/// The traceback is a list of lines, each with its line end; a bare string is taken too.
fn traceback(data: &LooseObject<'_>) -> String {
    let Some(raw) = data.raw("traceback") else { return String::new() };
    let text = loose::text(raw).unwrap_or_else(|| data.texts("traceback").concat());
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> ExecutionError {
        ExecutionError::read(&LooseObject::parse(json).unwrap())
    }

    #[test]
    fn every_field_may_be_missing_or_odd() {
        assert_eq!(read("{}"), ExecutionError::default());
        let odd = read(r#"{"node_id":4,"exception_message":["x"],"traceback":"one\n"}"#);
        assert_eq!(odd.node_id.as_deref(), Some("4"));
        assert_eq!(odd.exception_message, "");
        assert_eq!(odd.traceback, "one");
    }

    #[test]
    fn both_names_of_out_of_memory_are_known() {
        for name in ["torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "OutOfMemoryError"] {
            assert!(read(&format!(r#"{{"exception_type":"{name}"}}"#)).is_out_of_memory(), "{name}");
        }
        assert!(!read(r#"{"exception_type":"ValueError"}"#).is_out_of_memory());
    }
}
