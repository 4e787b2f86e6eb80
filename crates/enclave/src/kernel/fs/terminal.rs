//! ioctl(2) of a terminal.
//!
//! The host's terminal stays as it is: settings that the program makes are kept here and shown to it again, and change
//! nothing outside.

use casemate_enclave::vfs::termios::{Settings, TERMIOS, TERMIOS2};
use casemate_enclave_abi::op::{POLL_STDIN, TERMINAL_WINDOW_SIZE};
use casemate_enclave_abi::{Errno, Offset, Op};
use spin::Mutex;

use super::wait;
use crate::host::{self, Buffer};
use crate::process::process;
use crate::user;

/// Requests (`include/uapi/asm-generic/ioctls.h`).
pub(super) const FIONREAD: u32 = 0x541b;
const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCFLSH: u32 = 0x540b;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSF2: u32 = 0x402c_542d;

/// As the program has set it; `None`: as at start.
static SETTINGS: Mutex<Option<Settings>> = Mutex::new(None);

fn settings() -> Settings {
    SETTINGS.lock().unwrap_or_else(Settings::fresh)
}

fn set(argument: u64, length: usize) -> Result<(), Errno> {
    let mut settings = settings();
    user::read(argument, settings.0.get_mut(..length).ok_or(Errno::EINVAL)?)?;
    *SETTINGS.lock() = Some(settings);
    Ok(())
}

/// Rows and columns; zeros where the host says what cannot be.
fn window_size(stream: u64) -> Result<[u16; 4], Errno> {
    let out = Buffer::new(16)?;
    host::call(Op::Terminal, [stream, TERMINAL_WINDOW_SIZE, out.offset(), 0, 0, 0])?;
    let [rows, columns] = out.window().load_words::<2>(Offset(0)).ok_or(Errno::EIO)?;
    let size = |value| u16::try_from(value).unwrap_or(0);
    Ok([size(rows), size(columns), 0, 0])
}

/// ioctl(2) of the terminal behind `stream`.
pub(super) fn ioctl(stream: u64, request: u32, argument: u64) -> Result<u64, Errno> {
    match request {
        TCGETS => user::write(argument, &settings().0[..TERMIOS])?,
        TCGETS2 => user::write(argument, &settings().0)?,
        TCSETS..=TCSETSF => set(argument, TERMIOS)?,
        TCSETS2..=TCSETSF2 => set(argument, TERMIOS2)?,
        TIOCGWINSZ => user::write_value(argument, &window_size(stream)?)?,
        TIOCGPGRP | TIOCGSID => user::write_value(argument, &process().id())?,
        TIOCSPGRP if user::read_value::<u32>(argument)? != process().id() => return Err(Errno::EPERM),
        TIOCOUTQ | TIOCGETD => user::write_value(argument, &0_u32)?,
        FIONREAD => {
            let ready = wait::console_ready(POLL_STDIN, 0)? != 0;
            user::write_value(argument, &u32::from(ready))?;
        }
        TCSBRK..=TCFLSH | TIOCSCTTY | TIOCSPGRP | TIOCSWINSZ | TCSBRKP => {}
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}
