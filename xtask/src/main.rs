//! `cargo xtask`: developer chores. Arguments only; the work is in the modules.

mod bench;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Developer chores of Casemate", long_about = None)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Measure what Casemate costs, against the same machine without it
    #[command(subcommand)]
    Bench(Bench),
    /// Run the lab (target/release/lab) with the arguments that follow
    #[command(disable_help_flag = true)]
    Lab {
        /// Passed on as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Every number that README quotes of the guard
    Guard(bench::Arguments),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().chore {
        Chore::Bench(Bench::Guard(arguments)) => bench::run(&arguments),
        Chore::Lab { arguments } => lab(&arguments),
    }
}

fn lab(arguments: &[OsString]) -> Result<ExitCode> {
    let program = release("lab");
    // Only returns where it failed.
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| {
        format!(
            "cannot run {}: build it with `cargo build --release --package casemate-lab`",
            program.display()
        )
    })
}

/// The root of the workspace.
fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where cargo puts a program that it built with `--release`.
fn release(program: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("release").join(program)
}
