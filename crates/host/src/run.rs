//! Running a program in an enclave, from options to exit status.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use casemate_enclave_abi::start::{TRACE_CALLS, TRACE_COUNTERS};
use casemate_enclave_abi::{ExitStatus, MAX_VCPUS};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::{ClockPage, Moment};
use crate::error::RunError;
use crate::family::{Family, Link};
use crate::files::Files;
use crate::files::mounted::Mounted;
use crate::image::Image;
use crate::mount::{self, Mount};
use crate::net::Net;
use crate::ops::{Server, Service};
use crate::park::Parking;
use crate::plan::{self, Plan};
use crate::platform::{PlatformChoice, PlatformOptions};
use crate::raw::signal;
use crate::shared::Shared as SharedMemory;
use crate::start::{self, Machine, Program};
use crate::state::State;
use crate::stats::{Counters, Stats};
use crate::vcpu::{self, Shared};
use crate::workers::Workers;
use crate::{news, preempt, program, signing};

/// How a program is run.
#[derive(Debug)]
pub struct RunOptions {
    /// The program: a path under the root directory, or a name that is searched in PATH.
    pub program: OsString,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The directory that is its `/`, read only.
    pub rootfs: PathBuf,
    /// What of the host's the program may use besides, and where it sees it.
    pub mounts: Vec<Mount>,
    /// Paths of more file systems in memory.
    pub tmpfs: Vec<String>,
    /// Bytes of program memory.
    pub heap: u64,
    /// vCPUs, 1 to 16.
    pub vcpus: u64,
    /// On which platform.
    pub platform: PlatformChoice,
    /// Whether pages are added on demand; by default, if the platform can.
    pub edmm: Option<bool>,
    /// Emulation: ENCLU traps instead of being patched.
    pub strict: bool,
    /// Emulation: cycles charged for each entry and exit.
    pub transition_cycles: u64,
    /// Emulation: the enclave is entered again, and told of an interrupt, at every instruction that it executes. For tests.
    pub single_step: bool,
    /// With the DEBUG attribute.
    pub debug: bool,
    /// Signature to use instead of one by the development key.
    pub sigstruct: Option<PathBuf>,
    /// Each host call leaves the enclave; no worker serves it.
    pub sync_calls: bool,
    /// What is mapped `MAP_SHARED` lies in this process's memory, where other processes of the program map it too.
    pub shared_memory: bool,
    /// Print each system call.
    pub trace: bool,
    /// Print at the end what the enclave kernel has counted.
    pub counters: bool,
    /// The arguments of this command, its subcommand first: how processes that the program makes are started.
    pub command: Vec<OsString>,
    /// Of such a process: what joins it to its parent. Its program is its parent's to say.
    pub link: Option<Link>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How the program ended.
    pub status: ExitStatus,
    /// What it cost.
    pub stats: Stats,
}

/// Runs a program in an enclave to its end.
///
/// The enclave's other threads may still run when this returns, and cannot be stopped: the caller should end the process
/// ([`end`]).
///
/// # Errors
/// See [`RunError`]; the program has not been run, or not to its end.
pub fn run(mut options: RunOptions) -> Result<Finished, RunError> {
    let first = Moment::now();
    // Before there is any other thread.
    signal::block_forwarded();
    let link = options.link.take();
    let child = link.is_some();
    let options = &options;
    let RunOptions { vcpus, debug, .. } = *options;
    if vcpus == 0 || vcpus > MAX_VCPUS {
        return Err(RunError::Vcpus { vcpus, most: MAX_VCPUS });
    }
    plan::check_heap(options.heap)?;
    let sigstruct = options.sigstruct.as_deref().map(signing::load).transpose()?;
    raise_file_limit();
    let mut files = Files::new(&options.rootfs)
        .map_err(|source| RunError::Rootfs { rootfs: options.rootfs.clone(), source: source.into() })?;
    for mount in &options.mounts {
        let mounted = Mounted::new(&mount.host, &mount.guest, mount.read_only)
            .map_err(|source| RunError::file("mount", &mount.host, source))?;
        files.add(mounted);
    }
    let mut program = if child { Program::default() } else { program(options, &files)? };
    program.mounts = mount::strings(&options.mounts, &options.tmpfs);
    let family = Family::new(&options.command, link)
        .map_err(|source| RunError::system("what a family of processes needs", source))?;
    let image = Image::embedded()?;
    let state = State::open()?;
    let platform = options.platform.open(&state, &PlatformOptions::new(options, image.stub()))?;
    if platform.is_emulated() && !child {
        eprintln!("casemate: EMULATED SGX platform: nothing is protected; for tests and development only");
    }
    let can = platform.capabilities().edmm;
    let edmm = options.edmm.unwrap_or(can);
    if edmm && !can {
        return Err(RunError::NoEdmm { platform: platform.name() });
    }
    let begin = Instant::now();
    let plan = Plan::new(&image, options.heap, edmm)?;
    let sigstruct = match sigstruct {
        Some(sigstruct) => sigstruct,
        None => signing::development(&state, &plan, debug)?,
    };
    let enclave = plan.build(&*platform, &sigstruct, debug)?;
    let build = begin.elapsed();
    let emulated = platform.is_emulated();
    let bit = |wanted, bit| if wanted { bit } else { 0 };
    let trace = bit(options.trace, TRACE_CALLS) | bit(options.counters, TRACE_COUNTERS);
    let machine = Machine {
        vcpus,
        heap: plan.heap(),
        edmm,
        emulated,
        trace,
        child,
        sync_calls: options.sync_calls,
        shared_memory: options.shared_memory,
    };
    let window = start::window(&program, machine)?;
    let layout = *window.layout();
    let incomplete = || RunError::Enclave { vcpu: 0, problem: "the window is incomplete".into() };
    let parking = Parking::new(window.window(), &layout).ok_or_else(incomplete)?;
    let shared_memory = SharedMemory::new(options.shared_memory)
        .map_err(|source| RunError::system("addresses for shared memory", source))?;
    let net = Net::new(window.window(), &layout).ok_or_else(incomplete)?;
    let service = Service {
        window: window.window(),
        arena: layout.arena(),
        files,
        enclave,
        parking,
        family,
        net,
        shared_memory,
    };
    let clock = ClockPage::new(window.window(), &layout, first).ok_or_else(incomplete)?;
    preempt::watch(&*platform)?;
    let (sender, outcome) = mpsc::channel();
    let (service, counters) = (Arc::new(service), Arc::new(Counters::default()));
    let workers = Workers::new(
        window,
        || Server::new(Arc::clone(&service)),
        Arc::clone(&counters),
        !options.sync_calls,
    );
    let workers = Arc::new(workers.ok_or_else(incomplete)?);
    workers.start()?;
    let shared = Arc::new(Shared::new(window, service, clock, workers, counters, sender));
    preempt::start(&shared)?;
    news::start(&shared)?;
    vcpu::start(&shared, 0)?;
    let status = outcome.recv().map_err(|_| incomplete())?;
    shared.service.family.end();
    let status = status?;
    Ok(Finished { status, stats: shared.counters.snapshot(build) })
}

/// Ends this process as the program ended: with its code, or by its signal, without a core dump.
pub fn end(status: ExitStatus) -> ! {
    match status {
        ExitStatus::Code(code) => std::process::exit(code.into()),
        ExitStatus::Signal(number) => {
            // The program is dead already; a core of this process would show nothing of it.
            let none = Rlimit { current: Some(0), maximum: Some(0) };
            let _ = setrlimit(Resource::Core, none);
            signal::die(number.into());
            // A signal that does not kill by default.
            std::process::exit(128_i32.saturating_add(number.into()))
        }
    }
}

fn program(options: &RunOptions, files: &Files) -> Result<Program, RunError> {
    let env: Vec<Vec<u8>> =
        options.env.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect();
    let cwd = start::working_directory(&options.rootfs);
    let path = program::find(files, &options.rootfs, &options.program, &env, &cwd)?;
    let args = [&options.program].into_iter().chain(&options.args);
    let args = args.map(|arg| arg.as_bytes().to_vec()).collect();
    Ok(Program { path, args, env, cwd, mounts: mount::strings(&options.mounts, &options.tmpfs) })
}

/// The program's files are this process's: it may have as many as the system allows.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
