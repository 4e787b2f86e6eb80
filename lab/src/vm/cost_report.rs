//! What `lab vm --cost` prints: one table for people and the same in Markdown, the targets, and where instructions go.

use serde_json::json;

use super::cost::{CONTAINER, Cost, HOST, MODES, OFF, OPERATIONS, Operation};
use super::table::{markdown, plain};

/// The mode that the targets are set for.
const TARGET_MODE: &str = "lsm";

/// All that was measured.
#[derive(Debug)]
pub(super) struct Report {
    release: String,
    found: Vec<(&'static str, Cost)>,
}

impl Report {
    pub(super) fn new(release: String) -> Self {
        Self { release, found: Vec::new() }
    }

    pub(super) fn add(&mut self, mode: &'static str, found: Vec<Cost>) {
        self.found.extend(found.into_iter().map(|cost| (mode, cost)));
    }

    fn figure(&self, mode: &str, place: &str, operation: &str) -> Option<f64> {
        self.found.iter().find_map(|(in_mode, cost)| match cost {
            Cost::Figure { place: p, operation: o, instructions }
                if *in_mode == mode && p == place && o == operation =>
            {
                Some(*instructions)
            }
            _ => None,
        })
    }

    /// How many percent more than unguarded.
    fn added(&self, mode: &str, place: &str, operation: &str) -> Option<f64> {
        let unguarded = self.figure(OFF, place, operation)?;
        let added = (self.figure(mode, place, operation)? / unguarded - 1.0) * 100.0;
        // Finer than a tenth is noise. Adding zero makes zero of what rounding made minus zero.
        Some((added * 10.0).round() / 10.0 + 0.0)
    }

    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", self.json());
            return;
        }
        let grid = self.grid();
        println!("instructions, guard:\n{}\n\n{}", plain(&grid), markdown(&grid));
        for line in self.programs() {
            println!("{line}");
        }
        println!();
        for (mode, cost) in &self.found {
            if let Cost::Calibration { clocksource, expected, counted } = cost {
                println!(
                    "calibration, {mode}: {expected:.0} instructions are {counted:.0} ns of the clock {clocksource}"
                );
            }
        }
        for operation in &OPERATIONS {
            println!("{}", self.target(operation));
        }
        println!(
            "Linux {}, one processor of QEMU with -icount shift=0, mitigations off; a container of crun without seccomp",
            self.release
        );
    }

    /// A row an operation and place, a column a mode; the first row is the head.
    fn grid(&self) -> Vec<Vec<String>> {
        let head = ["operation", "place"].into_iter().chain(MODES).map(str::to_owned).collect();
        let mut grid = vec![head];
        for operation in &OPERATIONS {
            for place in [HOST, CONTAINER] {
                let cells = MODES.map(|mode| self.cell(mode, place, operation.name));
                let names = [operation.text, place].map(str::to_owned);
                grid.push(names.into_iter().chain(cells).collect());
            }
        }
        grid
    }

    fn cell(&self, mode: &str, place: &str, operation: &str) -> String {
        match (self.figure(mode, place, operation), self.added(mode, place, operation)) {
            (Some(instructions), _) if mode == OFF => format!("{instructions:.0}"),
            (Some(instructions), Some(added)) => format!("{instructions:.0} ({added:+.1} %)"),
            _ => "-".to_owned(),
        }
    }

    fn target(&self, operation: &Operation) -> String {
        let Operation { name, text, limit, .. } = operation;
        let Some(added) = self.added(TARGET_MODE, CONTAINER, name) else {
            return format!("target, {text}: not measured");
        };
        let word = if added < *limit { "met" } else { "MISSED" };
        format!("target {word}: {text} in a container, {TARGET_MODE}: {added:+.1} %, to be below {limit} %")
    }

    /// Where the guard's instructions go: a line a mode and operation.
    fn programs(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for mode in MODES {
            for operation in &OPERATIONS {
                let mut parts: Vec<(f64, String)> = self
                    .found
                    .iter()
                    .filter_map(|(in_mode, cost)| match cost {
                        Cost::Program { operation: o, program, runs, instructions }
                            if *in_mode == mode && o == operation.name =>
                        {
                            Some((*instructions, format!("{program} {instructions:.0} in {runs:.1} runs")))
                        }
                        _ => None,
                    })
                    .collect();
                parts.sort_by(|a, b| b.0.total_cmp(&a.0));
                if !parts.is_empty() {
                    let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
                    lines.push(format!("{mode}, {} in a container: {}", operation.text, parts.join(", ")));
                }
            }
        }
        lines
    }

    fn json(&self) -> serde_json::Value {
        let found: Vec<_> =
            self.found.iter().map(|(mode, cost)| json!({"mode": mode, "cost": cost})).collect();
        let targets: Vec<_> = OPERATIONS
            .iter()
            .map(|operation| {
                let added = self.added(TARGET_MODE, CONTAINER, operation.name);
                json!({
                    "operation": operation.name, "mode": TARGET_MODE, "place": CONTAINER,
                    "added_percent": added, "limit_percent": operation.limit,
                    "met": added.is_some_and(|added| added < operation.limit),
                })
            })
            .collect();
        json!({"schema": 1, "kernel": self.release, "found": found, "targets": targets})
    }
}

#[cfg(test)]
mod tests {
    use super::{CONTAINER, Cost, OFF, OPERATIONS, Report};

    #[test]
    fn a_mode_is_compared_with_the_machine_without_a_guard() {
        let figure = |instructions| Cost::Figure {
            place: CONTAINER.to_owned(),
            operation: "open".to_owned(),
            instructions,
        };
        let mut report = Report::new("6.12".to_owned());
        report.add(OFF, vec![figure(2000.0)]);
        report.add("lsm", vec![figure(2100.0)]);
        assert_eq!(report.cell("lsm", CONTAINER, "open"), "2100 (+5.0 %)");
        assert_eq!(report.cell("fmod_ret", CONTAINER, "open"), "-");
        let open = OPERATIONS.iter().find(|operation| operation.name == "open").unwrap();
        assert!(report.target(open).starts_with("target MISSED: open + close"));
    }
}
