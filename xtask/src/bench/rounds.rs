//! Interleaved pairs: everything once without the guard, everything once with it, and again.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::report::{Pairs, Target};

/// Something that gives one number, as often as it is asked.
pub(crate) struct Probe<'a> {
    what: String,
    unit: &'static str,
    more_is_better: bool,
    target: Option<Target>,
    measure: Box<dyn Fn() -> Result<f64> + 'a>,
}

impl<'a> Probe<'a> {
    /// Nanoseconds of something.
    pub(crate) fn time(what: String, target: Option<Target>, measure: impl Fn() -> Result<f64> + 'a) -> Self {
        Self { what, unit: "ns", more_is_better: false, target, measure: Box::new(measure) }
    }

    /// Requests a second.
    pub(crate) fn rate(what: String, target: Option<Target>, measure: impl Fn() -> Result<f64> + 'a) -> Self {
        Self { what, unit: "req/s", more_is_better: true, target, measure: Box::new(measure) }
    }
}

/// Runs every probe `count` times without and with the guard. The containers run on meanwhile, and the guard must know
/// each of them when it is on.
pub(crate) fn run(
    bench: &Bench,
    probes: &[Probe<'_>],
    containers: &[&str],
    count: usize,
) -> Result<Vec<Pairs>> {
    let mut results: Vec<Pairs> = probes
        .iter()
        .map(|probe| Pairs::new(probe.what.clone(), probe.unit, probe.more_is_better, probe.target))
        .collect();
    // Caches, page tables and the processor's clock: the first turn is not like the others.
    for probe in probes {
        bench.interrupt.check()?;
        (probe.measure)()?;
    }
    for round in 1..=count {
        bench.say(&format!("pair {round} of {count}"));
        bench.casemate.must_be_off()?;
        turn(bench, probes, |index, value| results[index].without.push(value))?;
        bench.casemate.must_be_off()?;
        let guard = bench.casemate.guard(&[])?;
        let known = || containers.iter().try_for_each(|id| guard.must_know(id));
        known()?;
        turn(bench, probes, |index, value| results[index].with.push(value))?;
        known()?;
        guard.stop()?;
    }
    Ok(results)
}

fn turn(bench: &Bench, probes: &[Probe<'_>], mut keep: impl FnMut(usize, f64)) -> Result<()> {
    for (index, probe) in probes.iter().enumerate() {
        bench.interrupt.check()?;
        keep(index, (probe.measure)()?);
    }
    Ok(())
}

/// How long the guard takes to start, with what runs on the machine now.
pub(crate) fn starts(bench: &Bench, count: usize) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..count {
        bench.interrupt.check()?;
        let guard = bench.casemate.guard(&[])?;
        times.push(millis(guard.start));
        guard.stop()?;
    }
    Ok(times)
}

/// As a number that can be compared.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
