//! Builds the enclave image, a crate of this workspace, by a cargo of its own, and has it embedded.
//!
//! The image is measured, so its bytes must depend on the sources and the compiler only: not on the folder, not on flags or
//! wrappers of whoever builds. `CASEMATE_ENCLAVE_IMAGE=FILE` embeds a file that was built before instead.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "enclave";
const BINARY: &str = "casemate-enclave";

/// Names the file for `include_bytes!`.
const EMBED: &str = "CASEMATE_EMBED_IMAGE";

/// Variables of cargo and rustc that the image's cargo may see; all others could change what is built.
const KEPT: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_TERM_",
    "CARGO_SOURCE_",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
];

fn main() {
    println!("cargo::rerun-if-env-changed=CASEMATE_ENCLAVE_IMAGE");
    if let Some(ready) = env::var_os("CASEMATE_ENCLAVE_IMAGE") {
        embed(Path::new(&ready));
        return;
    }
    let workspace = workspace();
    for source in [
        "Cargo.lock",
        "Cargo.toml",
        "crates/enclave/Cargo.toml",
        "crates/enclave/image.ld",
        "crates/enclave/src",
        "crates/enclave-abi/Cargo.toml",
        "crates/enclave-abi/src",
        "crates/sgx/Cargo.toml",
        "crates/sgx/src/arch",
        "crates/sgx/src/lib.rs",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    embed(&build(&workspace));
}

fn embed(image: &Path) {
    assert!(image.is_file(), "there is no enclave image {}", image.display());
    println!("cargo::rerun-if-changed={}", image.display());
    println!("cargo::rustc-env={EMBED}={}", image.display());
}

/// The workspace's folder.
fn workspace() -> PathBuf {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate is in crates/").to_owned()
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"))
}

fn build(workspace: &Path) -> PathBuf {
    let target = PathBuf::from(variable("OUT_DIR")).join("enclave");
    let mut cargo = Command::new(variable("CARGO"));
    for (name, _) in env::vars_os().filter(|(name, _)| disturbs(name)) {
        cargo.env_remove(name);
    }
    let status = cargo
        .current_dir(workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace).join("\x1f"))
        .env("RUSTC", variable("RUSTC"))
        .args(["build", "--locked", "--package", BINARY, "--bin", BINARY, "--features", "image"])
        .args(["--profile", PROFILE, "--target", TARGET, "--target-dir"])
        .arg(&target)
        .status()
        .unwrap_or_else(|error| panic!("cargo for the enclave image: {error}"));
    assert!(
        status.success(),
        "the enclave image (crates/enclave, feature image) does not build: see the errors above"
    );
    target.join(TARGET).join(PROFILE).join(BINARY)
}

/// Whether a variable could change what cargo builds.
fn disturbs(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    (name.starts_with("CARGO") || name.starts_with("RUST")) && !KEPT.iter().any(|kept| name.starts_with(kept))
}

/// What rustc is told for the image and all that is linked into it.
fn flags(workspace: &Path) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-Cpanic=abort",
        "-Crelocation-model=static",
        // No AVX: the kernel may use no state component that it does not save.
        "-Ctarget-cpu=x86-64",
        // Nothing is asked of CPUID, which an enclave cannot execute.
        "--cfg=chacha20_backend=\"sse2\"",
        "--cfg=poly1305_backend=\"soft\"",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-static",
        "-Clink-arg=-no-pie",
        // Relative: rustc runs in the workspace's folder, whose name must not count.
        "-Clink-arg=-Wl,-T,crates/enclave/image.ld",
        "-Clink-arg=-Wl,--build-id=none",
    ]
    .map(str::to_owned)
    .into();
    let (sysroot, commit) = compiler();
    let home = env::var("CARGO_HOME").ok().or_else(|| Some(env::var("HOME").ok()? + "/.cargo"));
    let mut remap = |from: String, to: &str| flags.push(format!("--remap-path-prefix={from}={to}"));
    if let Some(home) = home {
        remap(home, "/cargo");
    }
    // Where the compiler's sources are installed, it names them instead of this.
    remap(sysroot + "/lib/rustlib/src/rust", &format!("/rustc/{commit}"));
    remap(workspace.display().to_string(), "/casemate");
    flags
}

/// The compiler's folder and the commit that it was built from.
fn compiler() -> (String, String) {
    let ask = |question: &[&str]| {
        let output = Command::new(variable("RUSTC")).args(question).output().expect("rustc runs");
        String::from_utf8(output.stdout).expect("rustc answers in UTF-8")
    };
    let version = ask(&["-vV"]);
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    (ask(&["--print", "sysroot"]).trim().to_owned(), commit.to_owned())
}
