//! runc and crun with a bundle of our own: a copy of the busybox root and a `config.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{CAPABILITIES, DEFAULT_CAPABILITIES, Runtime, Settings, with_descriptor_3};
use crate::host;

/// An OCI runtime that is called directly, with its usual state directory: that is where the guard looks for names.
#[derive(Debug)]
pub(crate) struct Oci {
    program: &'static str,
    /// Bundles, one a container.
    scratch: PathBuf,
    rootfs: PathBuf,
    hide_v2: bool,
}

impl Oci {
    pub(crate) fn new(program: &'static str, scratch: &Path) -> Result<Self> {
        host::stdout_of(Command::new(program).arg("--version"))?;
        let rootfs = host::busybox_rootfs()?;
        Ok(Self { program, scratch: scratch.to_path_buf(), rootfs, hide_v2: program == "crun" && hybrid() })
    }

    fn base(&self) -> Command {
        if !self.hide_v2 {
            return Command::new(self.program);
        }
        // In a mount namespace without the v2 tree crun finds the v1 hierarchies only, and is content.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c"]);
        command.args([r#"umount /sys/fs/cgroup/unified && exec "$@""#, "sh", self.program]);
        command
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("bundle-{name}"))
    }

    fn state_of(&self, name: &str) -> Option<Value> {
        let output = self.base().args(["state", name]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }
}

impl Runtime for Oci {
    fn command(&self, settings: &Settings) -> Result<Command> {
        let bundle = self.bundle(&settings.name);
        fs::create_dir_all(&bundle).with_context(|| format!("cannot create {}", bundle.display()))?;
        host::stdout_of(Command::new("cp").arg("-a").arg(&self.rootfs).arg(bundle.join("rootfs")))?;
        fs::write(bundle.join("config.json"), config(settings).to_string())?;
        let mut command = self.base();
        command.arg("run").arg("--bundle").arg(&bundle);
        if let Some(dir) = &settings.leaked {
            command.args(["--preserve-fds", "1"]).arg(&settings.name);
            return Ok(with_descriptor_3(&command, dir));
        }
        command.arg(&settings.name);
        Ok(command)
    }

    fn exec(&self, name: &str, argv: &[String], leaked: &Path) -> Result<Command> {
        let mut command = self.base();
        command.args(["exec", "--preserve-fds", "1", name]).args(argv);
        Ok(with_descriptor_3(&command, leaked))
    }

    fn init_pid(&self, name: &str) -> Option<i32> {
        let pid = self.state_of(name)?.get("pid")?.as_i64()?;
        i32::try_from(pid).ok().filter(|pid| *pid > 0)
    }

    fn id(&self, name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn has_v2_cgroup(&self) -> bool {
        !self.hide_v2
    }

    fn remove(&self, name: &str) {
        // With the host's pid namespace the first process's death takes nobody along: --all and the cgroup do.
        let _ = self.base().args(["kill", "--all", name, "KILL"]).stderr(Stdio::null()).status();
        let _ = self.base().args(["delete", "--force", name]).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(self.bundle(name));
    }
}

/// Whether the host has cgroup v1 hierarchies and controllers on the v2 tree: crun 1.8 refuses to run there.
fn hybrid() -> bool {
    fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").is_ok_and(|text| !text.trim().is_empty())
}

/// The runtime configuration, as `runc spec` would begin it.
fn config(settings: &Settings) -> Value {
    let mut namespaces = vec!["mount", "ipc", "uts", "network"];
    if !settings.host_pid {
        namespaces.push("pid");
    }
    if settings.own_cgroup_ns {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}),
    ];
    mounts.extend(settings.binds.iter().map(|bind| {
        let access = if bind.writable { "rw" } else { "ro" };
        json!({"destination": bind.target, "type": "bind", "source": bind.source, "options": ["rbind", access]})
    }));
    let env: Vec<String> = settings.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let capabilities = if settings.confined {
        json!(DEFAULT_CAPABILITIES.as_slice())
    } else {
        json!(CAPABILITIES.as_slice())
    };
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": settings.argv, "env": env, "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities, "inheritable": []
            },
            "noNewPrivileges": settings.confined
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "lab",
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "resources": {"devices": [{"allow": true, "access": "rwm"}]}
        }
    });
    if settings.confined {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["unshare"], "action": "SCMP_ACT_ERRNO"}]
        });
    }
    config
}
