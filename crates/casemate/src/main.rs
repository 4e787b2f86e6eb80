//! `casemate`: armour on both sides of a container's wall. Arguments and output; the work is in the libraries.

mod doctor;
mod explain;
mod guard;
mod ps;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Armour on both sides of a container's wall.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the host's containers and kill one that escapes
    Guard(guard::Arguments),
    /// Say what this kernel offers, which mode the guard will run in, and why
    Doctor(doctor::Arguments),
    /// List containers with their baselines and violations
    Ps(ps::Arguments),
    /// Explain an invariant: what it catches, how to make an exception
    Explain(explain::Arguments),
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Human,
    /// For programs
    Json,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Guard(arguments) => guard::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Ps(arguments) => ps::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
