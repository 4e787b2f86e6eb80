//! Plain runc and crun: the state that each keeps of its running containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cgroup;
use super::containerd::Bundle;
use super::files::{self, Roots};
use super::identity::{Identity, Runtime, text};
use super::process::Process;

/// The annotation in which image tools leave the name of the image (OCI image-spec, annotations).
const IMAGE_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// runc's `state.json` (libcontainer/container_linux.go, `State` and `BaseState`).
#[derive(Deserialize)]
struct RuncState {
    init_process_pid: i32,
    init_process_start: Option<u64>,
    config: Option<RuncConfig>,
}

#[derive(Deserialize)]
struct RuncConfig {
    /// Annotations and the bundle's path, each as `key=value`.
    labels: Option<Vec<String>>,
}

/// crun's `status` (src/libcrun/status.c).
#[derive(Deserialize)]
struct CrunStatus {
    pid: i32,
    #[serde(rename = "process-start-time")]
    start: Option<u64>,
}

/// What both tell about a container.
struct State {
    init: i32,
    start: Option<u64>,
    annotations: BTreeMap<String, String>,
}

/// Finds the container of `process`: its init task, or one that shares the init task's mount namespace.
pub(super) fn find(
    roots: &Roots,
    process: &Process<'_>,
    cgroup_paths: &[String],
    owner: u32,
) -> Option<Identity> {
    let directories = directories(roots, owner);
    let check = |runtime: Runtime, root: &Path, id: &str| {
        let state = read(runtime, &root.join(id), owner)?;
        process.belongs_to(state.init, state.start).then(|| identity(runtime, id, state.annotations))
    };
    // By default the cgroup is named after the container, which saves reading the state of all the others.
    let ids = cgroup::plain_ids(cgroup_paths);
    let by_cgroup =
        directories.iter().find_map(|(runtime, root)| ids.iter().find_map(|id| check(*runtime, root, id)));
    by_cgroup.or_else(|| {
        directories
            .iter()
            .find_map(|(runtime, root)| files::names(root).find_map(|id| check(*runtime, root, &id)))
    })
}

fn directories(roots: &Roots, owner: u32) -> [(Runtime, PathBuf); 2] {
    if owner == 0 {
        return [(Runtime::Runc, roots.runc.clone()), (Runtime::Crun, roots.crun.clone())];
    }
    let run = roots.user_run(owner);
    [(Runtime::Runc, run.join("runc")), (Runtime::Crun, run.join("crun"))]
}

fn read(runtime: Runtime, directory: &Path, owner: u32) -> Option<State> {
    if runtime == Runtime::Crun {
        let status: CrunStatus = files::read_json(&directory.join("status"), owner)?;
        // crun keeps a copy of the bundle's configuration beside its status.
        let annotations = Bundle::annotations(directory, owner).unwrap_or_default();
        return Some(State { init: status.pid, start: status.start, annotations });
    }
    let state: RuncState = files::read_json(&directory.join("state.json"), owner)?;
    let labels = state.config.and_then(|config| config.labels).unwrap_or_default();
    let annotations = labels.iter().filter_map(|label| label.split_once('='));
    let annotations = annotations
        .filter(|(key, _)| *key != "bundle")
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Some(State { init: state.init_process_pid, start: state.init_process_start, annotations })
}

fn identity(runtime: Runtime, id: &str, annotations: BTreeMap<String, String>) -> Identity {
    let mut identity = Identity::new(id, runtime);
    identity.name = text(id);
    identity.image = annotations.get(IMAGE_ANNOTATION).and_then(|image| text(image));
    identity.set_labels(annotations);
    identity
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const RUNC: &str = r#"{"id":"web","init_process_pid":100,"init_process_start":153121,
        "created":"2026-11-24T11:08:03Z","config":{"rootfs":"/b/rootfs","umask":null,
        "labels":["org.opencontainers.image.ref.name=shop/web:1","team=blue","bundle=/b"]},"rootless":false,
        "namespace_paths":{"NEWNS":"/proc/100/ns/mnt"}}"#;
    const CRUN: &str = r#"{"pid":100,"process-start-time":153121,"cgroup-path":"/web","scope":"",
        "rootfs":"/b/rootfs","systemd-cgroup":false,"bundle":"/b","owner":"root","detached":true}"#;

    struct Host(tempfile::TempDir);

    impl Host {
        /// A host on which this program has mount namespace 1, and container `web` of `runtime` namespace 2.
        fn new(runtime: Runtime) -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            host.task("self", 1, 7);
            host.task("100", 2, 153_121);
            if runtime == Runtime::Runc {
                host.write("runc/web/state.json", RUNC);
            } else {
                host.write("crun/web/status", CRUN);
                host.write("crun/web/config.json", r#"{"annotations":{"team":"blue"}}"#);
            }
            host
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn task(&self, pid: &str, mount: u32, start: u64) {
            let zeros = "0 ".repeat(18);
            self.write(&format!("proc/{pid}/stat"), &format!("{pid} (a) S) b) S {zeros}{start} 0 0\n"));
            self.write(&format!("proc/{pid}/ns/.keep"), "");
            symlink(format!("mnt:[{mount}]"), self.0.path().join(format!("proc/{pid}/ns/mnt"))).unwrap();
        }

        fn find(&self, pid: i32, cgroup: &str) -> Option<Identity> {
            let at = |name: &str| self.0.path().join(name);
            let roots = Roots { proc: at("proc"), runc: at("runc"), crun: at("crun"), ..Roots::default() };
            find(&roots, &Process::new(&roots, pid), &[cgroup.to_owned()], 0)
        }
    }

    #[test]
    fn by_init_pid_and_by_mount_namespace() {
        for runtime in [Runtime::Runc, Runtime::Crun] {
            let host = Host::new(runtime);
            host.task("101", 2, 200_000);
            host.task("102", 1, 200_000);
            for (pid, cgroup) in [(100, "/web"), (100, "/elsewhere"), (101, "/elsewhere")] {
                let found = host.find(pid, cgroup).unwrap();
                assert_eq!((found.id.as_str(), found.name.as_deref()), ("web", Some("web")));
                assert_eq!(found.runtime, runtime);
                assert_eq!(found.labels.get("team").map(String::as_str), Some("blue"));
                assert!(!found.labels.contains_key("bundle"));
            }
            assert_eq!(host.find(102, "/web"), None, "a host task that took the container's cgroup");
        }
    }

    #[test]
    fn runc_tells_the_image_annotation() {
        assert_eq!(Host::new(Runtime::Runc).find(100, "/web").unwrap().image.as_deref(), Some("shop/web:1"));
    }

    #[test]
    fn a_reused_pid_is_not_the_container() {
        let host = Host::new(Runtime::Runc);
        host.write("proc/100/stat", &format!("100 (x) S {}999 0\n", "0 ".repeat(18)));
        assert_eq!(host.find(100, "/web"), None);
    }

    #[test]
    fn broken_state_is_no_identity() {
        let host = Host::new(Runtime::Runc);
        for length in 0..RUNC.len() {
            host.write("runc/web/state.json", &RUNC[..length]);
            assert_eq!(host.find(100, "/web"), None, "{length}");
        }
        host.write("runc/web/state.json", r#"{"init_process_pid":-1,"config":{"labels":["novalue"]}}"#);
        assert_eq!(host.find(100, "/web"), None);
        host.write("proc/100/stat", "100 (");
        host.write("runc/web/state.json", RUNC);
        assert_eq!(host.find(100, "/web"), None);
    }
}
