//! The agent's start, memory and idle time, with no container and with 500.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::container::{Container, Kind};
use super::machine::{busy_percent, resident_mib};
use super::report::Fact;
use super::rounds::starts;
use super::stats::Spread;
use super::watch;
use super::worker::Line;

const CROWD: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// Live containers.
enum Crowd {
    /// Of runc.
    Containers(Vec<(Container, Line)>),
    /// Pid namespaces of nobody the guard knows: cheap to make.
    Sandboxes(Vec<Child>),
}

impl Crowd {
    /// Makes them one by one, while the guard looks.
    fn start(bench: &Bench) -> Result<Self> {
        if bench.quick {
            // As a value first: where one fails, those before it are ended.
            let mut crowd = Self::Sandboxes(Vec::new());
            for _ in 0..CROWD {
                bench.interrupt.check()?;
                crowd.sandboxes().push(sandbox()?);
            }
            return Ok(crowd);
        }
        let mut all = Vec::new();
        for _ in 0..CROWD {
            bench.interrupt.check()?;
            let kind = Kind::Worker { program: &bench.worker, cpu: None, leaked: None };
            all.push(Container::worker(kind, bench.scratch())?);
        }
        Ok(Self::Containers(all))
    }

    fn sandboxes(&mut self) -> &mut Vec<Child> {
        match self {
            Self::Sandboxes(all) => all,
            Self::Containers(_) => unreachable!("made as sandboxes a moment ago"),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Containers(all) => format!("{} runc containers", all.len()),
            Self::Sandboxes(all) => format!("{} pid-namespace sandboxes", all.len()),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let Self::Sandboxes(all) = self else { return };
        for child in all.iter_mut() {
            let _gone_already = child.kill();
        }
        for child in all {
            let _reaped = child.wait();
        }
    }
}

/// `--kill-child`: the namespace's first process dies with the one that we can kill.
fn sandbox() -> Result<Child> {
    Command::new("unshare")
        .args(["--pid", "--mount", "--fork", "--kill-child", "sleep", "infinity"])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run unshare")
}

/// Start, memory and idle time.
pub(crate) fn measure(bench: &Bench) -> Result<Vec<Fact>> {
    bench.say("start, memory and idle time of the agent without containers");
    let idle_time = Duration::from_secs(if bench.quick { 3 } else { 10 });
    let mut facts = Vec::new();
    let start_count = if bench.quick { 3 } else { 20 };
    let alone = starts(bench, start_count)?;
    let guard = bench.casemate.guard(&[])?;
    let idle_alone = busy_percent(guard.pid(), idle_time)?;
    let memory_alone = resident_mib(guard.pid())?;

    bench.say(&format!("the same with {CROWD} live containers"));
    let from = guard.position();
    let crowd = Crowd::start(bench)?;
    let name = crowd.name();
    let seen = watch::until(PATIENCE, || (births(&guard.since(from)) >= CROWD).then_some(()));
    if seen.is_none() {
        bail!("the guard saw the birth of {} of {name}", births(&guard.since(from)));
    }
    let busy = busy_percent(guard.pid(), idle_time)?;
    let memory = resident_mib(guard.pid())?;
    guard.stop()?;
    let adopting = starts(bench, start_count)?;
    // A second agent finds them there: adopted, not born.
    let adopter = bench.casemate.guard(&[])?;
    let memory_adopted = resident_mib(adopter.pid())?;
    adopter.stop()?;
    drop(crowd);

    let median = |values: &[f64]| Spread::of(values).map_or(0.0, |spread| spread.median);
    let beside_start = format!("{:.0} ms where it adopts {name} (p50)", median(&adopting));
    let fact = |what: &str, unit, values, beside, below| Fact {
        what: what.to_owned(),
        unit,
        values,
        percent: 50,
        beside,
        below,
    };
    facts.push(fact("start, exec to `ready`, no container", "ms", alone.clone(), beside_start, Some(300.0)));
    facts.push(fact(
        &format!("start, exec to `ready`, {name}"),
        "ms",
        adopting,
        format!("{:.0} ms with none (p50)", median(&alone)),
        Some(300.0),
    ));
    facts.push(fact(
        &format!("agent resident, {name}"),
        "MiB",
        vec![memory],
        format!("{memory_alone:.1} MiB with none, {memory_adopted:.1} MiB where it adopts them"),
        // 30 MB
        Some(28.6),
    ));
    facts.push(fact(
        &format!("agent's processor time while idle, {name}"),
        "% of a core",
        vec![busy],
        format!("{idle_alone:.2} % with none"),
        Some(0.5),
    ));
    Ok(facts)
}

fn births(events: &[(std::time::Instant, serde_json::Value)]) -> usize {
    events.iter().filter(|(_, event)| event["type"] == "birth").count()
}
