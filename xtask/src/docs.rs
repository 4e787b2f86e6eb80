//! `cargo xtask docs`: what the documentation says of system calls, from the enclave kernel's own table.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::workspace;

const TABLE: &str = "crates/enclave/src/kernel/syscall/table.rs";
const PAGE: &str = "docs/syscalls.md";

/// Writes docs/syscalls.md from the dispatch table of the enclave kernel.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail where the page is not what the table says
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let page = render(&rows(&source()?)?);
    let path = workspace().join(PAGE);
    if arguments.check {
        if fs::read_to_string(&path).unwrap_or_default() != page {
            eprintln!("docs: {PAGE} is not what {TABLE} says: run `cargo xtask docs`");
            return Ok(ExitCode::FAILURE);
        }
    } else {
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn source() -> Result<String> {
    fs::read_to_string(workspace().join(TABLE)).with_context(|| format!("cannot read {TABLE}"))
}

/// A row of the table: `9 mmap(6) Partial "note" => memory::mmap;`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    number: usize,
    name: String,
    arguments: usize,
    support: Support,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    Full,
    Partial,
    Refused,
}

impl Support {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Refused => "refused",
        }
    }
}

/// The rows of the source text, by number. A row that this cannot read is an error: the page would be wrong without it.
fn rows(source: &str) -> Result<Vec<Row>> {
    let (_, rest) =
        source.split_once("\ncalls! {\n").context("the table does not begin with `calls! {` any more")?;
    let (body, _) = rest.split_once("\n}").context("the table has no end")?;
    let mut rows = Vec::new();
    let mut pending = String::new();
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")) {
        pending.push_str(line);
        if let Some(text) = pending.strip_suffix(';') {
            rows.push(row(text).with_context(|| format!("cannot read the row {text:?} of {TABLE}"))?);
            pending.clear();
        } else {
            pending.push(' ');
        }
    }
    if !pending.is_empty() {
        bail!("a row of {TABLE} has no end: {pending:?}");
    }
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

fn row(text: &str) -> Option<Row> {
    let (number, rest) = text.split_once(' ')?;
    let (name, rest) = rest.split_once('(')?;
    let (arguments, rest) = rest.split_once(')')?;
    let (support, rest) = rest.trim_start().split_once(' ')?;
    let (note, _) = rest.trim_start().strip_prefix('"')?.split_once("\" =>")?;
    let support = match support {
        "Full" => Support::Full,
        "Partial" => Support::Partial,
        "Refused" => Support::Refused,
        _ => return None,
    };
    Some(Row {
        number: number.parse().ok()?,
        name: name.to_owned(),
        arguments: arguments.parse().ok()?,
        support,
        note: note.to_owned(),
    })
}

fn render(rows: &[Row]) -> String {
    let count = |support| rows.iter().filter(|row| row.support == support).count();
    let mut page = format!(
        "# System calls inside\n\n\
         Written by `cargo xtask docs` from `{TABLE}`; a test fails where it is out of date.\n\n\
         {} calls are known: {} full, {} partial, {} refused on purpose. *Full* means: as Linux has it, as far as a program \
         in an enclave can tell. Every other number returns `ENOSYS`; `--trace` shows it, and `--stats` counts it.\n\n\
         | number | call | support | what is missing, or why it is refused |\n|---:|---|---|---|\n",
        rows.len(),
        count(Support::Full),
        count(Support::Partial),
        count(Support::Refused),
    );
    for row in rows {
        let Row { number, name, support, note, .. } = row;
        // Writing into a String cannot fail.
        let _ = writeln!(page, "| {number} | `{name}` | {} | {note} |", support.word());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{PAGE, Support, render, row, rows, source};
    use crate::workspace;

    #[test]
    fn the_page_is_what_the_table_says() {
        let rows = rows(&source().expect("the table")).expect("rows");
        assert!(rows.len() > 200, "{} rows", rows.len());
        let page = std::fs::read_to_string(workspace().join(PAGE)).expect("the page");
        assert!(page == render(&rows), "{PAGE} is out of date: run `cargo xtask docs`");
    }

    #[test]
    fn a_row_is_read_whole() {
        let read = row("9 mmap(6) Partial \"a; b\" => memory::mmap").expect("a row");
        assert_eq!((read.number, read.name.as_str(), read.arguments), (9, "mmap", 6));
        assert_eq!((read.support, read.note.as_str()), (Support::Partial, "a; b"));
        assert_eq!(row("9 mmap(6) Mostly \"\" => memory::mmap"), None);
    }

    #[test]
    fn rows_may_be_broken_and_must_be_readable() {
        let text = |row: &str| format!("x\ncalls! {{\n    // A group.\n{row}\n}}\n");
        let broken = rows(&text("    3 close(1) Full\n        \"\" => file::close;")).expect("rows");
        assert_eq!(broken.len(), 1);
        assert!(rows(&text("    3 close Full \"\" => file::close;")).is_err());
        assert!(rows(&text("    3 close(1) Full \"\" => file::close")).is_err());
    }
}
