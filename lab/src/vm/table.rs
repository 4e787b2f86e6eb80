//! What is printed: a line when a case ends, and at the end one table for people and the same in Markdown.

use serde::Serialize;

use super::job::{Half, Verdict};
use super::kernel::SERIES;
use crate::cases;

/// How one case ended on one kernel.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    kernel: String,
    mode: String,
    case: String,
    half: &'static str,
    verdict: Verdict,
    detail: String,
}

impl Row {
    pub(super) fn new(
        kernel: &str,
        mode: &str,
        case: &str,
        half: Half,
        verdict: Verdict,
        detail: String,
    ) -> Self {
        // Unguarded a machine is the same in each mode: it is shown once.
        let mode = if half == Half::Unguarded { "none" } else { mode };
        Self {
            kernel: kernel.to_owned(),
            mode: mode.to_owned(),
            case: case.to_owned(),
            half: half.name(),
            verdict,
            detail,
        }
    }

    fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAIL",
            Verdict::Skipped => "skip",
        };
        let Self { kernel, mode, case, half, detail, .. } = self;
        format!("{word:<5} {kernel:<5} {mode:<10} {case:<24} {half:<10} {detail}")
    }

    /// What the table shows.
    fn cell(&self) -> String {
        match self.verdict {
            Verdict::Passed if self.half == Half::Unguarded.name() => "escapes".to_owned(),
            Verdict::Passed if self.half == Half::Benign.name() => "untouched".to_owned(),
            Verdict::Passed => {
                let invariant = self.detail.split(',').next().unwrap_or_default();
                let denies = matches!(self.mode.as_str(), "lsm" | "fmod_ret");
                format!("{} ({invariant})", if denies { "denied, killed" } else { "killed" })
            }
            Verdict::Failed => "FAILED".to_owned(),
            Verdict::Skipped => "skipped".to_owned(),
        }
    }
}

/// Everything so far.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Row>,
    json: bool,
    /// The cases, in order.
    order: Vec<&'static str>,
}

/// The order of the columns of one kernel.
const COLUMNS: [&str; 4] = ["none", "tracepoint", "lsm", "fmod_ret"];

impl Table {
    pub(super) fn new(json: bool, order: Vec<&'static str>) -> Self {
        Self { rows: Vec::new(), json, order }
    }

    /// Adds a row and prints its line.
    pub(super) fn add(&mut self, row: Row) {
        if !self.json {
            println!("{}", row.line());
        }
        self.rows.push(row);
    }

    /// Something failed that is no case.
    pub(super) fn trouble(&mut self, kernel: &str, mode: &str, detail: String) {
        self.add(Row::new(kernel, mode, "(machine)", Half::Guarded, Verdict::Failed, detail));
    }

    /// The console of a machine that had trouble.
    pub(super) fn console(&self, tail: &str) {
        if !self.json {
            println!("its console:{tail}");
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.count(Verdict::Failed) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Prints the tables, and last the line that is made for scripts.
    pub(super) fn print(&self) {
        let (passed, failed, skipped) =
            (self.count(Verdict::Passed), self.count(Verdict::Failed), self.count(Verdict::Skipped));
        if self.json {
            let all = serde_json::json!({
                "schema": 1, "passed": passed, "failed": failed, "skipped": skipped, "runs": self.rows,
            });
            println!("{all}");
            return;
        }
        let grid = self.grid();
        println!("\n{}\n\n{}", plain(&grid), markdown(&explained(grid.clone())));
        for (title, verdict) in [("skipped", Verdict::Skipped), ("failed", Verdict::Failed)] {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.verdict == verdict).collect();
            if !rows.is_empty() {
                println!("{title}:");
            }
            for row in rows {
                println!("  {}", row.line());
            }
        }
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }

    /// A row a case, a column a kernel and mode; the first row is the head.
    fn grid(&self) -> Vec<Vec<String>> {
        let mut columns: Vec<(&str, &str)> = Vec::new();
        let mut cases: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !columns.contains(&(&row.kernel, &row.mode)) {
                columns.push((&row.kernel, &row.mode));
            }
            if !cases.contains(&row.case.as_str()) {
                cases.push(&row.case);
            }
        }
        // Machines run side by side: what came first says nothing.
        let place = |of: &[&str], name: &str| of.iter().position(|known| *known == name).unwrap_or(of.len());
        let series: Vec<&str> = SERIES.iter().map(|series| series.name).collect();
        columns.sort_by_key(|(kernel, mode)| (place(&series, kernel), place(&COLUMNS, mode)));
        cases.sort_by_key(|case| place(&self.order, case));
        let head = columns.iter().map(|(kernel, mode)| {
            if *mode == "none" { format!("{kernel} unguarded") } else { format!("{kernel} {mode}") }
        });
        let mut grid = vec![std::iter::once("case".to_owned()).chain(head).collect()];
        for case in cases {
            let cells = columns.iter().map(|(kernel, mode)| {
                let row = self
                    .rows
                    .iter()
                    .find(|row| row.kernel == *kernel && row.mode == *mode && row.case == case);
                row.map_or_else(|| "-".to_owned(), Row::cell)
            });
            grid.push(std::iter::once(case.to_owned()).chain(cells).collect::<Vec<String>>());
        }
        grid
    }
}

/// With a column that says what each attack stands for.
fn explained(mut grid: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for (number, row) in grid.iter_mut().enumerate() {
        let shape = cases::all().find(|case| Some(case.name) == row.first().map(String::as_str));
        let text = shape.map_or(if number == 0 { "stands for" } else { "" }, |case| case.shape);
        row.insert(1, text.replace('|', "\\|"));
    }
    grid
}

/// Columns in line.
pub(super) fn plain(grid: &[Vec<String>]) -> String {
    let columns = grid.first().map_or(0, Vec::len);
    let width = |column: usize| grid.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    grid.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A table for README and docs.
pub(super) fn markdown(grid: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let Some((head, rows)) = grid.split_first() else { return String::new() };
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    std::iter::once(line(head)).chain([rule]).chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Half, Row, Table, Verdict, markdown};

    #[test]
    fn a_column_for_each_kernel_and_mode() {
        let mut table = Table::new(true, vec!["payload-x"]);
        for (half, detail) in [(Half::Unguarded, "escapes"), (Half::Guarded, "NS, dead in 3 us")] {
            table.add(Row::new("6.1", "tracepoint", "payload-x", half, Verdict::Passed, detail.to_owned()));
        }
        let text = markdown(&table.grid());
        assert_eq!(
            text,
            "| case | 6.1 unguarded | 6.1 tracepoint |\n|---|---|---|\n| payload-x | escapes | killed (NS) |\n"
        );
    }
}
