//! `casemate doctor`

use std::io::{self, Write};
use std::process::ExitCode;

use casemate_sgx::doctor::{Need, PlatformKind, SgxReport};
use serde_json::{Value, json};

use crate::Output;

/// Tries out which mode the guard can have, looks for SGX, and leaves nothing behind. Exit code 1 where the guard cannot run
/// here.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = casemate_guard::report();
    let sgx = SgxReport::probe();
    let mut out = io::stdout().lock();
    if arguments.output == Output::Json {
        let mut value = serde_json::to_value(&report).map_err(io::Error::from)?;
        value["sgx"] = json(&sgx);
        serde_json::to_writer_pretty(&mut out, &value).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "kernel {}", report.kernel)?;
        for finding in &report.findings {
            line(&mut out, finding.present, finding.required, finding.feature, &finding.note)?;
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
        human(&mut out, &sgx)?;
    }
    Ok(if report.mode.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One finding. What is required and missing stands out.
fn line(out: &mut impl Write, present: bool, required: bool, feature: &str, note: &str) -> io::Result<()> {
    let mark = match (present, required) {
        (true, _) => "yes",
        (false, true) => "NO",
        (false, false) => "no",
    };
    writeln!(out, "  {mark:<4}{feature:<22}{note}")
}

/// What of SGX is here, and which platform `casemate run` takes.
fn human(out: &mut impl Write, report: &SgxReport) -> io::Result<()> {
    writeln!(out, "sgx")?;
    for finding in &report.findings {
        let required = matches!(finding.need, Need::Required(_));
        line(out, finding.present, required, finding.feature, &finding.note)?;
    }
    match report.auto {
        Some(platform) if report.works(PlatformKind::Device) => {
            writeln!(out, "platform: {}", platform.name())
        }
        Some(platform) => writeln!(out, "platform: {} (it protects nothing)", platform.name()),
        None => writeln!(out, "platform: none, casemate run cannot work here"),
    }
}

/// The same for programs.
fn json(report: &SgxReport) -> Value {
    let findings = report.findings.iter().map(|finding| {
        let (required, platform) = match finding.need {
            Need::Required(platform) => (true, platform),
            Need::Useful(platform) => (false, platform),
        };
        json!({
            "feature": finding.feature,
            "present": finding.present,
            "required": required,
            "platform": platform.name(),
            "note": finding.note,
        })
    });
    json!({
        "findings": findings.collect::<Vec<_>>(),
        "platform": report.auto.map(PlatformKind::name),
    })
}
