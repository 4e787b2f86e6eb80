//! Where runtimes keep their state, and the one way it is read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

/// Largest state file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Largest state file that is read if an ordinary user owns it: such a file can be built to cost many times its
/// size in memory.
const MAX_USER_FILE: u64 = 2 << 20;

/// Where the runtimes of this host keep their state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The proc file system.
    pub proc: PathBuf,
    /// The user database, for the homes of users with rootless containers.
    pub passwd: PathBuf,
    /// Docker's data roots.
    pub docker: Vec<PathBuf>,
    /// Docker Engine's API socket.
    pub docker_socket: PathBuf,
    /// Where containerd keeps the bundles of running tasks, by its own namespaces.
    pub containerd: Vec<PathBuf>,
    /// Storage of Podman and CRI-O: permanent, then run-time.
    pub storage: Vec<PathBuf>,
    /// runc's state directory.
    pub runc: PathBuf,
    /// crun's state directory.
    pub crun: PathBuf,
    /// Parent of the users' run-time directories.
    pub run_user: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            passwd: "/etc/passwd".into(),
            docker: vec!["/var/lib/docker".into(), "/var/snap/docker/common/var-lib-docker".into()],
            docker_socket: "/run/docker.sock".into(),
            containerd: vec![
                "/run/containerd/io.containerd.runtime.v2.task".into(),
                "/run/k3s/containerd/io.containerd.runtime.v2.task".into(),
            ],
            storage: vec!["/var/lib/containers/storage".into(), "/run/containers/storage".into()],
            runc: "/run/runc".into(),
            crun: "/run/crun".into(),
            run_user: "/run/user".into(),
        }
    }
}

impl Roots {
    /// The home of user `uid`. Only the local user database is asked: a name service could block.
    pub(super) fn home(&self, uid: u32) -> Option<PathBuf> {
        let passwd = read(&self.passwd, 0)?;
        let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
        line.split(':').nth(5).map(PathBuf::from).filter(|home| home.is_absolute())
    }

    /// The run-time directory (`XDG_RUNTIME_DIR`) of user `uid`.
    pub(super) fn user_run(&self, uid: u32) -> PathBuf {
        self.run_user.join(uid.to_string())
    }
}

/// The text of a state file that `owner` keeps, or `None` if there is no such file or it is not what it should be.
///
/// A user can put anything at the end of the path: a link to a file that only root reads, a FIFO that blocks whoever
/// opens it, a file of gigabytes.
pub(super) fn read(path: &Path, owner: u32) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || (owner != 0 && metadata.uid() != owner) {
        return None;
    }
    let limit = if owner == 0 { MAX_FILE } else { MAX_USER_FILE };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > limit {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// The JSON state file `path` that `owner` keeps.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, owner: u32) -> Option<T> {
    serde_json::from_str(&read(path, owner)?).ok()
}

/// The names in directory `path`; none if it is not there.
pub(super) fn names(path: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reads_only_regular_files_of_a_sane_size_and_owner() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("good"), "{}").unwrap();
        std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        File::create(at("huge")).unwrap().set_len(MAX_FILE + 1).unwrap();
        fs::write(at("binary"), [0xff, 0xfe]).unwrap();

        assert_eq!(read(&at("good"), 0).as_deref(), Some("{}"));
        for bad in ["link", "fifo", "huge", "binary", "absent", "."] {
            assert_eq!(read(&at(bad), 0), None, "{bad}");
        }
        let me = fs::metadata(at("good")).unwrap().uid();
        assert_eq!(read(&at("good"), me + 1), None, "another user's file");
    }

    #[test]
    fn homes_come_from_the_user_database() {
        let dir = tempfile::tempdir().unwrap();
        let passwd = dir.path().join("passwd");
        fs::write(
            &passwd,
            "root:x:0:0::/root:/bin/sh\nbroken\nann:x:1000:1000:A:/home/ann:/bin/sh\nb:x:7:7::rel:\n",
        )
        .unwrap();
        let roots = Roots { passwd, ..Roots::default() };
        assert_eq!(roots.home(1000), Some("/home/ann".into()));
        assert_eq!(roots.home(7), None);
        assert_eq!(roots.home(1), None);
    }
}
