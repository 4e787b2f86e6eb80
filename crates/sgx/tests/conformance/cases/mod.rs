//! The cases, by subject.

pub(crate) mod build;
pub(crate) mod edmm;
pub(crate) mod entry;
pub(crate) mod exceptions;
pub(crate) mod kernel;
pub(crate) mod keys;
pub(crate) mod resume;
pub(crate) mod signals;
pub(crate) mod signature;
pub(crate) mod threads;
