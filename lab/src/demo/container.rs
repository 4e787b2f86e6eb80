//! The demo's container: of Docker, or of runc where no Docker daemon starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::host::{self, Dockerd, IMAGE_BUSYBOX, ensure_image_docker, stdout_of};
use crate::watch;

const START: Duration = Duration::from_secs(20);

enum Engine {
    Docker(Dockerd),
    Runc(PathBuf),
}

/// A running container that may do nearly everything, in the host's pid namespace.
pub(super) struct Container {
    engine: Engine,
    name: String,
}

impl Container {
    pub(super) fn start(name: &str) -> Result<Self> {
        let engine = match Dockerd::start() {
            Ok(daemon) => {
                ensure_image_docker(&daemon)?;
                Engine::Docker(daemon)
            }
            Err(error) => {
                println!("    (no Docker: {error:#}; runc instead)");
                Engine::Runc(Path::new(super::DIR).join("bundle"))
            }
        };
        let mut container = Self { engine, name: String::new() };
        container.restart(name)?;
        Ok(container)
    }

    /// Starts it, under another name.
    pub(super) fn restart(&mut self, name: &str) -> Result<()> {
        name.clone_into(&mut self.name);
        match &self.engine {
            Engine::Docker(daemon) => {
                let mut run = daemon.docker();
                run.args(["run", "--detach", "--pid=host", "--network=none", "--cap-add=ALL"]);
                // Not every machine has all capabilities to give.
                run.args(["--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"]);
                run.args(["--name", name, IMAGE_BUSYBOX, "sleep", "600"]);
                stdout_of(&mut run)?;
            }
            Engine::Runc(bundle) => {
                write_bundle(bundle)?;
                let mut run = Command::new("runc");
                run.args(["run", "--detach", "--bundle"]).arg(bundle).arg(name);
                let status = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
                status.context("cannot start runc")?;
            }
        }
        anyhow::ensure!(watch::until(START, || self.running()), "the container {name} does not start");
        Ok(())
    }

    pub(super) fn about(&self) -> String {
        match self.engine {
            Engine::Docker(_) => format!("docker run --pid=host --cap-add=ALL --name {} ...", self.name),
            Engine::Runc(_) => format!("runc run --detach {}", self.name),
        }
    }

    /// Runs a shell line inside and returns what it printed, however it ended.
    pub(super) fn exec(&self, line: &str) -> Result<String> {
        let mut exec = match &self.engine {
            Engine::Docker(daemon) => daemon.docker(),
            Engine::Runc(_) => Command::new("runc"),
        };
        exec.args(["exec", &self.name, "sh", "-c", line]);
        // Docker's client can wait for ever for a command whose container died as it started.
        let mut limited = Command::new("timeout");
        limited.args(["--signal=KILL", "20"]).arg(exec.get_program()).args(exec.get_args());
        let output = limited.output().context("cannot run a command in the container")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(super) fn running(&self) -> bool {
        match &self.engine {
            Engine::Docker(daemon) => {
                let format = ["inspect", "--format", "{{.State.Running}}", &self.name];
                stdout_of(daemon.docker().args(format)).is_ok_and(|state| state.trim() == "true")
            }
            Engine::Runc(_) => stdout_of(Command::new("runc").args(["state", &self.name]))
                .is_ok_and(|state| state.contains("\"running\"")),
        }
    }

    pub(super) fn remove(&self) {
        let (mut remove, subcommand) = match &self.engine {
            Engine::Docker(daemon) => (daemon.docker(), "rm"),
            Engine::Runc(_) => (Command::new("runc"), "delete"),
        };
        // What is gone already needs no removal.
        let _ = remove.args([subcommand, "--force", &self.name]).output();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.remove();
    }
}

/// `runc spec`, with the host's pid namespace and every capability that this machine has.
fn write_bundle(bundle: &Path) -> Result<()> {
    fs::create_dir_all(bundle)?;
    let config_path = bundle.join("config.json");
    if !config_path.exists() {
        stdout_of(Command::new("runc").arg("spec").current_dir(bundle))?;
    }
    let mut config: Value = serde_json::from_slice(&fs::read(&config_path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sleep", "600"]);
    config["root"] = json!({ "path": host::busybox_rootfs()?, "readonly": true });
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "pid");
    }
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] =
            json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    }
    fs::write(&config_path, config.to_string()).context("cannot write the bundle's configuration")
}
