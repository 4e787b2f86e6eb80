//! Containers: runc with a bundle of our own, no seccomp filter, the usual capabilities.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::watch;
use super::worker::Line;

/// How long a container may take to end once it was killed.
const END: Duration = Duration::from_secs(10);

/// What Docker gives by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Directories of the host that a container with the host's programs sees, read-only.
const HOST_DIRECTORIES: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"];

/// What a container is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    /// The worker and nothing else, on a processor of its own or anywhere.
    Worker { program: &'a Path, cpu: Option<usize>, leaked: Option<&'a Path> },
    /// A program of the host, with the host's network, and a directory of ours at `/bench`.
    Server { argv: &'a [&'a str], files: &'a Path },
}

/// A running container. Dropping it kills it and removes what it left.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    child: Child,
    bundle: PathBuf,
}

impl Container {
    fn start(kind: Kind<'_>, scratch: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("casemate-bench-{}-{number}", std::process::id());
        let bundle = scratch.join(&id);
        fs::create_dir_all(bundle.join("rootfs"))
            .with_context(|| format!("cannot create {}", bundle.display()))?;
        fs::write(bundle.join("config.json"), config(kind).to_string())
            .with_context(|| format!("cannot write below {}", bundle.display()))?;
        let mut command = match kind {
            Kind::Worker { leaked: Some(directory), .. } => {
                // The shape of CVE-2024-21626: descriptor 3 is a directory of the host.
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", r#"exec 3<"$0"; exec "$@""#]).arg(directory);
                shell.args(["runc", "run", "--preserve-fds", "1"]);
                shell
            }
            _ => {
                let mut runc = Command::new("runc");
                runc.arg("run");
                runc
            }
        };
        command.arg("--bundle").arg(&bundle).arg(&id);
        // Ctrl-C is for us; we then kill it.
        command.process_group(0);
        match kind {
            Kind::Worker { .. } => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
            Kind::Server { .. } => command.stdin(Stdio::null()).stdout(Stdio::null()),
        };
        let log = fs::File::create(bundle.join("stderr")).context("cannot create a container's log")?;
        let child =
            command.stderr(log).spawn().context("cannot run runc: `scripts/setup.sh bench` installs it")?;
        Ok(Self { id, child, bundle })
    }

    /// A container whose first process is the worker, and the line to it.
    pub(crate) fn worker(kind: Kind<'_>, scratch: &Path) -> Result<(Self, Line)> {
        let mut container = Self::start(kind, scratch)?;
        let line = Line::of(&mut container.child);
        let line = line.with_context(|| format!("container {}: {}", container.id, container.said()))?;
        Ok((container, line))
    }

    /// A container with a server that has taken up its work when `answers` says so.
    pub(crate) fn server(kind: Kind<'_>, scratch: &Path, answers: impl Fn() -> bool) -> Result<Self> {
        let mut container = Self::start(kind, scratch)?;
        let up = watch::until(END, || {
            let ended = !matches!(container.child.try_wait(), Ok(None));
            (ended || answers()).then_some(!ended)
        });
        if up != Some(true) {
            bail!("container {} does not answer: {}", container.id, container.said());
        }
        Ok(container)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.bundle.join("stderr")).unwrap_or_default().trim().to_owned()
    }

    /// Host pid of its first process.
    pub(crate) fn init_pid(&self) -> Result<i32> {
        let output = Command::new("runc").args(["state", &self.id]).output()?;
        let state: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("runc knows nothing of container {}", self.id))?;
        let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.filter(|pid| *pid > 0).with_context(|| format!("container {} has no process", self.id))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let quietly = |arguments: &[&str]| {
            // Fails where it is dead already.
            let _ = Command::new("runc").args(arguments).arg(&self.id).stderr(Stdio::null()).status();
        };
        if matches!(self.child.try_wait(), Ok(None)) {
            quietly(&["delete", "--force"]);
        }
        if watch::until(END, || (!matches!(self.child.try_wait(), Ok(None))).then_some(())).is_none() {
            eprintln!("bench: container {} does not end", self.id);
            let _gone_already = self.child.kill();
            let _reaped = self.child.wait();
        }
        // `runc run` removes its state, except where it was killed itself.
        if Path::new("/run/runc").join(&self.id).exists() {
            let _ = Command::new("runc").args(["delete", "--force", &self.id]).stderr(Stdio::null()).status();
        }
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

/// The runtime configuration, as `runc spec` would begin it.
fn config(kind: Kind<'_>) -> Value {
    let bind = |source: &Path, target: &str| json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", "ro"]});
    let tmpfs = |target: &str| json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]});
    let mut namespaces = vec!["pid", "mount", "ipc", "uts"];
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]}),
    ];
    let argv: Vec<String> = match kind {
        Kind::Worker { program, cpu, .. } => {
            namespaces.push("network");
            mounts.push(bind(program, "/worker"));
            vec!["/worker".to_owned(), cpu.map_or_else(|| "-1".to_owned(), |cpu| cpu.to_string())]
        }
        Kind::Server { argv, files } => {
            let there = HOST_DIRECTORIES.iter().filter(|directory| Path::new(directory).exists());
            mounts.extend(there.map(|directory| bind(Path::new(directory), directory)));
            mounts.extend(["/tmp", "/run", "/var"].map(tmpfs));
            mounts.push(bind(files, "/bench"));
            argv.iter().map(|&argument| argument.to_owned()).collect()
        }
    };
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let capabilities = json!(CAPABILITIES);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/",
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": false
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "bench",
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "resources": {"devices": [{"allow": false, "access": "rwm"}]}}
    })
}
