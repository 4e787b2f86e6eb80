//! Debian's kernels: fetched once, unpacked below the cache directory, with the tools that build a module for them.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::apt::{self, Apt};
use crate::host::{CACHE, stdout_of};

/// The sources of the payload module.
const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/payload");
/// What kbuild calls besides the compiler.
const TOOLS: [&str; 8] = ["make", "dash", "coreutils", "sed", "grep", "findutils", "mawk", "diffutils"];

/// A kernel that the lab knows, and the suites that may have it, best first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    suites: &'static [&'static str],
}

/// All of them, oldest first.
pub(super) const SERIES: [Series; 4] = [
    Series { name: "5.10", suites: &["bullseye"] },
    Series { name: "6.1", suites: &["bookworm"] },
    Series { name: "6.12", suites: &["trixie", "bookworm-backports"] },
    Series { name: "7.2", suites: &["sid", "trixie-backports"] },
];

/// A kernel on the disk.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    /// `uname -r`.
    pub(super) release: String,
    root: PathBuf,
}

impl Kernel {
    /// The kernel of `series`, from the cache or from the mirror.
    ///
    /// # Errors
    /// When no suite of the mirror has it.
    pub(super) fn get(series: Series) -> Result<Self> {
        let dir = Path::new(CACHE).join("vm").join(series.name);
        let stamp = dir.join("release");
        if !stamp.exists() {
            let mut reasons = Vec::new();
            let found = series.suites.iter().find_map(|suite| match fetch(series, suite, &dir) {
                Ok(release) => Some(release),
                Err(error) => {
                    reasons.push(format!("{suite}: {error:#}"));
                    None
                }
            });
            let Some(release) = found else {
                bail!("Linux {} is not to be had: {}", series.name, reasons.join("; "));
            };
            fs::write(&stamp, release).with_context(|| format!("cannot write {}", stamp.display()))?;
        }
        let release = fs::read_to_string(&stamp)
            .with_context(|| format!("cannot read {}", stamp.display()))?
            .trim()
            .to_owned();
        Ok(Self { name: series.name, release, root: dir.join("root") })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.boot_file("vmlinuz")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.boot_file("config")
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.release)
    }

    /// From 7.0 on Debian keeps the kernel beside its modules, before in /boot.
    fn boot_file(&self, name: &str) -> PathBuf {
        let beside = self.modules().join(name);
        if beside.exists() { beside } else { self.root.join(format!("boot/{name}-{}", self.release)) }
    }

    /// The payload module for this kernel, built where its source is newer.
    ///
    /// # Errors
    /// When it does not compile; the error carries what the compiler said.
    pub(super) fn payload(&self) -> Result<PathBuf> {
        let build = self.root.join("build");
        let module = build.join("casemate_payload.ko");
        let stamp = build.join("source");
        let sources = ["casemate_payload.c", "casemate_payload.h", "Makefile"];
        let mut hasher = DefaultHasher::new();
        for name in sources {
            let path = Path::new(PAYLOAD).join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
        }
        let source = format!("{:016x}", hasher.finish());
        if module.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == source) {
            return Ok(module);
        }
        let _absent_the_first_time = fs::remove_dir_all(&build);
        fs::create_dir_all(&build).with_context(|| format!("cannot create {}", build.display()))?;
        for name in sources {
            fs::copy(Path::new(PAYLOAD).join(name), build.join(name))?;
        }
        let mut mount_proc = std::ffi::OsString::from("--mount-proc=");
        mount_proc.push(self.root.join("proc"));
        let mut make = Command::new("unshare");
        make.args(["--mount", "--pid", "--fork", "--kill-child"]).arg(mount_proc).arg("chroot");
        make.arg(&self.root).args(["/usr/bin/make", "-C", "/build"]);
        make.arg(format!("KDIR=/usr/src/linux-headers-{}", self.release));
        make.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        stdout_of(&mut make)
            .with_context(|| format!("cannot build lab/payload for Linux {}", self.release))?;
        fs::write(&stamp, source)?;
        Ok(module)
    }
}

/// Fetches and unpacks the newest kernel of `series` in `suite`, its headers, and the compiler that built it.
fn fetch(series: Series, suite: &str, dir: &Path) -> Result<String> {
    let apt = Apt::update(&dir.join("apt").join(suite), suite)?;
    let image = apt.newest(&format!("linux-image-{}.", series.name), "-cloud-amd64")?;
    let release = image.trim_start_matches("linux-image-").to_owned();
    let headers = format!("linux-headers-{release}");
    let mut packages = vec![image.clone(), headers.clone()];
    // From 7.0 on the kernel and its modules are packages of their own.
    let parts = ["linux-binary-", "linux-modules-", "linux-base-"];
    packages.extend(
        apt.depends(&image)?.into_iter().filter(|name| parts.iter().any(|part| name.starts_with(part))),
    );
    let mut tools: Vec<String> = TOOLS.map(str::to_owned).to_vec();
    for name in apt.depends(&headers)? {
        if name.starts_with("linux-headers-") {
            packages.push(name);
        } else if name.starts_with("linux-kbuild-")
            || name.starts_with("gcc-")
            || name.contains("-compiler-gcc-")
        {
            tools.push(name);
        }
    }
    eprintln!("lab: fetching Linux {release} and its tools from {suite} (once)");
    let debs = dir.join("debs");
    let root = dir.join("root");
    for old in [&debs, &root] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    apt.download(&packages, &debs)?;
    apt.download_closure(&tools, &debs)?;
    apt::unpack(&debs, &root)?;
    fs::remove_dir_all(&debs).with_context(|| format!("cannot remove {}", debs.display()))?;
    finish_root(&root)?;
    stdout_of(Command::new("depmod").arg("-b").arg(&root).arg(&release)).context("is kmod installed?")?;
    Ok(release)
}

/// What the packages' scripts would have done, as far as a compiler needs it.
fn finish_root(root: &Path) -> Result<()> {
    for name in ["dev", "proc", "tmp"] {
        fs::create_dir_all(root.join(name)).with_context(|| format!("cannot create {name} in the root"))?;
    }
    let null = root.join("dev/null");
    if !null.exists() {
        mknodat(CWD, &null, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
            .context("cannot make /dev/null for the compiler")?;
    }
    for (name, target) in [("sh", "dash"), ("awk", "mawk")] {
        let link = root.join("usr/bin").join(name);
        if !link.exists() {
            symlink(target, &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    Ok(())
}
