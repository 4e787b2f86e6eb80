//! Records of system calls about files, as bytes in the layout of x86-64.

use alloc::vec::Vec;

use casemate_enclave_abi::{Stat, StatFs};

/// Bytes of `struct stat` (`arch/x86/include/uapi/asm/stat.h`).
pub const STAT: usize = 144;
/// Bytes of `struct statx` (`include/uapi/linux/stat.h`).
pub const STATX: usize = 256;
/// Bytes of `struct statfs` (`include/uapi/asm-generic/statfs.h`).
pub const STATFS: usize = 120;

/// STATX_BASIC_STATS: all that [`Stat`] knows.
const STATX_BASIC: u32 = 0x7ff;

/// Fields one behind the other.
struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fields<N> {
    fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    fn put(&mut self, field: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.at).zip(field) {
            *to = *from;
        }
        self.at += field.len();
    }

    fn long(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn word(&mut self, value: u64) {
        self.put(&low(value).to_le_bytes());
    }
}

/// The low half. Values that it is used on were checked to have no other.
fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

/// `struct stat`.
#[must_use]
pub fn stat(stat: &Stat) -> [u8; STAT] {
    let mut fields = Fields::new();
    fields.long(stat.dev);
    fields.long(stat.ino);
    fields.long(stat.nlink);
    fields.word(stat.mode);
    fields.word(stat.uid);
    fields.word(stat.gid);
    fields.word(0);
    fields.long(stat.rdev);
    fields.long(stat.size);
    fields.long(stat.blksize);
    fields.long(stat.blocks);
    for time in [stat.atime, stat.mtime, stat.ctime] {
        fields.long(time.seconds.cast_unsigned());
        fields.long(time.nanoseconds);
    }
    fields.bytes
}

/// Major and minor number of a device number as stat(2) gives it (`gnu_dev_major`, `gnu_dev_minor`).
#[must_use]
pub const fn device_numbers(device: u64) -> (u64, u64) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    (major, minor)
}

/// The device number of a major and a minor number below 256.
#[must_use]
pub const fn device(major: u8, minor: u8) -> u64 {
    // Widening; `From` is not const.
    (major as u64) << 8 | minor as u64
}

/// `struct statx`.
#[must_use]
pub fn statx(stat: &Stat) -> [u8; STATX] {
    let mut fields = Fields::new();
    fields.word(STATX_BASIC.into());
    fields.word(stat.blksize);
    fields.long(0);
    fields.word(stat.nlink);
    fields.word(stat.uid);
    fields.word(stat.gid);
    fields.word(stat.mode);
    fields.long(stat.ino);
    fields.long(stat.size);
    fields.long(stat.blocks);
    fields.long(0);
    let none = casemate_enclave_abi::stat::FileTime::default();
    for time in [stat.atime, none, stat.ctime, stat.mtime] {
        fields.long(time.seconds.cast_unsigned());
        fields.long(time.nanoseconds);
    }
    for number in [stat.rdev, stat.dev] {
        let (major, minor) = device_numbers(number);
        fields.word(major);
        fields.word(minor);
    }
    fields.bytes
}

/// `struct statfs`.
#[must_use]
pub fn statfs(stat: &StatFs) -> [u8; STATFS] {
    let mut fields = Fields::new();
    for value in [
        stat.kind,
        stat.bsize,
        stat.blocks,
        stat.bfree,
        stat.bavail,
        stat.files,
        stat.ffree,
        stat.fsid,
        stat.namelen,
        stat.frsize,
        stat.flags,
    ] {
        fields.long(value);
    }
    fields.bytes
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Where the next call goes on behind this entry.
    pub next: u64,
    /// Kind of file (`DT_`).
    pub kind: u8,
    /// Its name, 1 to 255 bytes.
    pub name: &'a [u8],
}

/// The two layouts of directory entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `struct linux_dirent`, of getdents(2).
    Old,
    /// `struct linux_dirent64`, of getdents64(2).
    New,
}

/// Appends an entry where `out` then has at most `limit` bytes. `false`: it does not fit, and nothing was changed.
pub fn pack_entry(out: &mut Vec<u8>, limit: usize, layout: Layout, entry: &Entry<'_>) -> bool {
    let header = match layout {
        Layout::Old => 18,
        Layout::New => 19,
    };
    // The name, its NUL, and in the old layout the kind behind it.
    let tail = match layout {
        Layout::Old => 2,
        Layout::New => 1,
    };
    let length = (header + entry.name.len() + tail).next_multiple_of(8);
    let Ok(record) = u16::try_from(length) else { return false };
    if out.len() + length > limit {
        return false;
    }
    let end = out.len() + length;
    out.extend_from_slice(&entry.ino.to_le_bytes());
    out.extend_from_slice(&entry.next.to_le_bytes());
    out.extend_from_slice(&record.to_le_bytes());
    if layout == Layout::New {
        out.push(entry.kind);
    }
    out.extend_from_slice(entry.name);
    out.resize(end, 0);
    if layout == Layout::Old
        && let Some(last) = out.last_mut()
    {
        *last = entry.kind;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use casemate_enclave_abi::stat::FileTime;
    extern crate std;

    #[test]
    fn stat_is_laid_out_as_linux_does() {
        // What the kernel below us says of a file, through the standard library, packed again.
        use std::os::linux::fs::MetadataExt as _;
        let path = "/proc/self/exe";
        let known = std::fs::metadata(path).unwrap();
        let time = |seconds, nanoseconds: i64| FileTime { seconds, nanoseconds: nanoseconds.unsigned_abs() };
        let record = Stat {
            dev: known.st_dev(),
            ino: known.st_ino(),
            mode: known.st_mode().into(),
            nlink: known.st_nlink(),
            uid: known.st_uid().into(),
            gid: known.st_gid().into(),
            rdev: known.st_rdev(),
            size: known.st_size(),
            blksize: known.st_blksize(),
            blocks: known.st_blocks(),
            atime: time(known.st_atime(), known.st_atime_nsec()),
            mtime: time(known.st_mtime(), known.st_mtime_nsec()),
            ctime: time(known.st_ctime(), known.st_ctime_nsec()),
        };
        let real = rustix::fs::stat(path).unwrap();
        let bytes = stat(&record);
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        macro_rules! at {
            ($field:ident) => {
                core::mem::offset_of!(rustix::fs::Stat, $field)
            };
        }
        assert_eq!(size_of::<rustix::fs::Stat>(), STAT);
        assert_eq!(long(at!(st_ino)), real.st_ino);
        assert_eq!(long(at!(st_nlink)), real.st_nlink);
        assert_eq!(word(at!(st_mode)), real.st_mode);
        assert_eq!(word(at!(st_uid)), real.st_uid);
        assert_eq!(long(at!(st_size)), real.st_size.unsigned_abs());
        assert_eq!(long(at!(st_blocks)), real.st_blocks.unsigned_abs());
        assert_eq!(long(at!(st_mtime)), real.st_mtime.unsigned_abs());
        assert_eq!(long(at!(st_ctime_nsec)), real.st_ctime_nsec);

        let bytes = statx(&record);
        let real = rustix::fs::statx(
            rustix::fs::CWD,
            path,
            rustix::fs::AtFlags::empty(),
            rustix::fs::StatxFlags::BASIC_STATS,
        )
        .unwrap();
        macro_rules! x {
            ($field:ident) => {
                core::mem::offset_of!(rustix::fs::Statx, $field)
            };
        }
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(size_of::<rustix::fs::Statx>(), STATX);
        assert_eq!(word(x!(stx_nlink)), real.stx_nlink);
        assert_eq!(bytes[x!(stx_mode)..x!(stx_mode) + 2], real.stx_mode.to_le_bytes());
        assert_eq!(long(x!(stx_ino)), real.stx_ino);
        assert_eq!(long(x!(stx_size)), real.stx_size);
        assert_eq!(long(x!(stx_blocks)), real.stx_blocks);
        assert_eq!(long(x!(stx_mtime)), real.stx_mtime.tv_sec.unsigned_abs());
        assert_eq!(word(x!(stx_ctime) + 8), real.stx_ctime.tv_nsec);
        assert_eq!(word(x!(stx_dev_major)), real.stx_dev_major);
        assert_eq!(word(x!(stx_dev_minor)), real.stx_dev_minor);
    }

    #[test]
    fn device_numbers_go_both_ways() {
        assert_eq!(device_numbers(device(136, 3)), (136, 3));
        for number in [0, 0x8801, 0x1234_5012_3456_7abc, u64::MAX] {
            let expected = (rustix::fs::major(number).into(), rustix::fs::minor(number).into());
            assert_eq!(device_numbers(number), expected);
        }
    }

    #[test]
    fn entries_fill_their_buffer() {
        let entry = Entry { ino: 5, next: 9, kind: 8, name: b"name" };
        let mut out = vec![];
        assert!(pack_entry(&mut out, 24, Layout::New, &entry));
        assert_eq!(out.len(), 24);
        assert_eq!(out[16..18], 24_u16.to_le_bytes());
        assert_eq!((out[18], &out[19..24]), (8, &b"name\0"[..]));
        assert!(!pack_entry(&mut out, 47, Layout::New, &entry));
        assert_eq!(out.len(), 24);
        let mut out = vec![];
        assert!(pack_entry(&mut out, 24, Layout::Old, &entry));
        assert_eq!((&out[18..23], out[23]), (&b"name\0"[..], 8));
        let entry = Entry { name: b"namexx", ..entry };
        let mut out = vec![];
        assert!(pack_entry(&mut out, 32, Layout::Old, &entry));
        assert_eq!(out.len(), 32);
    }
}
