//! The benign corpus: what containers do on a working day. The guard must see no violation in any of it.
//!
//! A case is a host shell script or a function; it must succeed by itself, guarded or not. [`run`] takes them one after the
//! other and, when a guard runs, reads its events after each.

mod bare;
mod docker;
mod ground;
mod guard;
mod inside;
mod podman;
mod runtime;
mod servers;
mod storm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use ground::Ground;
pub(crate) use ground::compile_probe;
use guard::Guard;

use crate::report::{self, Verdict};
use crate::{host, lock};

/// How long after a case the guard's events may come, also on a busy machine whose processor is emulated.
const EVENT: Duration = Duration::from_secs(15);

/// `lab benign`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only the cases whose name matches one of these (`*` stands for anything)
    #[arg(long, value_name = "GLOB", default_value = "*")]
    case: Vec<String>,
    /// Guard the corpus with this `casemate`; without it, the corpus only proves that it runs
    #[arg(long, value_name = "PATH")]
    casemate: Option<PathBuf>,
    /// The guard's own mode [default: the best that the kernel offers]
    #[arg(long, value_name = "MODE")]
    guard_mode: Option<String>,
    /// Run the whole corpus this many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u32,
    /// Not these cases
    #[arg(long, hide = true)]
    skip: Vec<String>,
    /// Use this compiled probe.c instead of compiling it
    #[arg(long, value_name = "PATH", hide = true)]
    probe: Option<PathBuf>,
    /// Print a line of JSON when a case begins and when it ends: for `lab vm`
    #[arg(long, hide = true)]
    stream: bool,
}

/// One thing that containers do.
struct Case {
    /// `theme/what`
    name: &'static str,
    needs: Needs,
    body: Body,
}

/// What must be prepared before a case can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Docker and the busybox image.
    Docker,
    /// Docker and both images.
    DockerDebian,
    /// Podman and the busybox image.
    Podman,
    /// Podman and both images.
    PodmanDebian,
    /// Only the busybox root file system, for runc and crun.
    Runtime,
}

/// How a case runs.
enum Body {
    /// A bash script on the host, after the prelude of `ground.rs`. Exit status 77 skips, the last line says why.
    Script(&'static str),
    /// A function.
    Code(fn(&Ground, Option<&mut Guard>) -> Result<Outcome>),
}

/// How a case ended, when it did not fail.
#[derive(Debug)]
enum Outcome {
    Passed,
    /// This machine cannot do it, for this reason.
    Skipped(String),
}

const fn script(name: &'static str, needs: Needs, text: &'static str) -> Case {
    Case { name, needs, body: Body::Script(text) }
}

/// Runs the corpus and prints a line for each case; the last line counts them.
///
/// # Errors
/// When no case matches, something the cases need cannot be prepared, or the guard does not start or stop. A failing case
/// is no error: it makes the exit code 1.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match run_cases(args) {
        Err(error) if args.stream => {
            report::stream(&json!({"line": "trouble", "text": format!("{error:#}")}));
            Ok(ExitCode::FAILURE)
        }
        result => result,
    }
}

fn run_cases(args: &Args) -> Result<ExitCode> {
    let tables = [
        docker::CASES,
        podman::CASES,
        inside::CASES,
        servers::CASES,
        runtime::CASES,
        bare::CASES,
        storm::CASES,
    ];
    let wanted = |name: &str| args.case.iter().any(|glob| matches(glob, name));
    let cases: Vec<&Case> = tables
        .into_iter()
        .flatten()
        .filter(|case| wanted(case.name) && !args.skip.iter().any(|skip| skip == case.name))
        .collect();
    if cases.is_empty() {
        bail!("no benign case matches {}", args.case.join(" or "));
    }
    let _alone = lock::alone()?;
    // Everything slow and everything that is no container's doing happens before the guard looks.
    let needs: Vec<Needs> = cases.iter().map(|case| case.needs).collect();
    let ground = Ground::prepare(&needs, args.probe.as_deref())?;
    let start = |casemate| Guard::start(casemate, args.guard_mode.as_deref(), ground.work());
    let mut guard = args.casemate.as_deref().map(start).transpose()?;

    let mut count = Count::default();
    for round in 1..=args.runs {
        if args.runs > 1 {
            println!("run {round} of {}", args.runs);
        }
        for case in &cases {
            count.add(run_case(case, &ground, guard.as_mut(), args.stream));
        }
    }
    if let Some(guard) = guard {
        let late = guard.stop()?;
        for complaint in &late {
            let text = format!("FAIL after the last case: {complaint}");
            if args.stream {
                report::stream(&json!({"line": "trouble", "text": text}));
            } else {
                println!("{text}");
            }
        }
        count.failed += usize::from(!late.is_empty());
    }
    if !args.stream {
        println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    }
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one case and prints its line.
fn run_case(case: &Case, ground: &Ground, mut guard: Option<&mut Guard>, stream: bool) -> Result<Outcome> {
    if stream {
        report::stream(&json!({"line": "begin", "half": "benign", "case": case.name}));
    }
    let start = Instant::now();
    let result = match case.body {
        Body::Script(text) => ground.script(case.name, text),
        Body::Code(code) => code(ground, guard.as_deref_mut()),
    };
    let complaints = guard.map_or_else(Vec::new, |guard| judged(guard, &result));
    let result = match (result, complaints) {
        (Ok(outcome), complaints) if complaints.is_empty() => Ok(outcome),
        (Ok(_), complaints) => Err(anyhow::anyhow!("the guard objected\n    {}", complaints.join("\n    "))),
        (Err(error), complaints) if complaints.is_empty() => Err(error),
        (Err(error), complaints) => Err(error.context(complaints.join("\n    "))),
    };
    let seconds = start.elapsed().as_secs_f32();
    if stream {
        let (verdict, detail) = match &result {
            Ok(Outcome::Passed) => (Verdict::Passed, format!("untouched, {seconds:.1} s")),
            Ok(Outcome::Skipped(why)) => (Verdict::Skipped, why.clone()),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        report::stream(&json!({
            "line": "outcome", "case": case.name, "mode": "benign", "verdict": verdict, "detail": detail,
        }));
        return result;
    }
    match &result {
        Ok(Outcome::Passed) => println!("ok   {:<28} {seconds:6.1} s", case.name),
        Ok(Outcome::Skipped(why)) => println!("skip {:<28} {why}", case.name),
        Err(error) => println!("FAIL {:<28} {seconds:6.1} s: {error:#}", case.name),
    }
    result
}

/// What the guard has against the case that just ended; also when it did not even see the case's containers.
fn judged(guard: &mut Guard, result: &Result<Outcome>) -> Vec<String> {
    let mut complaints = Vec::new();
    // The agent writes events a moment after the kernel has made them.
    let seen = host::wait_for("a `birth` event", EVENT, || match guard.complaints() {
        Ok(new) => {
            complaints.extend(new);
            guard.saw_birth() || !complaints.is_empty()
        }
        Err(error) => {
            complaints.push(format!("{error:#}"));
            true
        }
    });
    if let (Err(error), Ok(Outcome::Passed)) = (seen, result) {
        complaints.push(format!("it is blind: {error:#}"));
    }
    complaints
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    fn add(&mut self, result: Result<Outcome>) {
        match result {
            Ok(Outcome::Passed) => self.passed += 1,
            Ok(Outcome::Skipped(_)) => self.skipped += 1,
            Err(_already_printed) => self.failed += 1,
        }
    }
}

/// The cases that need nothing but a runtime and end by themselves: those that fit a small machine.
pub(crate) fn bare_names() -> impl Iterator<Item = &'static str> {
    runtime::CASES.iter().chain(bare::CASES).map(|case| case.name)
}

/// Whether `name` is `glob`, in which each `*` stands for any text.
fn matches(glob: &str, name: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        assert!(
            matches("*", "docker/exec")
                && matches("docker/*", "docker/exec")
                && matches("*x*c", "docker/exec")
        );
        assert!(!matches("docker", "docker/exec") && !matches("podman/*", "docker/exec"));
    }
}
