//! The report of a failed node, as it appears in the history and on the websocket.

use super::loose::{self, LooseObject};

/// A node that raised an exception, from `execution_error`. Fields that ComfyUI leaves out are `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutionError {
    /// The id of the node in the workflow, or the id that ComfyUI gave to a node made by another one (`5.0.0.2`).
    pub node_id: Option<String>,
    /// The class of the node.
    pub node_type: Option<String>,
    /// The Python class of the exception, such as `ValueError` or `torch.OutOfMemoryError`.
    pub exception_type: String,
    /// The message of the exception, without the line break that ComfyUI appends.
    pub exception_message: String,
    /// The Python traceback, as one text of many lines.
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

    /// Whether the GPU ran out of memory. The same job may succeed after a `free` or on another backend.
    ///
    /// Versions of `PyTorch` differ in the name: `torch.OutOfMemoryError` or `torch.cuda.OutOfMemoryError`.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.exception_type.rsplit('.').next() == Some("OutOfMemoryError")
    }

    /// Whether this is no failure: a node asked ComfyUI to skip the nodes that depend on it, and the job continues.
    pub(super) fn is_blocked(&self) -> bool {
        self.exception_type == "ExecutionBlocked"
    }
}

/// Joins the traceback, a list of lines with their line breaks. A bare string is accepted too.
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
