//! Goes at the guard itself.

use super::super::Leaves::AgentDead;
use super::super::Need::{Bpf, HostPid};
use super::super::{Case, Proof};
use super::BASE;

const SELF: &[&str] = &["SELF"];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "bpf-map-by-id",
        shape: "CAP_BPF: change the guard's maps by id",
        argv: &["/lab/bpf_tamper", "map"],
        needs: &[Bpf],
        invariants: SELF,
        proof: Proof::Mark,
        ..BASE
    },
    Case {
        name: "bpf-link-by-id",
        shape: "CAP_BPF: detach the guard's links by id",
        argv: &["/lab/bpf_tamper", "link"],
        needs: &[Bpf],
        invariants: SELF,
        proof: Proof::Line("LINK"),
        ..BASE
    },
    Case {
        name: "bpf-obj-get",
        shape: "open the guard's pins on the host's bpffs",
        argv: &["/lab/bpf_tamper", "pin"],
        needs: &[Bpf],
        invariants: SELF,
        proof: Proof::Mark,
        ..BASE
    },
    Case {
        name: "bpf-unlink",
        shape: "remove the guard's pins from the host's bpffs",
        argv: &["/lab/bpf_tamper", "unlink"],
        needs: &[Bpf],
        invariants: &["SELF", "FS", "WR"],
        proof: Proof::PinGone,
        no_audit: Some("it would remove the guard that is to report it"),
        ..BASE
    },
    Case {
        name: "kill-agent",
        shape: "--pid=host: SIGKILL to the agent",
        argv: &["/lab/kill_agent"],
        needs: &[HostPid],
        invariants: SELF,
        proof: Proof::AgentDead,
        leaves: AgentDead,
        no_audit: Some("it would kill the agent that is to report it"),
        ..BASE
    },
];
