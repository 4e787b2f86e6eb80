//! One lab at a time: the guard, core_pattern and the lab's Docker daemon exist once on a host.

use std::fs::{self, File};

use anyhow::{Context as _, Result};

const DIR: &str = "/run/casemate-lab";
const LOCK: &str = "/run/casemate-lab/lab.lock";

/// Waits for every other lab to end, and keeps the next one out until the file is dropped.
///
/// # Errors
/// When the lock cannot be made or taken.
pub(crate) fn alone() -> Result<File> {
    fs::create_dir_all(DIR).with_context(|| format!("cannot create {DIR}: run the lab as root"))?;
    let file = File::create(LOCK).with_context(|| format!("cannot create {LOCK}: run the lab as root"))?;
    if file.try_lock().is_err() {
        eprintln!("lab: waiting for another lab to end");
        file.lock().with_context(|| format!("cannot lock {LOCK}"))?;
    }
    Ok(file)
}
