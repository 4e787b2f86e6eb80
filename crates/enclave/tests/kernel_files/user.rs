//! Guest memory is the memory of this process; the first page is not mapped.

use crate::syscall::Errno;

fn check(address: u64, length: usize) -> Result<(), Errno> {
    if length > 0 && address < 4096 { Err(Errno::EFAULT) } else { Ok(()) }
}

fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap())
}

pub(crate) fn with_bytes<T>(address: u64, length: usize, f: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
    check(address, length)?;
    if length == 0 {
        return Ok(f(&[]));
    }
    // SAFETY: the tests give addresses of their own memory.
    Ok(f(unsafe { core::slice::from_raw_parts(pointer(address), length) }))
}

pub(crate) fn with_bytes_mut<T>(
    address: u64,
    length: usize,
    f: impl FnOnce(&mut [u8]) -> T,
) -> Result<T, Errno> {
    check(address, length)?;
    if length == 0 {
        return Ok(f(&mut []));
    }
    // SAFETY: the tests give addresses of their own memory, which they do not touch meanwhile.
    Ok(f(unsafe { core::slice::from_raw_parts_mut(pointer(address), length) }))
}

pub(crate) fn read(address: u64, to: &mut [u8]) -> Result<(), Errno> {
    with_bytes(address, to.len(), |bytes| to.copy_from_slice(bytes))
}

pub(crate) fn write(address: u64, from: &[u8]) -> Result<(), Errno> {
    with_bytes_mut(address, from.len(), |bytes| bytes.copy_from_slice(from))
}

pub(crate) fn read_value<T: zerocopy::FromBytes + zerocopy::IntoBytes>(address: u64) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    read(address, value.as_mut_bytes())?;
    Ok(value)
}

pub(crate) fn write_value<T: zerocopy::IntoBytes + zerocopy::Immutable>(
    address: u64,
    value: &T,
) -> Result<(), Errno> {
    write(address, value.as_bytes())
}

pub(crate) fn read_string(address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut string = Vec::new();
    for at in address.. {
        match read_value::<u8>(at)? {
            0 => break,
            _ if string.len() + 1 == limit => return Err(Errno::ENAMETOOLONG),
            byte => string.push(byte),
        }
    }
    Ok(string)
}

pub(crate) fn read_path(address: u64) -> Result<Vec<u8>, Errno> {
    read_string(address, 4096)
}

pub(crate) fn overwrite(address: u64, from: &[u8]) -> Result<(), Errno> {
    write(address, from)
}
