//! Finding the program, as a shell would, under the root directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use casemate_enclave_abi::errno::Errno;

use crate::error::RunError;
use crate::files::Files;

/// Where programs are searched whose environment names no PATH.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bits of a mode (`include/uapi/linux/stat.h`).
const KIND: u64 = 0o170_000;
const REGULAR: u64 = 0o100_000;
const DIRECTORY: u64 = 0o040_000;
const LINK: u64 = 0o120_000;
const EXECUTABLE: u64 = 0o111;

/// What a path leads to.
enum Found {
    Program,
    Nothing,
    NoProgram(&'static str),
}

/// The absolute path of a program. A name with a slash is taken as it is, from `cwd` on; one without is searched in the PATH
/// of `env`.
///
/// # Errors
/// There is none, or what is there is no program.
pub(crate) fn find(
    files: &Files,
    rootfs: &Path,
    name: &OsStr,
    env: &[Vec<u8>],
    cwd: &[u8],
) -> Result<Vec<u8>, RunError> {
    let bytes = name.as_bytes();
    let program = || name.to_string_lossy().into_owned();
    let not_found = || RunError::NotFound { program: program(), rootfs: rootfs.to_owned() };
    if bytes.is_empty() {
        return Err(not_found());
    }
    let candidates: Vec<Vec<u8>> = if bytes.contains(&b'/') {
        vec![join(cwd, bytes)]
    } else {
        let path = env.iter().find_map(|variable| variable.strip_prefix(b"PATH="));
        let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
        // An empty entry is the working directory.
        path.split(|byte| *byte == b':').map(|directory| join(&join(cwd, directory), bytes)).collect()
    };
    let mut problem = None;
    for candidate in candidates {
        match look(files, &candidate) {
            Found::Program => return Ok(candidate),
            Found::Nothing => {}
            Found::NoProgram(what) => problem = problem.or(Some(what)),
        }
    }
    Err(problem.map_or_else(not_found, |problem| RunError::NotExecutable { program: program(), problem }))
}

/// `path` from `base` on, which is absolute.
fn join(base: &[u8], path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let base = base.strip_suffix(b"/").unwrap_or(base);
    if path.is_empty() { [base, b"/"].concat() } else { [base, b"/", path].concat() }
}

fn look(files: &Files, path: &[u8]) -> Found {
    match files.stat_of_guest(path) {
        // A link in a mount: the enclave follows it.
        Ok(stat) if stat.mode & KIND == LINK => Found::Program,
        Ok(stat) if stat.mode & KIND == DIRECTORY => Found::NoProgram("is a directory"),
        Ok(stat) if stat.mode & KIND != REGULAR => Found::NoProgram("is no regular file"),
        Ok(stat) if stat.mode & EXECUTABLE == 0 => Found::NoProgram("is not executable"),
        Ok(_) => Found::Program,
        Err(Errno::EACCES) => Found::NoProgram("permission denied"),
        Err(Errno::ELOOP) => Found::NoProgram("too many symbolic links"),
        Err(_) => Found::Nothing,
    }
}
