//! Programs of `lab/programs`, compiled when a test first needs them.

use std::path::{Path, PathBuf};
use std::process::Command;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/programs").join(name)
}

fn build(command: &mut Command, out: &Path) {
    let output = command
        .arg(out)
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; make setup installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A place for a program of this test process; its name says how it was built, for tests that share a process.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

/// A C program, by gcc or, where the first flag is `musl`, by musl-gcc.
pub(crate) fn c(name: &str, flags: &[&str]) -> PathBuf {
    let (compiler, flags) = match flags {
        ["musl", rest @ ..] => ("musl-gcc", rest),
        _ => ("gcc", flags),
    };
    let out = place(&format!("{compiler}-{name}{}", flags.concat()));
    let mut command = Command::new(compiler);
    command.args(["-O2", "-Wall", "-pthread"]).args(flags).arg(source(&format!("{name}.c"))).arg("-o");
    build(&mut command, &out);
    out
}

/// A static Go program.
pub(crate) fn go(name: &str) -> PathBuf {
    let out = place(&format!("go-{name}"));
    let mut command = Command::new("go");
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "-trimpath").env("GO111MODULE", "off");
    command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
    // Arguments end with the output; go wants it before the source.
    let output = command.args(["build", "-o"]).arg(&out).arg(source(&format!("{name}.go"))).output();
    let output = output.unwrap_or_else(|error| panic!("go: {error}; make setup installs it"));
    assert!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    out
}

/// A program in assembly, without any library.
pub(crate) fn assembly(name: &str) -> PathBuf {
    let out = place(&format!("assembly-{name}"));
    let mut command = Command::new("gcc");
    command.args(["-static", "-nostdlib"]).arg(source(&format!("{name}.S"))).arg("-o");
    build(&mut command, &out);
    out
}
