//! One program: how it is run natively and inside, and what came of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// An entry of the suite.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// What is run, for people.
    pub(crate) what: &'static str,
    /// Files that are there where the package is installed.
    pub(crate) needs: &'static [&'static str],
    /// It takes more than half a minute.
    pub(crate) slow: bool,
    /// Why it cannot give the native result yet. Where it does give it, that is reported: the entry is out of date.
    pub(crate) fails: Option<&'static str>,
    pub(crate) run: fn(&Runner) -> Result<Outcome>,
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// As natively. In words or numbers, where there are any: native, inside.
    Same(String, String),
    /// Not as natively, and how.
    Different(String),
    /// It was not there to be run.
    Absent(String),
}

impl Outcome {
    /// Whether this is what the entry says.
    pub(crate) fn expected(&self, program: &Program) -> bool {
        match self {
            Self::Same(..) => program.fails.is_none(),
            Self::Different(_) => program.fails.is_some(),
            Self::Absent(_) => true,
        }
    }

    /// For the terminal.
    pub(crate) fn line(&self, program: &Program) -> String {
        let name = program.name;
        match (self, program.fails) {
            (Self::Same(native, inside), None) => {
                format!("ok         {name}: native {native}, inside {inside}")
            }
            (Self::Same(..), Some(why)) => format!("NOW WORKS  {name}, of which the suite says: {why}"),
            (Self::Different(how), None) => format!("DIFFERENT  {name}: {how}"),
            (Self::Different(how), Some(_)) => format!("known      {name}: {how}"),
            (Self::Absent(why), _) => format!("absent     {name}: {why}"),
        }
    }
}

/// A program and what came of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) program: Program,
    pub(crate) outcome: Outcome,
}

/// Where things run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Native,
    Inside,
}

/// Runs programs in both places, in one work directory, which is the same path in both.
#[derive(Debug)]
pub(crate) struct Runner {
    casemate: PathBuf,
    scratch: PathBuf,
    work: PathBuf,
    /// Who runs the programs; None: who runs this.
    user: Option<&'static str>,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    /// Exit code, or the signal as a negative number.
    pub(crate) end: i32,
    pub(crate) time: Duration,
}

impl Runner {
    /// Runs a copy of the program under test: it may be built again meanwhile, and other users have to reach it.
    pub(crate) fn new(casemate: &Path, scratch: &Path) -> Result<Self> {
        let copy = scratch.join("casemate");
        fs::copy(casemate, &copy).with_context(|| format!("cannot copy {}", casemate.display()))?;
        fs::set_permissions(scratch, fs::Permissions::from_mode(0o755))?;
        Ok(Self { casemate: copy, scratch: scratch.to_path_buf(), work: scratch.join("work"), user: None })
    }

    /// The same for another user.
    pub(crate) fn as_user(&self, user: &'static str) -> Result<Self> {
        let runner = Self {
            casemate: self.casemate.clone(),
            scratch: self.scratch.clone(),
            work: self.work.clone(),
            user: Some(user),
        };
        let state = runner.state();
        fs::create_dir_all(&state)?;
        let status =
            Command::new("chown").arg(format!("{user}:")).arg(&state).status().context("cannot run chown")?;
        if !status.success() {
            bail!("cannot give {} to {user}", state.display());
        }
        Ok(runner)
    }

    /// Where casemate keeps its keys, one directory a user.
    fn state(&self) -> PathBuf {
        self.scratch.join(format!("state-{}", self.user.unwrap_or("own")))
    }

    /// The directory that a program may write to, natively and inside.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// Empties the work directory.
    pub(crate) fn fresh(&self) -> Result<()> {
        if self.work.exists() {
            fs::remove_dir_all(&self.work)
                .with_context(|| format!("cannot empty {}", self.work.display()))?;
        }
        fs::create_dir_all(&self.work).context("cannot create the work directory")
    }

    /// A command in a place; its work directory is mounted, and is where it starts.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, place: Place, argv: &[S]) -> Command {
        const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut words: Vec<OsString> = Vec::new();
        if let Some(user) = self.user {
            words.extend(["setpriv", "--reuid", user, "--regid", user, "--clear-groups"].map(OsString::from));
        }
        if place == Place::Inside {
            let work = self.work.display();
            words.push(self.casemate.clone().into());
            words.extend(
                ["run", "--platform", "emulated", "--heap", "4G", "--env", "HOME=/root"].map(OsString::from),
            );
            words.extend(
                ["--env", &format!("PATH={PATH}"), "--mount", &format!("{work}:{work}"), "--"]
                    .map(OsString::from),
            );
        }
        words.extend(argv.iter().map(|word| word.as_ref().to_owned()));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("XDG_STATE_HOME", self.state());
        command.current_dir(&self.work);
        command
    }

    /// Runs it to its end, at most for a time.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        place: Place,
        argv: &[S],
        input: &str,
        limit: Duration,
    ) -> Result<Ran> {
        let mut command = self.command(place, argv);
        let start = Instant::now();
        let output = bounded(&mut command, input.as_bytes(), limit)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let end = output.status.code().or(output.status.signal().map(|signal| -signal)).unwrap_or(-1);
        Ok(Ran { out: text(&output.stdout), err: text(&output.stderr), end, time: start.elapsed() })
    }

    /// Runs it in both places, each time after `prepare` in an empty work directory, and compares output and end. `shape`
    /// takes out of the output what differs between two native runs as well.
    pub(crate) fn compare<S: AsRef<OsStr>>(
        &self,
        argv: &[S],
        input: &str,
        prepare: impl Fn(&Path) -> Result<()>,
        shape: impl Fn(&str) -> String,
    ) -> Result<Outcome> {
        let limit = Duration::from_secs(120);
        let mut ran = Vec::new();
        for place in [Place::Native, Place::Inside] {
            self.fresh()?;
            prepare(&self.work)?;
            ran.push(self.run(place, argv, input, limit).with_context(|| format!("{place:?}"))?);
        }
        let (native, inside) = (&ran[0], &ran[1]);
        if native.end != inside.end {
            let said = last_lines(&inside.err);
            return Ok(Outcome::Different(format!(
                "ends with {} (native {}): {said}",
                inside.end, native.end
            )));
        }
        let (expected, got) = (shape(&native.out), shape(&inside.out));
        if expected != got {
            let line = expected.lines().zip(got.lines()).find(|(one, other)| one != other);
            let (one, other) = line.unwrap_or(("(more)", "(less)"));
            return Ok(Outcome::Different(format!("prints {other:?} (native {one:?})")));
        }
        let seconds = |ran: &Ran| format!("{:.2} s", ran.time.as_secs_f64());
        Ok(Outcome::Same(seconds(native), seconds(inside)))
    }
}

/// The end of what a program complained about.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let words = lines[lines.len().saturating_sub(2)..].join("; ");
    words.chars().take(200).collect()
}

/// Feeds a command and waits for its end; kills it, and says so, where that takes too long.
pub(crate) fn bounded(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let pid = pid_of(&child)?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_vec();
    // A program that ends without having read its input is no error.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let output = match receiver.recv_timeout(limit) {
        Ok(output) => output.context("cannot read what the program prints")?,
        Err(_) => {
            kill_process(pid, Signal::KILL).context("cannot kill what takes too long")?;
            bail!("took longer than {} s", limit.as_secs());
        }
    };
    for thread in [feeder, waiter] {
        if thread.join().is_err() {
            bail!("a thread that served the program's pipes failed");
        }
    }
    Ok(output)
}

/// The process of a child.
pub(crate) fn pid_of(child: &Child) -> Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child without an id")
}
