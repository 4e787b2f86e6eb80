//! Directory entries, in the format of the window.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use casemate_enclave_abi::DirEntry;
use casemate_enclave_abi::errno::Errno;
use rustix::fs::{FileType, RawDir};

use crate::files::errno;

/// Bytes that are asked of the kernel at a time.
const CHUNK: usize = 32 * 1024;

/// Reads entries from where the directory stands until no further one fits. Gives the bytes written, 0 at the end; the last
/// entry's cookie says where to go on, and the directory's own position does not.
///
/// # Errors
/// `EINVAL` where not even one entry fits; the kernel's.
pub(crate) fn read(directory: &impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut chunk = vec![MaybeUninit::uninit(); CHUNK];
    let mut entries = RawDir::new(directory, &mut chunk);
    let mut length = 0;
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // What was packed before is told; the next call meets the error again.
            Err(_) if length > 0 => break,
            Err(error) => return Err(errno(error)),
        };
        let packed = DirEntry {
            ino: entry.ino(),
            cookie: entry.next_entry_cookie(),
            kind: kind(entry.file_type()),
            name: entry.file_name().to_bytes(),
        };
        let room = buffer.get_mut(length..).unwrap_or_default();
        if packed.packed_len() > room.len() {
            return if length > 0 { Ok(length) } else { Err(Errno::EINVAL) };
        }
        // What cannot be packed although there is room has a name that no directory can have: it is left out.
        length = length.saturating_add(packed.pack(room).unwrap_or(0));
    }
    Ok(length)
}

/// Linux's number (`include/linux/fs_types.h`).
fn kind(file_type: FileType) -> u64 {
    match file_type {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        FileType::Unknown => 0,
    }
}
