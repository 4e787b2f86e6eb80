//! Files of the host, read only.

use crate::calls::*;
use crate::fs;
use crate::syscall::{Errno, file};

#[test]
fn files_are_read() {
    let _alone = alone();
    assert_eq!(text("/etc/passwd"), "root:x:0:0::/:/bin/sh\n");
    assert_eq!(text("etc//./passwd"), text("/usr/../etc/passwd"));
    // A link decides what its `..` is.
    assert_eq!(text("/bin/../lib/libx.so"), "libx");
    assert_eq!(contents("/bin/../etc/passwd"), Err(Errno::ENOENT));
    assert_eq!(contents("/usr/bin/hello").unwrap().len(), 700_000);
    assert_eq!(contents("/bin/hello").unwrap(), contents("/link/hello").unwrap());
    let fd = open("/usr/bin/hello", 0).unwrap();
    // More than one transfer in one call, and the end.
    assert_eq!(read(fd, 800_000).unwrap().len(), 700_000);
    assert_eq!(read(fd, 1).unwrap(), []);
    assert_eq!(call(file::io::lseek, [fd, (-3_i64).cast_unsigned(), 2]), Ok(699_997));
    assert_eq!(read(fd, 10).unwrap(), b"hhh");
    let mut part = [0_u8; 8];
    assert_eq!(call(file::io::pread64, [fd, at_mut(&mut part), 8, 699_995]), Ok(5));
    assert_eq!(call(file::io::pread64, [fd, at_mut(&mut part), 8, u64::MAX]), Err(Errno::EINVAL));
    assert_eq!(call(file::io::lseek, [fd, (-1_i64).cast_unsigned(), 0]), Err(Errno::EINVAL));
    assert_eq!(call(file::io::lseek, [fd, 0, 9]), Err(Errno::EINVAL));
    assert_eq!(call(file::io::read, [fd, 0, 10]), Ok(0));
    assert_eq!(call(file::io::lseek, [fd, 0, 0]), Ok(0));
    assert_eq!(call(file::io::read, [fd, 0, 10]), Err(Errno::EFAULT));
    assert_eq!(write(fd, b"x"), Err(Errno::EBADF));
    close(fd);
    assert_eq!(read(fd, 1), Err(Errno::EBADF));
}

#[test]
fn nothing_is_written() {
    let _alone = alone();
    const CREAT: u32 = 0o100;
    for (path, flags, errno) in [
        ("/etc/passwd", 1, Errno::EROFS),
        ("/etc/passwd", 2 | CREAT, Errno::EROFS),
        ("/etc/passwd", 0o1000, Errno::EROFS),
        ("/etc/passwd", CREAT | 0o200, Errno::EEXIST),
        ("/etc/new", 1 | CREAT, Errno::EROFS),
        ("/etc/new", 1, Errno::ENOENT),
        ("/none/new", 1 | CREAT, Errno::ENOENT),
        ("/etc/passwd/x", 1 | CREAT, Errno::ENOTDIR),
        ("/etc", 1, Errno::EISDIR),
        ("/etc", CREAT, Errno::EISDIR),
        ("/etc/new/", CREAT, Errno::EISDIR),
        ("/etc/passwd/", 0, Errno::ENOTDIR),
        ("/etc/passwd", 0o200_000, Errno::ENOTDIR),
        ("/bin", 0o400_000, Errno::ELOOP),
        ("/loop", 0, Errno::ELOOP),
        ("/dangling", 0, Errno::ENOENT),
        ("/fifo", 0, Errno::EACCES),
        ("", 0, Errno::ENOENT),
    ] {
        assert_eq!(open(path, flags), Err(errno), "{path} {flags:o}");
    }
    // Only to be read, if it is there: that is no writing.
    let fd = open("/etc/passwd", CREAT).unwrap();
    close(fd);
    assert_eq!(by_path(file::names::mkdir, "/etc", 0o755), Err(Errno::EEXIST));
    assert_eq!(by_path(file::names::mkdir, "/etc/new/", 0o755), Err(Errno::EROFS));
    assert_eq!(by_path(file::names::unlink, "/etc/passwd", 0), Err(Errno::EROFS));
    assert_eq!(by_path(file::names::unlink, "/etc", 0), Err(Errno::EISDIR));
    assert_eq!(by_path(file::names::unlink, "/etc/none", 0), Err(Errno::ENOENT));
    assert_eq!(by_path(file::names::rmdir, "/etc", 0), Err(Errno::EROFS));
    assert_eq!(by_path(file::names::rmdir, "/etc/passwd", 0), Err(Errno::ENOTDIR));
    assert_eq!(by_path(file::names::chmod, "/etc/passwd", 0o600), Err(Errno::EROFS));
    assert_eq!(by_path(file::names::truncate, "/etc/passwd", 0), Err(Errno::EROFS));
    assert_eq!(by_paths(file::names::rename, "/etc/passwd", "/etc/x"), Err(Errno::EROFS));
    assert_eq!(by_paths(file::names::rename, "/etc/none", "/etc/x"), Err(Errno::ENOENT));
    assert_eq!(by_paths(file::names::rename, "/etc/passwd", "/tmp/x"), Err(Errno::EXDEV));
    assert_eq!(by_path(file::stat::access, "/etc/passwd", 2), Err(Errno::EROFS));
    assert_eq!(by_path(file::stat::access, "/etc/passwd", 4), Ok(0));
    assert_eq!(by_path(file::stat::access, "/etc/passwd", 1), Err(Errno::EACCES));
    assert_eq!(by_path(file::stat::access, "/bin/hello", 1), Ok(0));
    assert_eq!(by_path(file::stat::access, "/etc/passwd", 8), Err(Errno::EINVAL));
}

#[test]
fn stat_follows_or_not() {
    let _alone = alone();
    assert_eq!(stat("/bin", 0).unwrap().mode & 0o170_000, 0o040_000);
    assert_eq!(stat("/bin", 0x100).unwrap().mode & 0o170_000, 0o120_000);
    assert_eq!(stat("/bin/", 0x100).unwrap().mode & 0o170_000, 0o040_000);
    assert_eq!(stat("/usr/bin/hello", 0).unwrap().size, 700_000);
    assert_eq!(stat("/", 0).unwrap().mode & 0o170_000, 0o040_000);
    assert_eq!(stat("/etc/passwd/", 0).unwrap_err(), Errno::ENOTDIR);
    assert_eq!(stat("", 0).unwrap_err(), Errno::ENOENT);
    assert_eq!(stat("/", 1).unwrap_err(), Errno::EINVAL);
    let fd = open("/etc/passwd", 0).unwrap();
    let mut record = [0; 144];
    assert_eq!(with_path("", |p| call(file::stat::newfstatat, [fd, p, at_mut(&mut record), 0x1000])), Ok(0));
    assert_eq!(fstat(fd).unwrap(), stat("/etc/passwd", 0).unwrap());
    assert_eq!(
        with_path("x", |p| call(file::stat::newfstatat, [fd, p, at_mut(&mut record), 0])),
        Err(Errno::ENOTDIR)
    );
    close(fd);
    assert_eq!(read_link("/bin").as_deref(), Ok("usr/bin"));
    assert_eq!(read_link("/usr"), Err(Errno::EINVAL));
    assert_eq!(read_link("/none"), Err(Errno::ENOENT));
}

#[test]
fn directories_are_listed_whatever_the_room() {
    let _alone = alone();
    let all = names("/many", 65_536).unwrap();
    assert_eq!(all.len(), 602);
    assert_eq!(names("/many", 64).unwrap(), all);
    assert_eq!(names("/many", 1000).unwrap(), all);
    assert_eq!(names("/many", 20), Err(Errno::EINVAL));
    assert!(names("/", 4096).unwrap().contains(&"etc".to_owned()));
    let fd = open("/many", 0).unwrap();
    assert_eq!(read(fd, 10), Err(Errno::EISDIR));
    close(fd);
}

#[test]
fn the_working_directory_has_no_links() {
    let _alone = alone();
    let cwd = || {
        let mut out = [0_u8; 100];
        let count = usize::try_from(call(file::directory::getcwd, [at_mut(&mut out), 100]).unwrap()).unwrap();
        String::from_utf8(out[..count - 1].to_vec()).unwrap()
    };
    assert_eq!(cwd(), "/");
    assert_eq!(by_path(file::directory::chdir, "/bin", 0), Ok(0));
    assert_eq!(cwd(), "/usr/bin");
    assert_eq!(stat("hello", 0).unwrap().size, 700_000);
    assert_eq!(text("../lib/libx.so"), "libx");
    let fd = open("../../etc", 0).unwrap();
    assert_eq!(call(file::directory::fchdir, [fd]), Ok(0));
    assert_eq!(cwd(), "/etc");
    let mut small = [0_u8; 4];
    assert_eq!(call(file::directory::getcwd, [at_mut(&mut small), 4]), Err(Errno::ERANGE));
    assert_eq!(by_path(file::directory::chdir, "passwd", 0), Err(Errno::ENOTDIR));
    assert_eq!(by_path(file::directory::chdir, "none", 0), Err(Errno::ENOENT));
    assert_eq!(with_path("passwd", |p| call(file::open::openat, [fd, p, 0])).map(close), Ok(()));
    close(fd);
    assert_eq!(by_path(file::directory::chdir, "/", 0), Ok(0));
}

#[test]
fn programs_are_opened() {
    let _alone = alone();
    assert!(fs::open_program("/link/hello").is_ok());
    assert_eq!(fs::open_program("/etc/passwd").err(), Some(Errno::EACCES));
    assert_eq!(fs::open_program("/usr").err(), Some(Errno::EACCES));
    assert_eq!(fs::open_program("/usr/none").err(), Some(Errno::ENOENT));
    let file = fs::open_program("/usr/bin/hello").unwrap();
    assert_eq!(file.check_mappable(false), Ok(()));
    assert_eq!(file.check_mappable(true), Err(Errno::EACCES));
    let mut bytes = [0; 4];
    assert_eq!(file.read_at_user(699_998, at_mut(&mut bytes), 4), Ok(2));
    assert_eq!(bytes, *b"hh\0\0");
}
