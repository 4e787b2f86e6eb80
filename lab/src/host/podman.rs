//! Podman as root, with the settings that small and mixed-cgroup hosts need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{IMAGE_BUSYBOX, IMAGE_DEBIAN, STATE};

/// Podman's configuration for the lab.
///
/// runc, because crun 1.8 refuses hosts whose cgroup v2 tree has a controller beside cgroup v1 ("hybrid mode"). Small
/// limits, because Podman's defaults are above what a root without `CAP_SYS_RESOURCE` may set. No systemd anywhere.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// Podman with the lab's settings; add the subcommand and its arguments.
///
/// Storage is Podman's own, so that whoever reads its state finds the lab's containers where they find all others.
pub(crate) fn podman() -> Command {
    let mut command = Command::new("/usr/bin/podman");
    // A failure to write shows itself at once: Podman refuses a CONTAINERS_CONF that does not exist.
    let path = Path::new(STATE).join("containers.conf");
    if fs::read_to_string(&path).ok().as_deref() != Some(SETTINGS) {
        let _shown_by_podman = super::make_dir(Path::new(STATE)).map(|()| fs::write(&path, SETTINGS));
    }
    command.env("CONTAINERS_CONF", path);
    command
}

/// Makes [`IMAGE_BUSYBOX`] known to Podman.
///
/// # Errors
/// When the root file system cannot be made or the import fails.
pub(crate) fn ensure_image_podman() -> Result<()> {
    ensure(IMAGE_BUSYBOX, super::busybox_rootfs)
}

/// Makes [`IMAGE_DEBIAN`] known to Podman.
///
/// # Errors
/// When the root file system cannot be made or the import fails.
pub(crate) fn ensure_image_podman_debian() -> Result<()> {
    ensure(IMAGE_DEBIAN, super::debian_rootfs)
}

fn ensure(image: &str, rootfs: fn() -> Result<PathBuf>) -> Result<()> {
    let root = rootfs()?;
    let wanted = super::rootfs::recipe_of(&root)?;
    let format = "{{index .Config.Labels \"casemate-lab.recipe\"}}";
    let known = super::stdout_of(podman().args(["image", "inspect", "--format", format, image]));
    if known.is_ok_and(|label| label.trim() == wanted) {
        return Ok(());
    }
    let label = format!("LABEL casemate-lab.recipe={wanted}");
    super::import_tree(&root, podman().args(["import", "--quiet", "--change", &label, "-", image]))
        .with_context(|| format!("cannot import {image} into Podman"))
}
