//! A terminal's settings, as TCGETS gives them (`include/uapi/asm-generic/termbits.h`).

/// Bytes of the kernel's `struct termios`.
pub const TERMIOS: usize = 36;
/// Bytes of `struct termios2`.
pub const TERMIOS2: usize = 44;

/// B38400, CS8, CREAD.
const CFLAG: u32 = 0xf | 0x30 | 0x80;
/// ICRNL, IXON, IUTF8.
const IFLAG: u32 = 0x100 | 0x400 | 0x4000;
/// OPOST, ONLCR.
const OFLAG: u32 = 0x1 | 0x4;
/// ISIG, ICANON, ECHO, ECHOE, ECHOK, ECHOCTL, ECHOKE, IEXTEN.
const LFLAG: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x200 | 0x800 | 0x8000;
/// Control characters (`INIT_C_CC`).
const CC: [u8; 19] = [3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0xf, 0x17, 0x16, 0, 0, 0];

/// A `struct termios2`; its first [`TERMIOS`] bytes are a `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings(pub [u8; TERMIOS2]);

impl Settings {
    /// Those of a fresh terminal (`tty_std_termios`).
    #[must_use]
    pub fn fresh() -> Self {
        let mut bytes = [0; TERMIOS2];
        let mut put = |at: usize, part: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        };
        for (at, flags) in [(0, IFLAG), (4, OFLAG), (8, CFLAG), (12, LFLAG), (36, 38400), (40, 38400)] {
            put(at, &flags.to_le_bytes());
        }
        put(17, &CC);
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_stty_shows_a_fresh_terminal() {
        let bytes = Settings::fresh().0;
        assert_eq!(bytes[..4], 0x4500_u32.to_le_bytes());
        assert_eq!(bytes[8..12], 0xbf_u32.to_le_bytes());
        assert_eq!(bytes[12..16], 0x8a3b_u32.to_le_bytes());
        assert_eq!((bytes[17], bytes[17 + 4], bytes[17 + 6]), (3, 4, 1));
    }
}
