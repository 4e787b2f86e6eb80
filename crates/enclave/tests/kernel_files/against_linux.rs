//! Random calls on names, here in memory and under the Linux below on its disk: the same answers, the same tree.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::calls::*;
use crate::syscall::{Errno, file};

#[derive(Clone, Debug)]
enum Step {
    Open(String, u32),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String, u32),
    Link(String, String),
    Symlink(String, String),
    ReadLink(String),
    Stat(String, bool),
    Chdir(String),
}

/// Paths in a small tree, some of them odd.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 1 => Just("."), 1 => Just("..")];
    // Not above the directory of the test: there the two differ.
    let inside = |names: Vec<&str>| {
        let mut depth = 0;
        names.iter().all(|name| {
            depth += match *name {
                "." => 0,
                ".." => -1,
                _ => 1,
            };
            depth >= 0
        })
    };
    let names = prop::collection::vec(name, 1..4).prop_filter("above", move |names| inside(names.clone()));
    (names, prop::bool::weighted(0.1))
        .prop_map(|(names, slash)| names.join("/") + if slash { "/" } else { "" })
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![
        0,
        1,
        0o100,
        0o101,
        0o300,
        0o301,
        0o1101,
        0o200_000,
        0o400_000,
        0o400_100,
        0o10_000_000,
        0o10_400_000,
    ]);
    // A link's target has no `..`: through it a path could leave the directory of the test.
    let target = prop::sample::select(vec!["a", "b", "a/b", "./c", "b/.", "none"]);
    prop_oneof![
        4 => (path(), flags).prop_map(|(p, f)| Step::Open(p, f)),
        4 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Rmdir),
        2 => path().prop_map(Step::Unlink),
        3 => (path(), path(), 0..3_u32).prop_map(|(a, b, f)| Step::Rename(a, b, f)),
        2 => (path(), path()).prop_map(|(a, b)| Step::Link(a, b)),
        3 => (target, path()).prop_map(|(t, p)| Step::Symlink(t.into(), p)),
        1 => path().prop_map(Step::ReadLink),
        2 => (path(), any::<bool>()).prop_map(|(p, f)| Step::Stat(p, f)),
        1 => path().prop_map(Step::Chdir),
    ]
}

/// What both are asked to tell: an error, or something that does not depend on where it is.
type Answer = Result<String, u16>;

/// In memory, below this directory.
fn ours(base: &str, step: &Step) -> Answer {
    let at = |path: &str| format!("{base}/{path}");
    let done = |result: crate::syscall::Result| result.map(|_| String::new());
    let kind = |shown: Shown| {
        let links = if shown.mode & 0o170_000 == 0o040_000 { 0 } else { shown.nlink };
        format!("{:o} {links}", shown.mode & 0o170_000)
    };
    let answer = match step {
        Step::Open(path, flags) => open_mode(&at(path), *flags, 0o666).map(|fd| {
            let shown = kind(fstat(fd).unwrap());
            close(fd);
            shown
        }),
        Step::Mkdir(path) => done(by_path(file::names::mkdir, &at(path), 0o777)),
        Step::Rmdir(path) => done(by_path(file::names::rmdir, &at(path), 0)),
        Step::Unlink(path) => done(by_path(file::names::unlink, &at(path), 0)),
        Step::Rename(old, new, flags) => done(with_path(&at(old), |old| {
            with_path(&at(new), |new| call(file::names::renameat2, [CWD_, old, CWD_, new, (*flags).into()]))
        })),
        Step::Link(old, new) => done(by_paths(file::names::link, &at(old), &at(new))),
        Step::Symlink(target, path) => done(by_paths(file::names::symlink, target, &at(path))),
        Step::ReadLink(path) => read_link(&at(path)),
        Step::Stat(path, follow) => stat(&at(path), if *follow { 0 } else { 0x100 }).map(kind),
        Step::Chdir(path) => done(by_path(file::directory::chdir, &at(path), 0)),
    };
    answer.map_err(Errno::get)
}

const CWD_: u64 = crate::calls::CWD;

/// Under Linux, below this directory.
fn theirs(base: &Path, step: &Step) -> Answer {
    let at = |path: &str| format!("{}/{path}", base.display());
    let kind = |stat: &rustix::fs::Stat| {
        let links = if stat.st_mode & 0o170_000 == 0o040_000 { 0 } else { stat.st_nlink };
        format!("{:o} {links}", stat.st_mode & 0o170_000)
    };
    let answer = match step {
        Step::Open(path, flags) => {
            rustix::fs::open(at(path), OFlags::from_bits_retain(*flags), Mode::from_raw_mode(0o666))
                .map(|fd| kind(&rustix::fs::fstat(fd).unwrap()))
        }
        Step::Mkdir(path) => rustix::fs::mkdir(at(path), Mode::from_raw_mode(0o777)).map(|()| String::new()),
        Step::Rmdir(path) => rustix::fs::rmdir(at(path)).map(|()| String::new()),
        Step::Unlink(path) => rustix::fs::unlink(at(path)).map(|()| String::new()),
        Step::Rename(old, new, flags) => {
            let flags = RenameFlags::from_bits_retain(*flags);
            rustix::fs::renameat_with(CWD, at(old), CWD, at(new), flags).map(|()| String::new())
        }
        Step::Link(old, new) => rustix::fs::link(at(old), at(new)).map(|()| String::new()),
        Step::Symlink(target, path) => rustix::fs::symlink(target, at(path)).map(|()| String::new()),
        Step::ReadLink(path) => {
            rustix::fs::readlink(at(path), Vec::new()).map(|target| target.into_string().unwrap())
        }
        Step::Stat(path, follow) => {
            let flags = if *follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            rustix::fs::statat(CWD, at(path), flags).map(|stat| kind(&stat))
        }
        // The working directory of this process stays: whether it could be changed is what a directory's opening says.
        Step::Chdir(path) => {
            rustix::fs::open(at(path), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map(|_| String::new())
        }
    };
    answer.map_err(|error| u16::try_from(error.raw_os_error()).unwrap())
}

/// Everything below a directory: paths, and what links say.
fn tree_of_ours(path: &str, found: &mut Vec<String>) {
    for name in names(path, 4096).unwrap().into_iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
        let inside = format!("{path}/{name}");
        let mode = stat(&inside, 0x100).unwrap().mode & 0o170_000;
        found.push(format!("{inside} {mode:o} {}", read_link(&inside).unwrap_or_default()));
        if mode == 0o040_000 {
            tree_of_ours(&inside, found);
        }
    }
}

fn tree_of_theirs(path: &Path, as_path: &str, found: &mut Vec<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let inside = format!("{as_path}/{}", entry.file_name().to_str().unwrap());
        let mode = rustix::fs::lstat(entry.path()).unwrap().st_mode & 0o170_000;
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        found.push(format!("{inside} {mode:o} {}", target.display()));
        if mode == 0o040_000 {
            tree_of_theirs(&entry.path(), &inside, found);
        }
    }
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static RUN: AtomicU32 = AtomicU32::new(0);
    let _alone = alone();
    let number = RUN.fetch_add(1, Ordering::Relaxed);
    let base = format!("/tmp/run{number}");
    let disk =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("linux-{}-{number}", std::process::id()));
    by_path(file::names::mkdir, &base, 0o777).unwrap();
    std::fs::create_dir_all(&disk).unwrap();
    let mut outcome = Ok(());
    for (index, step) in steps.iter().enumerate() {
        let (ours, theirs) = (ours(&base, step), theirs(&disk, step));
        if ours != theirs {
            outcome =
                Err(TestCaseError::fail(format!("step {index}, {step:?}: {ours:?}, but Linux {theirs:?}")));
            break;
        }
    }
    let (mut here, mut there) = (Vec::new(), Vec::new());
    tree_of_ours(&base, &mut here);
    tree_of_theirs(&disk, &base, &mut there);
    std::fs::remove_dir_all(&disk).unwrap();
    by_path(file::directory::chdir, "/", 0).unwrap();
    outcome?;
    prop_assert_eq!(here, there);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn names_are_as_linux_has_them(steps in prop::collection::vec(step(), 1..30)) {
        run(&steps)?;
    }
}
