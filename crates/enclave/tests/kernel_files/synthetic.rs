//! `/proc`, `/sys` and `/dev`.

use crate::calls::*;
use crate::process::PID;
use crate::syscall::{Errno, file};

#[test]
fn the_program_sees_itself() {
    let _alone = alone();
    assert_eq!(read_link("/proc/self").unwrap(), PID.to_string());
    assert_eq!(read_link("/proc/self/exe").as_deref(), Ok("/usr/bin/hello"));
    assert_eq!(contents("/proc/self/exe").unwrap().len(), 700_000);
    assert_eq!(contents("/proc/self/cmdline").unwrap(), b"hello\0world\0");
    assert_eq!(contents("/proc/self/environ").unwrap(), b"A=b\0");
    assert_eq!(contents("/proc/self/auxv").unwrap().len(), 32);
    assert_eq!(text(&format!("/proc/{PID}/comm")), "tester\n");
    assert!(text("/proc/self/maps").starts_with("00400000-"));
    assert!(text("/proc/thread-self/stat").starts_with("4242 (tester) R 77 "));
    assert!(text("/proc/self/status").contains("\nPPid:\t77\n"));
    assert_eq!(read_link("/proc/self/cwd").as_deref(), Ok("/"));
    assert_eq!(text("/proc/self/root/etc/passwd"), text("/etc/passwd"));
    assert_eq!(text("/proc/self/cwd/etc/passwd"), text("/etc/passwd"));
    assert_eq!(text("/proc/self/../../etc/passwd"), text("/etc/passwd"));
    assert_eq!(open("/proc/1/stat", 0), Err(Errno::ENOENT));
    assert_eq!(open("/proc/none", 0), Err(Errno::ENOENT));
    assert_eq!(open("/proc/self/maps", 1), Err(Errno::EACCES));
    assert_eq!(open("/proc/cpuinfo/x", 0), Err(Errno::ENOTDIR));
    assert!(names("/proc", 512).unwrap().contains(&PID.to_string()));
    assert!(names("/proc/self/", 512).unwrap().contains(&"maps".to_owned()));
    assert!(!names("/proc/self/task", 512).unwrap().is_empty());
}

#[test]
fn the_machine_is_described() {
    let _alone = alone();
    assert_eq!(text("/sys/devices/system/cpu/online"), "0-3\n");
    assert_eq!(text("/proc/sys/kernel/osrelease"), "6.1.0\n");
    assert_eq!(text("/proc/cpuinfo").matches("processor").count(), 4);
    assert!(text("/proc/meminfo").starts_with("MemTotal:          65536 kB\n"));
    assert_ne!(text("/proc/sys/kernel/random/uuid"), text("/proc/sys/kernel/random/uuid"));
    assert_eq!(text("/proc/sys/kernel/random/boot_id"), text("/proc/sys/kernel/random/boot_id"));
    let cpus = names("/sys/devices/system/cpu", 512).unwrap();
    assert_eq!(cpus, [".", "..", "cpu0", "cpu1", "cpu2", "cpu3", "offline", "online", "possible", "present"]);
    assert_eq!(stat("/sys/devices/system/cpu/cpu3", 0).unwrap().mode & 0o170_000, 0o040_000);
    assert_eq!(stat("/sys/devices/system/cpu/cpu4", 0).unwrap_err(), Errno::ENOENT);
    for path in ["/proc", "/sys", "/dev", "/proc/sys/kernel", "/dev/shm", "/tmp", "/run"] {
        let shown = stat(path, 0).unwrap();
        assert_eq!(shown.mode & 0o170_000, 0o040_000, "{path}");
        let fd = open(path, 0).unwrap();
        assert_eq!(fstat(fd).unwrap().ino, shown.ino, "{path}");
        close(fd);
        assert!(!names(path, 512).unwrap().is_empty());
    }
}

#[test]
fn devices_do_what_they_do() {
    let _alone = alone();
    let null = open("/dev/null", 2).unwrap();
    assert_eq!(read(null, 10).unwrap(), []);
    assert_eq!(write(null, b"abc"), Ok(3));
    close(null);
    assert_eq!(read(open("/dev/zero", 0).unwrap(), 10).unwrap(), [0; 10]);
    let full = open("/dev/full", 2).unwrap();
    assert_eq!(write(full, b"x"), Err(Errno::ENOSPC));
    assert_eq!(read(full, 3).unwrap(), [0; 3]);
    close(full);
    let random = open("/dev/urandom", 0).unwrap();
    assert_ne!(read(random, 32).unwrap(), read(random, 32).unwrap());
    close(random);
    assert_eq!(open("/dev/tty", 2), Err(Errno::ENXIO).or(Err(Errno::ENOENT)));
    close(open("/dev/null", 1 | 0o100 | 0o1000).unwrap());
    assert_eq!(open("/dev/null", 0o100 | 0o200), Err(Errno::EEXIST));
    assert_eq!(open("/dev/new", 1 | 0o100), Err(Errno::EACCES));
    assert_eq!(stat("/dev/null", 0).unwrap().mode, 0o020_666);
    assert!(names("/dev", 512).unwrap().contains(&"shm".to_owned()));
}

#[test]
fn descriptors_are_files() {
    let _alone = alone();
    let file = open("/etc/passwd", 0).unwrap();
    let name = format!("/proc/self/fd/{file}");
    assert_eq!(read_link(&name).as_deref(), Ok("/etc/passwd"));
    assert_eq!(stat(&name, 0).unwrap(), stat("/etc/passwd", 0).unwrap());
    assert_eq!(stat(&name, 0x100).unwrap().mode & 0o170_000, 0o120_000);
    assert_eq!(text(&format!("/dev/fd/{file}")), text("/etc/passwd"));
    assert_eq!(open(&name, 1), Err(Errno::EACCES));
    assert_eq!(open(&name, 0o400_000), Err(Errno::ELOOP));
    assert_eq!(read_link("/proc/self/fd/1").as_deref(), Ok("pipe:[2]"));
    assert_eq!(read_link("/dev/stdin").as_deref(), Ok("/proc/self/fd/0"));
    let out = open("/dev/stdout", 1).unwrap();
    crate::host::CONSOLE.lock().unwrap().output[0].clear();
    assert_eq!(write(out, b"out"), Ok(3));
    assert_eq!(crate::host::CONSOLE.lock().unwrap().output[0], b"out");
    close(out);
    close(file);
    let directory = open("/usr", 0).unwrap();
    assert_eq!(text(&format!("/proc/self/fd/{directory}/lib/libx.so")), "libx");
    assert_eq!(by_path(file::directory::chdir, &format!("/proc/self/fd/{directory}"), 0), Ok(0));
    assert_eq!(text("lib/libx.so"), "libx");
    assert_eq!(by_path(file::directory::chdir, "/", 0), Ok(0));
    close(directory);
    assert_eq!(open("/proc/self/fd/77", 0), Err(Errno::ENOENT));
    assert!(names("/proc/self/fd", 512).unwrap().contains(&"2".to_owned()));
}
