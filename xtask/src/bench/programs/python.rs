//! Python's own regression tests, counted in both places.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::entry::{Outcome, Place, Program, Ran, Runner, last_lines};

const NEEDS: &[&str] = &["/usr/bin/python3", "/usr/lib/python3.11/test/test_threading.py"];

macro_rules! modules {
    ($($name:literal $module:literal $slow:literal $lost:expr;)*) => {
        /// The modules that the issue names, and with each how many tests may fail inside that pass natively.
        pub(crate) fn all() -> Vec<Program> {
            vec![$(Program {
                name: $name,
                what: concat!("`python3 -m test ", $module, "`, tests that pass"),
                needs: NEEDS,
                slow: $slow,
                fails: None,
                run: |runner| counted(runner, $module, $lost),
            }),*]
        }
    };
}

modules! {
    "python3 threading" "test_threading" true &[];
    // A mapping is a copy, and 4 GiB are more than the heap.
    "python3 mmap" "test_mmap" false &["test_around_4GB"];
    "python3 select" "test_select" false &[];
    "python3 poll" "test_poll" false &[];
    "python3 epoll" "test_epoll" false &[];
    "python3 signal" "test_signal" true &[];
    "python3 socket" "test_socket" true &[];
    "python3 subprocess" "test_subprocess" true &[];
    "python3 asyncio" "test_asyncio" true &[];
}

/// What a run of the tests said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    ran: usize,
    skipped: usize,
    failed: BTreeSet<String>,
}

impl Count {
    fn passed(&self) -> usize {
        self.ran.saturating_sub(self.skipped + self.failed.len())
    }
}

/// Reads what `python3 -m test -v` prints; None where no test ended.
fn count(output: &str) -> Option<Count> {
    let mut count = Count::default();
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("Ran ") {
            count.ran += rest.split(' ').next()?.parse::<usize>().ok()?;
        } else if let Some(name) = line.strip_prefix("ERROR: ").or_else(|| line.strip_prefix("FAIL: ")) {
            count.failed.insert(name.to_owned());
        } else if (line.starts_with("OK (") || line.starts_with("FAILED ("))
            && let Some((_, rest)) = line.split_once("skipped=")
        {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            count.skipped += digits.parse::<usize>().ok()?;
        }
    }
    (count.ran > 0).then_some(count)
}

/// Runs a module in both places. Tests that fail inside alone must be those of the list.
fn counted(runner: &Runner, module: &str, known: &[&str]) -> Result<Outcome> {
    let argv = ["/usr/bin/python3", "-m", "test", "-v", module];
    let run = |place| -> Result<Ran> {
        runner.fresh()?;
        runner.run(place, &argv, "", Duration::from_secs(400))
    };
    let native = count(&run(Place::Native)?.out).context("natively no test ended")?;
    let ran = run(Place::Inside)?;
    let Some(inside) = count(&ran.out) else {
        return Ok(Outcome::Different(format!("no test ended; {}", last_lines(&ran.err))));
    };
    let name = |full: &str| full.split(' ').next().unwrap_or_default().to_owned();
    let lost: BTreeSet<_> = inside.failed.difference(&native.failed).map(|full| name(full)).collect();
    let unknown: Vec<_> = lost.iter().filter(|one| !known.contains(&one.as_str())).cloned().collect();
    let found: Vec<_> = known.iter().filter(|one| !lost.contains(**one)).collect();
    Ok(if !unknown.is_empty() || inside.ran < native.ran {
        let (ours, theirs) = (inside.passed(), native.passed());
        Outcome::Different(format!("{ours} pass (native {theirs}); not: {}", unknown.join(" ")))
    } else if found.is_empty() {
        Outcome::Same(native.passed().to_string(), inside.passed().to_string())
    } else {
        Outcome::Different(format!("pass now, and the suite lists them as failing: {found:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn tests_are_counted() {
        let text = "x ... ok\nERROR: a (t.a)\nFAIL: b (t.b)\nRan 10 tests in 0.1s\nFAILED (failures=1, errors=1, skipped=3)\n\
                    Ran 2 tests in 0.1s\nOK (skipped=1)\n";
        let counted = count(text).expect("numbers");
        assert_eq!((counted.ran, counted.skipped, counted.failed.len(), counted.passed()), (12, 4, 2, 6));
        assert_eq!(count("Fatal Python error"), None);
    }
}
