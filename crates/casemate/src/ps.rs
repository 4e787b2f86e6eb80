//! `casemate ps`

use std::io::{self, Write};
use std::process::ExitCode;

use casemate_guard::Status;
use casemate_guard::names::printable;

use crate::Output;

/// Containers that the guard knows, with what they were at birth.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show the whole baseline of each container
    #[arg(long, short)]
    long: bool,
    /// How the list is written
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let containers = casemate_guard::list()?;
    let mut out = io::stdout().lock();
    if arguments.output == Output::Json {
        serde_json::to_writer_pretty(&mut out, &containers).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{:<6}{:<12}{:<24}{:<28}{:<9}{:<7}VIOLATIONS",
        "CID", "RUNTIME", "NAME", "IMAGE", "PID", "TASKS"
    )?;
    for container in &containers {
        line(&mut out, container)?;
        if arguments.long {
            baseline(&mut out, container)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(out: &mut impl Write, c: &Status) -> io::Result<()> {
    let id = &c.identity.id;
    let name = printable(c.identity.name.as_deref().unwrap_or(id.get(..12).unwrap_or(id)));
    let image = printable(c.identity.image.as_deref().unwrap_or("-"));
    let violations = if c.violations.is_empty() {
        "-".to_owned()
    } else {
        c.violations.iter().map(|(i, n)| format!("{i}:{n}")).collect::<Vec<_>>().join(" ")
    };
    writeln!(
        out,
        "{:<6}{:<12}{name:<24}{image:<28}{:<9}{:<7}{violations}",
        c.cid,
        c.identity.runtime.to_string(),
        c.init_pid,
        c.tasks
    )
}

fn baseline(out: &mut impl Write, c: &Status) -> io::Result<()> {
    let namespaces: Vec<_> = c.namespaces.iter().map(|n| format!("{}={}", n.kind, n.inum)).collect();
    writeln!(out, "      namespaces    {}", namespaces.join(" "))?;
    writeln!(out, "      capabilities  {:#x} (bounding set)", c.bounding)?;
    writeln!(
        out,
        "      seccomp       mode {}, {} filters, no_new_privs {}",
        c.seccomp_mode,
        c.seccomp_filters,
        u8::from(c.no_new_privs)
    )?;
    let how = match (c.condemned, c.adopted) {
        (true, _) => "condemned: its last tasks are dying",
        (false, true) => "adopted: the baseline is what it was when the guard came",
        (false, false) => "seen from birth",
    };
    writeln!(out, "      baseline      {how}{}", if c.runtime_born { "" } else { "; of no known runtime" })
}
