//! What was measured, as Markdown for README and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::stats::{Spread, percentile};

/// What the project promises.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The guard adds at most this much to the median.
    AddsAtMost(f64),
    /// At least this share of the unguarded speed.
    RatioAtLeast(f64),
}

/// One thing, measured in pairs: value `n` of both lists is of the same round.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    what: String,
    unit: &'static str,
    more_is_better: bool,
    target: Option<Target>,
    pub(crate) without: Vec<f64>,
    pub(crate) with: Vec<f64>,
}

impl Pairs {
    pub(crate) fn new(
        what: String,
        unit: &'static str,
        more_is_better: bool,
        target: Option<Target>,
    ) -> Self {
        Self { what, unit, more_is_better, target, without: Vec::new(), with: Vec::new() }
    }

    fn of_each(&self, combine: impl Fn(f64, f64) -> f64) -> Option<Spread> {
        let each: Vec<f64> =
            self.without.iter().zip(&self.with).map(|(off, on)| combine(*off, *on)).collect();
        Spread::of(&each)
    }

    /// Guarded less unguarded.
    fn difference(&self) -> Option<Spread> {
        self.of_each(|off, on| on - off)
    }

    /// Guarded speed as a share of unguarded speed.
    fn ratio(&self) -> Option<Spread> {
        let more = self.more_is_better;
        self.of_each(|off, on| if more { on / off } else { off / on })
    }

    fn verdict(&self) -> Option<Verdict> {
        let (promised, measured, met) = match self.target? {
            Target::AddsAtMost(most) => {
                let adds = self.difference()?;
                (
                    format!("at most +{most} {}", self.unit),
                    format!("{:+.0} ({:+.0}..{:+.0}) {}", adds.median, adds.min, adds.max, self.unit),
                    adds.median <= most,
                )
            }
            Target::RatioAtLeast(least) => {
                let ratio = self.ratio()?;
                (
                    format!("at least {least:.2}x"),
                    format!("{:.3}x ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max),
                    ratio.median >= least,
                )
            }
        };
        Some(Verdict { what: self.what.clone(), promised, measured, met })
    }

    fn row(&self) -> Option<String> {
        let (off, on) = (Spread::of(&self.without)?, Spread::of(&self.with)?);
        let (adds, ratio) = (self.difference()?, self.ratio()?);
        Some(format!(
            "| {} | {} {unit} | {} {unit} | {:+.0} ({:+.0}..{:+.0}) | {:.3}x ({:.3}..{:.3}) |",
            self.what,
            digits(off.median),
            digits(on.median),
            adds.median,
            adds.min,
            adds.max,
            ratio.median,
            ratio.min,
            ratio.max,
            unit = self.unit,
        ))
    }

    fn raw(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "without": self.without, "with": self.with,
            "speed_ratio": self.ratio().map(|ratio| ratio.median),
        })
    }
}

/// A number of the guard itself, that has no counterpart without it, beside one that puts it into proportion.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<f64>,
    /// The percentile that counts.
    pub(crate) percent: usize,
    /// What the number is to be compared with.
    pub(crate) beside: String,
    /// The promise: below this.
    pub(crate) below: Option<f64>,
}

impl Fact {
    fn value(&self) -> Option<f64> {
        percentile(&self.values, self.percent)
    }

    fn measured(&self) -> Option<String> {
        let mut text = format!("{} {}", digits(self.value()?), self.unit);
        if self.values.len() > 1 {
            let all = Spread::of(&self.values)?;
            let range = format!("{}..{}", digits(all.min), digits(all.max));
            let _ = write!(text, " (p{} of {}: {range})", self.percent, self.values.len());
        }
        Some(text)
    }

    fn verdict(&self) -> Option<Verdict> {
        let below = self.below?;
        Some(Verdict {
            what: self.what.clone(),
            promised: format!("below {below} {}", self.unit),
            measured: self.measured()?,
            met: self.value()? < below,
        })
    }

    fn raw(&self) -> Value {
        json!({"what": self.what, "unit": self.unit, "values": self.values, "percentile": self.percent,
               "value": self.value(), "beside": self.beside})
    }
}

/// A promise with a yes or no and no number.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) promised: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) machine: Value,
    pub(crate) pairs: Vec<Pairs>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) proofs: Vec<Verdict>,
}

impl Report {
    fn verdicts(&self) -> Vec<Verdict> {
        let numbers =
            self.pairs.iter().filter_map(Pairs::verdict).chain(self.facts.iter().filter_map(Fact::verdict));
        numbers.chain(self.proofs.iter().cloned()).collect()
    }

    /// Is everything as promised?
    pub(crate) fn met(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.met)
    }

    pub(crate) fn markdown(&self) -> String {
        let m = &self.machine;
        let text = |key: &str| m[key].as_str().unwrap_or("unknown").to_owned();
        let mut lines = vec![format!(
            "Measured on {} ({}, {} cores, {} machine), Linux {}, load {} at the start; interleaved pairs, median (min..max of the pairs).",
            text("cpu"),
            text("cpu_id"),
            m["cores"],
            text("machine"),
            text("kernel"),
            m["load_at_start"],
        )];
        if !self.pairs.is_empty() {
            lines.push("\n| | unguarded | guarded | difference | speed |\n|---|---|---|---|---|".to_owned());
            lines.extend(self.pairs.iter().filter_map(Pairs::row));
        }
        if !self.facts.is_empty() {
            lines.push("\n| the guard itself | | compare |\n|---|---|---|".to_owned());
            let row =
                |fact: &Fact| Some(format!("| {} | {} | {} |", fact.what, fact.measured()?, fact.beside));
            lines.extend(self.facts.iter().filter_map(row));
        }
        lines.push("\n| promised | | measured | |\n|---|---|---|---|".to_owned());
        lines.extend(self.verdicts().iter().map(|verdict| {
            let word = if verdict.met { "met" } else { "**not met**" };
            format!("| {} | {} | {} | {word} |", verdict.what, verdict.promised, verdict.measured)
        }));
        lines.join("\n")
    }

    pub(crate) fn json(&self) -> Value {
        let verdicts: Vec<Value> = self
            .verdicts()
            .iter()
            .map(|v| json!({"what": v.what, "promised": v.promised, "measured": v.measured, "met": v.met}))
            .collect();
        json!({
            "schema": 1,
            "machine": self.machine,
            "pairs": self.pairs.iter().map(Pairs::raw).collect::<Vec<_>>(),
            "guard": self.facts.iter().map(Fact::raw).collect::<Vec<_>>(),
            "verdicts": verdicts,
        })
    }
}

/// As many digits as mean something.
fn digits(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slower_guarded_time_is_a_ratio_below_one() {
        let mut pairs = Pairs::new("call".into(), "ns", false, Some(Target::AddsAtMost(30.0)));
        (pairs.without, pairs.with) = (vec![100.0, 100.0, 100.0], vec![120.0, 125.0, 150.0]);
        assert!((pairs.ratio().expect("three pairs").median - 0.8).abs() < 1e-9);
        assert!(pairs.verdict().expect("a target").met);
    }

    #[test]
    fn a_smaller_guarded_rate_is_a_ratio_below_one() {
        let mut pairs = Pairs::new("server".into(), "req/s", true, Some(Target::RatioAtLeast(0.98)));
        (pairs.without, pairs.with) = (vec![1000.0], vec![970.0]);
        assert!((pairs.ratio().expect("a pair").median - 0.97).abs() < 1e-9);
        assert!(!pairs.verdict().expect("a target").met);
    }
}
