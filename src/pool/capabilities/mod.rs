//! What each backend can run: the node classes it has, and whether a workflow fits them.

pub(in crate::pool) mod catalogue;
mod fit;
pub(in crate::pool) mod object_info;
