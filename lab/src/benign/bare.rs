//! What programs do inside containers, in bare crun containers: the part of the corpus that needs neither Docker nor Debian,
//! so that it also runs in the lab's virtual machines.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::ground::Ground;
use super::guard::Guard;
use super::runtime::{Runtime, bundle, save};
use super::{Body, Case, Needs, Outcome};
use crate::engine::CAPABILITIES;
use crate::host;

const fn case(name: &'static str, body: fn(&Ground, Option<&mut Guard>) -> Result<Outcome>) -> Case {
    Case { name, needs: Needs::Runtime, body: Body::Code(body) }
}

pub(super) const CASES: &[Case] = &[
    case("bare/seccomp", |ground, _| inside(ground, "seccomp", "/probe seccomp")),
    case("bare/debugger", |ground, _| inside(ground, "debugger", "/probe debug")),
    case("bare/identity", |ground, _| inside(ground, "identity", "/probe identity; su user -c 'id -u'")),
    case("bare/namespaces", |ground, _| inside(ground, "namespaces", "/probe namespaces")),
    case("bare/descriptors", |ground, _| inside(ground, "descriptors", "/probe descriptors")),
    case("bare/handle", |ground, _| inside(ground, "handle", "echo >/t/file; /probe handle")),
    case("bare/core-dump", |ground, _| inside(ground, "core-dump", "cd /t; /probe core || [ $? = 134 ]")),
    case("bare/forks", |ground, _| {
        inside(
            ground,
            "forks",
            "for i in $(seq 100); do sh -c 'exit 0' & done; wait; seq 200 | xargs -n 10 -P 8 echo >/dev/null",
        )
    }),
    case("bare/mounts", |ground, _| {
        inside(
            ground,
            "mounts",
            "cd /t; mkdir a b c; mount -t tmpfs none a; echo x >a/x; mount --bind a b; cat b/x; umount b; \
             mount -t proc none c; cat c/self/status >/dev/null; umount c; umount a",
        )
    }),
    case("bare/denied", denied),
    case("bare/chroot", |ground, _| {
        inside(
            ground,
            "chroot",
            "mkdir -p /t/root/bin; cp /bin/busybox /t/root/bin/sh; chroot /t/root /bin/sh -c 'cd /; echo x >/y'",
        )
    }),
    case("bare/unshare", |ground, _| {
        inside(
            ground,
            "unshare",
            "for flag in -m -u -i -n -p -U '-U -r -m' '-m -u -i -n -p -f'; do \
             unshare $flag sh -c 'ls /proc/self/ns' >/dev/null; done",
        )
    }),
];

/// What the configuration denies is refused and reported, and nobody dies for asking; afterwards it is allowed again.
fn denied(ground: &Ground, guard: Option<&mut Guard>) -> Result<Outcome> {
    const DENY: &str =
        r#"deny = ["userns", "bpf", "af_alg", "af_rxrpc", "af_packet", "io_uring", "module_request"]"#;
    let Some(guard) = guard.filter(|guard| guard.prevents()) else {
        return Ok(Outcome::Skipped("`deny` needs mode lsm or fmod_ret".to_owned()));
    };
    let config = ground.directory("bare/deny")?.join("guard.toml");
    fs::write(&config, DENY).with_context(|| format!("cannot write {}", config.display()))?;
    guard.configure(Some(&config))?;
    let refused = inside(ground, "denied", "/probe denied");
    guard.configure(None)?;
    refused?;
    let mut what = guard.denied();
    what.sort();
    what.dedup();
    if what.len() != 7 {
        bail!("not every refusal was reported, only: {}", what.join(", "));
    }
    inside(ground, "denied", "unshare -U true")
}

/// Runs `script` by `sh -e` in a container with a root of its own, the probe, a tmpfs at /t and every capability but one.
fn inside(ground: &Ground, name: &str, script: &str) -> Result<Outcome> {
    let dir = ground.directory(&format!("bare/{name}"))?;
    let mut config = bundle(ground, &dir, &["sh", "-ec", script])?;
    let root = dir.join("root");
    host::stdout_of(Command::new("cp").arg("-a").arg(ground.busybox()).arg(&root))?;
    config["root"] = json!({"path": root, "readonly": false});
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(CAPABILITIES.as_slice());
    }
    config["process"]["noNewPrivileges"] = json!(false);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "hard": 67_108_864, "soft": 0}]);
    // Masked paths in /proc would keep a user namespace from mounting its own.
    for paths in ["maskedPaths", "readonlyPaths"] {
        config["linux"][paths] = json!([]);
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs"}));
        let options = json!(["bind", "ro"]);
        mounts.push(json!({
            "destination": "/probe", "type": "bind", "source": ground.probe(), "options": options
        }));
    }
    save(&dir, &config)?;
    let id = format!("casemate-bare-{name}");
    Runtime::Crun.delete(&id);
    let mut run = Runtime::Crun.command();
    run.args(["run", "--bundle"]).arg(&dir).arg(&id);
    let output = run.output().context("cannot start crun")?;
    let removed = fs::remove_dir_all(&root);
    if !output.status.success() {
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("crun run {id} ended with {}: {out}{error}", output.status);
    }
    removed.with_context(|| format!("cannot remove {}", root.display()))?;
    Ok(Outcome::Passed)
}
