//! What is printed: the list of cases, a line a run, and the summary.

use serde::Serialize;

use crate::cases::{Case, Need};

/// How one run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// One run of one case.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) case: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) verdict: Verdict,
    /// What was seen: the invariant and the time to death, the reason of a skip, or what went wrong.
    pub(crate) detail: String,
    /// From the violation to the death of the container's last task, as the guard measured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elapsed_us: Option<u64>,
}

impl Outcome {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAIL",
            Verdict::Skipped => "skip",
        };
        format!("{word:<5} {:<7} {:<22} {:<10} {}", self.engine, self.case, self.mode, self.detail)
    }

    /// One line for `lab vm`.
    pub(crate) fn streamed(&self) -> serde_json::Value {
        serde_json::json!({
            "line": "outcome", "case": self.case, "mode": self.mode, "verdict": self.verdict, "detail": self.detail,
        })
    }
}

/// Prints one line of JSON at once.
pub(crate) fn stream(value: &serde_json::Value) {
    println!("{value}");
}

/// Prints the summary; the last line is made for scripts.
pub(crate) fn summary(outcomes: &[Outcome], json: bool) {
    let count = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    let (passed, failed, skipped) = (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Skipped));
    if json {
        let summary = serde_json::json!({
            "schema": 1, "passed": passed, "failed": failed, "skipped": skipped, "runs": outcomes,
        });
        println!("{summary}");
    } else {
        if failed > 0 {
            println!("\nfailed:");
            for outcome in outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Failed) {
                println!("  {}", outcome.line());
            }
        }
        let mut times: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.elapsed_us).collect();
        times.sort_unstable();
        if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
            println!(
                "\nviolation to last death: median {median} us, worst {worst} us, {} kills",
                times.len()
            );
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
}

/// Prints the table of cases.
pub(crate) fn list(cases: impl Iterator<Item = &'static Case>) {
    println!("{:<22} {:<14} {:<26} SHAPE", "CASE", "INVARIANTS", "NEEDS");
    for case in cases {
        let needs: Vec<&str> = case.needs.iter().map(|need| word(*need)).collect();
        println!(
            "{:<22} {:<14} {:<26} {}",
            case.name,
            case.invariants.join("|"),
            needs.join(", "),
            case.shape
        );
    }
}

fn word(need: Need) -> &'static str {
    match need {
        Need::HostProc => "host /proc",
        Need::HostPid => "host pids",
        Need::LeakedDir => "leaked directory",
        Need::Disk => "host disk",
        Need::Bpf => "host bpffs",
        Need::CgroupNs => "own cgroup ns",
        Need::Neighbour => "neighbour",
        Need::V2Cgroup => "v2 cgroup",
        Need::Joiner => "joins by exec",
        Need::Visitor => "visitor",
        Need::Payload => "payload module",
        Need::Confined => "confined",
    }
}
