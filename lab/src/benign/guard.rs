//! The guard under test: starts it, restarts it in every way, and reads its events.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::host;

const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(30);

/// A `casemate guard` in enforce mode and the file that all its events go to.
pub(super) struct Guard {
    casemate: PathBuf,
    mode: Option<String>,
    /// Instead of the default configuration.
    config: Option<PathBuf>,
    agent: Child,
    events: PathBuf,
    log: PathBuf,
    /// How much of `events` was judged already.
    read: u64,
    /// Containers that the guard saw born since [`Guard::saw_birth`] was last asked.
    births: usize,
}

impl Guard {
    /// Removes what an earlier guard may have left pinned, starts a new one and waits until it is ready.
    pub(super) fn start(casemate: &Path, mode: Option<&str>, work: &Path) -> Result<Self> {
        let casemate =
            casemate.canonicalize().with_context(|| format!("no casemate at {}", casemate.display()))?;
        unpin(&casemate)?;
        let (events, log) = (work.join("events.jsonl"), work.join("guard.log"));
        let mode = mode.map(str::to_owned);
        let agent = spawn(&casemate, mode.as_deref(), None, &events, &log)?;
        let mut guard = Self { casemate, mode, config: None, agent, events, log, read: 0, births: 0 };
        guard.wait_ready(0)?;
        Ok(guard)
    }

    /// Ends the agent by `signal` and starts another that finds everything pinned.
    pub(super) fn restart(&mut self, signal: Signal) -> Result<()> {
        self.end_agent(signal)?;
        self.start_again()
    }

    /// Removes the guard from the kernel and starts it anew: it has to adopt what runs.
    pub(super) fn reinstall(&mut self) -> Result<()> {
        self.end_agent(Signal::TERM)?;
        unpin(&self.casemate)?;
        self.start_again()
    }

    /// Whether what breaks a rule is refused, not only killed.
    pub(super) fn prevents(&self) -> bool {
        self.mode.as_deref().is_some_and(|mode| mode != "tracepoint")
    }

    /// Gives the guard another configuration: its programs are replaced while containers run.
    pub(super) fn configure(&mut self, config: Option<&Path>) -> Result<()> {
        self.config = config.map(Path::to_owned);
        self.restart(Signal::TERM)
    }

    /// The `what` of every `denied` event so far.
    pub(super) fn denied(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let denied = events.filter(|event| event["type"] == "denied" && event["action"] == "deny");
        denied.filter_map(|event| Some(event["what"].as_str()?.to_owned())).collect()
    }

    /// What the guard complained about since the last call: every `violation` and `killed` event, as it was written.
    pub(super) fn complaints(&mut self) -> Result<Vec<String>> {
        let mut file =
            File::open(&self.events).with_context(|| format!("cannot open {}", self.events.display()))?;
        file.seek(SeekFrom::Start(self.read)).context("cannot seek in the events")?;
        let mut text = String::new();
        file.read_to_string(&mut text).context("cannot read the events")?;
        // A line that is still being written waits for the next call.
        let Some(end) = text.rfind('\n') else { return Ok(Vec::new()) };
        let text = &text[..=end];
        self.read += text.len() as u64;
        let mut complaints = Vec::new();
        for line in text.lines() {
            match type_of(line)?.as_str() {
                "violation" | "killed" => complaints.push(line.to_owned()),
                "birth" => self.births += 1,
                _ => {}
            }
        }
        if let Ok(Some(status)) = self.agent.try_wait() {
            complaints.push(format!("the agent ended with {status}: {}", self.said()));
        }
        Ok(complaints)
    }

    /// Whether a container was born since the last call. A guard that sees nothing has nothing to complain about either.
    pub(super) fn saw_birth(&mut self) -> bool {
        std::mem::take(&mut self.births) > 0
    }

    /// Stops and removes the guard; returns the complaints that came last.
    pub(super) fn stop(mut self) -> Result<Vec<String>> {
        let mut late = self.complaints()?;
        self.end_agent(Signal::TERM)?;
        let text = fs::read_to_string(&self.events).context("cannot read the events")?;
        let rest = usize::try_from(self.read).context("too many events")?;
        for line in text.get(rest..).unwrap_or_default().lines() {
            if matches!(type_of(line)?.as_str(), "violation" | "killed") {
                late.push(line.to_owned());
            }
        }
        unpin(&self.casemate)?;
        Ok(late)
    }

    fn start_again(&mut self) -> Result<()> {
        let ready_before = self.count_ready();
        self.agent =
            spawn(&self.casemate, self.mode.as_deref(), self.config.as_deref(), &self.events, &self.log)?;
        self.wait_ready(ready_before)
    }

    fn wait_ready(&mut self, ready_before: usize) -> Result<()> {
        let mut exited = None;
        let result = host::wait_for("the guard's `ready`", START, || {
            exited = self.agent.try_wait().ok().flatten();
            exited.is_some() || self.count_ready() > ready_before
        });
        if let Some(status) = exited {
            bail!("casemate guard ended with {status}: {}", self.said());
        }
        result.with_context(|| self.said())
    }

    fn count_ready(&self) -> usize {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        text.lines().filter(|line| type_of(line).is_ok_and(|kind| kind == "ready")).count()
    }

    fn end_agent(&mut self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.agent), signal).context("cannot signal the agent")?;
        host::wait_for("the end of the agent", STOP, || !matches!(self.agent.try_wait(), Ok(None)))
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // After a failure half-way: neither the agent nor the programs may outlive the test.
        if matches!(self.agent.try_wait(), Ok(None)) {
            let _gone_already = self.agent.kill();
            let _reaped = self.agent.wait();
            if let Err(error) = unpin(&self.casemate) {
                eprintln!("lab: {error:#}");
            }
        }
    }
}

fn spawn(
    casemate: &Path,
    mode: Option<&str>,
    config: Option<&Path>,
    events: &Path,
    log: &Path,
) -> Result<Child> {
    let append = |path: &Path| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.with_context(|| format!("cannot open {}", path.display()))
    };
    Command::new(casemate)
        .args(["guard", "--output", "json"])
        .args(mode.into_iter().flat_map(|mode| ["--mode", mode]))
        .args(config.into_iter().flat_map(|path| [Path::new("--config"), path]))
        .stdin(Stdio::null())
        .stdout(append(events)?)
        .stderr(append(log)?)
        .spawn()
        .with_context(|| format!("cannot start {}", casemate.display()))
}

/// `casemate guard --stop`: removes all that is pinned.
fn unpin(casemate: &Path) -> Result<()> {
    host::stdout_of(Command::new(casemate).args(["guard", "--stop"])).map(drop)
}

/// The `type` of an event.
fn type_of(line: &str) -> Result<String> {
    let event: serde_json::Value = serde_json::from_str(line)
        .with_context(|| format!("the guard wrote a line that is no JSON: {line}"))?;
    let kind = event.get("type").and_then(serde_json::Value::as_str);
    Ok(kind.with_context(|| format!("the guard wrote an event without a type: {line}"))?.to_owned())
}
