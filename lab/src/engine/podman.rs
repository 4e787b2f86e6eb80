//! Podman, as root.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::docker::{inspect, quietly, run_flags};
use super::{Runtime, Settings, with_descriptor_3};
use crate::host;

/// Podman with the lab's image.
#[derive(Debug)]
pub(crate) struct Podman;

impl Podman {
    pub(crate) fn new() -> Result<Self> {
        host::ensure_image_podman()?;
        Ok(Self)
    }
}

impl Runtime for Podman {
    fn command(&self, settings: &Settings) -> Result<Command> {
        let mut command = host::podman();
        run_flags(&mut command, settings);
        command.args(&settings.argv);
        Ok(match &settings.leaked {
            Some(dir) => with_descriptor_3(&command, dir),
            None => command,
        })
    }

    fn exec(&self, name: &str, argv: &[String], leaked: &Path) -> Result<Command> {
        let mut command = host::podman();
        command.args(["exec", "--preserve-fds=1", name]).args(argv);
        Ok(with_descriptor_3(&command, leaked))
    }

    fn init_pid(&self, name: &str) -> Option<i32> {
        inspect(&mut host::podman(), name, "{{.State.Pid}}")?.parse().ok().filter(|pid| *pid > 0)
    }

    fn id(&self, name: &str) -> Option<String> {
        inspect(&mut host::podman(), name, "{{.Id}}")
    }

    fn remove(&self, name: &str) {
        quietly(host::podman().args(["rm", "--force", "--time=0", name]));
    }
}
