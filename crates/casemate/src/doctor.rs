//! `casemate doctor`

use std::io::{self, Write};
use std::process::ExitCode;

use crate::Output;

/// Tries out which mode works, and leaves nothing behind. Exit code 1 where the guard cannot run here.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = casemate_guard::report();
    let mut out = io::stdout().lock();
    if arguments.output == Output::Json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "kernel {}", report.kernel)?;
        for finding in &report.findings {
            let mark = match (finding.present, finding.required) {
                (true, _) => "yes",
                (false, true) => "NO",
                (false, false) => "no",
            };
            writeln!(out, "  {mark:<4}{:<22}{}", finding.feature, finding.note)?;
        }
        match report.mode {
            Some(mode) => writeln!(out, "mode: {mode} ({})", report.reason)?,
            None => writeln!(out, "mode: none, the guard cannot run here ({})", report.reason)?,
        }
        let running = match report.running {
            Some(true) => "on",
            Some(false) => "off",
            None => "unknown (only root can tell)",
        };
        writeln!(out, "guard: {running}")?;
    }
    Ok(if report.mode.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
