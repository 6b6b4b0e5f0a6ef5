//! The domain: jobs, workflows and results as pure values and functions.
//! It must not do I/O, read a clock, or know of HTTP, SQL or async.

pub mod time;
