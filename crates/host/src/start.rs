//! The start-up block: what the enclave is told before its first entry.

use std::io::{IsTerminal as _, stderr, stdin, stdout};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use casemate_enclave_abi::blob::{BlobError, ENTRY_BYTES};
use casemate_enclave_abi::layout::PAGE;
use casemate_enclave_abi::net::MAX_SOCKETS;
use casemate_enclave_abi::start::{
    FLAG_CHILD, FLAG_EDMM, FLAG_EMULATED, FLAG_SHARED_MEMORY, FLAG_STDERR_TERMINAL, FLAG_STDIN_TERMINAL,
    FLAG_STDOUT_TERMINAL, FLAG_SYNC_CALLS,
};
use casemate_enclave_abi::{BlobWriter, CpuidEntry, Layout, StartBlock};
use rustix::fs::Mode;
use rustix::process::{getegid, geteuid, getgid, getpid, getppid, getuid, umask};
use rustix::system::uname;

use crate::error::RunError;
use crate::window::SharedWindow;
use crate::{console, cpuid};

/// Bytes of shared buffers for each vCPU, and the least of all together.
const ARENA_EACH: u64 = 1 << 20;
const ARENA_LEAST: u64 = 4 << 20;

/// Linux takes host names of up to 64 bytes.
const MAX_HOSTNAME: usize = 64;

/// What the program is started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// Its path under the root directory, absolute.
    pub(crate) path: Vec<u8>,
    /// Its arguments, its name first.
    pub(crate) args: Vec<Vec<u8>>,
    /// Its environment, `NAME=value`.
    pub(crate) env: Vec<Vec<u8>>,
    /// Its working directory under the root directory, absolute.
    pub(crate) cwd: Vec<u8>,
    /// Mounts, as the start-up block has them.
    pub(crate) mounts: Vec<Vec<u8>>,
}

/// What the enclave is told of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) vcpus: u64,
    pub(crate) heap: u64,
    pub(crate) edmm: bool,
    pub(crate) emulated: bool,
    pub(crate) trace: u64,
    /// Another enclave says what it shall run.
    pub(crate) child: bool,
    pub(crate) sync_calls: bool,
    pub(crate) shared_memory: bool,
}

/// Makes a window and writes the start-up block into it.
///
/// # Errors
/// Arguments and environment are longer than a window can hold, or have NULs inside; no memory.
pub(crate) fn window(program: &Program, machine: Machine) -> Result<SharedWindow, RunError> {
    let cpuid = cpuid::table();
    let hostname = hostname();
    let blob = blob_len(program, &hostname, &cpuid);
    let arena = machine.vcpus.saturating_mul(ARENA_EACH).max(ARENA_LEAST);
    let layout = Layout::new(machine.vcpus, arena, blob).and_then(|layout| layout.with_sockets(MAX_SOCKETS));
    let layout = layout.ok_or(RunError::Arguments { bytes: blob })?;
    let window =
        SharedWindow::new(layout).map_err(|source| RunError::system("memory for the window", source))?;
    let block = fill(window, program, machine, &hostname, &cpuid)?;
    block.write(window.window()).map_err(|_| RunError::Arguments { bytes: blob })?;
    Ok(window)
}

fn blob_len(program: &Program, hostname: &[u8], cpuid: &[CpuidEntry]) -> u64 {
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let strings = |strings: &[Vec<u8>]| {
        strings.iter().map(|string| length(string).saturating_add(1)).fold(0, u64::saturating_add)
    };
    let entries = u64::try_from(cpuid.len()).unwrap_or(u64::MAX).saturating_mul(ENTRY_BYTES);
    [
        length(hostname),
        length(&program.path),
        length(&program.cwd),
        strings(&program.args),
        strings(&program.env),
        strings(&program.mounts),
        entries,
    ]
    .into_iter()
    .map(BlobWriter::space)
    .fold(0, u64::saturating_add)
    .max(PAGE)
}

fn fill(
    window: SharedWindow,
    program: &Program,
    machine: Machine,
    hostname: &[u8],
    cpuid: &[CpuidEntry],
) -> Result<StartBlock, RunError> {
    let layout = window.layout();
    let mut blob = BlobWriter::new(window.window(), layout.blob());
    let wrong = |error: BlobError| match error {
        BlobError::Nul => RunError::Nul,
        BlobError::Full | BlobError::Outside(_) => RunError::Arguments { bytes: layout.blob().len },
    };
    let (rows, columns) = console::window_size().unwrap_or((0, 0));
    Ok(StartBlock {
        window_size: layout.total(),
        vcpus: machine.vcpus,
        heap_size: machine.heap,
        flags: flags(machine),
        uid: getuid().as_raw().into(),
        gid: getgid().as_raw().into(),
        euid: geteuid().as_raw().into(),
        egid: getegid().as_raw().into(),
        pid: pid(Some(getpid())).max(1),
        ppid: pid(getppid()),
        umask: file_mask(),
        hostname: blob.bytes(hostname).map_err(wrong)?,
        program: blob.bytes(&program.path).map_err(wrong)?,
        cwd: blob.bytes(&program.cwd).map_err(wrong)?,
        argv: blob.strings(program.args.iter().map(Vec::as_slice)).map_err(wrong)?,
        env: blob.strings(program.env.iter().map(Vec::as_slice)).map_err(wrong)?,
        mounts: blob.strings(program.mounts.iter().map(Vec::as_slice)).map_err(wrong)?,
        cpuid: blob.cpuid(cpuid).map_err(wrong)?,
        blob: layout.blob(),
        arena: layout.arena(),
        trace: machine.trace,
        rows: rows.into(),
        columns: columns.into(),
        sockets: layout.socket_count(),
    })
}

fn flags(machine: Machine) -> u64 {
    [
        (machine.edmm, FLAG_EDMM),
        (machine.emulated, FLAG_EMULATED),
        (machine.child, FLAG_CHILD),
        (machine.sync_calls, FLAG_SYNC_CALLS),
        (machine.shared_memory, FLAG_SHARED_MEMORY),
        (stdin().is_terminal(), FLAG_STDIN_TERMINAL),
        (stdout().is_terminal(), FLAG_STDOUT_TERMINAL),
        (stderr().is_terminal(), FLAG_STDERR_TERMINAL),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(0, |flags, (_, flag)| flags | flag)
}

fn pid(pid: Option<rustix::process::Pid>) -> u64 {
    pid.and_then(|pid| u64::try_from(pid.as_raw_pid()).ok()).unwrap_or(0)
}

/// The file mode creation mask, which can only be asked for by setting it.
fn file_mask() -> u64 {
    let mask = umask(Mode::from_raw_mode(0o077));
    umask(mask);
    u64::from(mask.as_raw_mode()) & 0o777
}

fn hostname() -> Vec<u8> {
    let name = uname();
    let bytes = name.nodename().to_bytes();
    bytes.get(..MAX_HOSTNAME).unwrap_or(bytes).to_vec()
}

/// The program's working directory: this process's, where it lies under the root directory, else the root itself.
pub(crate) fn working_directory(root: &Path) -> Vec<u8> {
    let inside = || {
        let here = std::env::current_dir().ok()?.canonicalize().ok()?;
        let inside = here.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned();
        Some(Path::new("/").join(inside))
    };
    inside().map_or_else(|| b"/".to_vec(), |path| path.as_os_str().as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_enclave_abi::split_strings;

    const MACHINE: Machine = Machine {
        vcpus: 2,
        heap: 1 << 24,
        edmm: true,
        emulated: true,
        trace: 1,
        sync_calls: false,
        shared_memory: false,
        child: false,
    };

    fn program() -> Program {
        Program {
            path: b"/bin/true".to_vec(),
            args: vec![b"true".to_vec(), b"".to_vec()],
            env: vec![b"A=b".to_vec()],
            cwd: b"/".to_vec(),
            mounts: vec![b"ro:/srv".to_vec()],
        }
    }

    #[test]
    fn enclave_takes_the_block() {
        let window = window(&program(), MACHINE).unwrap();
        let block = StartBlock::read(window.window()).unwrap();
        assert_eq!(block.layout().unwrap(), *window.layout());
        assert_eq!(window.bytes(block.program, 4096), b"/bin/true");
        let args = window.bytes(block.argv.region, 4096);
        let args: Vec<_> = split_strings(&args, block.argv.count).unwrap().collect();
        assert_eq!(args, [&b"true"[..], b""]);
        assert_eq!(block.flags & (FLAG_EDMM | FLAG_EMULATED), FLAG_EDMM | FLAG_EMULATED);
        assert!(block.cpuid.get(window.window(), 0).is_some_and(|entry| entry.ebx != 0));
    }

    #[test]
    fn too_much_and_nuls_are_refused() {
        let mut long = program();
        long.env.push(vec![b'x'; 17 << 20]);
        assert!(matches!(window(&long, MACHINE), Err(RunError::Arguments { .. })));
        let mut nul = program();
        nul.args.push(b"a\0b".to_vec());
        assert!(matches!(window(&nul, MACHINE), Err(RunError::Nul)));
    }
}
