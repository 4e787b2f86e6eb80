//! `lab demo`: the whole of the guard in one minute. A real container reads a host's secret; then the guard is on.

mod container;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lock;
use crate::watch::{self, Spawned};
use container::Container;

const WAIT: Duration = Duration::from_secs(20);
const DIR: &str = "/run/casemate-demo";
const SECRET: &str = "the host's secret";

/// Shows a container, its baseline, its escape and its end
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The guard to show [default: the `casemate` beside this program]
    #[arg(long, value_name = "PATH")]
    casemate: Option<PathBuf>,
}

/// Removes what the demo has left, however it ends.
struct Traces<'a>(&'a Path);

impl Drop for Traces<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.0)
            .args(["guard", "--stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = fs::remove_dir_all(DIR);
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let casemate = match &args.casemate {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("casemate"),
    };
    let _alone = lock::alone()?;
    let _traces = Traces(&casemate);
    fs::create_dir_all(DIR).with_context(|| format!("cannot make {DIR}"))?;
    let secret = Path::new(DIR).join("secret");
    fs::write(&secret, format!("{SECRET}\n"))?;
    let mut idle = Command::new("sleep");
    idle.arg("600");
    let victim = Spawned::with_log(idle, &Path::new(DIR).join("sleep.log"))?;
    let attack = format!("cat /proc/{}/root{}", victim.pid(), secret.display());

    step("A privileged container in the host's pid namespace, without the guard:");
    let mut container = Container::start("demo-unguarded")?;
    println!("    {}", container.about());
    command("container", &attack);
    let stolen = container.exec(&attack)?;
    println!("    {}", stolen.trim_end());
    if !stolen.contains(SECRET) {
        bail!("the escape does not work on this machine, so there is nothing to show");
    }
    container.remove();

    step("The guard:");
    command("host", "casemate guard");
    let events = Arc::new(Mutex::new(String::new()));
    let _guard = start_guard(&casemate, &events)?;
    wait_for(&events, "READY")?;

    step("The same container, born under the guard, and what was recorded of it:");
    container.restart("demo-guarded")?;
    wait_for(&events, "BIRTH")?;
    command("host", "casemate ps --long");
    print(&crate::host::stdout_of(Command::new(&casemate).args(["ps", "--long"]))?);
    command("container", "echo an honest command");
    print(&container.exec("echo an honest command")?);

    step("The same escape:");
    command("container", &attack);
    let stolen = container.exec(&attack)?;
    wait_for(&events, "DEAD")?;
    if stolen.contains(SECRET) {
        bail!("the container has read the secret: the guard has failed");
    }
    if !watch::until(WAIT, || !container.running()) {
        bail!("the container is still running: the guard has failed");
    }
    step("The secret was not read, the container is dead to its last process. The rule it broke:");
    command("host", "casemate explain FS");
    print(&crate::host::stdout_of(Command::new(&casemate).args(["explain", "FS"]))?);
    Ok(ExitCode::SUCCESS)
}

/// Starts the agent and prints its events as they come.
fn start_guard(casemate: &Path, events: &Arc<Mutex<String>>) -> Result<Spawned> {
    let mut command = Command::new(casemate);
    command.arg("guard");
    let (guard, output) = Spawned::with_output(command)?;
    let sink = Arc::clone(events);
    // Ends with the guard's output.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("    {line}");
            let mut seen = sink.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push_str(&line);
            seen.push('\n');
        }
    });
    Ok(guard)
}

fn wait_for(events: &Arc<Mutex<String>>, word: &str) -> Result<()> {
    let seen = || events.lock().unwrap_or_else(PoisonError::into_inner).contains(word);
    if !watch::until(WAIT, seen) {
        bail!("the guard has not reported {word} within {} s", WAIT.as_secs());
    }
    Ok(())
}

fn step(text: &str) {
    println!("\n== {text}");
}

fn command(place: &str, line: &str) {
    println!("  {place}# {line}");
}

fn print(output: &str) {
    for line in output.lines() {
        println!("    {line}");
    }
}
