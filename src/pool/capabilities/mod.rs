//! Which workflows a backend can run: its node classes, and the check of a workflow against them.

pub(super) mod catalogue;
mod fit;
pub(super) mod object_info;
