//! Docker Engine: a daemon of the lab's own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::{Runtime, Settings};
use crate::host::{self, Dockerd};

/// Docker Engine with the lab's image.
#[derive(Debug)]
pub(crate) struct Docker {
    daemon: Dockerd,
}

impl Docker {
    pub(crate) fn new() -> Result<Self> {
        let daemon = Dockerd::start()?;
        host::ensure_image_docker(&daemon)?;
        Ok(Self { daemon })
    }

    fn inspect(&self, name: &str, format: &str) -> Option<String> {
        inspect(&mut self.daemon.docker(), name, format)
    }
}

impl Runtime for Docker {
    fn command(&self, settings: &Settings) -> Result<Command> {
        if settings.leaked.is_some() {
            bail!("docker cannot leave a descriptor open");
        }
        let mut command = self.daemon.docker();
        run_flags(&mut command, settings);
        command.args(&settings.argv);
        Ok(command)
    }

    fn exec(&self, _name: &str, _argv: &[String], _leaked: &Path) -> Result<Command> {
        bail!("docker cannot leave a descriptor open")
    }

    fn init_pid(&self, name: &str) -> Option<i32> {
        self.inspect(name, "{{.State.Pid}}")?.parse().ok().filter(|pid| *pid > 0)
    }

    fn id(&self, name: &str) -> Option<String> {
        self.inspect(name, "{{.Id}}")
    }

    fn remove(&self, name: &str) {
        quietly(self.daemon.docker().args(["rm", "--force", name]));
    }
}

/// The flags of `run`, which Docker and Podman share.
pub(super) fn run_flags(command: &mut Command, settings: &Settings) {
    command.args(["run", "--name", &settings.name, "--network=none", "--cap-add=ALL"]);
    command.args(["--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"]);
    command.args(["--device-cgroup-rule=a *:* rwm"]);
    if settings.host_pid {
        command.arg("--pid=host");
    }
    if settings.own_cgroup_ns {
        command.arg("--cgroupns=private");
    }
    for (key, value) in &settings.env {
        command.arg("--env").arg(format!("{key}={value}"));
    }
    for bind in &settings.binds {
        command.arg("--volume").arg(volume(&bind.source, bind.target, bind.writable));
    }
    if settings.leaked.is_some() {
        command.arg("--preserve-fds=1");
    }
    command.arg(host::IMAGE_BUSYBOX);
}

fn volume(source: &Path, target: &str, writable: bool) -> String {
    format!("{}:{target}:{}", source.display(), if writable { "rw" } else { "ro" })
}

/// One field of a container, if it exists.
pub(super) fn inspect(command: &mut Command, name: &str, format: &str) -> Option<String> {
    let output = command.args(["inspect", "--format", format, name]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Runs a clean-up command whose failure means that there was nothing to clean up.
pub(super) fn quietly(command: &mut Command) {
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}
