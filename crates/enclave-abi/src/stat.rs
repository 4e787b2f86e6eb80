//! Records about files and file systems, as the host writes them into an arena block.

use core::fmt;

use crate::window::{Offset, OutOfWindow, Window};

/// The size of a [`Stat`] record in bytes.
pub const STAT_BYTES: u64 = 128;
/// The size of a [`StatFs`] record in bytes.
pub const STAT_FS_BYTES: u64 = 88;

const NS_PER_S: u64 = 1_000_000_000;
/// The bits of a mode that say what kind of file it is (`S_IFMT`), and those that may be set at all.
const TYPE_BITS: u64 = 0o170_000;
const MODE_BITS: u64 = 0o177_777;
/// FIFO, character device, directory, block device, regular file, symbolic link, socket
/// (`include/uapi/linux/stat.h`).
const TYPES: [u64; 7] = [0o010_000, 0o020_000, 0o040_000, 0o060_000, 0o100_000, 0o120_000, 0o140_000];
/// The largest file size of Linux (`loff_t`).
const MAX_SIZE: u64 = 0x7fff_ffff_ffff_ffff;
const MAX_U32: u64 = 0xffff_ffff;
/// The largest block size taken: programs allocate buffers of that size.
const MAX_BLOCK_SIZE: u64 = 1 << 30;

/// A point of time as files have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds on top, below 10^9.
    pub nanoseconds: u64,
}

/// What `stat(2)` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Number of the device that holds the file.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Kind and permissions.
    pub mode: u64,
    /// Hard links.
    pub nlink: u64,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Number of the device that the file is, if it is one.
    pub rdev: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Preferred size of reads and writes in bytes.
    pub blksize: u64,
    /// Blocks of 512 bytes in use.
    pub blocks: u64,
    /// Last access.
    pub atime: FileTime,
    /// Last change of the contents.
    pub mtime: FileTime,
    /// Last change of the inode.
    pub ctime: FileTime,
}

/// What `statfs(2)` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Kind of file system, its magic number.
    pub kind: u64,
    /// Preferred size of reads and writes in bytes.
    pub bsize: u64,
    /// Blocks in all, of `frsize` bytes.
    pub blocks: u64,
    /// Blocks free.
    pub bfree: u64,
    /// Blocks free for those who are not root.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub ffree: u64,
    /// Id of the file system.
    pub fsid: u64,
    /// The longest name, in bytes.
    pub namelen: u64,
    /// The unit of the block counts in bytes.
    pub frsize: u64,
    /// Mount flags (`ST_`).
    pub flags: u64,
}

/// A record that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStat {
    /// The record is not inside the window, or not aligned.
    Outside(OutOfWindow),
    /// A number is out of its range.
    Value {
        /// Which.
        field: &'static str,
        /// The number.
        value: u64,
    },
}

impl fmt::Display for BadStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(outside) => outside.fmt(f),
            Self::Value { field, value } => write!(f, "a file cannot have the {field} {value:#x}"),
        }
    }
}

impl core::error::Error for BadStat {}

/// `Ok` if `value` is one of `range`.
fn within(field: &'static str, value: u64, range: core::ops::RangeInclusive<u64>) -> Result<(), BadStat> {
    if range.contains(&value) { Ok(()) } else { Err(BadStat::Value { field, value }) }
}

impl Stat {
    /// Writes the record at `offset`, on the host.
    ///
    /// # Errors
    /// The record would not be inside the window, or not aligned.
    pub fn write(&self, window: Window<'_>, offset: Offset) -> Result<(), OutOfWindow> {
        let words: [u64; 16] = [
            self.dev,
            self.ino,
            self.mode,
            self.nlink,
            self.uid,
            self.gid,
            self.rdev,
            self.size,
            self.blksize,
            self.blocks,
            self.atime.seconds.cast_unsigned(),
            self.atime.nanoseconds,
            self.mtime.seconds.cast_unsigned(),
            self.mtime.nanoseconds,
            self.ctime.seconds.cast_unsigned(),
            self.ctime.nanoseconds,
        ];
        window.store_words(offset, &words)
    }

    /// Reads the record at `offset`, each word once, and checks it.
    ///
    /// # Errors
    /// It is not inside the window, or a number is one that Linux never gives.
    pub fn read(window: Window<'_>, offset: Offset) -> Result<Self, BadStat> {
        let outside = BadStat::Outside(OutOfWindow { offset, len: STAT_BYTES });
        let words: [u64; 16] = window.load_words(offset).ok_or(outside)?;
        let [
            dev,
            ino,
            mode,
            nlink,
            uid,
            gid,
            rdev,
            size,
            blksize,
            blocks,
            atime,
            atime_ns,
            mtime,
            mtime_ns,
            ctime,
            ctime_ns,
        ] = words;
        let time = |seconds: u64, nanoseconds| FileTime { seconds: seconds.cast_signed(), nanoseconds };
        within("mode", mode, 0..=MODE_BITS)?;
        if !TYPES.contains(&(mode & TYPE_BITS)) {
            return Err(BadStat::Value { field: "mode", value: mode });
        }
        within("link count", nlink, 0..=MAX_U32)?;
        within("owner", uid, 0..=MAX_U32)?;
        within("group", gid, 0..=MAX_U32)?;
        within("size", size, 0..=MAX_SIZE)?;
        within("block size", blksize, 1..=MAX_BLOCK_SIZE)?;
        within("block count", blocks, 0..=MAX_SIZE)?;
        for nanoseconds in [atime_ns, mtime_ns, ctime_ns] {
            within("nanoseconds", nanoseconds, 0..=NS_PER_S - 1)?;
        }
        Ok(Self {
            dev,
            ino,
            mode,
            nlink,
            uid,
            gid,
            rdev,
            size,
            blksize,
            blocks,
            atime: time(atime, atime_ns),
            mtime: time(mtime, mtime_ns),
            ctime: time(ctime, ctime_ns),
        })
    }
}

impl StatFs {
    /// Writes the record at `offset`, on the host.
    ///
    /// # Errors
    /// The record would not be inside the window, or not aligned.
    pub fn write(&self, window: Window<'_>, offset: Offset) -> Result<(), OutOfWindow> {
        let words: [u64; 11] = [
            self.kind,
            self.bsize,
            self.blocks,
            self.bfree,
            self.bavail,
            self.files,
            self.ffree,
            self.fsid,
            self.namelen,
            self.frsize,
            self.flags,
        ];
        window.store_words(offset, &words)
    }

    /// Reads the record at `offset`, each word once, and checks it.
    ///
    /// # Errors
    /// It is not inside the window, or a number is one that Linux never gives. The counts are not compared: some
    /// network file systems report more free blocks than blocks.
    pub fn read(window: Window<'_>, offset: Offset) -> Result<Self, BadStat> {
        let outside = BadStat::Outside(OutOfWindow { offset, len: STAT_FS_BYTES });
        let words: [u64; 11] = window.load_words(offset).ok_or(outside)?;
        let [kind, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags] = words;
        within("file system kind", kind, 0..=MAX_U32)?;
        within("block size", bsize, 1..=MAX_BLOCK_SIZE)?;
        within("fragment size", frsize, 0..=MAX_BLOCK_SIZE)?;
        within("name length", namelen, 0..=4096)?;
        within("mount flags", flags, 0..=MAX_U32)?;
        Ok(Self { kind, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags })
    }
}
