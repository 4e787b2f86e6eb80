//! `casemate run --mount` and `--tmpfs`: programs do with files inside what they do natively.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::command::{casemate, shielded, text};
use crate::programs::c;

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/programs").join(name);
    fs::read_to_string(path).expect("a script")
}

fn inside(options: &[&str], arguments: &[&str]) -> Output {
    let options = [&["--vcpus", "2"], options].concat();
    shielded(&options, arguments).output().expect("casemate starts")
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// A folder, and how it is mounted at a place.
fn mount(folder: &tempfile::TempDir, guest: &str) -> String {
    format!("--mount={}:{guest}", folder.path().display())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn files_of_mounts_and_of_memory_are_files() {
    let program = script("files.py");
    let native = folder();
    let path = native.path().to_str().expect("text");
    let natively = Command::new("/usr/bin/python3").args(["-c", &program, path]).output().expect("python3");
    let natively = good(&natively);
    let mounted = folder();
    for (option, place) in [
        (mount(&mounted, "/srv/some/where"), "/srv/some/where"),
        ("--tmpfs=/srv/memory".to_owned(), "/srv/memory"),
    ] {
        let output = inside(&[&option], &["/usr/bin/python3", "-c", &program, place]);
        assert_eq!(good(&output), natively, "{option}: {}", text(&output.stderr));
    }
    // The host has what the program has made.
    assert_eq!(fs::read(mounted.path().join("moved")).expect("a file"), b"short");
    assert_eq!(fs::read(mounted.path().join("map")).expect("a file").last(), Some(&33));
}

#[test]
fn read_only_mounts_are_not_changed() {
    let folder = folder();
    fs::write(folder.path().join("file"), "kept").expect("a file");
    let mount = mount(&folder, "/srv") + ":ro";
    let program = r#"
import os, errno
def attempt(f, *a):
    try: print(f(*a))
    except OSError as e: print(errno.errorcode[e.errno])
attempt(lambda: open("/srv/file").read())
attempt(open, "/srv/file", "a")
attempt(open, "/srv/new", "w")
attempt(os.mkdir, "/srv/d")
attempt(os.unlink, "/srv/file")
attempt(os.chmod, "/srv/file", 0)
attempt(os.truncate, "/srv/file", 0)
attempt(os.rename, "/srv/file", "/srv/other")
attempt(os.rename, "/srv/file", "/tmp/other")
print(os.access("/srv/file", os.R_OK), os.access("/srv/file", os.W_OK))
print([l.split()[1:4:2] for l in open("/proc/self/mounts") if " /srv " in l])
"#;
    let said = good(&inside(&[&mount], &["/usr/bin/python3", "-c", program]));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "kept");
    assert_eq!(lines[1..8], ["EROFS"; 7]);
    assert_eq!(lines[8..], ["EXDEV", "True False", "[['/srv', 'ro']]"]);
    assert_eq!(fs::read(folder.path().join("file")).expect("a file"), b"kept");
}

#[test]
fn nothing_outside_a_mount_is_reached() {
    let (outside, folder) = (folder(), folder());
    fs::write(outside.path().join("secret"), "secret").expect("a file");
    let link = |target: &Path, name| {
        std::os::unix::fs::symlink(target, folder.path().join(name)).expect("a link");
    };
    link(&outside.path().join("secret"), "absolute");
    link(Path::new("../../../../../../../../etc/passwd"), "relative");
    let program = r#"
import os
os.chdir("/srv/deep/mount")
print(os.getcwd(), sorted(os.listdir("/srv")), os.listdir("/srv/deep"), sorted(os.listdir(".")))
try: print(open("absolute").read())
except FileNotFoundError: print("not there")
# A link leads where the program's own tree has it.
print(open("relative").read() == open("/etc/passwd").read())
print(os.path.exists("../../../etc/passwd"))
try: os.rename("/srv/deep/mount", "/srv/deep/other")
except OSError as e: print(e.strerror)
"#;
    let option = mount(&folder, "/srv/deep/mount");
    let said = good(&inside(&[&option, "--tmpfs=/srv"], &["/usr/bin/python3", "-c", program]));
    let expected = "/srv/deep/mount ['deep'] ['mount'] ['absolute', 'relative']\n";
    assert!(said.starts_with(expected), "{said}");
    let rest: Vec<_> = said.lines().skip(1).collect();
    // The host's /tmp shows through where a program's /tmp has nothing of its own, as its root directory does.
    assert!(matches!(rest[0], "not there" | "secret"), "{said}");
    assert_eq!(rest[1..], ["True", "True", "Device or resource busy"], "{said}");
}

#[test]
fn a_file_can_be_mounted() {
    let folder = folder();
    let file = folder.path().join("settings");
    fs::write(&file, "port 1\n").expect("a file");
    let option = format!("--mount={}:/etc/settings.conf:ro", file.display());
    let said = good(&inside(&[&option], &["/bin/cat", "/etc/settings.conf"]));
    assert_eq!(said, "port 1\n");
    for (option, words) in [
        ("--mount=/no/such/place:/srv", "/no/such/place"),
        ("--mount=/etc:srv", "absolute"),
        ("--mount=/etc", "HOST:GUEST"),
        ("--mount=/dev/null:/srv", "/dev/null"),
        ("--tmpfs=/srv/../x", ".."),
    ] {
        let output = inside(&[option], &["/bin/true"]);
        assert!(!output.status.success() && text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[test]
fn databases_are_databases() {
    let statements = "pragma journal_mode=wal; create table t(a, b); \
        insert into t select value, hex(value) from generate_series(1, 2000); update t set b = 'x' where a % 3 = 0; \
        select count(*), sum(a), count(distinct b) from t; pragma wal_checkpoint(full); pragma integrity_check;";
    let (native, mounted) = (folder(), folder());
    let path = native.path().join("x.db").display().to_string();
    let natively = Command::new("/usr/bin/sqlite3").args([&path, statements]).output().expect("sqlite3");
    let natively = good(&natively);
    let output = inside(&[&mount(&mounted, "/srv")], &["/usr/bin/sqlite3", "/srv/x.db", statements]);
    assert_eq!(good(&output), natively);
    assert_eq!(good(&inside(&[], &["/usr/bin/sqlite3", "/tmp/x.db", statements])), natively);
    let check = ["pragma integrity_check; select sum(a) from t;"];
    let made = mounted.path().join("x.db").display().to_string();
    let output = Command::new("/usr/bin/sqlite3").arg(&made).args(check).output().expect("sqlite3");
    assert_eq!(good(&output), "ok\n2001000\n");
}

#[test]
fn locks_are_seen_by_others() {
    let folder = folder();
    fs::write(folder.path().join("lock"), "").expect("a file");
    let held = fs::File::open(folder.path().join("lock")).expect("a file");
    held.lock().expect("a lock");
    let program = "import fcntl, os; fd = os.open('/srv/lock', os.O_RDWR)\n\
        try: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB); print('mine')\n\
        except BlockingIOError: print('held')";
    let run = || good(&inside(&[&mount(&folder, "/srv")], &["/usr/bin/python3", "-c", program]));
    assert_eq!(run(), "held\n");
    drop(held);
    assert_eq!(run(), "mine\n");
}

#[test]
fn timers_send_signals() {
    use std::os::unix::process::ExitStatusExt as _;
    let program = c("timers", &[]);
    let native = Command::new(&program).output().expect("a program");
    for vcpus in ["--vcpus=1", "--vcpus=2"] {
        let mut command = casemate();
        let output = command
            .args(["run", "--platform", "emulated", vcpus, "--"])
            .arg(&program)
            .output()
            .expect("casemate starts");
        assert_eq!(text(&output.stdout), text(&native.stdout), "{}", text(&output.stderr));
        assert_eq!(output.status.signal(), native.status.signal());
    }
}

#[test]
fn handlers_see_addresses_of_the_program() {
    let program = c("interrupted", &[]);
    let program = program.to_str().expect("text");
    assert_eq!(good(&inside(&[], &[program])), "foreign 0 calls 1\n");
}

#[test]
fn files_are_watched() {
    let program = c("watch", &[]);
    let (native, mounted) = (folder(), folder());
    let natively = good(&Command::new(&program).arg(native.path()).output().expect("a program"));
    let program = program.to_str().expect("text");
    for option in [mount(&mounted, "/srv"), "--tmpfs=/srv".to_owned()] {
        assert_eq!(good(&inside(&[&option], &[program, "/srv"])), natively, "{option}");
    }
}

#[test]
fn processes_share_positions() {
    let program = script("redirections.sh");
    let (native, mounted) = (folder(), folder());
    let path = native.path().to_str().expect("text");
    let natively = Command::new("/bin/sh").args(["-c", &program, "sh", path]).output().expect("sh");
    let output = inside(&[&mount(&mounted, "/srv")], &["/bin/sh", "-c", &program, "sh", "/srv"]);
    assert_eq!(good(&output), good(&natively), "{}", text(&output.stderr));
    let log = |folder: &tempfile::TempDir| fs::read_to_string(folder.path().join("log")).expect("a file");
    assert_eq!(log(&mounted), log(&native));
}
