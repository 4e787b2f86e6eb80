//! `casemate guard`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use casemate_guard::config::{Config, Policy};
use casemate_guard::{Format, Mode, Options};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Output;

/// Read where it exists and no other is named.
const DEFAULT_CONFIG: &str = "/etc/casemate/guard.toml";

/// Watches every container on the host. The programs stay in the kernel when this process ends: enforcement goes on,
/// the next start takes over. `--stop` ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Report violations, kill nothing
    #[arg(long)]
    audit: bool,
    /// Where verdicts are made [default: the strongest that works on this kernel]
    ///
    /// lsm and fmod_ret refuse what breaks a rule, then kill; tracepoint kills at the end of the system call.
    #[arg(long, value_name = "lsm|fmod_ret|tracepoint")]
    mode: Option<Mode>,
    /// Any change of a namespace is a violation, even into one the container made itself
    #[arg(long)]
    strict: bool,
    /// Configuration file [default: /etc/casemate/guard.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How events are written to standard output
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Take the guard out of the kernel: programs, maps and baselines
    #[arg(long, conflicts_with_all = ["audit", "mode", "strict", "config", "output"])]
    stop: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.stop {
        let was_there = casemate_guard::stop()?;
        println!("{}", if was_there { "The guard is off." } else { "There was no guard." });
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = configuration(arguments.config.as_deref())?;
    if arguments.audit {
        config.policy = Policy::Audit;
    }
    config.strict |= arguments.strict;
    config.mode = arguments.mode.or(config.mode);
    let format = match arguments.output {
        Output::Human => Format::Human,
        Output::Json => Format::Json,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    casemate_guard::run(Options { config, format }, io::stdout(), &stop)?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(named: Option<&Path>) -> anyhow::Result<Config> {
    match named {
        Some(path) => Ok(Config::load(path)?),
        None if Path::new(DEFAULT_CONFIG).exists() => Ok(Config::load(Path::new(DEFAULT_CONFIG))?),
        None => Ok(Config::default()),
    }
}
