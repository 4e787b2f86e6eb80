//! `casemate enclave`: measurement, keys, signatures.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn casemate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().expect("casemate starts")
}

/// What a command that succeeds prints.
fn prints(arguments: &[&str]) -> String {
    let output = casemate(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one line that a command which fails says.
fn complains(arguments: &[&str]) -> String {
    let output = casemate(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.starts_with("casemate: ") && said.lines().count() == 1, "{said}");
    said
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&prints(&[arguments, &["--output", "json"]].concat())).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a text path")
}

#[test]
fn measurement_depends_on_the_heap_only_without_edmm() {
    let measure = |more: &[&str]| prints(&[&["enclave", "measure"], more].concat());
    let measured = measure(&[]);
    assert_eq!(measured.trim().len(), 64);
    assert_eq!(measured, measure(&["--heap", "32M"]));
    assert_ne!(measured, measure(&["--no-edmm", "--heap", "32M"]));
    assert_ne!(measure(&["--no-edmm", "--heap", "64M"]), measure(&["--no-edmm", "--heap", "32M"]));
    assert_eq!(json(&["enclave", "measure"])["mrenclave"], measured.trim());
    assert_eq!(json(&["enclave", "info"])["mrenclave"], measured.trim());
}

#[test]
fn signature_says_what_was_asked() {
    let folder = tempfile::tempdir().expect("a directory");
    let (key, signature) = (folder.path().join("key.pem"), folder.path().join("a.sigstruct"));
    prints(&["enclave", "key", "--out", text(&key)]);
    assert_eq!(fs::metadata(&key).expect("a key").permissions().mode() & 0o777, 0o600);
    let again = complains(&["enclave", "key", "--out", text(&key)]);
    assert!(again.contains("File exists"), "{again}");

    let sign = ["enclave", "sign", "--key", text(&key), "--out", text(&signature)];
    let details = ["--isvprodid", "7", "--isvsvn", "3", "--date", "2026-02-28"];
    prints(&[sign.as_slice(), &details].concat());
    let info = json(&["enclave", "info", text(&signature)]);
    assert_eq!(info["mrenclave"], json(&["enclave", "measure"])["mrenclave"]);
    assert_eq!((&info["isvprodid"], &info["isvsvn"]), (&Value::from(7), &Value::from(3)));
    assert_eq!(info["date"], "2026-02-28");
    assert_eq!(info["attributes"], "MODE64BIT");

    let mut bytes = fs::read(&signature).expect("a signature");
    bytes[960] ^= 1;
    fs::write(&signature, bytes).expect("written");
    let broken = complains(&["enclave", "info", text(&signature)]);
    assert!(broken.contains("a.sigstruct is no SIGSTRUCT: "), "{broken}");
}

#[test]
fn bad_input_is_named() {
    let heap = complains(&["enclave", "measure", "--heap", "1M"]);
    assert!(heap.contains("a heap of 1M is not possible: it can have 16M to 65024M"), "{heap}");
    let key = complains(&["enclave", "sign", "--key", "/none", "--out", "/none/out"]);
    assert!(key.contains("cannot read /none: No such file"), "{key}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let key = complains(&["enclave", "sign", "--key", text(file.path()), "--out", "/none/out"]);
    assert!(key.contains(text(file.path())), "{key}");
    for (arguments, word) in [
        (["enclave", "measure", "--heap", "lots"], "\"lots\" is no size"),
        (["enclave", "sign", "--date", "2026-02-29"], "no such day"),
        (["enclave", "sign", "--date", "today"], "YYYY-MM-DD"),
    ] {
        let output = casemate(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(word), "{said}");
    }
}
