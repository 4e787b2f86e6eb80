//! `cargo xtask bench`: what the guard costs, against the same machine without it; [`shield`]: what running inside costs.

mod container;
mod flood;
mod guard;
mod latency;
mod machine;
mod programs;
mod report;
mod rounds;
mod scale;
mod servers;
pub(crate) mod shield;
mod stats;
mod syscalls;
mod watch;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;

use guard::Casemate;
use report::Report;
use watch::Interrupt;

/// Measures the guard in interleaved pairs, without and with it, and prints tables for README. Root; nothing else should run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter measurements: under two minutes, wider spread
    #[arg(long)]
    quick: bool,
    /// The program to measure [default: target/release/casemate]
    #[arg(long, value_name = "PATH")]
    casemate: Option<PathBuf>,
    /// Write every value that was measured into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// The parts of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// System call, open, fork, exec, context switch
    Calls,
    /// Redis and nginx
    Servers,
    /// Violation to the last task's death
    Latency,
    /// Start, memory and idle time, with 500 containers
    Scale,
    /// 100,000 violations in audit mode
    Flood,
}

/// What every part needs.
#[derive(Debug)]
struct Bench {
    casemate: Casemate,
    worker: PathBuf,
    quick: bool,
    interrupt: Interrupt,
}

impl Bench {
    fn scratch(&self) -> &Path {
        &self.casemate.scratch
    }

    /// How far we are; the tables alone go to standard output.
    #[expect(clippy::unused_self, reason = "reads as what the benchmark says, wherever it is called")]
    fn say(&self, message: &str) {
        eprintln!("bench: {message}");
    }
}

/// Runs it; the exit code says whether every promise was kept.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("must run as root to load BPF programs and run containers; try: sudo cargo xtask bench guard");
    }
    let interrupt = Interrupt::new()?;
    let scratch =
        TempDir::with_prefix("casemate-bench-").context("cannot create a directory for what is measured")?;
    let casemate = Casemate {
        program: guard::find_program(arguments.casemate.as_deref())?,
        scratch: scratch.path().to_path_buf(),
    };
    casemate.must_be_off()?;
    let worker = worker::compile(scratch.path())?;
    let bench = Bench { casemate, worker, quick: arguments.quick, interrupt };
    let report = measure(&bench, &arguments.only)?;
    println!("{}", report.markdown());
    if let Some(path) = &arguments.json {
        fs::write(path, format!("{:#}\n", report.json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(bench: &Bench, only: &[Part]) -> Result<Report> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut report = Report { machine: machine::describe(), ..Report::default() };
    if wanted(Part::Calls) {
        bench.say("system calls and processes");
        let workers = syscalls::Workers::start(&bench.worker, bench.scratch())?;
        let (share, rounds) = if bench.quick { (0.2, 5) } else { (1.0, 11) };
        report.pairs.extend(rounds::run(bench, &workers.probes(share), &[workers.id()], rounds)?);
    }
    if wanted(Part::Servers) {
        bench.say("Redis and nginx");
        let servers = servers::Servers::start(bench.scratch())?;
        let (seconds, rounds) = if bench.quick { (1, 4) } else { (4, 9) };
        report.pairs.extend(rounds::run(bench, &servers.probes(seconds), &servers.ids(), rounds)?);
    }
    if wanted(Part::Latency) {
        report.facts.extend(latency::measure(bench, if bench.quick { 40 } else { 250 })?);
    }
    if wanted(Part::Scale) {
        report.facts.extend(scale::measure(bench)?);
    }
    if wanted(Part::Flood) {
        let (facts, proofs) = flood::measure(bench)?;
        report.facts.extend(facts);
        report.proofs.extend(proofs);
    }
    Ok(report)
}
