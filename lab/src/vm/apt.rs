//! A private apt: another suite's packages, without touching the host's sources, lists or packages.
//!
//! It asks the mirror that the host's own apt asks, keeps its lists and packages below the cache directory, and believes
//! that nothing is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::host::{self, stdout_of};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The packages of one suite.
#[derive(Debug)]
pub(super) struct Apt {
    dir: PathBuf,
    suite: String,
}

impl Apt {
    /// Prepares the directories below `dir` and fetches the lists of `suite`.
    ///
    /// # Errors
    /// When the mirror of the host's apt does not have the suite or cannot be reached.
    pub(super) fn update(dir: &Path, suite: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "etc"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let apt = Self { dir: dir.to_path_buf(), suite: suite.to_owned() };
        let source = format!("deb [signed-by={KEYRING}] {} {suite} main\n", host::mirror());
        fs::write(dir.join("etc/sources.list"), source).context("cannot write the private sources.list")?;
        fs::write(dir.join("status"), "").context("cannot write the private dpkg status")?;
        eprintln!("lab: asking the package mirror for {suite}");
        stdout_of(apt.command("apt-get").args(["--quiet", "--quiet", "update"])).with_context(|| {
            format!("cannot fetch the package lists of {suite}: is the mirror in /etc/apt reachable?")
        })?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, path) in [
            ("Dir::Etc::SourceList", self.dir.join("etc/sources.list")),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
            ("Dir::Etc::Preferences", PathBuf::from("/dev/null")),
            ("Dir::Etc::PreferencesParts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", self.dir.join("lists")),
            ("Dir::State::status", self.dir.join("status")),
            ("Dir::Cache", self.dir.join("cache")),
        ] {
            command.arg("-o").arg(format!("{key}={}", path.display()));
        }
        // As root: the unprivileged fetcher of apt cannot write here. No indexes but the packages'.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]);
        command.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
        command.env("LC_ALL", "C");
        command
    }

    /// The newest package whose name begins with `prefix` and ends with `suffix`.
    ///
    /// # Errors
    /// When the suite has none.
    pub(super) fn newest(&self, prefix: &str, suffix: &str) -> Result<String> {
        let names = stdout_of(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let fitting = names.lines().filter(|name| name.ends_with(suffix) && !name.contains("-rt-"));
        match fitting.max_by_key(|name| natural(name)) {
            Some(name) => Ok(name.to_owned()),
            None => bail!("{} has no package {prefix}*{suffix}", self.suite),
        }
    }

    /// What `package` depends on, one level deep.
    ///
    /// # Errors
    /// When the suite has no such package.
    pub(super) fn depends(&self, package: &str) -> Result<BTreeSet<String>> {
        let listing = stdout_of(self.command("apt-cache").args(["depends", package]))?;
        let names =
            listing.lines().filter_map(|line| line.trim().trim_start_matches('|').split_once("Depends: "));
        Ok(names.map(|(_, name)| name.trim_matches(['<', '>']).to_owned()).collect())
    }

    /// Fetches `packages`, just these.
    ///
    /// # Errors
    /// When one cannot be fetched.
    pub(super) fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        let mut command = self.command("apt-get");
        command.args(["--quiet", "--quiet", "download"]).args(packages).current_dir(into);
        stdout_of(&mut command).map(drop)
    }

    /// Fetches `packages` and all that they depend on.
    ///
    /// # Errors
    /// When one cannot be fetched.
    pub(super) fn download_closure(&self, packages: &[String], into: &Path) -> Result<()> {
        fs::create_dir_all(into.join("partial"))
            .with_context(|| format!("cannot create {}", into.display()))?;
        let mut command = self.command("apt-get");
        command.args(["--quiet", "--quiet", "--yes", "--no-install-recommends", "--download-only"]);
        command.arg("-o").arg(format!("Dir::Cache::archives={}", into.display()));
        command.arg("install").args(packages);
        stdout_of(&mut command).map(drop)
    }
}

/// Unpacks every package in `debs` into `root`, whose /bin, /sbin and /lib* are links into /usr as Debian has them now.
///
/// # Errors
/// When a package is damaged or the disk is full.
pub(super) fn unpack(debs: &Path, root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let real = root.join("usr").join(name);
        fs::create_dir_all(&real).with_context(|| format!("cannot create {}", real.display()))?;
        let link = root.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(format!("usr/{name}"), &link)
                .with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    for entry in fs::read_dir(debs).with_context(|| format!("cannot read {}", debs.display()))? {
        let deb = entry?.path();
        if deb.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        // dpkg-deb --extract would put a directory in the place of /lib, which is a link.
        let script = r#"set -o pipefail; dpkg-deb --fsys-tarfile "$0" | tar --extract --keep-directory-symlink --directory "$1""#;
        stdout_of(Command::new("bash").args(["-c", script]).arg(&deb).arg(root))
            .with_context(|| format!("cannot unpack {}", deb.display()))?;
    }
    Ok(())
}

/// A key by which 6.1.0-9 sorts before 6.1.0-50: runs of digits count as numbers.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, tail) = after.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_sort_as_numbers() {
        assert!(natural("linux-image-6.1.0-9-amd64") < natural("linux-image-6.1.0-50-amd64"));
        assert!(natural("linux-image-7.2.9+deb13-amd64") < natural("linux-image-7.2.13+deb14-amd64"));
    }
}
