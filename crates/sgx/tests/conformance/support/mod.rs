//! An enclave to test with: its program, its shape, and what to ask of it.

pub(crate) mod image;
pub(crate) mod machine;
pub(crate) mod pattern;
pub(crate) mod shape;
