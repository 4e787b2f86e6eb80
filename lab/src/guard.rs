//! `casemate guard`, run for a batch of cases, and its events.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::watch;

/// Where the guard pins its programs and maps.
pub(crate) const PINS: &str = "/run/casemate/bpf";
/// How long the guard may take from start to `ready`: seconds on a busy machine, more where the processor is emulated.
const START: Duration = Duration::from_secs(90);

/// A running guard. Dropping it removes the agent and everything that it pinned.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    casemate: PathBuf,
    mode: Option<String>,
    audit: bool,
    events: Arc<Mutex<Vec<Value>>>,
    stderr: PathBuf,
}

impl Guard {
    /// Starts the guard, in `mode` where one is named, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or does not become ready; the error carries what it wrote to stderr.
    pub(crate) fn start(casemate: &Path, mode: Option<&str>, audit: bool, scratch: &Path) -> Result<Self> {
        stop(casemate);
        Self::spawn(casemate, mode, audit, scratch)
    }

    /// Starts the agent that takes over what this one, which is dead, left pinned.
    ///
    /// # Errors
    /// As [`Guard::start`].
    pub(crate) fn successor(&self, scratch: &Path) -> Result<Self> {
        Self::spawn(&self.casemate, self.mode.as_deref(), self.audit, scratch)
    }

    fn spawn(casemate: &Path, mode: Option<&str>, audit: bool, scratch: &Path) -> Result<Self> {
        let mut command = Command::new(casemate);
        command.args(["guard", "--output", "json"]);
        if let Some(mode) = mode {
            command.args(["--mode", mode]);
        }
        if audit {
            command.arg("--audit");
        }
        let stderr = scratch.join("guard.stderr");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&stderr)?);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", casemate.display()))?;
        let stdout = child.stdout.take().context("the guard has no stdout")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        // Ends by itself at the end of the guard's output.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        let mut guard = Self {
            child,
            casemate: casemate.to_path_buf(),
            mode: mode.map(str::to_owned),
            audit,
            events,
            stderr,
        };
        let ready = watch::until(START, || guard.has_event("ready") || !guard.running());
        if !ready || !guard.has_event("ready") {
            let said = std::fs::read_to_string(&guard.stderr).unwrap_or_default();
            bail!("`casemate guard` did not become ready; it said: {}", said.trim());
        }
        Ok(guard)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn audit(&self) -> bool {
        self.audit
    }

    pub(crate) fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How many events there were so far: the place to read on from.
    pub(crate) fn position(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The events since `position`.
    pub(crate) fn since(&self, position: usize) -> Vec<Value> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(position..).unwrap_or_default().to_vec()
    }

    fn has_event(&self, kind: &str) -> bool {
        self.since(0).iter().any(|event| event["type"] == kind)
    }

    /// Ids of the guard's own maps and links, by what it pinned: what an attacker finds by looking at all ids.
    pub(crate) fn bpf_ids(kind: &str) -> String {
        let mut ids = Vec::new();
        for pin in pins(Path::new(PINS)) {
            let output = Command::new("bpftool").args(["--json", kind, "show", "pinned"]).arg(&pin).output();
            let shown = output.ok().and_then(|out| serde_json::from_slice::<Value>(&out.stdout).ok());
            ids.extend(shown.and_then(|value| value["id"].as_u64()).map(|id| id.to_string()));
        }
        ids.join(",")
    }
}

/// Whether a guard is in force, with or without an agent.
pub(crate) fn in_force() -> bool {
    !pins(Path::new(PINS)).is_empty()
}

fn pins(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    // The kernel puts maps.debug and progs.debug into every bpffs.
    let paths = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_none_or(|extension| extension != "debug"));
    paths.flat_map(|path| if path.is_dir() { pins(&path) } else { vec![path] }).collect()
}

/// Removes whatever a guard left pinned.
pub(crate) fn stop(casemate: &Path) {
    let _ =
        Command::new(casemate).args(["guard", "--stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Once it was waited for, its pid may be another process's.
        if self.running() {
            let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        }
        if !watch::until(Duration::from_secs(5), || !self.running()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        stop(&self.casemate);
    }
}
