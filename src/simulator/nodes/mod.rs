//! The simulated nodes. Each takes its inputs and a stage to act on, and returns outputs and something to show.

mod audio;
mod data;
mod image;
mod lab;
mod run;
mod sampling;
mod stage;
mod text;

pub(super) use data::LinkData;
pub(super) use run::run;
pub(super) use stage::{
    NodeExpansion, NodeFailure, NodeInputs, NodeResult, NodeStage, out_of_memory, raised,
};
