//! Descriptors, the working directory and the file mode creation mask.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave_abi::{Errno, StartBlock};

use super::console;
use super::open_file::OpenFile;

/// The hard limit of RLIMIT_NOFILE (`NR_OPEN`).
pub(crate) const MAX_DESCRIPTORS: u64 = 1_048_576;

/// The soft limit that a program starts with.
const DESCRIPTORS: u64 = 1024;

/// An entry of the table.
#[derive(Clone)]
pub(crate) struct Descriptor {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) close_on_exec: bool,
}

/// What the threads of a program share of files.
#[derive(Clone)]
pub(crate) struct Files {
    table: Vec<Option<Descriptor>>,
    cwd: String,
    umask: u32,
    limits: (u64, u64),
}

impl Files {
    /// The console at 0, 1 and 2; `cwd` is an absolute path, or empty for the root.
    pub(crate) fn new(start: &StartBlock, cwd: String) -> Self {
        let standard = console::standard(start.flags);
        Self {
            table: standard.map(|file| Some(Descriptor { file, close_on_exec: false })).into(),
            cwd: if cwd.starts_with('/') { cwd } else { String::from("/") },
            umask: u32::try_from(start.umask).unwrap_or(0o022),
            limits: (DESCRIPTORS, MAX_DESCRIPTORS),
        }
    }

    fn slot(&self, fd: i32) -> Option<&Descriptor> {
        self.table.get(usize::try_from(fd).ok()?)?.as_ref()
    }

    /// The file of a descriptor.
    ///
    /// # Errors
    /// EBADF.
    pub(crate) fn get(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        self.slot(fd).map(|descriptor| Arc::clone(&descriptor.file)).ok_or(Errno::EBADF)
    }

    /// A descriptor with its flag.
    ///
    /// # Errors
    /// EBADF.
    pub(crate) fn descriptor(&self, fd: i32) -> Result<Descriptor, Errno> {
        self.slot(fd).cloned().ok_or(Errno::EBADF)
    }

    /// Sets the close-on-exec flag.
    ///
    /// # Errors
    /// EBADF.
    pub(crate) fn set_close_on_exec(&mut self, fd: i32, close_on_exec: bool) -> Result<(), Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = self.table.get_mut(index).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        slot.close_on_exec = close_on_exec;
        Ok(())
    }

    /// Puts a file at the lowest free descriptor from `lowest` on.
    ///
    /// # Errors
    /// EMFILE: the limit. EINVAL: `lowest` is beyond it.
    pub(crate) fn add_from(
        &mut self,
        lowest: i32,
        file: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        let limit = usize::try_from(self.limits.0).unwrap_or(usize::MAX);
        let lowest = usize::try_from(lowest).ok().filter(|fd| *fd < limit).ok_or(Errno::EINVAL)?;
        let free = (lowest..self.table.len()).find(|index| self.table[*index].is_none());
        let index = free.unwrap_or_else(|| self.table.len().max(lowest));
        if index >= limit {
            return Err(Errno::EMFILE);
        }
        self.put(index, Descriptor { file, close_on_exec });
        i32::try_from(index).map_err(|_| Errno::EMFILE)
    }

    /// Puts a file at the lowest free descriptor.
    ///
    /// # Errors
    /// EMFILE: the limit.
    pub(crate) fn add(&mut self, file: Arc<OpenFile>, close_on_exec: bool) -> Result<i32, Errno> {
        self.add_from(0, file, close_on_exec).map_err(|_| Errno::EMFILE)
    }

    /// Puts a file at a descriptor. Returns what was there, to be dropped without the table's lock.
    ///
    /// # Errors
    /// EBADF: beyond the limit.
    pub(crate) fn set(&mut self, fd: i32, descriptor: Descriptor) -> Result<Option<Descriptor>, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if index as u64 >= self.limits.0 {
            return Err(Errno::EBADF);
        }
        Ok(self.put(index, descriptor))
    }

    fn put(&mut self, index: usize, descriptor: Descriptor) -> Option<Descriptor> {
        if index >= self.table.len() {
            self.table.resize(index + 1, None);
        }
        self.table[index].replace(descriptor)
    }

    /// Takes a descriptor out. What it returns is to be dropped without the table's lock: closing may ask the host.
    ///
    /// # Errors
    /// EBADF.
    pub(crate) fn remove(&mut self, fd: i32) -> Result<Descriptor, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.table.get_mut(index).and_then(Option::take).ok_or(Errno::EBADF)
    }

    /// Takes out what is to be closed at execve(2); to be dropped without the table's lock.
    pub(crate) fn take_close_on_exec(&mut self) -> Vec<Descriptor> {
        let closing = |slot: &mut Option<Descriptor>| slot.take_if(|descriptor| descriptor.close_on_exec);
        self.table.iter_mut().filter_map(closing).collect()
    }

    /// Puts these in the place of all.
    ///
    /// # Errors
    /// EBADF: beyond what a table can have.
    pub(crate) fn replace(&mut self, descriptors: Vec<(i32, Descriptor)>) -> Result<(), Errno> {
        self.table.clear();
        for (fd, descriptor) in descriptors {
            let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
            if index as u64 >= MAX_DESCRIPTORS {
                return Err(Errno::EBADF);
            }
            self.put(index, descriptor);
        }
        Ok(())
    }

    /// The descriptors in use, in order.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        let used = self.table.iter().enumerate().filter(|(_, slot)| slot.is_some());
        used.filter_map(|(index, _)| i32::try_from(index).ok()).collect()
    }

    /// Room in the table, as `/proc/self/status` shows it.
    pub(crate) fn room(&self) -> usize {
        self.table.len().next_power_of_two().max(64)
    }

    /// The working directory: an absolute path without links.
    pub(crate) fn cwd(&self) -> &str {
        &self.cwd
    }

    /// Sets the working directory.
    pub(crate) fn set_cwd(&mut self, cwd: String) {
        self.cwd = cwd;
    }

    /// The file mode creation mask.
    pub(crate) fn umask(&self) -> u32 {
        self.umask
    }

    /// Sets the file mode creation mask; returns the old one.
    pub(crate) fn set_umask(&mut self, umask: u32) -> u32 {
        core::mem::replace(&mut self.umask, umask & 0o777)
    }

    /// Soft and hard limit of descriptors.
    pub(crate) fn limits(&self) -> (u64, u64) {
        self.limits
    }

    /// Sets soft and hard limit.
    pub(crate) fn set_limits(&mut self, soft: u64, hard: u64) {
        self.limits = (soft, hard);
    }
}
