//! Which cases are still to be run: in which half, in which mode.

use anyhow::{Result, bail};

use super::job::{Batch, Half, Outcome, Verdict};
use crate::attack::matches;
use crate::benign::bare_names;
use crate::cases::{self, Case, Need};

/// crun is a few times quicker than runc where the processor is emulated; the honest containers are both's.
const ENGINE: &str = "crun";
/// The part of the corpus that runs in every machine: one of each kind that a kernel or a mode could treat differently.
const CORPUS: [&str; 28] = [
    "setns-mnt",
    "setns-net",
    "setns-user",
    "setns-pid",
    "setns-thread",
    "setns-neighbour",
    "setns-int80",
    "pidfd-all",
    "leak-fchdir",
    "leak-openat",
    "leak-unlinkat",
    "leak-execve",
    "socket-openat",
    "iouring-openat",
    "iouring-sqpoll",
    "iouring-core-pattern",
    "shocker-root",
    "shocker-int80",
    "disk-raw",
    "disk-mount",
    "core-pattern",
    "release-agent",
    "binfmt-misc",
    "ptrace-attach",
    "proc-mem-write",
    "proc-root-read",
    "cgroup-v2-leave",
    "bpf-map-by-id",
];

/// The cases of one kernel.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    attacks: Vec<&'static str>,
    benign: Vec<&'static str>,
    /// Shown to work on this kernel, or not to.
    unguarded: Vec<(String, Verdict)>,
    /// Mode and case, or honest container.
    guarded: Vec<(String, String)>,
}

impl Plan {
    /// The cases that match one of `patterns`.
    ///
    /// # Errors
    /// When none does.
    pub(super) fn new(patterns: &[String]) -> Result<Self> {
        let wanted = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
        let fits = |case: &Case| case.has(Need::Payload) || CORPUS.contains(&case.name);
        let attacks: Vec<_> =
            cases::all().filter(|case| wanted(case.name) && fits(case)).map(|case| case.name).collect();
        let benign: Vec<_> = bare_names().filter(|name| wanted(name)).collect();
        if attacks.is_empty() && benign.is_empty() {
            bail!(
                "no case of the virtual machines matches {}; `lab list` shows the attacks",
                patterns.join(" or ")
            );
        }
        Ok(Self { attacks, benign, unguarded: Vec::new(), guarded: Vec::new() })
    }

    /// The same without the unguarded half: another machine of the same kernel has it.
    pub(super) fn guarded_only(&self) -> Self {
        let shown = self.attacks.iter().map(|name| ((*name).to_owned(), Verdict::Passed)).collect();
        Self { unguarded: shown, ..self.clone() }
    }

    /// All cases, in the order of the table.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.attacks.iter().chain(&self.benign).copied().collect()
    }

    /// What is still to be done in `mode`, or nothing.
    pub(super) fn open(&self, mode: &str) -> Option<Vec<Batch>> {
        let mut batches = Vec::new();
        for half in [Half::Unguarded, Half::Guarded, Half::Benign] {
            let names = if half == Half::Benign { &self.benign } else { &self.attacks };
            let open = names.iter().filter(|name| self.is_open(half, mode, name));
            let cases: Vec<String> = open.map(|name| (*name).to_owned()).collect();
            if !cases.is_empty() {
                batches.push(Batch { half, engine: ENGINE.to_owned(), cases });
            }
        }
        (!batches.is_empty()).then_some(batches)
    }

    fn is_open(&self, half: Half, mode: &str, name: &str) -> bool {
        let unguarded = self.unguarded.iter().find(|(done, _)| done == name).map(|(_, verdict)| *verdict);
        if half == Half::Unguarded {
            return unguarded.is_none();
        }
        // What does not work unguarded proves nothing guarded.
        matches!(unguarded, None | Some(Verdict::Passed))
            && !self.guarded.iter().any(|(in_mode, done)| in_mode == mode && done == name)
    }

    /// The cases that are left to be guarded in `mode`.
    pub(super) fn left(&self, mode: &str) -> Vec<String> {
        let names = self.attacks.iter().chain(&self.benign);
        names.filter(|name| self.is_open(Half::Guarded, mode, name)).map(|name| (*name).to_owned()).collect()
    }

    /// Nothing can be guarded in `mode` on this kernel.
    pub(super) fn give_up(&mut self, mode: &str) {
        for name in self.left(mode) {
            self.guarded.push((mode.to_owned(), name));
        }
    }

    /// Remembers an outcome; returns which half it belongs to.
    pub(super) fn done(&mut self, mode: &str, outcome: &Outcome) -> Half {
        for half in [Half::Guarded, Half::Benign] {
            if outcome.mode == half.name() {
                self.guarded.push((mode.to_owned(), outcome.case.clone()));
                return half;
            }
        }
        self.unguarded.push((outcome.case.clone(), outcome.verdict));
        Half::Unguarded
    }

    /// Remembers that a machine died in a case; returns in which half.
    pub(super) fn failed(&mut self, mode: &str, half: &str, case: &str) -> Half {
        let outcome = Outcome {
            case: case.to_owned(),
            mode: half.to_owned(),
            verdict: Verdict::Failed,
            detail: String::new(),
        };
        self.done(mode, &outcome)
    }
}
