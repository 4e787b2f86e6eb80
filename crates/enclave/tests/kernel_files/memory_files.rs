//! Files in the enclave's memory: tmpfs, memfd.

use crate::calls::*;
use crate::syscall::{Errno, file};

const CREAT: u32 = 0o100;
const EXCL: u32 = 0o200;
const TRUNC: u32 = 0o1000;
const APPEND: u32 = 0o2000;

#[test]
fn files_are_made_written_and_removed() {
    let _alone = alone();
    let fd = open_mode("/tmp/a", 2 | CREAT | EXCL, 0o666).unwrap();
    assert_eq!(fstat(fd).unwrap().mode, 0o100_644);
    assert_eq!(write(fd, b"hello"), Ok(5));
    assert_eq!(read(fd, 5).unwrap(), []);
    assert_eq!(call(file::io::lseek, [fd, 0, 0]), Ok(0));
    assert_eq!(read(fd, 9).unwrap(), b"hello");
    assert_eq!(call(file::io::pwrite64, [fd, at(b"J"), 1, 0]), Ok(1));
    assert_eq!(text("/tmp/a"), "Jello");
    assert_eq!(open("/tmp/a", CREAT | EXCL), Err(Errno::EEXIST));
    let more = open("/tmp/a", 1 | APPEND).unwrap();
    assert_eq!(write(more, b", world"), Ok(7));
    assert_eq!(call(file::io::pwrite64, [more, at(b"!"), 1, 0]), Ok(1));
    assert_eq!(read(more, 1), Err(Errno::EBADF));
    close(more);
    assert_eq!(text("/tmp/a"), "Jello, world!");
    assert_eq!(call(file::names::ftruncate, [fd, 3]), Ok(0));
    assert_eq!(by_path(file::names::unlink, "/tmp/a", 0), Ok(0));
    assert_eq!(stat("/tmp/a", 0).unwrap_err(), Errno::ENOENT);
    assert_eq!(fstat(fd).unwrap(), Shown { nlink: 0, size: 3, ..fstat(fd).unwrap() });
    close(fd);
    let fd = open_mode("/tmp/b", 1 | CREAT | TRUNC, 0o600).unwrap();
    assert_eq!(write(fd, b"x"), Ok(1));
    close(fd);
    close(open("/tmp/b", 1 | TRUNC).unwrap());
    assert_eq!(stat("/tmp/b", 0).unwrap().size, 0);
    assert_eq!(by_path(file::names::chmod, "/tmp/b", 0), Ok(0));
    assert_eq!(open("/tmp/b", 0), Err(Errno::EACCES));
    assert_eq!(by_path(file::names::unlink, "/tmp/b", 0), Ok(0));
    assert_eq!(open("/tmp/c", 0), Err(Errno::ENOENT));
    assert_eq!(open("/tmp/c/", CREAT), Err(Errno::EISDIR));
}

#[test]
fn directories_and_links() {
    let _alone = alone();
    assert_eq!(by_path(file::names::mkdir, "/tmp/d/", 0o777), Ok(0));
    assert_eq!(by_path(file::names::mkdir, "/tmp/d", 0o777), Err(Errno::EEXIST));
    assert_eq!(by_path(file::names::mkdir, "/tmp/none/d", 0o777), Err(Errno::ENOENT));
    assert_eq!(stat("/tmp/d", 0).unwrap().mode, 0o040_755);
    close(open_mode("/tmp/d/f", 1 | CREAT, 0o644).unwrap());
    assert_eq!(by_paths(file::names::symlink, "f", "/tmp/d/l"), Ok(0));
    assert_eq!(by_paths(file::names::symlink, "/etc", "/tmp/d/etc"), Ok(0));
    assert_eq!(by_paths(file::names::symlink, "/proc/self", "/tmp/d/me"), Ok(0));
    assert_eq!(read_link("/tmp/d/l").as_deref(), Ok("f"));
    assert_eq!(stat("/tmp/d/l", 0).unwrap(), stat("/tmp/d/f", 0).unwrap());
    assert_eq!(text("/tmp/d/etc/passwd"), text("/etc/passwd"));
    assert_eq!(text("/tmp/d/etc/../etc/passwd"), text("/etc/passwd"));
    assert_eq!(text("/tmp/d/me/comm"), "tester\n");
    assert_eq!(open("/tmp/d/l", 0o400_000), Err(Errno::ELOOP));
    assert_eq!(by_paths(file::names::link, "/tmp/d/f", "/tmp/d/g"), Ok(0));
    assert_eq!(stat("/tmp/d/f", 0).unwrap().nlink, 2);
    assert_eq!(by_paths(file::names::link, "/tmp/d/f", "/dev/shm/g"), Err(Errno::EXDEV));
    assert_eq!(by_paths(file::names::rename, "/tmp/d/f", "/dev/shm/g"), Err(Errno::EXDEV));
    assert_eq!(by_paths(file::names::rename, "/tmp/d/g", "/tmp/d/h"), Ok(0));
    assert_eq!(by_paths(file::names::rename, "/tmp/d", "/tmp/d/x"), Err(Errno::EINVAL));
    assert_eq!(by_paths(file::names::rename, "/tmp/d/f/", "/tmp/d/x"), Err(Errno::ENOTDIR));
    assert_eq!(names("/tmp/d", 200).unwrap(), [".", "..", "etc", "f", "h", "l", "me"]);
    assert_eq!(by_path(file::names::rmdir, "/tmp/d", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(by_path(file::names::rmdir, "/tmp/d/.", 0), Err(Errno::EINVAL));
    assert_eq!(by_path(file::names::rmdir, "/tmp", 0), Err(Errno::EBUSY));
    for name in ["etc", "f", "h", "l", "me"] {
        assert_eq!(by_path(file::names::unlink, &format!("/tmp/d/{name}"), 0), Ok(0), "{name}");
    }
    assert_eq!(by_path(file::names::rmdir, "/tmp/d/", 0), Ok(0));
}

#[test]
fn the_hosts_files_show_through() {
    let _alone = alone();
    assert_eq!(text("/tmp/old/file"), "old");
    assert!(names("/tmp", 4096).unwrap().contains(&"old".to_owned()));
    close(open_mode("/tmp/old/deep/new", 1 | CREAT, 0o644).unwrap());
    assert_eq!(names("/tmp/old/deep", 4096).unwrap(), [".", "..", "new"]);
    assert_eq!(names("/tmp/old", 4096).unwrap(), [".", "..", "deep", "file"]);
    assert_eq!(text("/tmp/old/file"), "old");
    // What is written is a copy, what is removed only hidden.
    let fd = open("/tmp/old/file", 1).unwrap();
    assert_eq!(write(fd, b"new"), Ok(3));
    close(fd);
    assert_eq!(text("/tmp/old/file"), "new");
    assert_eq!(by_path(file::names::rmdir, "/tmp/old", 0), Err(Errno::ENOTEMPTY));
    for name in ["/tmp/old/file", "/tmp/old/deep/new"] {
        assert_eq!(by_path(file::names::unlink, name, 0), Ok(0));
        assert_eq!(stat(name, 0).err(), Some(Errno::ENOENT));
    }
    assert_eq!(by_path(file::names::rmdir, "/tmp/old/deep", 0), Ok(0));
    assert_eq!(by_path(file::names::rmdir, "/tmp/old", 0), Ok(0));
    assert!(!names("/tmp", 4096).unwrap().contains(&"old".to_owned()));
    assert_eq!(std::fs::read_to_string(crate::host::ROOT.join("tmp/old/file")).unwrap(), "old");
}

#[test]
fn links_of_the_host_lead_into_memory() {
    let _alone = alone();
    let fd = open_mode("/var/run/pid", 1 | CREAT, 0o644).unwrap();
    assert_eq!(write(fd, b"7"), Ok(1));
    close(fd);
    assert_eq!(text("/run/pid"), "7");
    assert_eq!(text("/var/run/pid"), "7");
    assert_eq!(by_path(file::directory::chdir, "/usr/totmp", 0), Ok(0));
    close(open_mode("here", 1 | CREAT, 0o644).unwrap());
    assert!(stat("/tmp/here", 0).is_ok());
    assert_eq!(by_path(file::directory::chdir, "/", 0), Ok(0));
    assert!(text("/etc/mtab").starts_with("casemate / casemate ro"));
}

#[test]
fn files_without_names() {
    let _alone = alone();
    let fd = with_path("buffer", |name| call(file::open::memfd_create, [name, 2])).unwrap();
    assert_eq!(call(file::names::ftruncate, [fd, 10_000]), Ok(0));
    assert_eq!(call(file::io::pwrite64, [fd, at(b"x"), 1, 9_999]), Ok(1));
    assert_eq!(fstat(fd).unwrap().size, 10_000);
    assert_eq!(read_link(&format!("/proc/self/fd/{fd}")).as_deref(), Ok("/memfd:buffer (deleted)"));
    // F_ADD_SEALS: shrink, grow. F_GET_SEALS.
    assert_eq!(call(file::descriptor::fcntl, [fd, 1033, 6]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [fd, 1034, 0]), Ok(6));
    assert_eq!(call(file::names::ftruncate, [fd, 1]), Err(Errno::EPERM));
    assert_eq!(call(file::io::pwrite64, [fd, at(b"xy"), 2, 9_999]), Ok(1));
    // FALLOC_FL_PUNCH_HOLE with KEEP_SIZE.
    assert_eq!(call(file::names::fallocate, [fd, 3, 0, 10_000]), Ok(0));
    assert_eq!(call(file::names::fallocate, [fd, 0, 0, 20_000]), Err(Errno::EPERM));
    let again = open(&format!("/proc/self/fd/{fd}"), 2).unwrap();
    assert_eq!(read(again, 20_000).unwrap(), vec![0; 10_000]);
    close(again);
    close(fd);
    // O_TMPFILE.
    let fd = open_mode("/tmp", 2 | 0o20_200_000, 0o600).unwrap();
    assert_eq!(fstat(fd).unwrap().nlink, 0);
    close(fd);
    assert_eq!(open("/tmp", 0o20_200_000), Err(Errno::EINVAL));
}

#[test]
fn times_are_set() {
    let _alone = alone();
    close(open_mode("/tmp/t", 1 | CREAT, 0o644).unwrap());
    let mtime = || {
        let mut record = [0_u8; 144];
        with_path("/tmp/t", |p| call(file::stat::stat, [p, at_mut(&mut record)])).unwrap();
        (
            i64::from_le_bytes(record[88..96].try_into().unwrap()),
            i64::from_le_bytes(record[96..104].try_into().unwrap()),
        )
    };
    let set =
        |times: [i64; 4]| with_path("/tmp/t", |p| call(file::names::utimensat, [CWD, p, at(&times), 0]));
    assert_eq!(set([1, 2, 3, 4]), Ok(0));
    assert_eq!(mtime(), (3, 4));
    assert_eq!(set([1, 0x3fff_ffff, 3, 0x3fff_fffe]), Ok(0));
    assert_eq!(mtime(), (3, 4));
    assert_eq!(set([1, 0, 3, 1_000_000_000]), Err(Errno::EINVAL));
    assert_eq!(set([-1, 0, -1, 999_999_999]), Ok(0));
    assert_eq!(mtime(), (-1, 999_999_999));
    assert_eq!(by_path(file::names::utimes, "/tmp/t", at(&[5_i64, 0, 6, 7])), Ok(0));
    assert_eq!(mtime(), (6, 7000));
    assert_eq!(by_path(file::names::unlink, "/tmp/t", 0), Ok(0));
}
