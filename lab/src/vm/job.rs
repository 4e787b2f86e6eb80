//! What host and guest tell each other: a job in the initramfs, and a line of JSON for each thing that happens.

use serde::{Deserialize, Serialize};

use super::cost::Cost;

/// Where the initramfs leaves what the guest needs, in its real root.
pub(super) const JOB_DIR: &str = "/lab-job";

/// What a virtual machine shall do before it powers off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The guard's mode, as its `--mode` names it.
    pub(super) guard_mode: String,
    pub(super) batches: Vec<Batch>,
    /// Instead of batches: count instructions, unguarded where the mode is [`super::cost::OFF`].
    #[serde(default)]
    pub(super) cost: bool,
}

/// Cases that run one after the other, each unguarded, or each guarded by one and the same guard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) half: Half,
    pub(super) engine: String,
    pub(super) cases: Vec<String>,
}

/// Which half of a proof, or the corpus of honest containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Half {
    Unguarded,
    Guarded,
    Benign,
}

impl Half {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unguarded => "unguarded",
            Self::Guarded => "guarded",
            Self::Benign => "benign",
        }
    }
}

/// One thing that happened in the guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub(super) enum Line {
    /// The guest is up.
    Hello { release: String, lsm: String },
    /// What `casemate doctor` says: the job's mode, or none and why it does not work here.
    Doctor { mode: Option<String>, reason: String },
    /// A case begins.
    Begin { half: String, case: String },
    /// A case ended.
    Outcome(Outcome),
    /// What the guard costs.
    Cost(Cost),
    /// Something went wrong beside the cases.
    Trouble { text: String },
    /// All batches are done.
    Done,
}

/// How a case ended, as `lab attack --stream` writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) case: String,
    /// `unguarded`, `guarded`, `benign`; `all` for a case that this machine cannot run at all.
    pub(super) mode: String,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
}

/// `passed`, `failed` or `skipped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Passed,
    Failed,
    Skipped,
}
