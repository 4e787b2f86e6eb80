//! `cargo xtask bench shield`: what running inside an emulated enclave costs, native and inside in the same run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::stats::Spread;
use super::{machine, programs};
use crate::{release, workspace};

/// Measures system calls, start-up and transitions, and prints a table for README. Nothing else should run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each is measured
    #[arg(long, default_value_t = 7)]
    runs: usize,
    #[command(flatten)]
    programs: programs::Arguments,
}

/// Runs it; the exit code says whether every goal was reached.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.programs.programs || arguments.programs.soak {
        return programs::run(&arguments.programs);
    }
    if arguments.runs == 0 {
        bail!("--runs cannot be 0");
    }
    let bench = Bench { casemate: release("casemate"), runs: arguments.runs };
    if !bench.casemate.is_file() {
        bail!("there is no {}: run `cargo build --release --workspace` first", bench.casemate.display());
    }
    let scratch = tempfile::tempdir().context("cannot create a directory for what is measured")?;
    let program = compile(scratch.path())?;
    let (native, inside) = bench.calls(&program)?;
    let dynamic = bench.build_ms(&[])?;
    let fixed = bench.build_ms(&["--no-edmm"])?;
    let first = bench.first_output_ms(&program)?;
    let transitions = bench.transitions()?;
    println!("{}\n", machine::describe());
    println!("| | median (range) | goal |\n|---|---|---|");
    let row = |what: &str, spread: Spread, unit: &str, goal: &str| {
        println!(
            "| {what} | {:.1} {unit} ({:.1} to {:.1}) | {goal} |",
            spread.median, spread.min, spread.max
        );
    };
    row("getppid, native", native, "ns", "–");
    row("getppid, inside, rewritten", inside, "ns", "40 ns");
    row("create, measure and initialise 1 GiB, EDMM", dynamic, "ms", "300 ms");
    row("create, measure and initialise 1 GiB, every page added", fixed, "ms", "300 ms");
    row("start to end of a static program, whole command", first, "ms", "–");
    row("emulated EENTER and EEXIT, fast mode, no charge", transitions, "ns", "300 ns");
    let met = inside.median <= 40.0
        && dynamic.median <= 300.0
        && fixed.median <= 300.0
        && transitions.median <= 300.0;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Bench {
    casemate: PathBuf,
    runs: usize,
}

/// The program that counts nanoseconds for a call, static.
fn compile(scratch: &Path) -> Result<PathBuf> {
    let program = scratch.join("getppid");
    let source = workspace().join("lab/programs/getppid.c");
    let status = Command::new("gcc").args(["-O2", "-static"]).arg(&source).arg("-o").arg(&program).status();
    if !status.context("cannot run gcc: make setup installs it")?.success() {
        bail!("gcc cannot compile {}", source.display());
    }
    Ok(program)
}

fn output(command: &mut Command) -> Result<(String, String)> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, errors) = (text(output.stdout), text(output.stderr));
    if !output.status.success() {
        bail!("{command:?}: {}: {errors}", output.status);
    }
    Ok((out, errors))
}

fn spread(values: &[f64]) -> Result<Spread> {
    Spread::of(values).context("nothing was measured")
}

impl Bench {
    fn casemate(&self, options: &[&str], program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.casemate);
        command.args(["run", "--platform", "emulated"]).args(options).arg("--").arg(program).args(arguments);
        command
    }

    /// Nanoseconds for getppid(2), native and inside, in turns.
    fn calls(&self, program: &Path) -> Result<(Spread, Spread)> {
        let (mut native, mut inside) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            for (values, mut command) in
                [(&mut native, Command::new(program)), (&mut inside, self.casemate(&[], program, &[]))]
            {
                let (out, _) = output(&mut command)?;
                values.push(out.trim().parse().with_context(|| format!("{command:?} printed {out:?}"))?);
            }
        }
        Ok((spread(&native)?, spread(&inside)?))
    }

    /// Milliseconds to create, measure and initialise an enclave with a heap of 1 GiB.
    fn build_ms(&self, options: &[&str]) -> Result<Spread> {
        let mut values = Vec::new();
        for _ in 0..self.runs {
            let all = [options, &["--heap", "1G", "--stats"]].concat();
            let (_, errors) = output(&mut self.casemate(&all, Path::new("/bin/true"), &[]))?;
            let found = errors.split_once("built in ").and_then(|(_, rest)| rest.split_once(" ms"));
            let (found, _) = found.with_context(|| format!("no time of building in {errors:?}"))?;
            values.push(found.parse().with_context(|| format!("built in {found} ms"))?);
        }
        spread(&values)
    }

    /// Milliseconds of a whole `casemate run` of a static program that does nothing.
    fn first_output_ms(&self, program: &Path) -> Result<Spread> {
        let mut values = Vec::new();
        for _ in 0..self.runs {
            let start = Instant::now();
            output(&mut self.casemate(&[], program, &["1"]))?;
            values.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        spread(&values)
    }

    /// Nanoseconds for an emulated EENTER and EEXIT, from the platform's own test.
    fn transitions(&self) -> Result<Spread> {
        let mut values = Vec::new();
        for _ in 0..self.runs {
            let mut command = Command::new("cargo");
            command.current_dir(workspace()).args([
                "test",
                "--release",
                "--locked",
                "--quiet",
                "--package",
                "casemate-sgx",
            ]);
            command.args(["--test", "emulated", "--", "--nocapture", "fast_is_faster"]);
            let (out, _) = output(&mut command)?;
            let found = out.split_whitespace().find_map(|word| word.strip_prefix("fast_ns="));
            let found = found.with_context(|| format!("no fast_ns= in {out:?}"))?;
            values.push(found.parse().with_context(|| format!("fast_ns={found}"))?);
        }
        spread(&values)
    }
}
