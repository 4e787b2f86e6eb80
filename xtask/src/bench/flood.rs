//! One container breaks an invariant 100,000 times in audit mode: all counted, the events limited, others still seen.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Bench;
use super::latency::violator;
use super::machine::{cpu_seconds, resident_mib};
use super::report::{Fact, Verdict};
use super::rounds::millis;

const VIOLATIONS: u32 = 100_000;
/// How far into the flood the other container violates.
const INTO: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(10);

/// The flood's numbers, and whether what is promised of it held.
pub(crate) fn measure(bench: &Bench) -> Result<(Vec<Fact>, Vec<Verdict>)> {
    bench.say(&format!("a flood of {VIOLATIONS} violations in audit mode"));
    let (flooder, mut flood) = violator(&bench.worker, bench.scratch())?;
    let (other, mut quiet) = violator(&bench.worker, bench.scratch())?;
    bench.casemate.must_be_off()?;
    let unguarded = flood.ask("flood", VIOLATIONS)?;

    let guard = bench.casemate.guard(&["--audit"])?;
    guard.must_know(&flooder.id)?;
    guard.must_know(&other.id)?;
    let from = guard.position();
    let (memory_before, cpu_before) = (resident_mib(guard.pid())?, cpu_seconds(guard.pid())?);
    let started = Instant::now();
    flood.tell("flood", VIOLATIONS)?;
    // Not a wait for something: it shall lie within the flood.
    thread::sleep(INTO);
    let told = Instant::now();
    quiet.ask("violate", 1)?;
    let reported = guard.wait(from, "violation", &other.id, PATIENCE);
    let guarded = flood.hear("flood")?;
    let lasted = started.elapsed();
    let (memory_after, cpu_after) = (resident_mib(guard.pid())?, cpu_seconds(guard.pid())?);
    let within = told - started < lasted;
    let counted = counted(
        &guard.status(&flooder.id)?.context("the flooding container is gone: audit mode kills nothing")?,
    );
    let events = guard.since(from);
    let told_of = events.iter().filter(|(_, event)| is_violation_of(event, &flooder.id)).count();
    let lost = events.iter().filter(|(_, event)| event["type"] == "warning").count();
    guard.stop()?;

    let each = |ns: f64| ns / f64::from(VIOLATIONS);
    let cpu = (cpu_after - cpu_before) / lasted.as_secs_f64() * 100.0;
    let fact = |what: &str, unit, value, beside| Fact {
        what: what.to_owned(),
        unit,
        values: vec![value],
        percent: 50,
        beside,
        below: None,
    };
    let facts = vec![
        fact(
            "a violation in audit mode (fchdir out and chdir back)",
            "ns",
            each(guarded),
            format!("{:.0} ns unguarded", each(unguarded)),
        ),
        fact("agent resident after the flood", "MiB", memory_after, format!("{memory_before:.1} MiB before")),
        fact(
            "agent's processor time during the flood",
            "% of a core",
            cpu,
            format!("the flood lasted {:.0} ms", millis(lasted)),
        ),
    ];
    let delay = reported.as_ref().map(|(when, _)| millis(when.duration_since(told)));
    let proofs = vec![
        Verdict {
            what: "flood: violations counted".into(),
            promised: VIOLATIONS.to_string(),
            measured: counted.to_string(),
            met: counted == u64::from(VIOLATIONS),
        },
        Verdict {
            what: "flood: events of it".into(),
            promised: "limited, the rest counted".into(),
            measured: format!("{told_of} events, {lost} warnings"),
            met: told_of > 0 && told_of < 10_000,
        },
        Verdict {
            what: "flood: another container's violation".into(),
            promised: "reported meanwhile".into(),
            measured: delay.map_or_else(|_| "not reported".into(), |ms| format!("reported after {ms:.1} ms")),
            met: reported.is_ok() && within,
        },
    ];
    Ok((facts, proofs))
}

fn is_violation_of(event: &Value, id: &str) -> bool {
    event["type"] == "violation" && event["container"]["id"] == id
}

/// All violations of a container, over all invariants.
fn counted(status: &Value) -> u64 {
    let invariants = status["violations"].as_array().map_or(&[][..], Vec::as_slice);
    invariants.iter().filter_map(|pair| pair[1].as_u64()).sum()
}
