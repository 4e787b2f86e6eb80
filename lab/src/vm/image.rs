//! What the virtual machines are made of: a root disk, the same for all kernels, and an initramfs for each boot.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::job::Job;
use super::kernel::Kernel;
use crate::benign::compile_probe;
use crate::host::{self, CACHE, stdout_of};

/// What runs first in the guest.
const INIT: &str = include_str!("../../vm/init.sh");
const BUSYBOX: &str = "/bin/busybox";
/// Programs of the host that cases or containers call, taken over with their libraries. busybox stands in for all else.
const TOOLS: [&str; 15] = [
    "runc",
    "crun",
    "bash",
    "bpftool",
    "cp",
    "stat",
    "sync",
    "mount",
    "umount",
    "losetup",
    "unshare",
    "nsenter",
    "mkfs.ext4",
    "pgrep",
    "timeout",
];
/// Modules that the guest loads, with what they need.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "overlay", "loop", "binfmt_misc"];
const DISK_MIB: u32 = 512;
/// Where the guest finds the attack programs.
pub(super) const PROGRAMS: &str = "/opt/lab";
/// Where it finds the program of the honest containers.
pub(super) const PROBE: &str = "/opt/probe";

/// Makes the root disk at `disk`. `casemate` is the guard to test, `programs` the compiled attacks.
///
/// # Errors
/// When a program is not installed or the disk cannot be made.
pub(super) fn make_disk(disk: &Path, casemate: &Path, programs: &Path, scratch: &Path) -> Result<()> {
    let root = scratch.join("root");
    for dir in ["usr/bin", "usr/lib", "usr/lib64", "boot", "dev", "etc", "mnt", "opt", "proc", "root", "run"]
    {
        make_dir(&root.join(dir))?;
    }
    for dir in ["sys", "tmp", "var/lib", &format!("./{CACHE}")] {
        make_dir(&root.join(dir))?;
    }
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("usr/sbin", "bin"),
    ] {
        symlink(target, root.join(link)).with_context(|| format!("cannot link {link}"))?;
    }
    fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).context("cannot chmod /tmp")?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").context("cannot write passwd")?;
    fs::write(root.join("etc/group"), "root:x:0:\n").context("cannot write group")?;
    fs::copy("/etc/mke2fs.conf", root.join("etc/mke2fs.conf")).context("is e2fsprogs installed?")?;

    fs::copy(BUSYBOX, root.join("usr/bin/busybox")).context("is busybox-static installed?")?;
    for tool in TOOLS {
        let path = find(tool)?;
        install(&path, &root, tool)?;
    }
    for applet in stdout_of(Command::new(BUSYBOX).arg("--list"))?.lines() {
        let link = root.join("usr/bin").join(applet);
        if !link.exists() {
            symlink("busybox", &link).with_context(|| format!("cannot link the applet {applet}"))?;
        }
    }
    install(casemate, &root, "casemate")?;
    install(&std::env::current_exe().context("cannot find myself")?, &root, "lab")?;
    // The containers' root, so that the guest finds it made.
    let busybox = host::busybox_rootfs()?;
    let cached = busybox.parent().context("a cached tree has a parent")?;
    copy_tree(cached, &root.join(format!("./{CACHE}")))?;
    copy_tree(programs, &root.join("opt"))?;
    let name = programs.file_name().context("the programs' directory has no name")?;
    fs::rename(root.join("opt").join(name), root.join(format!("./{PROGRAMS}")))?;
    let probe = compile_probe(scratch)?;
    fs::copy(&probe, root.join(PROBE.trim_start_matches('/'))).context("cannot copy the probe")?;

    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]).arg(&root).arg(disk);
    stdout_of(mkfs.arg(format!("{DISK_MIB}M"))).context("cannot make the root disk")?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
}

/// Makes the initramfs of one boot at `file`: modules, the job, and an init that goes on to the root disk.
///
/// # Errors
/// When the kernel lacks a module or the payload module cannot be built.
pub(super) fn make_initramfs(file: &Path, kernel: &Kernel, job: &Job, scratch: &Path) -> Result<()> {
    let root = scratch.join("initramfs");
    let _absent_the_first_time = fs::remove_dir_all(&root);
    for dir in ["bin", "dev", "proc", "root", "modules", "job"] {
        make_dir(&root.join(dir))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).context("is busybox-static installed?")?;
    fs::write(root.join("init"), INIT).context("cannot write the init")?;
    fs::set_permissions(root.join("init"), Permissions::from_mode(0o755)).context("cannot chmod the init")?;
    for (number, module) in modules_of(kernel)?.iter().enumerate() {
        let name = module.file_stem().and_then(|name| name.to_str()).context("a module without a name")?;
        let target = root.join(format!("modules/{number:02}-{}", name.trim_end_matches(".ko")));
        if module.extension().is_some_and(|extension| extension == "xz") {
            let output = Command::new("xz").arg("-dc").arg(module).output().context("cannot run xz")?;
            fs::write(&target, output.stdout)?;
        } else {
            fs::copy(module, &target).with_context(|| format!("cannot copy {}", module.display()))?;
        }
    }
    fs::copy(kernel.payload()?, root.join("job/payload.ko")).context("cannot copy the payload module")?;
    fs::copy(kernel.config(), root.join("job/config")).context("cannot copy the kernel's configuration")?;
    fs::write(root.join("job/job.json"), serde_json::to_vec(job)?).context("cannot write the job")?;
    let script = r#"cd "$0" && find . | "$1" cpio -o -H newc >"$2" 2>/dev/null"#;
    stdout_of(Command::new("sh").args(["-c", script]).arg(&root).arg(BUSYBOX).arg(file))
        .context("cannot make the initramfs")
        .map(drop)
}

/// The files of [`MODULES`] and of what they need, in the order to load them. What is built in has none.
fn modules_of(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let dir = kernel.modules();
    let listing = fs::read_to_string(dir.join("modules.dep")).context("cannot read modules.dep")?;
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let line = listing.lines().find(|line| {
            let file = line.split(':').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            file.split(".ko").next() == Some(module)
        });
        let Some((file, needs)) = line.and_then(|line| line.split_once(':')) else { continue };
        for file in needs.split_whitespace().rev().chain([file]) {
            let file = dir.join(file);
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Copies `program` to /usr/bin/`name` below `root`, and the libraries that it is linked with to where it expects them.
fn install(program: &Path, root: &Path, name: &str) -> Result<()> {
    let target = root.join("usr/bin").join(name);
    fs::copy(program, &target).with_context(|| format!("cannot copy {}", program.display()))?;
    let listing = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&listing.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(library.trim_start_matches('/'));
        if target.exists() {
            continue;
        }
        make_dir(target.parent().context("a library without a directory")?)?;
        fs::copy(library, &target).with_context(|| format!("cannot copy {library}"))?;
    }
    Ok(())
}

/// Where the host has `tool`.
fn find(tool: &str) -> Result<PathBuf> {
    let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    match places.iter().map(|place| Path::new(place).join(tool)).find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => bail!("{tool} is not installed: run `scripts/setup.sh test`"),
    }
}

fn copy_tree(from: &Path, into: &Path) -> Result<()> {
    stdout_of(Command::new("cp").arg("-a").arg(from).arg(into)).map(drop)
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}
