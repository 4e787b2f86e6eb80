//! `lab attack`: each escape unguarded, audited and guarded, on each engine.

mod judge;
mod stage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cases::{self, Case};
use crate::engine::{self, Engine, Runtime};
use crate::guard::{self, Guard, PINS};
use crate::lock;
use crate::probe::Probe;
use crate::programs;
use crate::report::{self, Outcome, Verdict};

/// Options of `lab attack`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Engines to use, or all
    #[arg(long, default_value = "all", value_parser = ["runc", "crun", "docker", "podman", "all"])]
    engine: String,
    /// Only cases whose name matches one of these patterns; * stands for anything
    #[arg(long, default_value = "*")]
    case: Vec<String>,
    /// Not these cases
    #[arg(long, hide = true)]
    skip: Vec<String>,
    /// The guard to test [default: the `casemate` beside this program]
    #[arg(long, value_name = "PATH")]
    casemate: Option<PathBuf>,
    /// Which halves of the proof to run
    #[arg(long, default_value = "all", value_enum)]
    mode: Modes,
    /// The guard's own mode [default: the best that the kernel offers]
    #[arg(long, value_name = "MODE")]
    guard_mode: Option<String>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    /// Use the attack programs in this directory instead of compiling them
    #[arg(long, value_name = "DIR", hide = true)]
    programs: Option<PathBuf>,
    /// Print a line of JSON when a case begins and when it ends: for `lab vm`
    #[arg(long, hide = true)]
    stream: bool,
}

/// Which halves of the proof to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Modes {
    /// The attack must be dead
    Guarded,
    /// The attack must work
    Unguarded,
    /// The attack must work and be reported
    Audit,
    /// All three
    All,
}

/// One half of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Unguarded,
    Audit,
    Guarded,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Unguarded => "unguarded",
            Self::Audit => "audit",
            Self::Guarded => "guarded",
        }
    }
}

/// What every run shares.
#[derive(Clone, Copy)]
pub(crate) struct Lab<'a> {
    pub(crate) programs: &'a Path,
    pub(crate) scratch: &'a Path,
    pub(crate) engine: Engine,
    pub(crate) runtime: &'a dyn Runtime,
    /// The guard's own mode, where it is told one.
    pub(crate) guard_mode: Option<&'a str>,
}

/// Runs what `args` asks for.
///
/// # Errors
/// When the lab itself cannot work; a failed case is no error but a failure in the summary.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match cases_of(args) {
        Err(error) if args.stream => {
            report::stream(&serde_json::json!({"line": "trouble", "text": format!("{error:#}")}));
            Ok(ExitCode::FAILURE)
        }
        result => result,
    }
}

fn cases_of(args: &Args) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab runs containers and mounts disks: run it as root");
    }
    let wanted = |name: &str| args.case.iter().any(|pattern| matches(pattern, name));
    let cases: Vec<&Case> = cases::all()
        .filter(|case| wanted(case.name) && !args.skip.iter().any(|skip| skip == case.name))
        .collect();
    if cases.is_empty() && args.skip.is_empty() {
        bail!("no case matches {}; `lab list` shows them", args.case.join(" or "));
    }
    let modes: Vec<Mode> = match args.mode {
        Modes::Guarded => vec![Mode::Guarded],
        Modes::Unguarded => vec![Mode::Unguarded],
        Modes::Audit => vec![Mode::Audit],
        Modes::All => vec![Mode::Unguarded, Mode::Audit, Mode::Guarded],
    };
    let casemate =
        if modes == [Mode::Unguarded] { PathBuf::new() } else { find_casemate(args.casemate.as_deref())? };
    let _alone = lock::alone()?;
    let scratch = tempfile::Builder::new().prefix("casemate-lab-").tempdir_in("/tmp")?;
    let programs = match &args.programs {
        Some(programs) => programs.clone(),
        None => programs::build()?,
    };
    let probe = Probe::ask(scratch.path());
    let print = match (args.stream, args.json) {
        (true, _) => Print::Stream,
        (false, true) => Print::Nothing,
        (false, false) => Print::Lines,
    };
    let mut outcomes = Outcomes { all: Vec::new(), print };
    for engine in
        Engine::ALL.into_iter().filter(|engine| args.engine == "all" || args.engine == engine.name())
    {
        let runtime = match engine::prepare(engine, scratch.path()) {
            Ok(runtime) => runtime,
            Err(error) => {
                outcomes.add(engine, "*", "prepare", Verdict::Failed, format!("{error:#}"), None);
                continue;
            }
        };
        let lab = Lab {
            programs: &programs,
            scratch: scratch.path(),
            engine,
            runtime: runtime.as_ref(),
            guard_mode: args.guard_mode.as_deref(),
        };
        let mut possible = Vec::new();
        for case in &cases {
            match (case.unsupported)(&probe).or_else(|| case.inexpressible(engine, runtime.as_ref())) {
                Some(reason) => outcomes.add(engine, case.name, "all", Verdict::Skipped, reason, None),
                None => possible.push(*case),
            }
        }
        for mode in &modes {
            batch(&lab, &mut possible, *mode, &casemate, &mut outcomes)?;
        }
    }
    if !args.stream {
        report::summary(&outcomes.all, args.json);
    }
    Ok(if outcomes.all.iter().any(|outcome| outcome.verdict == Verdict::Failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs `cases` in one mode; what does not work unguarded is taken out, because guarded it would prove nothing.
fn batch(
    lab: &Lab<'_>,
    cases: &mut Vec<&'static Case>,
    mode: Mode,
    casemate: &Path,
    outcomes: &mut Outcomes,
) -> Result<()> {
    if mode == Mode::Unguarded && casemate.is_file() {
        guard::stop(casemate);
    }
    if mode == Mode::Unguarded && guard::in_force() {
        bail!(
            "a guard is in force ({PINS}), so nothing can be shown to work without one: run `casemate guard --stop`"
        );
    }
    let mut guard: Option<Guard> = None;
    let mut broken = Vec::new();
    for case in cases.iter() {
        if let (Mode::Audit, Some(reason)) = (mode, case.no_audit) {
            outcomes.add(lab.engine, case.name, mode.name(), Verdict::Skipped, reason.to_owned(), None);
            continue;
        }
        if mode != Mode::Unguarded && !guard.as_mut().is_some_and(Guard::running) {
            // The old one goes first: it takes its pins along.
            drop(guard.take());
            guard = Some(Guard::start(casemate, lab.guard_mode, mode == Mode::Audit, lab.scratch)?);
        }
        outcomes.begin(case.name, mode);
        let seen = stage::run(lab, case, guard.as_ref())
            .and_then(|seen| judge::judge(case, mode, lab.guard_mode, &seen));
        match seen {
            Ok(pass) => {
                outcomes.add(
                    lab.engine,
                    case.name,
                    mode.name(),
                    Verdict::Passed,
                    pass.detail,
                    pass.elapsed_us,
                );
            }
            Err(error) => {
                let text = format!("{}{error:#}", if mode == Mode::Unguarded { "BROKEN: " } else { "" });
                outcomes.add(lab.engine, case.name, mode.name(), Verdict::Failed, text, None);
                if mode == Mode::Unguarded {
                    broken.push(case.name);
                }
            }
        }
        if case.has(cases::Need::Bpf) {
            // It may have been tampered with: the next case gets a fresh one.
            drop(guard.take());
        }
    }
    cases.retain(|case| !broken.contains(&case.name));
    Ok(())
}

/// What is printed while cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Print {
    Nothing,
    Lines,
    Stream,
}

/// The outcomes so far, each printed when it is known.
struct Outcomes {
    all: Vec<Outcome>,
    print: Print,
}

impl Outcomes {
    fn begin(&self, case: &str, mode: Mode) {
        if self.print == Print::Stream {
            report::stream(&serde_json::json!({"line": "begin", "half": mode.name(), "case": case}));
        }
    }

    fn add(
        &mut self,
        engine: Engine,
        case: &'static str,
        mode: &'static str,
        verdict: Verdict,
        detail: String,
        elapsed_us: Option<u64>,
    ) {
        let outcome = Outcome { case, engine: engine.name(), mode, verdict, detail, elapsed_us };
        match self.print {
            Print::Nothing => {}
            Print::Lines => println!("{}", outcome.line()),
            Print::Stream => report::stream(&outcome.streamed()),
        }
        self.all.push(outcome);
    }
}

/// The guard to test.
pub(crate) fn find_casemate(given: Option<&Path>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => std::env::current_exe().context("cannot find myself")?.with_file_name("casemate"),
    };
    if !path.is_file() {
        bail!("{} does not exist: build it with `cargo build`, or name it with --casemate", path.display());
    }
    Ok(path)
}

/// Whether `text` matches `pattern`, in which * stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{cases, matches};

    #[test]
    fn patterns() {
        assert!(matches("*", "setns-mnt"));
        assert!(matches("setns-*", "setns-mnt"));
        assert!(matches("*-m*t", "setns-mnt"));
        assert!(!matches("setns", "setns-mnt"));
        assert!(!matches("*-net", "setns-mnt"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = cases::all().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases::all().count());
    }
}
