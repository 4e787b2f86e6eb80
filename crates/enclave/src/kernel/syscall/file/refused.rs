//! Calls about files that are refused, each with the error that programs take for "not here".

use super::super::{Errno, Result};
use super::opened;
use crate::arch::frame::Frame;

/// What only an administrator may, and not in here.
pub(crate) fn not_permitted(_: &mut Frame) -> Result {
    Err(Errno::EPERM)
}

/// As if Linux had been built without it.
pub(crate) fn not_there(_: &mut Frame) -> Result {
    Err(Errno::ENOSYS)
}

/// What the files here cannot do.
pub(crate) fn not_possible(_: &mut Frame) -> Result {
    Err(Errno::EINVAL)
}

/// Extended attributes, by path: what a file system without them says of a file that exists.
pub(crate) fn no_attributes(frame: &mut Frame) -> Result {
    let [path, ..] = frame.arguments();
    crate::fs::namespace::stat(&super::path(path)?, true)?;
    Err(Errno::EOPNOTSUPP)
}

/// The same, of a link itself.
pub(crate) fn no_attributes_of_link(frame: &mut Frame) -> Result {
    let [path, ..] = frame.arguments();
    crate::fs::namespace::stat(&super::path(path)?, false)?;
    Err(Errno::EOPNOTSUPP)
}

/// The same, by descriptor.
pub(crate) fn no_attributes_of_file(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    opened(fd)?;
    Err(Errno::EOPNOTSUPP)
}
