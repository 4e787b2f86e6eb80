//! docs/programs.md.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use super::entry::{Outcome, Seen};
use crate::bench::machine;
use crate::workspace;

const PAGE: &str = "docs/programs.md";

/// The page: one row a program.
pub(crate) fn render(seen: &[Seen]) -> String {
    let machine = machine::describe();
    let of = |name: &str| machine[name].to_string().trim_matches('"').to_owned();
    let mut page = format!(
        "# Programs inside\n\n\
         Unmodified programs of Debian 12, native and inside an emulated enclave, in the same run, on {} cores of {}, Linux {}. \
         *Same* means: the same output and the same exit code, or every answer of a server right, byte for byte; numbers are \
         the run's time, or requests in a second, or tests that pass. Written by `cargo xtask bench shield --programs --write`, \
         which fails where a row is not what the suite (`xtask/src/bench/programs`) expects: also where something begins to \
         work.\n\n| program | what is run | result | native | inside |\n|---|---|---|---:|---:|\n",
        of("cores"),
        of("cpu"),
        of("kernel"),
    );
    for Seen { program, outcome } in seen {
        let (result, native, inside) = match (outcome, program.fails) {
            (Outcome::Same(native, inside), _) => ("same".to_owned(), native.as_str(), inside.as_str()),
            (Outcome::Different(_), Some(why)) => (format!("not yet: {why}"), "", ""),
            (Outcome::Different(how), None) => (format!("**different**: {}", how.replace('|', "/")), "", ""),
            (Outcome::Absent(why), _) => (format!("not run: {why}"), "", ""),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(page, "| {} | {} | {result} | {native} | {inside} |", program.name, program.what);
    }
    page
}

/// Writes it.
pub(crate) fn write(page: &str) -> Result<()> {
    let path = workspace().join(PAGE);
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}
