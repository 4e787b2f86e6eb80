//! The engines that run the attacks' containers, behind one trait.

mod docker;
mod oci;
mod podman;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

/// An engine by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// runc with a bundle of our own
    Runc,
    /// crun with a bundle of our own
    Crun,
    /// Docker Engine
    Docker,
    /// Podman
    Podman,
}

impl Engine {
    pub(crate) const ALL: [Self; 4] = [Self::Runc, Self::Crun, Self::Docker, Self::Podman];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A file or directory of the host that the container shall see.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    pub(crate) source: PathBuf,
    pub(crate) target: &'static str,
    pub(crate) writable: bool,
}

/// A container as an attack needs it. Unless it is `confined`, it gets all capabilities but `CAP_SYS_RESOURCE` and no seccomp
/// filter, and always all devices: the lab asks what the guard catches, not what a good configuration prevents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) host_pid: bool,
    pub(crate) own_cgroup_ns: bool,
    /// Docker's default capabilities, `no_new_privs`, and a seccomp filter that refuses unshare(2). runc and crun only.
    pub(crate) confined: bool,
    /// A directory that the container's first process inherits as descriptor 3.
    pub(crate) leaked: Option<PathBuf>,
}

/// One engine, ready to run containers.
pub(crate) trait Runtime {
    /// The command that runs the container in the foreground.
    fn command(&self, settings: &Settings) -> Result<Command>;
    /// The command that runs `argv` in the running container, with `leaked` open as descriptor 3.
    ///
    /// # Errors
    /// When the engine cannot leave a descriptor of its caller open.
    fn exec(&self, name: &str, argv: &[String], leaked: &Path) -> Result<Command>;
    /// The host's pid of the container's first process, when it runs.
    fn init_pid(&self, name: &str) -> Option<i32>;
    /// The id the engine gave the container.
    fn id(&self, name: &str) -> Option<String>;
    /// Whether its containers have a cgroup of their own on the v2 tree.
    fn has_v2_cgroup(&self) -> bool {
        true
    }
    /// Kills and removes the container; it may be gone already.
    fn remove(&self, name: &str);
}

/// Makes `engine` ready: starts its daemon, imports its image.
///
/// # Errors
/// When the engine is not installed or does not start.
pub(crate) fn prepare(engine: Engine, scratch: &Path) -> Result<Box<dyn Runtime>> {
    Ok(match engine {
        Engine::Runc | Engine::Crun => Box::new(oci::Oci::new(engine.name(), scratch)?),
        Engine::Docker => Box::new(docker::Docker::new()?),
        Engine::Podman => Box::new(podman::Podman::new()?),
    })
}

/// All capabilities that a container can have on a machine without `CAP_SYS_RESOURCE`.
pub(crate) const CAPABILITIES: [&str; 40] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What Docker gives a container that asks for nothing.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

/// `command` with `dir` open as descriptor 3. A shell does it: `Command` passes no descriptors without unsafe code.
fn with_descriptor_3(command: &Command, dir: &Path) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"exec "$@" 3<"$0""#]).arg(dir).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell
}
