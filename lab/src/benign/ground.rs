//! The ground that cases run on: daemons, images, the helper program, and the shell that runs scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Needs, Outcome};
use crate::host::{self, Dockerd};

/// What each script starts with. `$NAME` is the case's own prefix for containers, `$WORK` its own directory.
const PRELUDE: &str = include_str!("prelude.sh");
/// A small static program that does, inside a container, what shells cannot.
const PROBE: &str = include_str!("probe.c");
/// Longest time that one script may take, in seconds.
const LIMIT_S: &str = "240";
/// Exit status of a script that the machine cannot run.
const SKIP: i32 = 77;

/// Everything that cases use, prepared.
pub(super) struct Ground {
    docker: Option<Dockerd>,
    busybox: PathBuf,
    work: tempfile::TempDir,
    probe: PathBuf,
}

impl Ground {
    /// Prepares what `needs` names; takes `probe` where it is compiled already.
    pub(super) fn prepare(needs: &[Needs], probe: Option<&Path>) -> Result<Self> {
        let any = |wanted: &[Needs]| needs.iter().any(|need| wanted.contains(need));
        let docker = any(&[Needs::Docker, Needs::DockerDebian]).then(Dockerd::start).transpose()?;
        if let Some(daemon) = &docker {
            host::ensure_image_docker(daemon)?;
            if any(&[Needs::DockerDebian]) {
                host::ensure_image_docker_debian(daemon)?;
            }
        }
        if any(&[Needs::Podman, Needs::PodmanDebian]) {
            host::ensure_image_podman()?;
        }
        if any(&[Needs::PodmanDebian]) {
            host::ensure_image_podman_debian()?;
        }
        let work = tempfile::Builder::new()
            .prefix("casemate-benign-")
            .tempdir()
            .context("cannot make a directory")?;
        let probe = match probe {
            Some(probe) => probe.to_path_buf(),
            None => compile_probe(work.path())?,
        };
        Ok(Self { docker, busybox: host::busybox_rootfs()?, work, probe })
    }

    /// The run's own directory.
    pub(super) fn work(&self) -> &Path {
        self.work.path()
    }

    /// The busybox root file system; read it, do not write it.
    pub(super) fn busybox(&self) -> &Path {
        &self.busybox
    }

    /// A new empty directory for the case `name`.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf> {
        let dir = self.work().join(name.replace('/', "-"));
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// Runs `text` in bash after the prelude.
    pub(super) fn script(&self, name: &str, text: &str) -> Result<Outcome> {
        let dir = self.directory(name)?;
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=10", LIMIT_S, "bash", "-c"])
            .arg(format!("{PRELUDE}\n{text}"))
            .current_dir(&dir)
            .env("WORK", &dir)
            .env("NAME", format!("lab-{}", name.replace('/', "-")))
            .env("BUSYBOX", host::IMAGE_BUSYBOX)
            .env("DEBIAN", host::IMAGE_DEBIAN)
            .env("BUSYBOX_ROOT", &self.busybox)
            .env("PROBE", self.probe())
            // Podman's settings travel in its environment.
            .envs(host::podman().get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(daemon) = &self.docker {
            command.env("LAB_DOCKER", format!("unix://{}", daemon.socket().display()));
        }
        let output = command.output().context("cannot start bash")?;
        match output.status.code() {
            Some(SKIP) => {
                let said = String::from_utf8_lossy(&output.stdout);
                Ok(Outcome::Skipped(said.lines().last().unwrap_or("no reason given").to_owned()))
            }
            Some(124) => bail!("not done after {LIMIT_S} s\n{}", String::from_utf8_lossy(&output.stderr)),
            Some(0) => Ok(Outcome::Passed),
            _ => {
                let (out, err) = (&output.stdout, &output.stderr);
                bail!("{}\n{}{}", output.status, String::from_utf8_lossy(out), String::from_utf8_lossy(err))
            }
        }
    }

    /// The helper program.
    pub(super) fn probe(&self) -> &Path {
        &self.probe
    }
}

/// Compiles the helper program to `dir`/probe.
///
/// # Errors
/// When gcc is missing.
pub(crate) fn compile_probe(dir: &Path) -> Result<PathBuf> {
    let (source, program) = (dir.join("probe.c"), dir.join("probe"));
    fs::write(&source, PROBE).with_context(|| format!("cannot write {}", source.display()))?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-static", "-pthread", "-Wall", "-o"]).arg(&program).arg(&source);
    host::stdout_of(&mut gcc)?;
    Ok(program)
}
