//! The process as a whole.

use casemate_enclave_abi::ExitStatus;

use super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::family::fork::{self, Wanted};
use crate::family::vfork;
use crate::process::process;
use crate::{sched, user};

pub(super) fn exit_group(frame: &mut Frame) -> Result {
    let [code, ..] = frame.arguments();
    let code = code.to_le_bytes()[0];
    if vfork::end(frame, ExitStatus::Code(code)) {
        return Ok(frame.rax);
    }
    process().exit(code)
}

pub(super) fn fork(frame: &mut Frame) -> Result {
    fork::process(frame, Wanted::default())
}

pub(super) fn vfork(frame: &mut Frame) -> Result {
    fork::process(frame, Wanted { flags: fork::flag::VM | fork::flag::VFORK, ..Wanted::default() })
}

pub(super) fn prctl(frame: &mut Frame) -> Result {
    let [option, argument, ..] = frame.arguments();
    match int(option) {
        // PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_TIMERSLACK, PR_SET_CHILD_SUBREAPER, PR_SET_THP_DISABLE,
        // PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE: taken, and nobody can tell the difference.
        1 | 4 | 8 | 29 | 36 | 38 | 41 => Ok(0),
        // PR_GET_PDEATHSIG, PR_GET_CHILD_SUBREAPER.
        2 | 37 => {
            user::write_value(argument, &0_u32)?;
            Ok(0)
        }
        // PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS.
        3 | 39 => Ok(1),
        // PR_GET_KEEPCAPS, PR_GET_SECCOMP, PR_GET_SECUREBITS, PR_GET_THP_DISABLE.
        7 | 21 | 27 | 42 => Ok(0),
        // PR_SET_NAME.
        15 => {
            let mut name = [0; 16];
            let given = match user::read_string(argument, 16) {
                Ok(given) => given,
                // Longer names are cut.
                Err(Errno::ENAMETOOLONG) => {
                    let mut cut = alloc::vec![0; 15];
                    user::read(argument, &mut cut)?;
                    cut
                }
                Err(errno) => return Err(errno),
            };
            let length = given.len().min(15);
            name[..length].copy_from_slice(&given[..length]);
            *sched::current().name.lock() = name;
            Ok(0)
        }
        // PR_GET_NAME.
        16 => {
            let name = *sched::current().name.lock();
            user::write(argument, &name)?;
            Ok(0)
        }
        // PR_CAPBSET_READ: no capability. PR_CAP_AMBIENT likewise.
        23 if argument <= 40 => Ok(0),
        47 => Ok(0),
        // PR_GET_TIMERSLACK, in ns.
        30 => Ok(50_000),
        _ => Err(Errno::EINVAL),
    }
}
