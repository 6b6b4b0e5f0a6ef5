//! The client for one ComfyUI backend, and the only module that knows ComfyUI's protocol.
//!
//! It reads answers tolerantly: `NaN`, `Infinity`, unknown messages and missing fields are not errors. It
//! builds every request from parts and never passes one through, because some field types crash ComfyUI.
//!
//! * [`ComfyEndpoint`] is the address and the credentials of a backend. [`ComfyClient`] makes the calls.
//! * [`ComfyClient::submit`] fails with a [`PromptError`], whose variant tells whether ComfyUI may have the
//!   job.
//! * [`ComfyClient::history`] and [`ComfyClient::queue`] are the truth about a job. [`ComfyClient::events`]
//!   gives hints.

mod client;
mod control;
mod discovery;
mod endpoint;
mod error;
mod event;
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
pub use event::{ComfyEvent, NodeProgress};
pub use failure::ExecutionError;
pub use history::{HistoryEntry, HistoryStatus, RawOutputs};
pub use queue::{ListedPrompt, QueueSnapshot};
pub use rejection::{InputError, NodeError, NodeErrors, PromptRejection};
pub use routes::ComfyRoute;
pub use submit::{AcceptedPrompt, PromptError};
pub use system::{ComputeDevice, SystemStats};
pub use upload::{InputUpload, UploadedInput};
pub use view::ViewStream;
pub use ws::EventStream;
