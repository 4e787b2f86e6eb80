//! The first stack of a process, as the System V ABI (AMD64 supplement, 3.4.1) and Linux's `create_elf_tables` lay it
//! out: from `rsp` upwards the argument count, the arguments, the environment, the auxiliary vector, then the bytes that
//! these point to.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// `AT_*` keys of the auxiliary vector (include/uapi/linux/auxvec.h) that [`build`] sets itself.
mod key {
    pub(super) const NULL: u64 = 0;
    pub(super) const PLATFORM: u64 = 15;
    pub(super) const RANDOM: u64 = 25;
    pub(super) const EXECFN: u64 = 31;
}

/// Longest single string, with its end (`MAX_ARG_STRLEN`).
pub const MAX_STRING_LEN: usize = 128 << 10;
/// `rsp` at the first instruction is a multiple of this.
const ALIGNMENT: u64 = 16;
/// What `AT_PLATFORM` points to.
const PLATFORM: &[u8] = b"x86_64";

/// What a process begins with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Arguments. Empty becomes one empty argument, as in Linux.
    pub argv: &'a [&'a [u8]],
    /// Environment, `NAME=value` each.
    pub envp: &'a [&'a [u8]],
    /// Auxiliary vector without `AT_RANDOM`, `AT_EXECFN`, `AT_PLATFORM` and the end, which are added.
    pub auxv: &'a [(u64, u64)],
    /// Path of the program (`AT_EXECFN`).
    pub execfn: &'a [u8],
    /// The bytes that `AT_RANDOM` points to: secret, from a good source.
    pub random: [u8; 16],
}

/// The bytes to copy to `rsp`, and where things are in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The bytes; the first belongs at `rsp`, the last is just below the top.
    pub bytes: Vec<u8>,
    /// Stack pointer at the first instruction.
    pub rsp: u64,
    /// Addresses of the arguments' strings, from the first byte to after the last (`/proc/self/cmdline`).
    pub arguments: (u64, u64),
    /// Addresses of the environment's strings, likewise (`/proc/self/environ`).
    pub environment: (u64, u64),
    /// Address of the auxiliary vector (`/proc/self/auxv`), up to the strings' side of its end.
    pub auxv: (u64, u64),
}

/// Why a stack cannot be built. Linux answers `E2BIG`; a zero byte cannot reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackError {
    /// More bytes than the room for arguments.
    TooBig {
        /// Room in bytes.
        room: usize,
    },
    /// A string longer than [`MAX_STRING_LEN`].
    StringTooLong(usize),
    /// A string with a zero byte in it.
    ZeroByte,
    /// The top of the stack is lower than the stack is long.
    Top(u64),
}

impl Display for StackError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooBig { room } => write!(f, "arguments and environment need more than {room} bytes"),
            Self::StringTooLong(len) => {
                write!(f, "an argument of {len} bytes is longer than {MAX_STRING_LEN}")
            }
            Self::ZeroByte => f.write_str("an argument has a zero byte in it"),
            Self::Top(top) => write!(f, "no stack fits below {top:#x}"),
        }
    }
}

impl Error for StackError {}

/// Builds the stack that ends at `top` and is at most `room` bytes long.
///
/// # Errors
/// [`StackError`] names what is too long or where it does not fit.
pub fn build(start: &Start<'_>, top: u64, room: usize) -> Result<Image, StackError> {
    let argv: &[&[u8]] = if start.argv.is_empty() { &[b""] } else { start.argv };
    let layout = Layout::plan(start, argv, top, room)?;
    let mut image = Writer { bytes: Vec::with_capacity(layout.len) };
    image.word(layout.argc);
    let mut at = layout.arguments;
    for string in argv {
        image.word(at);
        at = after(at, string);
    }
    image.word(0);
    let arguments = (layout.arguments, at);
    for string in start.envp {
        image.word(at);
        at = after(at, string);
    }
    image.word(0);
    let environment = (arguments.1, at);
    let auxv_start = layout.rsp.saturating_add(image.len());
    let own =
        [(key::RANDOM, layout.random), (key::EXECFN, at), (key::PLATFORM, layout.platform), (key::NULL, 0)];
    for &(key, value) in start.auxv.iter().chain(&own) {
        image.word(key);
        image.word(value);
    }
    let auxv = (auxv_start, layout.rsp.saturating_add(image.len()));
    image.pad_to(layout.random.saturating_sub(layout.rsp));
    image.bytes.extend_from_slice(&start.random);
    image.string(PLATFORM);
    image.pad_to(layout.arguments.saturating_sub(layout.rsp));
    for string in argv.iter().chain(start.envp) {
        image.string(string);
    }
    image.string(start.execfn);
    // Linux ends the stack with a null pointer.
    image.word(0);
    Ok(Image { bytes: image.bytes, rsp: layout.rsp, arguments, environment, auxv })
}

/// The address after a string and its end.
fn after(address: u64, string: &[u8]) -> u64 {
    address.saturating_add(u64::try_from(string.len()).unwrap_or(u64::MAX)).saturating_add(1)
}

/// Where each part lies.
struct Layout {
    argc: u64,
    rsp: u64,
    random: u64,
    platform: u64,
    arguments: u64,
    len: usize,
}

impl Layout {
    fn plan(start: &Start<'_>, argv: &[&[u8]], top: u64, room: usize) -> Result<Self, StackError> {
        let mut strings: usize = 0;
        for string in argv.iter().chain(start.envp).chain([&start.execfn]) {
            if string.len() >= MAX_STRING_LEN {
                return Err(StackError::StringTooLong(string.len()));
            }
            if string.contains(&0) {
                return Err(StackError::ZeroByte);
            }
            strings = strings.saturating_add(string.len()).saturating_add(1);
        }
        // argc and the two ends; three own pairs and the end of the vector.
        let words = argv
            .len()
            .saturating_add(start.envp.len())
            .saturating_add(3)
            .saturating_add(start.auxv.len().saturating_add(4).saturating_mul(2));
        let fixed = start.random.len().saturating_add(PLATFORM.len()).saturating_add(1).saturating_add(8);
        let need = words.saturating_mul(8).saturating_add(strings).saturating_add(fixed);
        // Three gaps of alignment, each below 16 bytes.
        if need.saturating_add(48) > room {
            return Err(StackError::TooBig { room });
        }
        let below = |from: u64, len: usize| {
            from.checked_sub(u64::try_from(len).ok()?).map(|address| address & !(ALIGNMENT - 1))
        };
        let error = StackError::Top(top);
        let arguments =
            top.checked_sub(8).and_then(|end| end.checked_sub(u64::try_from(strings).ok()?)).ok_or(error)?;
        let random = below(arguments, fixed).ok_or(error)?;
        let platform = random.saturating_add(ALIGNMENT);
        let rsp = below(random, words.saturating_mul(8)).ok_or(error)?;
        let len = usize::try_from(top.saturating_sub(rsp)).map_err(|_| error)?;
        Ok(Self {
            argc: u64::try_from(argv.len()).map_err(|_| error)?,
            rsp,
            random,
            platform,
            arguments,
            len,
        })
    }
}

/// Appends to an image.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    fn word(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn string(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
    }

    fn pad_to(&mut self, len: u64) {
        while self.len() < len {
            self.bytes.push(0);
        }
    }
}
