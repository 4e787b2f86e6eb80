//! `lab`: things that attack Casemate, and things that must never be mistaken for an attack.

mod attack;
mod benign;
mod cases;
mod demo;
mod engine;
mod fixture;
mod guard;
mod host;
mod lock;
mod probe;
mod programs;
mod report;
mod vm;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about = "Escapes that must die, and honest containers that must live", long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the escapes, what they stand for, and which invariants must catch them
    List,
    /// Run escapes: each must work unguarded and be dead guarded
    Attack(attack::Args),
    /// Show one container, its escape and its end
    Demo(demo::Args),
    /// Run honest containers: none may be killed or reported
    Benign(benign::Args),
    /// Run the escapes and the kernel payloads under real kernels, in virtual machines
    Vm(vm::Args),
    /// The first process of such a machine
    #[command(hide = true)]
    VmGuest,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::List => {
            report::list(cases::all());
            Ok(ExitCode::SUCCESS)
        }
        Command::Attack(args) => attack::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Benign(args) => benign::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::VmGuest => vm::guest(),
    }
}
