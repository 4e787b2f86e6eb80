//! `lab vm`: kernel payloads and escapes under real kernels, in virtual machines that are thrown away.
//!
//! For each kernel and each mode of the guard one machine boots, as many at a time as there are processors ([`qemu`]) with the same root disk ([`image`]), runs
//! `lab attack` inside ([`guest`]) and sends a line for each thing that happens ([`job`]). A case that takes its machine down
//! is a failure; another machine goes on behind it.

mod apt;
mod cost;
mod cost_guest;
mod cost_report;
mod guest;
mod image;
mod job;
mod kernel;
mod plan;
mod qemu;
mod table;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::attack::find_casemate;
use crate::programs;
use job::{Half, Job, Line, Verdict};
use kernel::{Kernel, SERIES};
use plan::Plan;
use qemu::{End, Machine};
use table::{Row, Table};

/// For one machine, from start to power-off.
const MACHINE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Options of `lab vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Debian's newest kernel of this series, or all
    #[arg(long, default_value = "all", value_parser = ["5.10", "6.1", "6.12", "7.2", "all"])]
    kernel: String,
    /// The guard's modes, or all
    #[arg(long, default_value = "all", value_parser = ["tracepoint", "lsm", "fmod_ret", "all"])]
    mode: Vec<String>,
    /// Only cases whose name matches one of these patterns; * stands for anything
    #[arg(long, default_value = "*", value_name = "PATTERN")]
    case: Vec<String>,
    /// The guard to test [default: the `casemate` beside this program]
    #[arg(long, value_name = "PATH")]
    casemate: Option<PathBuf>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    /// Run no cases: count the instructions that each mode adds to system calls, fork and exec [default kernel: 6.12]
    #[arg(long, conflicts_with_all = ["case", "mode"])]
    cost: bool,
}

/// A mode of the guard, and the security modules that its machine is booted with. Debian lists bpf among its own by default,
/// so that it has to be taken out where a mode is to do without.
#[derive(Clone, Copy, Debug)]
struct Mode {
    name: &'static str,
    lsm: &'static str,
}

const MODES: [Mode; 3] = [
    Mode { name: "tracepoint", lsm: "landlock,lockdown,yama" },
    Mode { name: "lsm", lsm: "landlock,lockdown,yama,bpf" },
    Mode { name: "fmod_ret", lsm: "landlock,lockdown,yama" },
];

/// Runs what `args` asks for.
///
/// # Errors
/// When the root disk cannot be made or QEMU is missing; a kernel that cannot be had is a failure in the table.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab unpacks root file systems with owners and devices: run it as root");
    }
    if args.cost {
        return cost::run(args);
    }
    let start = Instant::now();
    let scratch = tempfile::Builder::new().prefix("casemate-vm-").tempdir_in("/var/tmp")?;
    let disk = scratch.path().join("disk");
    let casemate = find_casemate(args.casemate.as_deref())?;
    let plan = Plan::new(&args.case)?;
    image::make_disk(&disk, &casemate, &programs::build()?, scratch.path())?;
    let table = Mutex::new(Table::new(args.json, plan.names()));
    let kernels = kernels(&args.kernel, &table);
    let modes: Vec<Mode> =
        MODES.into_iter().filter(|mode| args.mode.iter().any(|m| m == "all" || m == mode.name)).collect();
    let mut tasks = Vec::new();
    for kernel in &kernels {
        for (number, mode) in modes.iter().enumerate() {
            // Unguarded a machine is the same in each mode.
            let plan = if number == 0 { plan.clone() } else { plan.guarded_only() };
            let scratch = scratch.path().join(format!("{}-{}", kernel.name, mode.name));
            tasks.push(Task { kernel, mode: *mode, plan, disk: &disk, scratch, table: &table });
        }
    }
    run_all(tasks)?;
    let table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    table.print();
    eprintln!("lab: {} s in all", start.elapsed().as_secs());
    Ok(if table.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs in the guest; does not return.
pub(crate) fn guest() -> ! {
    guest::run()
}

/// The kernels that were asked for, with a payload module each. One that cannot be had is a failure in the table.
fn kernels(wanted: &str, table: &Mutex<Table>) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for series in SERIES.into_iter().filter(|series| wanted == "all" || wanted == series.name) {
        match Kernel::get(series).and_then(|kernel| kernel.payload().map(|_| kernel)) {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => lock(table).trouble(series.name, "-", format!("{error:#}")),
        }
    }
    kernels
}

/// An emulated machine is one busy thread: as many at a time as there are processors.
fn run_all(tasks: Vec<Task<'_>>) -> Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(VecDeque::from(tasks));
    let work = || -> Result<()> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(mut task) => task.run()?,
                None => return Ok(()),
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker of the lab panicked")))
        })
    })
}

fn lock<'a>(table: &'a Mutex<Table>) -> MutexGuard<'a, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One kernel in one mode: what one machine does, or several, where a case takes its machine down.
struct Task<'a> {
    kernel: &'a Kernel,
    mode: Mode,
    plan: Plan,
    disk: &'a Path,
    scratch: PathBuf,
    table: &'a Mutex<Table>,
}

impl Task<'_> {
    fn run(&mut self) -> Result<()> {
        fs::create_dir_all(&self.scratch)
            .with_context(|| format!("cannot create {}", self.scratch.display()))?;
        let began = Instant::now();
        // Each machine that dies takes one case along, so that this ends.
        while let Some(batches) = self.plan.open(self.mode.name) {
            let job = Job { guard_mode: self.mode.name.to_owned(), batches, cost: false };
            if !self.boot(&job)? {
                break;
            }
        }
        eprintln!(
            "lab: Linux {}, mode {}: {} s",
            self.kernel.name,
            self.mode.name,
            began.elapsed().as_secs()
        );
        Ok(())
    }

    /// Boots one machine for `job`. True: it died in a case, and others are left.
    fn boot(&mut self, job: &Job) -> Result<bool> {
        let initramfs = self.scratch.join("initramfs.cpio");
        image::make_initramfs(&initramfs, self.kernel, job, &self.scratch)?;
        let image = self.kernel.image();
        let machine = Machine {
            kernel: &image,
            initramfs: &initramfs,
            disk: self.disk,
            lsm: self.mode.lsm,
            scratch: &self.scratch,
            limit: MACHINE_LIMIT,
            counts: false,
        };
        let start = Instant::now();
        let (kernel, mode) = (self.kernel.name, self.mode.name);
        let (plan, table) = (&mut self.plan, self.table);
        let mut current = None;
        let mut troubled = false;
        let end = machine.run(|line| match line {
            Line::Hello { release, lsm } => {
                let seconds = start.elapsed().as_secs_f32();
                eprintln!("lab: Linux {release} is up after {seconds:.1} s, mode {mode}, modules {lsm}");
            }
            Line::Doctor { mode: None, reason } => {
                for name in plan.left(mode) {
                    let detail = format!("`casemate doctor`: mode {mode} does not work here: {reason}");
                    lock(table).add(Row::new(kernel, mode, &name, Half::Guarded, Verdict::Skipped, detail));
                }
                plan.give_up(mode);
            }
            Line::Doctor { .. } => {}
            Line::Begin { half, case } => current = Some((half, case)),
            Line::Outcome(outcome) => {
                current = None;
                let half = plan.done(mode, &outcome);
                lock(table).add(Row::new(kernel, mode, &outcome.case, half, outcome.verdict, outcome.detail));
            }
            Line::Trouble { text } => {
                troubled = true;
                lock(table).trouble(kernel, mode, text);
            }
            Line::Done | Line::Cost(_) => {}
        });
        let end = end.with_context(|| format!("Linux {kernel}, mode {mode}"))?;
        if end == End::Done {
            if troubled {
                lock(table).console(&machine.console_tail());
            }
            return Ok(false);
        }
        let what = if end == End::Died { "the machine died" } else { "nothing happened for too long" };
        let detail = format!("{what}; its console:{}", machine.console_tail());
        let Some((half, case)) = current else {
            lock(table).trouble(kernel, mode, detail);
            return Ok(false);
        };
        let half = plan.failed(mode, &half, &case);
        lock(table).add(Row::new(kernel, mode, &case, half, Verdict::Failed, detail));
        Ok(true)
    }
}
