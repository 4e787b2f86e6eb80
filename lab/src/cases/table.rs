//! The table, by theme. One entry a way out; the programs are in `lab/attacks`.

mod files;
mod guard;
mod kernel;
mod leaks;
mod namespaces;
mod payloads;
mod processes;
mod uring;

use super::Leaves::Nothing;
use super::Need::LeakedDir;
use super::{Case, Proof};
use crate::engine::Engine;
use crate::probe;

const FS: &[&str] = &["FS"];
const FS_WR: &[&str] = &["FS", "WR"];
const WR_UMH: &[&str] = &["WR", "UMH"];

/// What most cases have in common.
const BASE: Case = Case {
    name: "",
    shape: "",
    argv: &[],
    needs: &[],
    invariants: &[],
    proof: Proof::Secret,
    immediate: true,
    leaves: Nothing,
    engines: &Engine::ALL,
    no_audit: None,
    unsupported: probe::nothing_missing,
};

/// A descriptor of a host directory that the container's first process inherited.
const fn leaked(name: &'static str, argv: &'static [&'static str], proof: Proof) -> Case {
    Case {
        name,
        argv,
        proof,
        shape: "CVE-2024-21626: leaked directory",
        needs: &[LeakedDir],
        invariants: FS,
        ..BASE
    }
}

/// Every escape of the lab.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let themes = [
        namespaces::CASES,
        leaks::CASES,
        uring::CASES,
        files::CASES,
        kernel::CASES,
        processes::CASES,
        guard::CASES,
        payloads::CASES,
    ];
    themes.into_iter().flatten()
}
