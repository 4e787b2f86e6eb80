//! The start-up block: what the host tells the enclave before its first entry.
//!
//! All of it is unmeasured and may be a lie. [`StartBlock::read`] makes sure that it is at least possible: the window
//! has the layout of [`Layout`], every region is where it belongs, every number in the range that Linux gives it.

use core::fmt;

use crate::blob::{CpuidTable, StringTable};
use crate::layout::{Layout, PAGE};
use crate::window::{Offset, OutOfWindow, Region, Window};

/// The first word of a window: "CASEMATE" in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CASEMATE");

/// Changes with every change of this crate that the other side would notice.
pub const VERSION: u64 = 2;

/// Bit of [`StartBlock::flags`]: the host can do EDMM.
pub const FLAG_EDMM: u64 = 1 << 0;
/// Bit of [`StartBlock::flags`]: standard input is a terminal.
pub const FLAG_STDIN_TERMINAL: u64 = 1 << 1;
/// Bit of [`StartBlock::flags`]: standard output is a terminal.
pub const FLAG_STDOUT_TERMINAL: u64 = 1 << 2;
/// Bit of [`StartBlock::flags`]: standard error is a terminal.
pub const FLAG_STDERR_TERMINAL: u64 = 1 << 3;
/// Bit of [`StartBlock::flags`]: the platform is emulated. A hint for messages; no decision may rest on it.
pub const FLAG_EMULATED: u64 = 1 << 4;
/// Bit of [`StartBlock::flags`]: each host call is an exit; no worker serves rings.
pub const FLAG_SYNC_CALLS: u64 = 1 << 8;

/// Bit of [`StartBlock::flags`]: this enclave was made by another one, which says over the channel what it shall run.
pub const FLAG_CHILD: u64 = 1 << 9;

/// Bit of [`StartBlock::flags`]: what is mapped `MAP_SHARED` lies in the host's memory ([`crate::shared`]).
pub const FLAG_SHARED_MEMORY: u64 = 1 << 10;

/// Bit of [`StartBlock::trace`]: print each system call.
pub const TRACE_CALLS: u64 = 1 << 0;
/// Bit of [`StartBlock::trace`]: print counters at the end.
pub const TRACE_COUNTERS: u64 = 1 << 1;

const FLAGS: u64 = FLAG_EDMM
    | FLAG_STDIN_TERMINAL
    | FLAG_STDOUT_TERMINAL
    | FLAG_STDERR_TERMINAL
    | FLAG_EMULATED
    | FLAG_SYNC_CALLS
    | FLAG_CHILD
    | FLAG_SHARED_MEMORY;

/// Linux takes host names of up to 64 bytes (`include/uapi/linux/utsname.h`).
const MAX_HOSTNAME: u64 = 64;
/// Linux takes paths of up to 4096 bytes with their NUL (`PATH_MAX`).
const MAX_PATH: u64 = 4095;
/// `(uid_t)-1` means "none" to Linux, so it is no id.
const MAX_ID: u64 = 0xffff_fffe;
const MAX_PID: u64 = 0x7fff_ffff;

/// The number of words, magic and version included.
const WORDS: usize = 38;

/// The start-up block. Strings in regions have no NUL; a region of length 0 is "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartBlock {
    /// The size of the whole window in bytes.
    pub window_size: u64,
    /// How many vCPUs there are.
    pub vcpus: u64,
    /// How many bytes of heap the enclave has, whole pages.
    pub heap_size: u64,
    /// The `FLAG_` bits.
    pub flags: u64,
    /// Real user id of the program.
    pub uid: u64,
    /// Real group id.
    pub gid: u64,
    /// Effective user id.
    pub euid: u64,
    /// Effective group id.
    pub egid: u64,
    /// Process id, at least 1.
    pub pid: u64,
    /// Process id of the parent, 0 if it is outside.
    pub ppid: u64,
    /// File mode creation mask, at most 0o777.
    pub umask: u64,
    /// Host name, at most 64 bytes.
    pub hostname: Region,
    /// Path of the program, at most 4095 bytes.
    pub program: Region,
    /// Path of the working directory, at most 4095 bytes.
    pub cwd: Region,
    /// Arguments.
    pub argv: StringTable,
    /// Environment.
    pub env: StringTable,
    /// Mounts beyond the root directory, in the order of their numbers in host calls: `rw:` or `ro:` and the absolute path
    /// of a directory or file of the host's; `tmpfs:` and the path of one more file system in memory, which has no number.
    pub mounts: StringTable,
    /// CPUID table.
    pub cpuid: CpuidTable,
    /// The blob, all of the above.
    pub blob: Region,
    /// The arena.
    pub arena: Region,
    /// What the enclave kernel prints: the `TRACE_` bits.
    pub trace: u64,
    /// Rows of the terminal, 0 if there is none.
    pub rows: u64,
    /// Columns of the terminal, 0 if there is none.
    pub columns: u64,
    /// For how many sockets the window has room.
    pub sockets: u64,
}

/// Why a start-up block cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStart {
    /// The window is too short for a start-up block.
    Short,
    /// The first word is not [`MAGIC`].
    Magic(u64),
    /// The host speaks another version than [`VERSION`].
    Version(u64),
    /// The window has another size than the block or the layout says.
    WindowSize {
        /// As the block or the layout says.
        stated: u64,
        /// As it is.
        actual: u64,
    },
    /// There is no layout for so many vCPUs and such sizes.
    Layout {
        /// vCPUs.
        vcpus: u64,
        /// Bytes of the arena.
        arena: u64,
        /// Bytes of the blob.
        blob: u64,
    },
    /// A region is not where it has to be, or too long.
    Region {
        /// Which.
        field: &'static str,
        /// Where it is said to be.
        region: Region,
    },
    /// A number is out of its range.
    Value {
        /// Which.
        field: &'static str,
        /// The number.
        value: u64,
    },
}

impl fmt::Display for BadStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the window is too short for a start-up block"),
            Self::Magic(magic) => write!(f, "the window starts with {magic:#x}, not with its magic number"),
            Self::Version(version) => write!(f, "the host speaks version {version}, the enclave {VERSION}"),
            Self::WindowSize { stated, actual } => write!(f, "the window has {actual} bytes, not {stated}"),
            Self::Layout { vcpus, arena, blob } => {
                write!(f, "no window has {vcpus} vcpus, an arena of {arena} bytes and a blob of {blob} bytes")
            }
            Self::Region { field, region } => {
                write!(f, "{field} cannot be {} bytes at offset {}", region.len, region.offset)
            }
            Self::Value { field, value } => write!(f, "{field} cannot be {value}"),
        }
    }
}

impl core::error::Error for BadStart {}

impl StartBlock {
    /// Writes the block at the start of `window`, on the host.
    ///
    /// # Errors
    /// The window is too short.
    pub fn write(&self, window: Window<'_>) -> Result<(), OutOfWindow> {
        let words: [u64; WORDS] = [
            MAGIC,
            VERSION,
            self.window_size,
            self.vcpus,
            self.heap_size,
            self.flags,
            self.uid,
            self.gid,
            self.euid,
            self.egid,
            self.pid,
            self.ppid,
            self.umask,
            self.hostname.offset.0,
            self.hostname.len,
            self.program.offset.0,
            self.program.len,
            self.cwd.offset.0,
            self.cwd.len,
            self.argv.region.offset.0,
            self.argv.region.len,
            self.argv.count,
            self.env.region.offset.0,
            self.env.region.len,
            self.env.count,
            self.mounts.region.offset.0,
            self.mounts.region.len,
            self.mounts.count,
            self.cpuid.offset.0,
            self.cpuid.count,
            self.blob.offset.0,
            self.blob.len,
            self.arena.offset.0,
            self.arena.len,
            self.trace,
            self.rows,
            self.columns,
            self.sockets,
        ];
        window.store_words(Offset(0), &words)
    }

    /// Reads the block at the start of `window`, each word once, and checks it. `window` must be the whole window, of
    /// the length that the enclave was told at its entry.
    ///
    /// # Errors
    /// [`BadStart`] names what is impossible.
    pub fn read(window: Window<'_>) -> Result<Self, BadStart> {
        let words: [u64; WORDS] = window.load_words(Offset(0)).ok_or(BadStart::Short)?;
        let (magic, version, block) = Self::from_words(words);
        if magic != MAGIC {
            return Err(BadStart::Magic(magic));
        }
        if version != VERSION {
            return Err(BadStart::Version(version));
        }
        block.check_regions(window.len())?;
        block.check_values()?;
        Ok(block)
    }

    /// The layout of the window that this block describes; `None` only if there is none, which [`StartBlock::read`]
    /// excludes.
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        Layout::new(self.vcpus, self.arena.len, self.blob.len)?.with_sockets(self.sockets)
    }

    fn from_words(words: [u64; WORDS]) -> (u64, u64, Self) {
        let [
            magic,
            version,
            window_size,
            vcpus,
            heap_size,
            flags,
            uid,
            gid,
            euid,
            egid,
            pid,
            ppid,
            umask,
            hostname,
            hostname_len,
            program,
            program_len,
            cwd,
            cwd_len,
            argv,
            argv_len,
            argv_count,
            env,
            env_len,
            env_count,
            mounts,
            mounts_len,
            mounts_count,
            cpuid,
            cpuid_count,
            blob,
            blob_len,
            arena,
            arena_len,
            trace,
            rows,
            columns,
            sockets,
        ] = words;
        let region = |offset, len| Region { offset: Offset(offset), len };
        let block = Self {
            window_size,
            vcpus,
            heap_size,
            flags,
            uid,
            gid,
            euid,
            egid,
            pid,
            ppid,
            umask,
            hostname: region(hostname, hostname_len),
            program: region(program, program_len),
            cwd: region(cwd, cwd_len),
            argv: StringTable { region: region(argv, argv_len), count: argv_count },
            env: StringTable { region: region(env, env_len), count: env_count },
            mounts: StringTable { region: region(mounts, mounts_len), count: mounts_count },
            cpuid: CpuidTable { offset: Offset(cpuid), count: cpuid_count },
            blob: region(blob, blob_len),
            arena: region(arena, arena_len),
            trace,
            rows,
            columns,
            sockets,
        };
        (magic, version, block)
    }

    /// Everything is where the layout has it, and the layout is that of a window of `actual` bytes.
    fn check_regions(&self, actual: u64) -> Result<(), BadStart> {
        let (vcpus, arena, blob) = (self.vcpus, self.arena.len, self.blob.len);
        let layout = self.layout().ok_or(BadStart::Layout { vcpus, arena, blob })?;
        for stated in [self.window_size, layout.total()] {
            if stated != actual {
                return Err(BadStart::WindowSize { stated, actual });
            }
        }
        for (field, region, expected) in
            [("blob", self.blob, layout.blob()), ("arena", self.arena, layout.arena())]
        {
            if region != expected {
                return Err(BadStart::Region { field, region });
            }
        }
        let cpuid = self
            .cpuid
            .region()
            .ok_or(BadStart::Value { field: "the number of CPUID entries", value: self.cpuid.count })?;
        let whole = self.blob.len;
        for (field, region, most) in [
            ("the host name", self.hostname, MAX_HOSTNAME),
            ("the program's path", self.program, MAX_PATH),
            ("the working directory", self.cwd, MAX_PATH),
            ("the arguments", self.argv.region, whole),
            ("the environment", self.env.region, whole),
            ("the mounts", self.mounts.region, whole),
            ("the CPUID table", cpuid, whole),
        ] {
            // What is not given is nowhere.
            if region.len != 0 && !(self.blob.contains(region) && region.len <= most) {
                return Err(BadStart::Region { field, region });
            }
        }
        if !self.cpuid.offset.0.is_multiple_of(crate::window::WORD) {
            return Err(BadStart::Region { field: "the CPUID table", region: cpuid });
        }
        Ok(())
    }

    fn check_values(&self) -> Result<(), BadStart> {
        let terminal = u64::from(u16::MAX);
        for (field, value, range) in [
            ("flags", self.flags & !FLAGS, 0..=0),
            ("the heap size", self.heap_size % PAGE, 0..=0),
            ("uid", self.uid, 0..=MAX_ID),
            ("gid", self.gid, 0..=MAX_ID),
            ("euid", self.euid, 0..=MAX_ID),
            ("egid", self.egid, 0..=MAX_ID),
            ("pid", self.pid, 1..=MAX_PID),
            ("ppid", self.ppid, 0..=MAX_PID),
            ("umask", self.umask, 0..=0o777),
            // A string takes at least its NUL.
            ("the number of arguments", self.argv.count, 0..=self.argv.region.len),
            ("the number of environment strings", self.env.count, 0..=self.env.region.len),
            ("the number of mounts", self.mounts.count, 0..=self.mounts.region.len),
            ("rows", self.rows, 0..=terminal),
            ("columns", self.columns, 0..=terminal),
        ] {
            if !range.contains(&value) {
                return Err(BadStart::Value { field, value });
            }
        }
        Ok(())
    }
}
