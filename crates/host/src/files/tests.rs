//! What a hostile enclave cannot reach, and what an honest one gets.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

use casemate_enclave_abi::DirEntries;
use rustix::fs::{FileType, mkfifoat};
use tempfile::TempDir;

use super::*;

/// A root directory in a directory with a secret, and some ways to go from one to the other.
struct Rootfs {
    outside: TempDir,
    files: Files,
}

impl Rootfs {
    fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("dir/deeper")).unwrap();
        fs::write(root.join("file"), "0123456789").unwrap();
        let absolute = outside.path().join("secret");
        for (link, target) in [
            ("absolute", absolute.as_path()),
            ("relative", Path::new("../secret")),
            ("dir/relative", Path::new("../../secret")),
            ("parent", Path::new("..")),
            ("self", Path::new("/proc/self/root")),
            ("inside", Path::new("/dir/../file")),
            ("loop", Path::new("loop")),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let files = Files::new(&root).unwrap();
        Self { outside, files }
    }

    fn root(&self) -> PathBuf {
        self.outside.path().join("root")
    }

    fn open(&self, path: &str, flags: OFlags) -> Result<u64, Errno> {
        self.files.open(path.as_bytes(), flags.bits().into())
    }

    fn contents(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let handle = self.open(path, OFlags::RDONLY)?;
        let mut buffer = [0; 64];
        let length = self.files.read(handle, &mut buffer, CURRENT_POSITION)?;
        self.files.close(handle)?;
        Ok(buffer[..length].to_vec())
    }
}

#[test]
fn nothing_outside_the_root_is_reached() {
    let rootfs = Rootfs::new();
    let absolute = rootfs.outside.path().join("secret");
    for path in [
        absolute.to_str().unwrap(),
        "../secret",
        "/../secret",
        "dir/../../secret",
        "/dir/deeper/../../../secret",
        "absolute",
        "relative",
        "dir/relative",
        "parent/secret",
        "self/etc/passwd",
    ] {
        assert_eq!(rootfs.open(path, OFlags::RDONLY), Err(Errno::ENOENT), "{path}");
        assert_eq!(
            rootfs.files.stat_at(path.as_bytes(), true).map(|stat| stat.ino),
            Err(Errno::ENOENT),
            "{path}"
        );
    }
    assert_eq!(rootfs.open("loop", OFlags::RDONLY), Err(Errno::ELOOP));
    // `..` at the root is the root, as everywhere.
    let root = fs::metadata(rootfs.root()).unwrap().ino();
    for path in ["/", "..", "/../..", "parent"] {
        assert_eq!(rootfs.files.stat_at(path.as_bytes(), true).unwrap().ino, root, "{path}");
    }
    assert_eq!(rootfs.contents("inside").unwrap(), b"0123456789");
}

#[test]
fn magic_links_and_procfs_are_closed() {
    let files = Files::new(Path::new("/")).unwrap();
    for path in ["/proc/self/root/etc/passwd", "/proc/self/cwd", "/proc/self/fd/0", "/proc/self/exe"] {
        assert!(files.open(path.as_bytes(), 0).is_err(), "{path}");
    }
    for path in ["/proc/self/mem", "/proc/self/environ", "/proc/version", "/proc"] {
        assert_eq!(files.open(path.as_bytes(), 0), Err(Errno::EACCES), "{path}");
    }
    assert_eq!(files.read_link(b"/proc/self/exe", &mut [0; 64]), Err(Errno::EACCES));
}

#[test]
fn nothing_is_written() {
    let rootfs = Rootfs::new();
    let created = OFlags::CREATE | OFlags::WRONLY;
    for (path, flags, error) in [
        ("file", OFlags::WRONLY, Errno::EROFS),
        ("file", OFlags::RDWR, Errno::EROFS),
        ("file", OFlags::TRUNC, Errno::EROFS),
        ("file", created | OFlags::EXCL, Errno::EEXIST),
        ("new", created, Errno::EROFS),
        ("dir/new", OFlags::CREATE, Errno::EROFS),
        ("none/new", created, Errno::ENOENT),
        ("file/new", created, Errno::ENOTDIR),
        ("new", OFlags::WRONLY, Errno::ENOENT),
        ("dir", OFlags::WRONLY, Errno::EISDIR),
        ("dir", OFlags::TMPFILE | OFlags::RDWR, Errno::EISDIR),
    ] {
        assert_eq!(rootfs.open(path, flags), Err(error), "{path} {flags:?}");
    }
    // What is there is only opened.
    assert!(rootfs.open("file", OFlags::CREATE).is_ok());
    assert!(!rootfs.root().join("new").exists() && !rootfs.root().join("dir/new").exists());
    assert_eq!(fs::read(rootfs.root().join("file")).unwrap(), b"0123456789");
}

#[test]
fn devices_and_fifos_are_not_opened() {
    let rootfs = Rootfs::new();
    mkfifoat(CWD, rootfs.root().join("fifo"), Mode::RUSR).unwrap();
    assert_eq!(rootfs.open("fifo", OFlags::RDONLY), Err(Errno::EACCES));
    let handle = rootfs.open("fifo", OFlags::PATH).unwrap();
    assert_eq!(
        FileType::from_raw_mode(rootfs.files.stat(handle).unwrap().mode.try_into().unwrap()),
        FileType::Fifo
    );
    let host = Files::new(Path::new("/")).unwrap();
    assert_eq!(host.open(b"/dev/null", 0), Err(Errno::EACCES));
}

#[test]
fn flags_mean_what_they_mean_to_linux() {
    let rootfs = Rootfs::new();
    for (path, flags, error) in [
        ("file", OFlags::DIRECTORY, Errno::ENOTDIR),
        ("inside", OFlags::NOFOLLOW, Errno::ELOOP),
        ("file/", OFlags::RDONLY, Errno::ENOTDIR),
        ("none", OFlags::RDONLY, Errno::ENOENT),
    ] {
        assert_eq!(rootfs.open(path, flags), Err(error), "{path} {flags:?}");
    }
    assert_eq!(rootfs.files.open(b"file", u64::MAX), Err(Errno::EINVAL));
    let link = rootfs.open("inside", OFlags::PATH | OFlags::NOFOLLOW).unwrap();
    assert_eq!(rootfs.files.stat(link).unwrap().mode & 0o170_000, 0o120_000);
    assert_eq!(rootfs.files.read(link, &mut [0; 4], 0), Err(Errno::EBADF));
}

#[test]
fn handles_are_checked_and_used_again() {
    let rootfs = Rootfs::new();
    for handle in [0, 1, u64::MAX, 1 << 32] {
        assert_eq!(rootfs.files.close(handle), Err(Errno::EBADF));
        assert_eq!(rootfs.files.read(handle, &mut [0], 0), Err(Errno::EBADF));
        assert_eq!(rootfs.files.stat(handle), Err(Errno::EBADF));
    }
    let first = rootfs.open("file", OFlags::RDONLY).unwrap();
    let second = rootfs.open("dir", OFlags::RDONLY).unwrap();
    assert_ne!(first, second);
    rootfs.files.close(first).unwrap();
    assert_eq!(rootfs.files.close(first), Err(Errno::EBADF));
    assert_eq!(rootfs.open("file", OFlags::RDONLY), Ok(first));
    assert_eq!(rootfs.files.read(second, &mut [0; 8], 0), Err(Errno::EISDIR));
}

#[test]
fn positions_are_the_callers_or_the_files() {
    let rootfs = Rootfs::new();
    let handle = rootfs.open("file", OFlags::RDONLY).unwrap();
    let read = |length: usize, position| {
        let mut buffer = vec![0; length];
        rootfs.files.read(handle, &mut buffer, position).map(|length| buffer[..length].to_vec())
    };
    assert_eq!(read(4, CURRENT_POSITION).unwrap(), b"0123");
    assert_eq!(read(4, 8).unwrap(), b"89");
    assert_eq!(read(4, CURRENT_POSITION).unwrap(), b"4567");
    assert_eq!(read(4, 100).unwrap(), b"");
    assert_eq!(read(4, u64::MAX - 1), Err(Errno::EINVAL));
    assert_eq!(read(4, 1 << 63), Err(Errno::EINVAL));
}

#[test]
fn directories_are_read_in_pieces() {
    let rootfs = Rootfs::new();
    let many = rootfs.root().join("many");
    fs::create_dir(&many).unwrap();
    let mut expected: Vec<_> = (0..100).map(|number| format!("file-{number}")).collect();
    for name in &expected {
        fs::write(many.join(name), "").unwrap();
    }
    expected.extend([".".into(), "..".into()]);
    let handle = rootfs.open("many", OFlags::RDONLY).unwrap();
    let (mut found, mut cookie, mut calls) = (Vec::new(), 0, 0);
    loop {
        let mut buffer = [0; 512];
        let length = rootfs.files.read_dir(handle, &mut buffer, cookie).unwrap();
        if length == 0 {
            break;
        }
        for entry in DirEntries::new(&buffer[..length]) {
            let entry = entry.unwrap();
            found.push(String::from_utf8(entry.name.to_vec()).unwrap());
            cookie = entry.cookie;
        }
        calls += 1;
    }
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(calls > 5, "{calls} calls");
    assert_eq!(rootfs.files.read_dir(handle, &mut [0; 8], 0), Err(Errno::EINVAL));
    assert_eq!(rootfs.files.read_dir(handle, &mut [0; 512], u64::MAX), Err(Errno::EINVAL));
    let file = rootfs.open("file", OFlags::RDONLY).unwrap();
    assert_eq!(rootfs.files.read_dir(file, &mut [0; 512], 0), Err(Errno::ENOTDIR));
}

#[test]
fn links_and_file_systems_are_described() {
    let rootfs = Rootfs::new();
    let mut buffer = [0; 64];
    let length = rootfs.files.read_link(b"relative", &mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"../secret");
    assert_eq!(rootfs.files.read_link(b"relative", &mut buffer[..4]), Ok(4));
    assert_eq!(rootfs.files.read_link(b"file", &mut buffer), Err(Errno::EINVAL));
    assert_eq!(rootfs.files.read_link(b"none", &mut buffer), Err(Errno::ENOENT));
    let fs = rootfs.files.stat_fs(b"/").unwrap();
    assert!(fs.bsize > 0 && fs.namelen >= 255 && fs.bfree <= fs.blocks);
    let stat = rootfs.files.stat_at(b"relative", false).unwrap();
    assert_eq!(stat.mode & 0o170_000, 0o120_000);
    assert_eq!(rootfs.files.stat_at(b"inside", true).unwrap().size, 10);
}
