//! What the lab needs of the machine: a Docker daemon of its own, Podman with flags that work on a small host, two root
//! file systems and the images made of them.
//!
//! Everything here prepares, nothing here judges. What is slow to make is kept under [`CACHE`] and made again only when
//! its recipe changes.

mod docker;
mod podman;
mod rootfs;

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use docker::{Dockerd, ensure_image_docker, ensure_image_docker_debian};
pub(crate) use podman::{ensure_image_podman, ensure_image_podman_debian, podman};
pub(crate) use rootfs::{busybox_rootfs, debian_rootfs, mirror};

/// The image of [`busybox_rootfs`], in Docker and in Podman.
pub(crate) const IMAGE_BUSYBOX: &str = "casemate-lab:busybox";
/// The image of [`debian_rootfs`], in Docker and in Podman.
pub(crate) const IMAGE_DEBIAN: &str = "casemate-lab:debian";
/// Where root file systems are kept between runs.
pub(crate) const CACHE: &str = "/var/cache/casemate-lab";
/// Where the lab's daemons keep their state between runs.
pub(crate) const STATE: &str = "/var/lib/casemate-lab";

/// Runs `command` to its end and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: the error names the command and carries its stderr.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    checked(command, &output)
}

/// The stdout of a finished `command`, or an error that says what it was and what it said.
fn checked(command: &Command, output: &Output) -> Result<String> {
    let out = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(out.into_owned());
    }
    let err = String::from_utf8_lossy(&output.stderr);
    bail!("{} ended with {}: {}{}", shown(command), output.status, tail(&err), tail(&out))
}

/// Polls `ready` until it holds.
///
/// # Errors
/// When it does not hold after `limit`; `what` names the thing in the error.
pub(crate) fn wait_for(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !ready() {
        if Instant::now() > deadline {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The command line of `command`, short enough for an error message.
fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// The last lines of what a command said.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let start = lines.len().saturating_sub(12);
    lines[start..].iter().map(|line| format!("\n    {line}")).collect()
}

/// Creates `dir` and its parents.
fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// Feeds the tree at `root` as a tar stream to `import`, a command that reads one on its stdin.
fn import_tree(root: &Path, import: &mut Command) -> Result<()> {
    let mut tar = Command::new("tar")
        .arg("--directory")
        .arg(root)
        .args(["--numeric-owner", "--exclude=./dev/*", "--exclude=./proc/*", "--create", "."])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    let stream = tar.stdout.take().context("tar has no stdout")?;
    let imported = stdout_of(import.stdin(stream));
    let packed = tar.wait().context("cannot wait for tar")?;
    imported?;
    if !packed.success() {
        bail!("tar of {} ended with {packed}", root.display());
    }
    Ok(())
}
