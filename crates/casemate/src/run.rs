//! `casemate run`

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use casemate_host::{BadLink, DEFAULT_PATH, MAX_VCPUS, Mount, PlatformChoice, RunOptions, Size, mount_point};

/// Exit code for failures that are not the program's.
pub(crate) const OWN_FAILURE: u8 = 125;

/// Runs a program inside an SGX enclave. It sees the root directory read only, what --mount names, and nothing of the
/// host's environment.
///
/// Exit code: the program's own. A signal that kills the program kills this command. 125: Casemate could not run it, 126: it is
/// no program, 127: it is not there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Memory of the program: bytes, or with K, M, G behind it
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    heap: Size,
    /// Threads of the host that enter the enclave, 1 to 16 [default: one for each processor]
    #[arg(long, value_name = "N")]
    vcpus: Option<u64>,
    /// auto takes the processor where it has SGX; emulated protects nothing
    #[arg(long, value_name = "auto|device|emulated", default_value = "auto")]
    platform: PlatformChoice,
    /// Variable of the program's environment; without =V, the host's value
    #[arg(long, short, value_name = "K[=V]")]
    env: Vec<OsString>,
    /// Directory that is the program's /
    #[arg(long, value_name = "DIR", default_value = "/")]
    rootfs: PathBuf,
    /// Directory or file of the host that the program may use, and where it sees it; ro: it cannot change it. Repeatable
    #[arg(long, value_name = "HOST:GUEST[:ro]")]
    mount: Vec<Mount>,
    /// One more empty directory in memory, besides /tmp, /var/tmp, /run and /dev/shm. Repeatable
    #[arg(long, value_name = "PATH", value_parser = |path: &str| mount_point(path))]
    tmpfs: Vec<String>,
    /// Add all memory at the start, as on processors without EDMM
    #[arg(long)]
    no_edmm: bool,
    /// Signature by your own key, from casemate enclave sign [default: by a key made for this machine]
    #[arg(long, value_name = "FILE")]
    sigstruct: Option<PathBuf>,
    /// A debug enclave: its memory can be read from outside
    #[arg(long)]
    debug: bool,
    /// Emulation: trap each ENCLU, patch nothing
    #[arg(long)]
    strict: bool,
    /// Emulation: cycles to charge for each entry and exit; a processor takes 8000 to 12000
    #[arg(long, value_name = "N", default_value_t = 0)]
    transition_cycles: u64,
    /// Emulation: interrupt the enclave at every instruction; for tests, very slow
    #[arg(long, hide = true)]
    single_step: bool,
    /// How host calls are made: async serves them without an exit while a processor is free, sync by an exit each
    #[arg(long, value_enum, value_name = "sync|async", default_value = "async", hide_possible_values = true)]
    calls: Calls,
    /// What MAP_SHARED memory is between processes: private is a copy in each; host is shared, in memory that the host can
    /// read and change
    #[arg(
        long,
        value_enum,
        value_name = "private|host",
        default_value = "private",
        hide_possible_values = true
    )]
    shared_memory: SharedMemory,
    /// Print each system call on standard error
    #[arg(long)]
    trace: bool,
    /// Print on standard error, at the end, what the run cost
    #[arg(long)]
    stats: bool,
    /// What joins this process to its parent: for processes that the program makes, not for people
    #[arg(long, hide = true, value_name = "LINK")]
    family: Option<String>,
    /// The program, a path under the root directory or a name in PATH, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// How host calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Calls {
    Sync,
    Async,
}

/// What shared memory is between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SharedMemory {
    Private,
    Host,
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let stats = arguments.stats;
    let options = match options(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("casemate: {error}");
            return ExitCode::from(OWN_FAILURE);
        }
    };
    match casemate_host::run(options) {
        Ok(finished) => {
            if stats {
                eprintln!("casemate: {}", finished.stats);
            }
            casemate_host::end(finished.status)
        }
        Err(error) => {
            eprintln!("casemate: {error}");
            // Threads may still be inside: leave as the program would have.
            casemate_host::end(casemate_host::ExitStatus::Code(error.exit_code()))
        }
    }
}

fn options(arguments: Arguments) -> Result<RunOptions, BadLink> {
    let stats = arguments.stats;
    let mut command = arguments.command.into_iter();
    let own = std::env::args_os().skip(1);
    let family = OsStr::new("--family");
    let is_link = |argument: &OsString| argument.as_encoded_bytes().starts_with(family.as_encoded_bytes());
    Ok(RunOptions {
        link: arguments.family.map(|link| link.parse()).transpose()?,
        // Without this process's own link, which stands second.
        command: own
            .enumerate()
            .filter(|(index, own)| *index != 1 || !is_link(own))
            .map(|(_, own)| own)
            .collect(),
        // clap has made sure that there is one.
        program: command.next().unwrap_or_default(),
        args: command.collect(),
        env: environment(&arguments.env),
        rootfs: arguments.rootfs,
        mounts: arguments.mount,
        tmpfs: arguments.tmpfs,
        heap: arguments.heap.0,
        vcpus: arguments.vcpus.unwrap_or_else(processors),
        platform: arguments.platform,
        edmm: arguments.no_edmm.then_some(false),
        strict: arguments.strict,
        transition_cycles: arguments.transition_cycles,
        debug: arguments.debug,
        sigstruct: arguments.sigstruct,
        single_step: arguments.single_step,
        sync_calls: arguments.calls == Calls::Sync,
        shared_memory: arguments.shared_memory == SharedMemory::Host,
        trace: arguments.trace,
        counters: stats,
    })
}

fn processors() -> u64 {
    let count = thread::available_parallelism().map_or(1, usize::from);
    u64::try_from(count).unwrap_or(1).min(MAX_VCPUS)
}

/// PATH and HOME as in a container, TERM on a terminal, and what was asked for.
fn environment(asked: &[OsString]) -> Vec<(OsString, OsString)> {
    let mut variables = BTreeMap::from([
        (OsString::from("PATH"), OsString::from(DEFAULT_PATH)),
        (OsString::from("HOME"), OsString::from("/root")),
    ]);
    if io::stdout().is_terminal()
        && let Some(terminal) = std::env::var_os("TERM")
    {
        variables.insert("TERM".into(), terminal);
    }
    for variable in asked {
        match split(variable) {
            (name, Some(value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            (name, None) => {
                // Not set here: not set there.
                if let Some(value) = std::env::var_os(name) {
                    variables.insert(name.to_owned(), value);
                }
            }
        }
    }
    variables.into_iter().collect()
}

/// Name and value of `K=V`.
fn split(variable: &OsStr) -> (&OsStr, Option<&OsStr>) {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = variable.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let (name, value) = bytes.split_at(at);
            (OsStr::from_bytes(name), value.get(1..).map(OsStr::from_bytes))
        }
        None => (variable, None),
    }
}
