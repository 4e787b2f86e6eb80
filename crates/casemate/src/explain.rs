//! `casemate explain`

use std::io::{self, Write};
use std::process::ExitCode;

use casemate_guard::Invariant;

/// What an invariant catches, what each mode can do about it, and how to make an exception.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// NS, CRED, FS, SEC, WR, UMH, PROC, MNT, CG or SELF; all of them in short where none is given
    invariant: Option<Invariant>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let Some(invariant) = arguments.invariant else {
        for invariant in Invariant::ALL {
            writeln!(out, "{:<6}{}", invariant.name(), invariant.explanation().rule)?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let text = invariant.explanation();
    writeln!(out, "{invariant}: {}\n", text.rule)?;
    writeln!(out, "Catches: {}\n", text.catches)?;
    writeln!(out, "In lsm and fmod_ret mode: {}\n", text.prevention)?;
    writeln!(out, "In tracepoint mode: {}\n", text.tracepoint)?;
    writeln!(out, "Exceptions: {}", text.exception)?;
    writeln!(out, "In /etc/casemate/guard.toml:\n")?;
    writeln!(out, "    [[exception]]")?;
    writeln!(
        out,
        "    name = \"my-container\"        # or image = \"...\", label = \"key=value\"; * matches anything"
    )?;
    writeln!(out, "    invariants = [\"{invariant}\"]")?;
    writeln!(out, "    reason = \"why this container may\"")?;
    Ok(ExitCode::SUCCESS)
}
