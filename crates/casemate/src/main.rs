//! `casemate`: armour on both sides of a container's wall. Arguments and output; the work is in the libraries.

mod doctor;
mod enclave;
mod explain;
mod guard;
mod ps;
mod run;

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
    /// Run a program inside an SGX enclave
    Run(run::Arguments),
    /// Measure, sign and describe the enclave
    Enclave(enclave::Arguments),
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
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let result = match arguments.command {
        Command::Guard(arguments) => guard::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Ps(arguments) => ps::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Run(arguments) => Ok(run::run(arguments)),
        Command::Enclave(arguments) => enclave::run(&arguments),
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

/// Prints help, or what is wrong with the command line. `casemate run` has exit codes of its own: 2 may be the program's.
fn usage(error: &clap::Error) -> ExitCode {
    let code = match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if std::env::args_os().nth(1).is_some_and(|command| command == "run") => {
            ExitCode::from(run::OWN_FAILURE)
        }
        _ => ExitCode::from(2),
    };
    // Nobody to tell where even that does not work.
    let _ = error.print();
    code
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
