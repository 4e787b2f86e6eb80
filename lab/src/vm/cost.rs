//! `lab vm --cost`: how many instructions the guard adds to what programs do.
//!
//! For each mode one machine boots whose clock advances by a nanosecond an instruction (QEMU's `-icount`), so that the
//! worker's own clock counts them: user space, kernel and guard together. Which is checked, not believed: see
//! [`Cost::Calibration`]. All machines have the same list of security modules, so that the guard is all that differs.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::cost_report::Report;
use super::image;
use super::job::{Job, Line};
use super::kernel::{Kernel, SERIES};
use super::qemu::{End, Machine};
use super::{Args, MACHINE_LIMIT};
use crate::attack::find_casemate;
use crate::programs;

/// The mode of the machine without a guard.
pub(super) const OFF: &str = "off";
pub(super) const HOST: &str = "host";
pub(super) const CONTAINER: &str = "container";
/// The machines, the one to compare with first.
pub(super) const MODES: [&str; 4] = [OFF, "tracepoint", "lsm", "fmod_ret"];
/// As Debian's kernels have them by default, as far as one of them matters here.
const MODULES: &str = "landlock,lockdown,yama,bpf";
const KERNEL: &str = "6.12";
/// How far the clock may be off the number of instructions.
const TOLERANCE: f64 = 0.002;

/// Something that a program does, again and again.
#[derive(Debug)]
pub(super) struct Operation {
    /// The worker's command.
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// In one go: at most a third of the 4 million instructions from one timer interrupt to the next.
    pub(super) times: u32,
    /// How many percent the lsm mode may add in a container.
    pub(super) limit: f64,
}

pub(super) const OPERATIONS: [Operation; 6] = [
    Operation { name: "getppid", text: "getppid", times: 4000, limit: 1.0 },
    Operation { name: "readwrite", text: "write + read, pipe", times: 600, limit: 1.0 },
    Operation { name: "devices", text: "write + read, devices", times: 1200, limit: 1.0 },
    Operation { name: "open", text: "open + close", times: 300, limit: 3.0 },
    Operation { name: "fork", text: "fork + exit", times: 5, limit: 3.0 },
    Operation { name: "exec", text: "fork + exec", times: 2, limit: 3.0 },
];

/// What a machine finds out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub(super) enum Cost {
    /// A loop of `expected` instructions took `counted` nanoseconds.
    Calibration { clocksource: String, expected: f64, counted: f64 },
    /// Instructions for one time.
    Figure { place: String, operation: String, instructions: f64 },
    /// How often a BPF program runs for one time, in a container, and for how many instructions in all.
    Program { operation: String, program: String, runs: f64, instructions: f64 },
}

/// Runs what `args` asks for.
///
/// # Errors
/// When a machine cannot be made, or does not come to its end: numbers with gaps would compare nothing.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let wanted = if args.kernel == "all" { KERNEL } else { &args.kernel };
    let series = SERIES.into_iter().find(|series| series.name == wanted);
    let kernel = Kernel::get(series.with_context(|| format!("the lab knows no Linux {wanted}"))?)?;
    let scratch = tempfile::Builder::new().prefix("casemate-cost-").tempdir_in("/var/tmp")?;
    let disk = scratch.path().join("disk");
    let programs = programs::build()?;
    programs::build_worker(&programs)?;
    image::make_disk(&disk, &find_casemate(args.casemate.as_deref())?, &programs, scratch.path())?;
    let mut report = Report::new(kernel.release.clone());
    for mode in MODES {
        let began = Instant::now();
        let scratch = scratch.path().join(mode);
        fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        let found = one_machine(&kernel, mode, &disk, &scratch)?;
        check(&found).with_context(|| format!("Linux {}, guard {mode}", kernel.release))?;
        report.add(mode, found);
        eprintln!("lab: Linux {}, guard {mode}: {} s", kernel.name, began.elapsed().as_secs());
    }
    report.print(args.json);
    eprintln!("lab: {} s in all", start.elapsed().as_secs());
    Ok(ExitCode::SUCCESS)
}

fn one_machine(kernel: &Kernel, mode: &str, disk: &Path, scratch: &Path) -> Result<Vec<Cost>> {
    let job = Job { guard_mode: mode.to_owned(), batches: Vec::new(), cost: true };
    let initramfs = scratch.join("initramfs.cpio");
    image::make_initramfs(&initramfs, kernel, &job, scratch)?;
    let image = kernel.image();
    let machine = Machine {
        kernel: &image,
        initramfs: &initramfs,
        disk,
        lsm: MODULES,
        scratch,
        limit: MACHINE_LIMIT,
        counts: true,
    };
    let (mut found, mut trouble) = (Vec::new(), None);
    let end = machine.run(|line| match line {
        Line::Cost(cost) => found.push(cost),
        Line::Trouble { text } => trouble = Some(text),
        _ => {}
    })?;
    let what = match (end, trouble) {
        (End::Done, None) => return Ok(found),
        (_, Some(text)) => text,
        (End::Died, None) => "the machine died".to_owned(),
        (_, None) => "nothing happened for too long".to_owned(),
    };
    bail!("Linux {}, guard {mode}: {what}; its console:{}", kernel.release, machine.console_tail());
}

/// Does the clock of this machine count instructions?
fn check(found: &[Cost]) -> Result<()> {
    let calibration = found.iter().find_map(|cost| match cost {
        Cost::Calibration { expected, counted, clocksource } => Some((*expected, *counted, clocksource)),
        _ => None,
    });
    let (expected, counted, clocksource) = calibration.context("the machine was not calibrated")?;
    if (counted / expected - 1.0).abs() > TOLERANCE {
        bail!(
            "a loop of {expected:.0} instructions took {counted:.0} ns by the clock {clocksource}: \
             does this QEMU know `-icount shift=0`?"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Cost, check};

    fn calibration(counted: f64) -> [Cost; 1] {
        [Cost::Calibration { clocksource: "tsc".into(), expected: 1e6, counted }]
    }

    #[test]
    fn a_clock_that_counts_something_else_is_refused() {
        assert!(check(&calibration(1_000_900.0)).is_ok());
        assert!(check(&calibration(1_010_000.0)).is_err());
        assert!(check(&[]).is_err());
    }
}
