//! Bits of open(2), poll(2) and file modes, as x86-64 has them.

/// Flags of open(2) (`include/uapi/asm-generic/fcntl.h`).
pub mod open {
    /// Both bits of the access mode.
    pub const ACCESS: u32 = 0o3;
    /// Writing only.
    pub const WRONLY: u32 = 0o1;
    /// Reading and writing.
    pub const RDWR: u32 = 0o2;
    /// Make the file where there is none.
    pub const CREAT: u32 = 0o100;
    /// With [`CREAT`]: only where there is none.
    pub const EXCL: u32 = 0o200;
    /// Empty it.
    pub const TRUNC: u32 = 0o1000;
    /// Write at the end.
    pub const APPEND: u32 = 0o2000;
    /// Do not block.
    pub const NONBLOCK: u32 = 0o4000;
    /// Direct transfers; for pipes, packets.
    pub const DIRECT: u32 = 0o40000;
    /// Write through to the disk (`__O_SYNC` and `O_DSYNC`).
    pub const SYNC: u32 = 0o4_010_000;
    /// Large files; always on.
    pub const LARGEFILE: u32 = 0o100_000;
    /// Only a directory.
    pub const DIRECTORY: u32 = 0o200_000;
    /// Not through a symbolic link at the end.
    pub const NOFOLLOW: u32 = 0o400_000;
    /// Do not touch the access time.
    pub const NOATIME: u32 = 0o1_000_000;
    /// Close at execve(2).
    pub const CLOEXEC: u32 = 0o2_000_000;
    /// A name only, no contents.
    pub const PATH: u32 = 0o10_000_000;
    /// A file without a name (`__O_TMPFILE`).
    pub const TMPFILE: u32 = 0o20_000_000;
    /// Every flag that Linux knows (`VALID_OPEN_FLAGS`).
    pub const ALL: u32 = 0o37_777_703;
    /// Flags that are about opening only, and are not kept.
    pub const ONCE: u32 = CREAT | EXCL | 0o400 | TRUNC | CLOEXEC;
    /// Flags that fcntl(F_SETFL) changes (`SETFL_MASK`, without the asynchronous kind).
    pub const SETTABLE: u32 = APPEND | NONBLOCK | DIRECT | NOATIME;
}

/// Readiness as poll(2) and epoll(7) have it.
pub mod poll {
    /// There is something to read.
    pub const IN: u32 = 0x1;
    /// Something exceptional.
    pub const PRI: u32 = 0x2;
    /// There is room to write.
    pub const OUT: u32 = 0x4;
    /// An error; always reported.
    pub const ERR: u32 = 0x8;
    /// The other side is gone; always reported.
    pub const HUP: u32 = 0x10;
    /// No such descriptor; always reported.
    pub const NVAL: u32 = 0x20;
    /// Normal data to read.
    pub const RDNORM: u32 = 0x40;
    /// Normal room to write.
    pub const WRNORM: u32 = 0x100;
    /// The other side writes no more.
    pub const RDHUP: u32 = 0x2000;
    /// A regular file is always ready.
    pub const ALWAYS: u32 = IN | OUT | RDNORM | WRNORM;
}

/// File modes (`include/uapi/linux/stat.h`).
pub mod mode {
    /// The bits that say what kind of file it is.
    pub const TYPE: u32 = 0o170_000;
    /// FIFO.
    pub const FIFO: u32 = 0o010_000;
    /// Character device.
    pub const CHARACTER: u32 = 0o020_000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// Regular file.
    pub const REGULAR: u32 = 0o100_000;
    /// Symbolic link.
    pub const LINK: u32 = 0o120_000;
    /// Socket.
    pub const SOCKET: u32 = 0o140_000;
    /// Sticky.
    pub const STICKY: u32 = 0o1000;
    /// What chmod(2) changes.
    pub const PERMISSIONS: u32 = 0o7777;

    /// The kind of file as directories have it (`DT_`).
    #[must_use]
    pub const fn directory_kind(mode: u32) -> u8 {
        match mode & TYPE {
            FIFO => 1,
            CHARACTER => 2,
            DIRECTORY => 4,
            0o060_000 => 6,
            REGULAR => 8,
            LINK => 10,
            SOCKET => 12,
            _ => 0,
        }
    }
}
