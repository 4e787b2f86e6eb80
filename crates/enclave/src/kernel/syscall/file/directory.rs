//! Reading directories, and the working directory.

use alloc::vec::Vec;

use casemate_enclave::vfs::path::Path;
use casemate_enclave::vfs::records::{Entry, Layout, pack_entry};

use super::super::{Errno, Result, length};
use super::{opened, path};
use crate::arch::frame::Frame;
use crate::fs::namespace;
use crate::process::process;
use crate::user;

/// The most bytes of entries in one call.
const MOST: usize = 64 * 1024;

fn entries(frame: &Frame, layout: Layout) -> Result {
    let [fd, out, count, ..] = frame.arguments();
    let limit = length(count)?.min(MOST);
    let file = opened(fd)?;
    let mut bytes = Vec::new();
    let mut small = false;
    file.with_position(|position| {
        let start = *position;
        file.file().read_dir(start, &mut |next, ino, kind, name| {
            if pack_entry(&mut bytes, limit, layout, &Entry { ino, next, kind, name }) {
                *position = next;
                return true;
            }
            small = bytes.is_empty();
            false
        })
    })?;
    if small {
        return Err(Errno::EINVAL);
    }
    user::write(out, &bytes)?;
    Ok(bytes.len() as u64)
}

pub(crate) fn getdents(frame: &mut Frame) -> Result {
    entries(frame, Layout::Old)
}

pub(crate) fn getdents64(frame: &mut Frame) -> Result {
    entries(frame, Layout::New)
}

pub(crate) fn getcwd(frame: &mut Frame) -> Result {
    let [out, size, ..] = frame.arguments();
    let mut text: Vec<u8> = process().files.lock().cwd().into();
    text.push(0);
    if (text.len() as u64) > size {
        return Err(Errno::ERANGE);
    }
    user::write(out, &text)?;
    Ok(text.len() as u64)
}

pub(crate) fn chdir(frame: &mut Frame) -> Result {
    let [address, ..] = frame.arguments();
    let real = namespace::directory(&path(address)?)?;
    process().files.lock().set_cwd(real);
    Ok(0)
}

pub(crate) fn fchdir(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    let file = super::file(fd)?;
    if !file.is_directory()? {
        return Err(Errno::ENOTDIR);
    }
    let real = namespace::real(&Path::new("/", file.path().as_bytes())?)?;
    process().files.lock().set_cwd(real);
    Ok(0)
}
