//! Devices that need no host: null, zero, full, random. And what stat(2) shows of things that are in no file system.

use casemate_enclave::vfs::flags::{mode, poll};
use casemate_enclave::vfs::records;
use casemate_enclave_abi::stat::FileTime;
use casemate_enclave_abi::{Errno, Stat, StatFs};

use super::Carried;
use super::file::{File, Sink, Source};
use crate::arch::cpu;
use crate::clock;
use crate::process::process;

/// Kinds of file systems (`include/uapi/linux/magic.h`).
pub(super) const PIPEFS: u64 = 0x5049_5045;
pub(super) const PROC: u64 = 0x9fa0;
pub(super) const SYSFS: u64 = 0x6265_6572;
pub(super) const TMPFS: u64 = 0x0102_1994;
pub(super) const ANON_INODES: u64 = 0x0904_1934;
pub(crate) const SOCKFS: u64 = 0x534f_434b;

/// The device of everything that has none of its own.
const DEVICE: u64 = records::device(0, 14);

/// The time, as files have it.
pub(crate) fn now() -> FileTime {
    let ns = clock::realtime_ns();
    FileTime { seconds: (ns / 1_000_000_000).cast_signed(), nanoseconds: ns % 1_000_000_000 }
}

/// An inode number that belongs to a name: FNV-1a.
pub(super) fn inode_of(name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (hash >> 16) | 1
}

/// What stat(2) shows of something with a name and a mode.
pub(crate) fn stat(name: &str, mode: u32, rdev: u64) -> Stat {
    let start = &process().start;
    let now = now();
    Stat {
        dev: DEVICE,
        ino: inode_of(name),
        mode: mode.into(),
        nlink: if mode & mode::TYPE == mode::DIRECTORY { 2 } else { 1 },
        uid: start.euid,
        gid: start.egid,
        rdev,
        size: 0,
        blksize: 4096,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
    }
}

/// What statfs(2) shows of a file system without storage.
pub(crate) fn stat_fs(kind: u64) -> StatFs {
    StatFs { kind, bsize: 4096, namelen: 255, frsize: 4096, ..StatFs::default() }
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Null,
    Zero,
    Full,
    Random,
    Urandom,
}

impl Device {
    /// Minor number; the major one is 1 (`drivers/char/mem.c`).
    fn minor(self) -> u8 {
        match self {
            Self::Null => 3,
            Self::Zero => 5,
            Self::Full => 7,
            Self::Random => 8,
            Self::Urandom => 9,
        }
    }

    pub(super) fn stat(self, path: &str) -> Stat {
        stat(path, mode::CHARACTER | 0o666, records::device(1, self.minor()))
    }
}

/// Fills with random numbers of the processor's own.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        let word = loop {
            if let Some(word) = cpu::random() {
                break word.to_le_bytes();
            }
            core::hint::spin_loop();
        };
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// A device, opened.
pub(super) struct DeviceFile {
    pub(super) device: Device,
    pub(super) path: &'static str,
}

impl File for DeviceFile {
    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Again)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(self.device.stat(self.path))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(stat_fs(TMPFS))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, _nonblock: bool) -> Result<usize, Errno> {
        let length = to.len();
        match self.device {
            Device::Null => return Ok(0),
            Device::Zero | Device::Full => to.with(0, length, |bytes| bytes.fill(0))?,
            Device::Random | Device::Urandom => to.with(0, length, fill_random)?,
        }
        Ok(length)
    }

    fn write(
        &self,
        _position: Option<u64>,
        from: &Source<'_>,
        _nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        if self.device == Device::Full {
            return Err(Errno::ENOSPC);
        }
        Ok((0, from.len()))
    }

    fn poll(&self) -> Result<u32, Errno> {
        Ok(poll::ALWAYS)
    }

    fn pollable(&self) -> bool {
        matches!(self.device, Device::Random | Device::Urandom)
    }

    fn mappable(&self) -> bool {
        self.device == Device::Zero
    }
}
