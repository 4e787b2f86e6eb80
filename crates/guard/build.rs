//! Compiles the kernel side with clang and makes its Rust skeleton.

use std::env;
use std::fs;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const SOURCES: &str = "src/bpf";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=CLANG");
    build("probe");
    let object = build("guard");
    let id = fnv1a(&fs::read(&object).expect("clang has just written it"));
    println!("cargo::rustc-env=GUARD_BUILD={}-{id:016x}", env!("CARGO_PKG_VERSION"));
}

/// Compiles one source file. Returns the object; the skeleton is beside it.
fn build(name: &str) -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = out.join(format!("{name}.bpf.o"));
    let mut builder = SkeletonBuilder::new();
    builder.source(format!("{SOURCES}/{name}.bpf.c")).clang_args([
        "-mcpu=v3",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
        "-Wno-unused-function",
    ]);
    builder.obj(&object);
    builder.clang(env::var_os("CLANG").unwrap_or_else(|| "clang-14".into()));
    if let Err(e) = builder.build_and_generate(out.join(format!("{name}.skel.rs"))) {
        panic!(
            "cannot build the BPF programs in {SOURCES} (is clang-14 installed? `make setup` does it): {e:?}"
        );
    }
    object
}

/// The name of a build: whether the programs that are pinned are these.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
