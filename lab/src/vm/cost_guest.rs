//! The guest's half of [`super::cost`]: starts the guard, has the worker do each operation, says how long it took.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::cost::{CONTAINER, Cost, HOST, OFF, OPERATIONS};
use super::image::PROGRAMS;
use crate::engine::{self, Bind, Engine, Settings};
use crate::guard::Guard;
use crate::host::stdout_of;

/// The worker goes to the container's own root, as most programs of containers lie there, not in a volume.
const FIRST: &str = "cp /lab/worker /tmp/worker && exec /tmp/worker -1";
const NAME: &str = "cost";
/// The median of so many goes: a timer interrupt falls into less than half of them.
const GOES: usize = 31;
/// So many times as much where programs are counted, which the median of goes cannot do.
const COUNTED: u32 = 8;
/// How much of the processor's time must be idle before anything is measured, and how many seconds that may take.
const REST: f64 = 0.9;
const REST_LIMIT: u32 = 60;
/// Rounds of the calibrated loop, of two instructions each.
const ROUNDS: u32 = 250_000;
/// Programs that run less often for one time are somebody else's.
const OFTEN: f64 = 0.2;
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
const CLOCKSOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Measures with the guard in `mode`.
///
/// # Errors
/// When the guard does not start in that mode, or a worker does not do what it is told.
pub(super) fn measure(mode: &str, casemate: &Path, say: impl Fn(Cost)) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a directory")?;
    let guarded = mode != OFF;
    let _guard = guarded.then(|| Guard::start(casemate, Some(mode), false, scratch.path())).transpose()?;

    settle()?;
    let mut command = Command::new(Path::new(PROGRAMS).join("worker"));
    command.arg("-1");
    let mut worker = Worker::start(command)?;
    let clock = worker.calibrate(&say)?;
    worker.figures(HOST, clock, &say)?;
    drop(worker);

    let runtime = engine::prepare(Engine::Crun, scratch.path())?;
    let settings = Settings {
        name: NAME.to_owned(),
        argv: ["/bin/sh", "-c", FIRST].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), "/bin".to_owned())],
        binds: vec![Bind { source: PROGRAMS.into(), target: "/lab", writable: false }],
        ..Settings::default()
    };
    let mut worker = Worker::start(runtime.command(&settings)?)?;
    settle()?;
    worker.figures(CONTAINER, clock, &say)?;
    if guarded {
        worker.programs(&say)?;
    }
    drop(worker);
    runtime.remove(NAME);
    Ok(())
}

/// Waits until nothing else wants the only processor. A kernel that has just booted tests its ciphers for seconds, which
/// doubles what a fork seems to cost.
fn settle() -> Result<()> {
    let idle = || -> Result<f64> {
        let text = fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime")?;
        let idle = text.split_whitespace().nth(1).context("/proc/uptime is too short")?;
        idle.parse().context("/proc/uptime is no number")
    };
    for _second in 0..REST_LIMIT {
        let (since, before) = (Instant::now(), idle()?);
        thread::sleep(Duration::from_secs(1));
        if idle()? - before > REST * since.elapsed().as_secs_f64() {
            return Ok(());
        }
    }
    bail!("something else keeps the processor busy, more than {REST_LIMIT} s after the start")
}

/// `bench/worker.c`, or the runtime in whose container it runs.
struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let to = child.stdin.take().context("the worker has no stdin")?;
        let from = BufReader::new(child.stdout.take().context("the worker has no stdout")?);
        let mut worker = Self { child, to, from };
        worker.hear("start")?;
        Ok(worker)
    }

    /// Has the worker do something a number of times; its answer, nanoseconds.
    fn ask(&mut self, what: &str, times: u32) -> Result<f64> {
        writeln!(self.to, "{what} {times}").with_context(|| format!("cannot tell the worker to {what}"))?;
        self.hear(what)
    }

    fn hear(&mut self, what: &str) -> Result<f64> {
        let mut answer = String::new();
        self.from.read_line(&mut answer).with_context(|| format!("cannot read the answer to {what}"))?;
        answer.trim().parse().with_context(|| format!("the worker died at {what}"))
    }

    /// The median of several answers, after one that warms up.
    fn median(&mut self, what: &str, times: u32) -> Result<f64> {
        self.ask(what, times)?;
        let mut answers = (0..GOES).map(|_| self.ask(what, times)).collect::<Result<Vec<_>>>()?;
        answers.sort_by(f64::total_cmp);
        answers.get(GOES / 2).copied().context("nothing was measured")
    }

    /// What reading the clock takes, which is part of each answer.
    fn calibrate(&mut self, say: &impl Fn(Cost)) -> Result<f64> {
        let clock = self.median("calibrate", 1)?;
        let counted = self.median("calibrate", ROUNDS)? - clock;
        let clocksource = fs::read_to_string(CLOCKSOURCE).unwrap_or_default().trim().to_owned();
        say(Cost::Calibration { clocksource, expected: 2.0 * f64::from(ROUNDS - 1), counted });
        Ok(clock)
    }

    fn figures(&mut self, place: &str, clock: f64, say: &impl Fn(Cost)) -> Result<()> {
        for operation in &OPERATIONS {
            let counted = self.median(operation.name, operation.times)? - clock;
            say(Cost::Figure {
                place: place.to_owned(),
                operation: operation.name.to_owned(),
                instructions: counted / f64::from(operation.times),
            });
        }
        Ok(())
    }

    /// Which programs run for an operation. To count them costs instructions, too: after all else.
    fn programs(&mut self, say: &impl Fn(Cost)) -> Result<()> {
        fs::write(STATISTICS, "1").with_context(|| format!("cannot write {STATISTICS}"))?;
        let first = Statistics::read()?;
        let mut before = Statistics::read()?;
        // bpftool itself opens files and is executed.
        let idle = before.since(&first);
        for operation in &OPERATIONS {
            let times = operation.times * COUNTED;
            self.ask(operation.name, times)?;
            let times = f64::from(times);
            let after = Statistics::read()?;
            for (program, (runs, instructions)) in after.since(&before).0 {
                let (idle_runs, idle_instructions) = idle.0.get(&program).copied().unwrap_or_default();
                let runs = (runs - idle_runs) / times;
                if runs < OFTEN {
                    continue;
                }
                say(Cost::Program {
                    operation: operation.name.to_owned(),
                    program,
                    runs,
                    instructions: (instructions - idle_instructions) / times,
                });
            }
            before = after;
        }
        fs::write(STATISTICS, "0").with_context(|| format!("cannot write {STATISTICS}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs of each BPF program, and its nanoseconds, which are instructions here.
struct Statistics(HashMap<String, (f64, f64)>);

impl Statistics {
    fn read() -> Result<Self> {
        let text = stdout_of(Command::new("bpftool").args(["--json", "prog", "show"]))?;
        let listing: Value = serde_json::from_str(&text).context("bpftool wrote no JSON")?;
        let programs = listing.as_array().context("bpftool lists no programs")?.iter();
        Ok(Self(
            programs
                .filter_map(|program| {
                    let number = |key: &str| program[key].as_f64();
                    let name = program["name"].as_str()?.to_owned();
                    Some((name, (number("run_cnt")?, number("run_time_ns").unwrap_or_default())))
                })
                .collect(),
        ))
    }

    fn since(&self, before: &Self) -> Self {
        let differences = self.0.iter().map(|(name, (runs, time))| {
            let (old_runs, old_time) = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), (runs - old_runs, time - old_time))
        });
        Self(differences.collect())
    }
}
