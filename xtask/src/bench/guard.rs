//! `casemate guard`, switched on and off again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::watch;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);

/// The program and where its messages go.
#[derive(Debug)]
pub(crate) struct Casemate {
    pub(crate) program: PathBuf,
    pub(crate) scratch: PathBuf,
}

impl Casemate {
    /// Fails where a guard is in the kernel that is not ours: what is measured "without" would be with it.
    pub(crate) fn must_be_off(&self) -> Result<()> {
        let listed = Command::new(&self.program).args(["ps", "--output", "json"]).output();
        if listed.with_context(|| format!("cannot run {}", self.program.display()))?.status.success() {
            bail!("a guard is there already; take it away with `casemate guard --stop`, then measure again");
        }
        Ok(())
    }

    /// Starts the guard and waits until it is ready.
    pub(crate) fn guard(&self, arguments: &[&str]) -> Result<Guard<'_>> {
        self.must_be_off()?;
        let stderr = self.scratch.join("guard.stderr");
        let started = Instant::now();
        let mut child = Command::new(&self.program)
            .args(["guard", "--output", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).with_context(|| format!("cannot create {}", stderr.display()))?)
            // Ctrl-C is for us; we then stop it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let stdout = child.stdout.take().context("the guard has no stdout")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        // Ends by itself at the end of the guard's output.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), event));
                }
            }
        });
        let mut guard = Guard { casemate: self, child, events, off: false, start: Duration::ZERO };
        let ready = watch::until(START, || {
            let ready = guard.find(0, |event| event["type"] == "ready").map(|(when, _)| Some(when));
            ready.or_else(|| (!guard.running()).then_some(None))
        });
        let Some(Some(ready)) = ready else {
            let said = std::fs::read_to_string(&stderr).unwrap_or_default();
            bail!("`casemate guard` did not become ready; it said: {}", said.trim());
        };
        guard.start = ready - started;
        Ok(guard)
    }

    fn stop(&self) -> Result<()> {
        let output = Command::new(&self.program).args(["guard", "--stop"]).output();
        let output = output.with_context(|| format!("cannot run {}", self.program.display()))?;
        if !output.status.success() {
            bail!("`casemate guard --stop` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// A running guard. Dropping it takes it out of the kernel.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    casemate: &'a Casemate,
    child: Child,
    events: Arc<Mutex<Vec<(Instant, Value)>>>,
    off: bool,
    /// From its exec to the moment its `ready` was read.
    pub(crate) start: Duration,
}

impl Guard<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How many events there were so far: the place to read on from.
    pub(crate) fn position(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The events since `position`, with the time at which each was read.
    pub(crate) fn since(&self, position: usize) -> Vec<(Instant, Value)> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(position..).unwrap_or_default().to_vec()
    }

    fn find(&self, position: usize, wanted: impl Fn(&Value) -> bool) -> Option<(Instant, Value)> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(position..).unwrap_or_default().iter().find(|(_, event)| wanted(event)).cloned()
    }

    /// Waits for an event of a type, of a container, at or after `position`.
    pub(crate) fn wait(
        &self,
        position: usize,
        kind: &str,
        id: &str,
        patience: Duration,
    ) -> Result<(Instant, Value)> {
        let wanted = |event: &Value| event["type"] == kind && event["container"]["id"] == id;
        watch::until(patience, || self.find(position, wanted)).with_context(|| {
            format!("no `{kind}` event of container {id} came within {} s", patience.as_secs())
        })
    }

    /// What `casemate ps` says of a container.
    pub(crate) fn status(&self, id: &str) -> Result<Option<Value>> {
        let output = Command::new(&self.casemate.program).args(["ps", "--output", "json"]).output()?;
        let list: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("`casemate ps` gave no list: {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        Ok(list.into_iter().find(|container| container["id"] == id))
    }

    /// Fails where the guard does not know a container: what is measured in it would be unguarded.
    pub(crate) fn must_know(&self, id: &str) -> Result<()> {
        self.status(id)?
            .with_context(|| format!("the guard does not know container {id}: nothing was measured"))?;
        Ok(())
    }

    /// Takes it away, and says so where that fails.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // Once only: after that, a guard that is there is somebody else's.
        if self.off {
            return Ok(());
        }
        self.off = true;
        // Once it was waited for, its pid may be another process's.
        if self.running()
            && let Err(error) = kill_process(Pid::from_child(&self.child), Signal::TERM)
        {
            eprintln!("bench: cannot stop the guard (pid {}): {error}", self.child.id());
        }
        if watch::until(STOP, || (!self.running()).then_some(())).is_none() {
            eprintln!("bench: the guard does not end; it gets SIGKILL");
            let _gone_already = self.child.kill();
            let _reaped = self.child.wait();
        }
        self.casemate.stop()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("bench: {error:#}");
        }
    }
}

/// The program to measure, or what to do to get it.
pub(crate) fn find_program(named: Option<&Path>) -> Result<PathBuf> {
    let program = named.map_or_else(|| crate::release("casemate"), Path::to_path_buf);
    program.canonicalize().with_context(|| {
        format!("{} is missing: build it with `cargo build --release --workspace`", program.display())
    })
}
