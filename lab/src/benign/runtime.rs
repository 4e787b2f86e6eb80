//! Bare OCI runtimes: bundles for runc and crun, and their own commands.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::ground::Ground;
use super::{Body, Case, Needs, Outcome};
use crate::host;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "runtime/runc",
        needs: Needs::Runtime,
        body: Body::Code(|ground, _| lives(ground, Runtime::Runc)),
    },
    Case {
        name: "runtime/crun",
        needs: Needs::Runtime,
        body: Body::Code(|ground, _| lives(ground, Runtime::Crun)),
    },
];

/// An OCI runtime.
#[derive(Debug, Clone, Copy)]
pub(super) enum Runtime {
    Runc,
    Crun,
}

impl Runtime {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// The runtime; add the subcommand.
    pub(super) fn command(self) -> Command {
        let mut command = match self {
            Self::Crun if mixed_cgroups() => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-c"]);
                command.args([r#"umount /sys/fs/cgroup/unified && exec "$@""#, "sh", "crun"]);
                command
            }
            _ => Command::new(self.name()),
        };
        command.stdin(Stdio::null());
        command
    }

    /// Starts the bundle `dir` as the container `id`, in the background; its output goes nowhere.
    pub(super) fn run_detached(self, dir: &Path, id: &str) -> Result<()> {
        let mut run = self.command();
        run.args(["run", "--detach", "--bundle"])
            .arg(dir)
            .arg(id)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = run.status().with_context(|| format!("cannot start {}", self.name()))?;
        if !status.success() {
            bail!("{} run {id} ended with {status}", self.name());
        }
        Ok(())
    }

    /// Removes the container `id`, living or dead, if there is one.
    pub(super) fn delete(self, id: &str) {
        let _absent = self.does(&["delete", "--force", id]);
    }

    fn does(self, args: &[&str]) -> Result<String> {
        host::stdout_of(self.command().args(args))
    }
}

/// Whether the cgroup v2 tree beside cgroup v1 has a controller: crun 1.8 refuses such hosts, unless it cannot see that tree.
fn mixed_cgroups() -> bool {
    let controllers = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    controllers.is_ok_and(|names| !names.trim().is_empty())
}

/// Writes the bundle `dir`: the runtime's own default configuration with the busybox root, read-only, and `args`.
pub(super) fn bundle(ground: &Ground, dir: &Path, args: &[&str]) -> Result<Value> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join("config.json");
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    host::stdout_of(Command::new("runc").args(["spec", "--bundle"]).arg(dir))?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config: Value = serde_json::from_str(&text).context("runc spec wrote no JSON")?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(args);
    config["root"] = json!({ "path": ground.busybox(), "readonly": true });
    save(dir, &config)?;
    Ok(config)
}

/// Puts `config` into the bundle `dir`.
pub(super) fn save(dir: &Path, config: &Value) -> Result<()> {
    let path = dir.join("config.json");
    fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// One container's life by its runtime's commands, with namespaces of its own, some of the host's and a user namespace.
fn lives(ground: &Ground, runtime: Runtime) -> Result<Outcome> {
    let dir = ground.directory(&format!("runtime/{}", runtime.name()))?;
    let ordinary = bundle(ground, &dir, &["sleep", "1000"])?;
    let without = |shared: &[&str]| {
        let mut config = ordinary.clone();
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| !shared.iter().any(|name| namespace["type"] == *name));
        }
        if let (true, Some(fields)) = (shared.contains(&"uts"), config.as_object_mut()) {
            fields.remove("hostname");
        }
        if shared.contains(&"network") {
            // sysfs can only be mounted by the owner of the network namespace; without one of its own it stays out.
            if let Some(mounts) = config["mounts"].as_array_mut() {
                mounts.retain(|mount| mount["type"] != "sysfs");
            }
        }
        config
    };
    let user = {
        let mut config = ordinary.clone();
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config
    };
    let variants = [
        ("own", ordinary.clone()),
        ("net", without(&["network"])),
        ("pid", without(&["pid"])),
        ("most", without(&["network", "ipc", "uts", "pid", "cgroup"])),
        ("user", user),
    ];
    for (name, config) in variants {
        save(&dir, &config)?;
        let id = format!("casemate-benign-{}-{name}", runtime.name());
        life(runtime, &dir, &id).with_context(|| format!("{} with the variant {name}", runtime.name()))?;
    }
    Ok(Outcome::Passed)
}

fn life(runtime: Runtime, dir: &Path, id: &str) -> Result<()> {
    // Left by a run that was interrupted.
    runtime.delete(id);
    runtime.run_detached(dir, id)?;
    let lived = (|| {
        let seen = runtime.does(&["exec", id, "id", "-u"])?;
        if seen.trim() != "0" {
            bail!("`id -u` said {seen:?}");
        }
        runtime.does(&["exec", "--user", "1000:1000", id, "sh", "-c", "ps; cat /proc/self/status"])?;
        runtime.does(&["exec", "--cap", "CAP_NET_RAW", id, "true"])?;
        let state: Value =
            serde_json::from_str(&runtime.does(&["state", id])?).context("state is no JSON")?;
        if state["status"] != "running" {
            bail!("the state is {}", state["status"]);
        }
        runtime.does(&["list"])?;
        runtime.does(&["kill", id, "KILL"])
    })();
    let deleted = runtime.does(&["delete", "--force", id]);
    lived.and(deleted).map(drop)
}
