//! The two root file systems of the lab: one of busybox, small and quick, one of Debian with real servers in it.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File, Permissions};
use std::hash::{Hash, Hasher as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

use super::{CACHE, make_dir, stdout_of};

/// The file, beside the tree, that says from which recipe the tree was made. It is written last.
const STAMP: &str = "recipe";
const SUITE: &str = "bookworm";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

const BUSYBOX: &str = "/bin/busybox";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\n";

/// What the corpus runs inside Debian containers.
const PACKAGES: &[&str] = &[
    "apache2",
    "apache2-utils",
    "bubblewrap",
    "gosu",
    "libcap2-bin",
    "memcached",
    "nginx-light",
    "postgresql",
    "procps",
    "redis-server",
    "redis-tools",
    "runc",
    "sudo",
    "util-linux",
];

/// A root file system of Debian's static busybox: all its applets, two users, nothing else. Read it, do not write it.
///
/// # Errors
/// When busybox-static is not installed or the cache cannot be written.
pub(crate) fn busybox_rootfs() -> Result<PathBuf> {
    let binary = fs::read(BUSYBOX).with_context(|| {
        format!("cannot read {BUSYBOX}: run `scripts/setup.sh test` to install busybox-static")
    })?;
    let recipe = recipe(&(&binary, PASSWD, GROUP, 2));
    cached("busybox", &recipe, |root| {
        for dir in
            ["bin", "dev", "etc", "home/user", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var"]
        {
            make_dir(&root.join(dir))?;
        }
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).context("cannot chmod /tmp")?;
        write(&root.join("bin/busybox"), &binary)?;
        fs::set_permissions(root.join("bin/busybox"), Permissions::from_mode(0o755))
            .context("cannot chmod busybox")?;
        for applet in
            stdout_of(Command::new(BUSYBOX).arg("--list"))?.lines().filter(|name| *name != "busybox")
        {
            symlink("busybox", root.join("bin").join(applet))
                .with_context(|| format!("cannot link the applet {applet}"))?;
        }
        symlink("bin", root.join("sbin")).context("cannot link /sbin")?;
        symlink("../bin", root.join("usr/bin")).context("cannot link /usr/bin")?;
        write(&root.join("etc/passwd"), PASSWD.as_bytes())?;
        write(&root.join("etc/group"), GROUP.as_bytes())?;
        write(&root.join("etc/hosts"), b"127.0.0.1 localhost\n")
    })
}

/// A minimal Debian with the servers and tools of the benign corpus. Read it, do not write it.
///
/// # Errors
/// When debootstrap is not installed, the mirror of the host's apt cannot be reached or a package cannot be installed.
pub(crate) fn debian_rootfs() -> Result<PathBuf> {
    let mirror = mirror();
    let recipe = recipe(&(SUITE, PACKAGES, 4));
    cached("debian", &recipe, |root| {
        eprintln!("lab: making a Debian root file system from {mirror} (about a minute, once)");
        stdout_of(Command::new("debootstrap").args(["--variant=minbase", SUITE]).arg(root).arg(&mirror))
            .context(
                "cannot make a Debian root file system (`scripts/setup.sh test` installs debootstrap)",
            )?;
        write(&root.join("etc/apt/sources.list"), format!("deb {mirror} {SUITE} main\n").as_bytes())?;
        write(&root.join("etc/apt/apt.conf.d/99host"), apt_settings().as_bytes())?;
        // Each case makes the cluster it needs; nothing starts while packages are configured.
        make_dir(&root.join("etc/postgresql-common"))?;
        write(&root.join("etc/postgresql-common/createcluster.conf"), b"create_main_cluster = false\n")?;
        let policy = root.join("usr/sbin/policy-rc.d");
        write(&policy, b"#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(&policy, Permissions::from_mode(0o755)).context("cannot chmod policy-rc.d")?;
        let names = root.join("etc/resolv.conf");
        fs::copy("/etc/resolv.conf", &names).context("cannot copy /etc/resolv.conf")?;
        in_root(root, &["apt-get", "update"])?;
        let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
        in_root(root, &[&install, PACKAGES].concat())?;
        in_root(root, &["useradd", "--create-home", "--shell", "/bin/bash", "user"])?;
        in_root(root, &["apt-get", "clean"])
    })
}

/// Runs a command in the tree, in mount and pid namespaces of its own, so that no mount and no daemon stays behind.
fn in_root(root: &Path, command: &[&str]) -> Result<()> {
    let mut proc = std::ffi::OsString::from("--mount-proc=");
    proc.push(root.join("proc"));
    stdout_of(
        Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .arg(proc)
            .arg("chroot")
            .arg(root)
            .args(command)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
    .map(drop)
}

/// How the host's apt reaches its mirrors (proxy, checks), in the form of an apt.conf.
fn apt_settings() -> String {
    let mut settings = stdout_of(Command::new("apt-config").args(["dump", "Acquire"])).unwrap_or_default();
    for (variable, key) in [("http_proxy", "http"), ("https_proxy", "https")] {
        if let Ok(proxy) = std::env::var(variable) {
            settings.push_str(&format!("Acquire::{key}::Proxy \"{proxy}\";\n"));
        }
    }
    settings
}

/// The Debian mirror of the host's apt sources, in either of their two forms, or Debian's own.
pub(crate) fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| mirrors_in(&text)).next().unwrap_or_else(|| DEFAULT_MIRROR.to_owned())
}

/// The main Debian archives (path `.../debian`) named in a sources file, one-line or deb822.
fn mirrors_in(text: &str) -> Vec<String> {
    let lines =
        text.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let words = lines.flat_map(str::split_whitespace);
    let uris = words.map(|word| word.trim_end_matches('/')).filter(|word| word.ends_with("/debian"));
    uris.map(str::to_owned).collect()
}

/// The tree `name`, made by `make` when there is none of this recipe yet.
fn cached(name: &str, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    make_dir(Path::new(CACHE))?;
    // Two labs at once must not make the same tree.
    let lock_path = format!("{CACHE}/{name}.lock");
    let lock = File::create(&lock_path).with_context(|| format!("cannot create {lock_path}"))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {lock_path}"))?;

    let dir = PathBuf::from(format!("{CACHE}/{name}"));
    let root = dir.join("root");
    if fs::read_to_string(dir.join(STAMP)).ok().as_deref() == Some(recipe) {
        return Ok(root);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove the old {}", dir.display()))?;
    }
    make_dir(&root)?;
    fs::set_permissions(&root, Permissions::from_mode(0o755)).context("cannot chmod the root")?;
    make(&root)?;
    write(&dir.join(STAMP), recipe.as_bytes())?;
    Ok(root)
}

/// The recipe that the tree at `root` was made from.
pub(super) fn recipe_of(root: &Path) -> Result<String> {
    let Some(dir) = root.parent() else { bail!("{} is no cached tree", root.display()) };
    fs::read_to_string(dir.join(STAMP)).with_context(|| format!("{} has no recipe", root.display()))
}

fn recipe(parts: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::mirrors_in;

    #[test]
    fn finds_the_archive_in_both_forms() {
        let one_line =
            "# deb http://no/debian x main\ndeb [signed-by=/k] http://m.example/debian/ bookworm main";
        assert_eq!(mirrors_in(one_line), ["http://m.example/debian"]);
        let deb822 =
            "Types: deb\nURIs: http://s.example/debian-security http://d.example/debian\nSuites: bookworm";
        assert_eq!(mirrors_in(deb822), ["http://d.example/debian"]);
    }
}
