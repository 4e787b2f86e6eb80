//! A Docker daemon of the lab's own: its state, its socket and its containers are apart from the host's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::{IMAGE_BUSYBOX, IMAGE_DEBIAN, STATE};

/// Debian's client and daemon, by path: the first `docker` in `PATH` may be another program.
const CLIENT: &str = "/usr/bin/docker";
const DAEMON: &str = "/usr/sbin/dockerd";

/// How many daemons of the lab may run at once, each with a directory of its own.
const SLOTS: usize = 8;
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// A running Docker daemon, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Dockerd {
    child: Child,
    socket: PathBuf,
    /// Holds the slot: the lock ends with this file.
    _slot: File,
}

impl Dockerd {
    /// Starts Debian's `dockerd` with a data root, exec root, pid file and socket of its own, and waits until it answers.
    ///
    /// No bridge and no packet filter: containers have `none`, `host` and `container:X` networks, on any kernel. The
    /// storage driver is the daemon's choice, overlay2 where that works and vfs where not. The data root outlives the
    /// daemon, so that an image is imported once.
    ///
    /// # Errors
    /// When docker.io is not installed, or the daemon does not answer in time; the error carries the end of its log.
    pub(crate) fn start() -> Result<Self> {
        for program in [CLIENT, DAEMON] {
            if !Path::new(program).exists() {
                bail!("{program} is missing: run `scripts/setup.sh test` to install docker.io");
            }
        }
        let (slot, number) = take_slot()?;
        let data = PathBuf::from(format!("{STATE}/docker-{number}"));
        // A short path: the sockets below it must fit into the 108 bytes of sun_path.
        let run = PathBuf::from(format!("/run/casemate-lab/docker-{number}"));
        stop_leftover(&run.join("pid"))?;
        super::make_dir(&data)?;
        super::make_dir(&run)?;
        let socket = run.join("docker.sock");
        let log_path = data.join("dockerd.log");
        let log = File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
        let child = Command::new(DAEMON)
            .arg("--data-root")
            .arg(data.join("data"))
            .arg("--exec-root")
            .arg(run.join("exec"))
            .arg("--pidfile")
            .arg(run.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            // Nobody but root needs this socket; without the flag dockerd wants a group named docker.
            .args(["--group", "root"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot duplicate the log's descriptor")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {DAEMON}"))?;
        let mut daemon = Self { child, socket, _slot: slot };
        daemon.wait_ready(&log_path)?;
        daemon.remove_containers();
        Ok(daemon)
    }

    /// The Docker client, bound to this daemon.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new(CLIENT);
        command.arg("--host").arg(format!("unix://{}", self.socket.display()));
        command
    }

    /// The daemon's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    fn wait_ready(&mut self, log: &Path) -> Result<()> {
        let mut exited = None;
        let started = super::wait_for("the start of dockerd", START, || {
            exited = self.child.try_wait().ok().flatten();
            let answer = self.docker().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            exited.is_some() || answer.is_ok_and(|status| status.success())
        });
        let said = || super::tail(&fs::read_to_string(log).unwrap_or_default());
        if let Some(status) = exited {
            bail!("dockerd ended with {status}; its log {} ends with{}", log.display(), said());
        }
        started.with_context(|| format!("dockerd's log {} ends with{}", log.display(), said()))
    }

    /// Removes every container, so that neither this run nor the daemon's stop waits for one of an earlier run.
    fn remove_containers(&self) {
        let Ok(ids) = super::stdout_of(self.docker().args(["ps", "--all", "--quiet"])) else { return };
        if ids.trim().is_empty() {
            return;
        }
        let removal = super::stdout_of(self.docker().args(["rm", "--force"]).args(ids.split_whitespace()));
        if let Err(error) = removal {
            eprintln!("lab: {error:#}");
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.remove_containers();
        if let Err(error) = kill_process(Pid::from_child(&self.child), Signal::TERM) {
            eprintln!("lab: cannot stop dockerd (pid {}): {error}", self.child.id());
        }
        let stopped =
            super::wait_for("the end of dockerd", STOP, || !matches!(self.child.try_wait(), Ok(None)));
        if let Err(error) = stopped {
            eprintln!("lab: {error:#}; it gets SIGKILL");
            let _gone_already = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

/// The first directory number that no other lab uses, and the lock that keeps it.
fn take_slot() -> Result<(File, usize)> {
    super::make_dir(Path::new(STATE))?;
    for number in 0..SLOTS {
        let path = format!("{STATE}/docker-{number}.lock");
        let file = File::create(&path).with_context(|| format!("cannot create {path}"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok((file, number));
        }
    }
    bail!("{SLOTS} labs run already, each with a dockerd: wait for one to end")
}

/// Ends the daemon that a killed lab left behind in our slot. The slot's lock is ours, so nobody uses it.
fn stop_leftover(pid_file: &Path) -> Result<()> {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return Ok(());
    };
    let proc = PathBuf::from(format!("/proc/{pid}"));
    // The pid may belong to something else by now: the command line must name this very pid file.
    let ours = || {
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*pid_file.to_string_lossy())
    };
    if let (true, Some(pid)) = (ours(), Pid::from_raw(pid)) {
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop the old dockerd {pid:?}"))?;
        super::wait_for("the end of an old dockerd", STOP, || !ours())?;
    }
    Ok(())
}

/// Makes [`IMAGE_BUSYBOX`] known to `daemon`.
///
/// # Errors
/// When the root file system cannot be made or the import fails.
pub(crate) fn ensure_image_docker(daemon: &Dockerd) -> Result<()> {
    ensure(daemon, IMAGE_BUSYBOX, super::busybox_rootfs)
}

/// Makes [`IMAGE_DEBIAN`] known to `daemon`.
///
/// # Errors
/// When the root file system cannot be made or the import fails.
pub(crate) fn ensure_image_docker_debian(daemon: &Dockerd) -> Result<()> {
    ensure(daemon, IMAGE_DEBIAN, super::debian_rootfs)
}

fn ensure(daemon: &Dockerd, image: &str, rootfs: fn() -> Result<PathBuf>) -> Result<()> {
    let root = rootfs()?;
    let wanted = super::rootfs::recipe_of(&root)?;
    let format = "{{index .Config.Labels \"casemate-lab.recipe\"}}";
    let known = super::stdout_of(daemon.docker().args(["image", "inspect", "--format", format, image]));
    if known.is_ok_and(|label| label.trim() == wanted) {
        return Ok(());
    }
    let label = format!("LABEL casemate-lab.recipe={wanted}");
    super::import_tree(&root, daemon.docker().args(["import", "--change", &label, "-", image]))
        .with_context(|| format!("cannot import {image} into Docker"))
}
