//! What libbpf and the kernel's verifier said: kept quiet, and shown where loading fails.

use std::sync::{Mutex, PoisonError};

use libbpf_rs::PrintLevel;

/// The verifier gives its reason at the end.
const SHOWN: usize = 30;

/// Behind the verifier's own words.
pub(crate) const REJECTED: &str = "END PROG LOAD LOG";

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From here on libbpf's warnings are kept, not printed.
pub(crate) fn start() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep)));
    take();
}

#[expect(clippy::needless_pass_by_value, reason = "libbpf-rs calls it so")]
fn keep(_level: PrintLevel, text: String) {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.extend(text.lines().map(str::to_owned));
}

/// The last lines since [`start`], each on a line of its own; they are forgotten.
pub(crate) fn take() -> String {
    let lines = std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner));
    lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| format!("\n  {line}")).collect()
}
