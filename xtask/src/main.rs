//! `cargo xtask`: developer chores. Arguments only; the work is in the modules.

mod bench;
mod docs;

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
    /// Write docs/syscalls.md from the enclave kernel's table of system calls
    Docs(docs::Arguments),
    /// Run the conformance suite on every SGX platform of this machine: emulated, and the processor where there is one
    SgxConformance,
    /// Run the lab in virtual machines (`lab vm`), or another subcommand of target/release/lab where one is named
    #[command(disable_help_flag = true)]
    Lab {
        /// Passed on as they are: [--kernel 6.1|6.12|5.10|7.2|all] [--mode tracepoint|lsm|fmod_ret|all] [--case PATTERN] [--cost] [--json]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Every number that README quotes of the guard
    Guard(bench::Arguments),
    /// Every number that README quotes of the shield
    Shield(bench::shield::Arguments),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().chore {
        Chore::Bench(Bench::Guard(arguments)) => bench::run(&arguments),
        Chore::Bench(Bench::Shield(arguments)) => bench::shield::run(&arguments),
        Chore::Docs(arguments) => docs::run(&arguments),
        Chore::SgxConformance => sgx_conformance(),
        Chore::Lab { arguments } => lab(&arguments),
    }
}

fn lab(arguments: &[OsString]) -> Result<ExitCode> {
    let program = release("lab");
    let mut command = Command::new(&program);
    let options_only = arguments.first().is_none_or(|first| first.as_encoded_bytes().starts_with(b"-"));
    if options_only {
        command.arg("vm");
    }
    // Only returns where it failed.
    let error = command.args(arguments).exec();
    Err(error).with_context(|| {
        format!(
            "cannot run {}: build it with `cargo build --release --package casemate-lab`",
            program.display()
        )
    })
}

fn sgx_conformance() -> Result<ExitCode> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(["test", "--release", "--locked", "--package", "casemate-sgx"]);
    command.args(["--test", "conformance", "--"]);
    // The cases for the processor are ignored where there is none.
    if Path::new("/dev/sgx_enclave").exists() {
        command.arg("--include-ignored");
    } else {
        eprintln!("sgx-conformance: there is no /dev/sgx_enclave: the emulated platform only");
    }
    let status = command.status().context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
