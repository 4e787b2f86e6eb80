//! Compiles the attack programs, once per change, into `lab/bin` of cargo's target directory, which containers see as `/lab`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

/// The sources, one program a file.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/attacks");
/// What programs include besides the headers there.
const PAYLOAD_HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/payload/casemate_payload.h");

/// The program whose loops are measured.
const WORKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/worker.c");

/// Compiles what is older than its source and returns the directory of the programs.
///
/// # Errors
/// When `gcc` is missing or a program does not compile.
pub(crate) fn build() -> Result<PathBuf> {
    let programs = directory()?;
    fs::create_dir_all(&programs).with_context(|| format!("cannot create {}", programs.display()))?;
    let sources = files_of(SOURCES)?;
    let headers = sources.iter().filter(|path| has_extension(path, "h"));
    let headers = headers.map(PathBuf::as_path).chain([Path::new(PAYLOAD_HEADER)]);
    let newest_header = headers.filter_map(changed).max();
    for source in sources.iter().filter(|path| has_extension(path, "c")) {
        let program = programs.join(source.file_stem().context("a source without a name")?);
        if changed(&program) < changed(source).max(newest_header) {
            compile(source, &program)?;
        }
    }
    copy_nsenter(&programs)?;
    Ok(fs::canonicalize(programs)?)
}

/// Compiles `bench/worker.c` into `programs` as well.
///
/// # Errors
/// When `gcc` is missing or the program does not compile.
pub(crate) fn build_worker(programs: &Path) -> Result<()> {
    compile(Path::new(WORKER), &programs.join("worker"))
}

/// Where the programs go: this program lies in `release` or `debug` of the target directory.
fn directory() -> Result<PathBuf> {
    let myself = std::env::current_exe().context("cannot find myself")?;
    let target =
        myself.parent().and_then(Path::parent).context("this program lies in no target directory")?;
    Ok(target.join("lab/bin"))
}

fn compile(source: &Path, program: &Path) -> Result<()> {
    let output = Command::new("gcc")
        .args(["-static", "-no-pie", "-O1", "-Wall", "-Wextra", "-pthread", "-o"])
        .arg(program)
        .arg(source)
        .output()
        .context("cannot run gcc: install gcc and libc6-dev")?;
    if !output.status.success() {
        bail!("gcc cannot compile {}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The host's `nsenter` with its libraries: the tool an intruder brings along, and the rootfs has none that knows `-a`.
fn copy_nsenter(programs: &Path) -> Result<()> {
    let libraries = programs.join("lib");
    fs::create_dir_all(&libraries)?;
    fs::copy("/usr/bin/nsenter", programs.join("nsenter")).context("cannot copy /usr/bin/nsenter")?;
    let listing = Command::new("ldd").arg("/usr/bin/nsenter").output().context("cannot run ldd")?;
    for word in String::from_utf8_lossy(&listing.stdout).split_whitespace().filter(|w| w.starts_with('/')) {
        let name = Path::new(word).file_name().context("a library without a name")?;
        fs::copy(word, libraries.join(name)).with_context(|| format!("cannot copy {word}"))?;
    }
    Ok(())
}

fn files_of(dir: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {dir}"))?;
    Ok(entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// When `path` was last changed; `None`, older than anything, when it does not exist.
fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}
