//! What a user can get wrong: one line that names it, and an exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use casemate_host::{PlatformChoice, RunError, RunOptions, run};

fn options(program: &str, rootfs: &Path) -> RunOptions {
    RunOptions {
        program: program.into(),
        args: Vec::new(),
        env: vec![("PATH".into(), "/bin:/empty".into())],
        rootfs: rootfs.to_owned(),
        mounts: Vec::new(),
        tmpfs: Vec::new(),
        heap: 1 << 30,
        vcpus: 1,
        platform: PlatformChoice::Emulated,
        edmm: None,
        strict: false,
        transition_cycles: 0,
        debug: false,
        sigstruct: None,
        single_step: false,
        sync_calls: false,
        shared_memory: false,
        trace: false,
        counters: false,
        command: Vec::new(),
        link: None,
    }
}

/// The message of a run that fails, and its exit code.
fn failure(options: RunOptions) -> (String, u8) {
    let error = run(options).unwrap_err();
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    (message, error.exit_code())
}

#[test]
fn programs_that_are_not_there_are_named() {
    let rootfs = tempfile::tempdir().unwrap();
    let root = rootfs.path();
    fs::create_dir_all(root.join("bin/directory")).unwrap();
    fs::write(root.join("bin/text"), "").unwrap();
    fs::set_permissions(root.join("bin/text"), fs::Permissions::from_mode(0o644)).unwrap();
    for program in ["none", "/bin/none", "bin/none", "", "/bin/text/none", "../none"] {
        let (message, code) = failure(options(program, root));
        assert_eq!((message, code), (format!("{program}: not found in {}", root.display()), 127));
    }
    for (program, problem) in [
        ("text", "is not executable"),
        ("/bin/text", "is not executable"),
        ("directory", "is a directory"),
        ("/bin", "is a directory"),
    ] {
        assert_eq!(failure(options(program, root)), (format!("{program}: {problem}"), 126));
    }
}

#[test]
fn root_directories_that_are_none_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (message, code) = failure(options("true", file.path()));
    assert!(
        message.starts_with(&format!("the root directory {}: Not a directory", file.path().display())),
        "{message}"
    );
    assert_eq!(code, 125);
    let (message, _) = failure(options("true", Path::new("/does/not/exist")));
    assert!(message.starts_with("the root directory /does/not/exist: No such file"), "{message}");
}

#[test]
fn numbers_out_of_range_are_named() {
    for vcpus in [0, 17, u64::MAX] {
        let (message, code) = failure(RunOptions { vcpus, ..options("/bin/true", Path::new("/")) });
        assert_eq!((message, code), (format!("{vcpus} vCPUs are not possible: an enclave has 1 to 16"), 125));
    }
    let error = run(RunOptions { heap: 1 << 40, ..options("/bin/true", Path::new("/")) }).unwrap_err();
    assert_eq!(error.to_string(), "a heap of 1T is not possible: it can have 16M to 65024M");
}

#[test]
fn signatures_that_are_none_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let wrong =
        RunOptions { sigstruct: Some(file.path().to_owned()), ..options("/bin/true", Path::new("/")) };
    let error = run(wrong).unwrap_err();
    assert!(matches!(error, RunError::Sigstruct { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!("{} is no SIGSTRUCT: it has 0 bytes, want 1808", file.path().display())
    );
}

#[test]
fn platform_that_is_not_here_is_named() {
    if Path::new("/dev/sgx_enclave").exists() {
        return;
    }
    let device = RunOptions { platform: PlatformChoice::Device, ..options("/bin/true", Path::new("/")) };
    let (message, code) = failure(device);
    assert!(message.starts_with("device: "), "{message}");
    assert_eq!(code, 125);
}
