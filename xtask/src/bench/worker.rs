//! `bench/worker.c`, as a task of the host or as the first process of a container, and how it is told what to do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::stats::Spread;

/// How often a command is given for one value; the median of them counts.
const SLICES: usize = 5;

/// Compiles the worker, static, so that a container needs nothing but it.
pub(crate) fn compile(scratch: &Path) -> Result<PathBuf> {
    let source = crate::workspace().join("bench/worker.c");
    let program = scratch.join("worker");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-static", "-o"]).arg(&program).arg(&source);
    let output = cc.output().context("cannot run cc: `scripts/setup.sh bench` installs gcc and libc6-dev")?;
    if !output.status.success() {
        bail!("cannot compile {}: {}", source.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(program)
}

/// The two ends of a worker's standard streams.
#[derive(Debug)]
pub(crate) struct Line {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Line {
    /// Takes the streams of a process that was started with pipes, and waits until the worker says that it is there.
    pub(crate) fn of(child: &mut Child) -> Result<Self> {
        let to = child.stdin.take().context("the worker has no stdin")?;
        let from = BufReader::new(child.stdout.take().context("the worker has no stdout")?);
        let mut line = Self { to, from };
        line.hear("start")?;
        Ok(line)
    }

    /// Has the worker do something a number of times; its answer, mostly nanoseconds for all of them.
    pub(crate) fn ask(&mut self, what: &str, times: u32) -> Result<f64> {
        self.tell(what, times)?;
        self.hear(what)
    }

    /// Without waiting for the answer: a violation in enforce mode has none.
    pub(crate) fn tell(&mut self, what: &str, times: u32) -> Result<()> {
        writeln!(self.to, "{what} {times}").with_context(|| format!("cannot tell the worker to {what}"))
    }

    /// The answer to what it was told.
    pub(crate) fn hear(&mut self, what: &str) -> Result<f64> {
        let mut answer = String::new();
        self.from
            .read_line(&mut answer)
            .with_context(|| format!("cannot read the worker's answer to {what}"))?;
        answer.trim().parse().with_context(|| format!("the worker died at {what}"))
    }

    /// Nanoseconds for one call: the median of several slices.
    pub(crate) fn ns_each(&mut self, what: &str, times: u32) -> Result<f64> {
        let slices =
            (0..SLICES).map(|_| Ok(self.ask(what, times)? / f64::from(times))).collect::<Result<Vec<_>>>()?;
        Spread::of(&slices).map(|spread| spread.median).context("nothing was measured")
    }
}

/// The worker as a task of the host. It ends when its input does.
#[derive(Debug)]
pub(crate) struct HostWorker {
    child: Child,
    pub(crate) line: Line,
}

impl HostWorker {
    pub(crate) fn start(program: &Path, cpu: usize) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(cpu.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let line = Line::of(&mut child)?;
        Ok(Self { child, line })
    }
}

impl Drop for HostWorker {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
