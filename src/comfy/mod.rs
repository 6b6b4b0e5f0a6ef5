//! The client for one ComfyUI server: the only module that knows ComfyUI's protocol. It must not know of
//! jobs, queues of ours, retries or which server to choose.
//!
//! What is read from a server is read tolerantly: `NaN` and `Infinity`, unknown messages and missing fields
//! are no errors. What is sent is built here from parts, never passed through: some field types take a server
//! down.
//!
//! * [`ComfyEndpoint`]: where a server is and how to be let in. [`ComfyClient`]: the verbs.
//! * [`ComfyClient::submit`] says by the type of its error whether a job can have been accepted.
//! * [`ComfyClient::history`] is the truth about a job, [`ComfyClient::events`] only a hint.

mod client;
mod control;
mod endpoint;
mod error;
mod failure;
mod history;
mod loose;
#[cfg(test)]
mod mutilate;
mod protocol;
mod queue;
mod rejection;
mod routes;
mod sanitize;
mod submit;
mod system;
mod upload;
mod view;
mod ws;

pub use client::ComfyClient;
pub use endpoint::{AnswerLimits, CallTimeouts, ComfyEndpoint, EndpointError};
pub use error::{CallFault, ComfyError};
pub use failure::ExecutionError;
pub use history::{HistoryEntry, HistoryStatus, RawOutputs};
pub use protocol::{ComfyEvent, NodeProgress};
pub use queue::{ListedPrompt, QueueSnapshot};
pub use rejection::{InputError, NodeError, NodeErrors, PromptRejection};
pub use routes::ComfyRoute;
pub use submit::{AcceptedPrompt, PromptError};
pub use system::{ComputeDevice, SystemStats};
pub use upload::{InputUpload, UploadedInput};
pub use view::ViewStream;
pub use ws::EventStream;
