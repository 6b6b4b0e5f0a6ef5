//! Registered workflows: what is told of them, and what is refused.
