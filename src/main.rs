//! The command line of comfy-gateway.

fn main() {}
