//! Lets the kernel run a program of the container.

use super::super::{Case, Proof};
use super::{BASE, WR_UMH};
use crate::probe;

const WR: &[&str] = &["WR"];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "core-pattern",
        shape: "core_pattern and a crash",
        argv: &["/lab/core_pattern"],
        invariants: WR_UMH,
        proof: Proof::Mark,
        ..BASE
    },
    Case {
        name: "release-agent",
        shape: "CVE-2022-0492: cgroup v1 release_agent",
        argv: &["/lab/release_agent"],
        invariants: WR_UMH,
        proof: Proof::Mark,
        unsupported: probe::no_cgroup_v1,
        ..BASE
    },
    Case {
        name: "uevent-helper",
        shape: "uevent_helper and a uevent",
        argv: &["/lab/uevent_helper"],
        invariants: WR_UMH,
        proof: Proof::Mark,
        unsupported: probe::no_uevent_helper,
        ..BASE
    },
    Case {
        name: "binfmt-misc",
        shape: "binfmt_misc interpreter for the host's files",
        argv: &["/lab/binfmt"],
        invariants: WR,
        proof: Proof::HostRunsDocument,
        unsupported: probe::no_binfmt_misc,
        ..BASE
    },
];
