//! Builds the vDSO that the enclave kernel gives to programs.

use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

fn main() {
    if let Err(error) = vdso() {
        println!("cargo::error=cannot build the enclave's vDSO: {error}");
    }
}

fn vdso() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src/vdso");
    if env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-nostdlib", "-m64", "-Wl,-soname=linux-vdso.so.1", "-Wl,--hash-style=both"]);
    gcc.args(["-Wl,--build-id=none", "-Wl,--eh-frame-hdr", "-Wl,-Bsymbolic", "-Wl,-z,max-page-size=4096"]);
    gcc.args(["-Wl,-z,noexecstack", "-fuse-ld=bfd", "-Wl,-T,src/vdso/vdso.lds", "src/vdso/vdso.S", "-o"]);
    let status = gcc.arg(out.join("vdso.so")).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("gcc: {status}"))) }
}
