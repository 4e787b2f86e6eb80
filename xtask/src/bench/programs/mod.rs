//! `cargo xtask bench shield --programs`: unmodified Debian programs inside, compared with what they do natively; and
//! `--soak`: the servers under mixed load for a long time.

mod commands;
mod entry;
mod load;
mod page;
mod python;
mod server;
mod servers;
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::release;
use entry::{Outcome, Program, Runner, Seen};

/// What of the programs is run.
#[derive(Debug, clap::Args)]
#[group(id = "Programs")]
pub(crate) struct Arguments {
    /// Run the programs of docs/programs.md, native and inside, instead of the measurements
    #[arg(long)]
    pub(crate) programs: bool,
    /// Put the four servers under mixed load, instead of the measurements
    #[arg(long)]
    pub(crate) soak: bool,
    /// How long --soak takes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Of --programs and --soak: only those with one of these words in their names
    #[arg(long, value_delimiter = ',', value_name = "WORD")]
    only: Vec<String>,
    /// Of --programs: leave out those that take minutes (for continuous integration)
    #[arg(long)]
    short: bool,
    /// Of --programs: write docs/programs.md
    #[arg(long)]
    write: bool,
    /// The program under test [default: target/release/casemate]
    #[arg(long, value_name = "PATH")]
    casemate: Option<PathBuf>,
}

/// Runs what was asked for; success means that nothing was other than expected.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let casemate = arguments.casemate.clone().unwrap_or_else(|| release("casemate"));
    if !casemate.is_file() {
        bail!("there is no {}: run `cargo build --release --workspace` first", casemate.display());
    }
    let scratch = TempDir::with_prefix("casemate-programs-").context("cannot create a directory")?;
    let runner = Runner::new(&casemate, scratch.path())?;
    let met = if arguments.soak {
        soak::run(&runner, Duration::from_secs(arguments.minutes * 60), &|name| wanted(arguments, name))?
    } else {
        programs(&runner, arguments)?
    };
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wanted(arguments: &Arguments, name: &str) -> bool {
    arguments.only.is_empty() || arguments.only.iter().any(|word| name.contains(word.as_str()))
}

/// Every program that is there; true where each did what its entry says.
fn programs(runner: &Runner, arguments: &Arguments) -> Result<bool> {
    let all = [commands::all(), python::all(), servers::all()].concat();
    let chosen = all.iter().filter(|one| wanted(arguments, one.name) && !(arguments.short && one.slow));
    let mut seen = Vec::new();
    for program in chosen {
        let outcome = try_one(runner, program);
        eprintln!("{}", outcome.line(program));
        seen.push(Seen { program: program.clone(), outcome });
    }
    let page = page::render(&seen);
    if arguments.write {
        page::write(&page)?;
    } else {
        println!("{page}");
    }
    let bad: Vec<_> = seen.iter().filter(|one| !one.outcome.expected(&one.program)).collect();
    for one in &bad {
        eprintln!("programs: {}: not as expected", one.program.name);
    }
    Ok(bad.is_empty())
}

fn try_one(runner: &Runner, program: &Program) -> Outcome {
    if let Some(missing) = program.needs.iter().find(|path| !PathBuf::from(path).exists()) {
        return Outcome::Absent(format!("{missing} is not installed"));
    }
    (program.run)(runner).unwrap_or_else(|error| Outcome::Different(format!("{error:#}")))
}
