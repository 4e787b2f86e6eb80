//! `identify` as a whole, on a `/proc` and state directories of our own.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use super::*;

const ID: &str = "2d146cde851a283ba48278159b8344e7337831cf92857375d3f770ddcf696d0f";

struct Host {
    dir: tempfile::TempDir,
    roots: Roots,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let roots = Roots {
            proc: at("proc"),
            passwd: at("passwd"),
            docker: vec![at("docker")],
            docker_socket: at("docker.sock"),
            containerd: vec![at("containerd")],
            storage: vec![at("storage")],
            runc: at("runc"),
            crun: at("crun"),
            run_user: at("run-user"),
        };
        let host = Self { dir, roots };
        host.task("self", 1, 0, 0, "0::/\n");
        host.write(
            "passwd",
            &format!("ann:x:1000:1000::{}:/bin/sh\n", host.dir.path().join("ann").display()),
        );
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A task, all of whose namespaces have inode `namespace`.
    fn task(&self, pid: &str, namespace: u32, uid: u32, parent: i32, cgroup: &str) {
        self.write(&format!("proc/{pid}/cgroup"), cgroup);
        self.write(
            &format!("proc/{pid}/status"),
            &format!("Name:\tx\nPPid:\t{parent}\nUid:\t{uid}\t{uid}\t0\t0\n"),
        );
        self.write(&format!("proc/{pid}/ns/.keep"), "");
        for kind in ["mnt", "pid", "user"] {
            let link = self.dir.path().join(format!("proc/{pid}/ns/{kind}"));
            symlink(format!("{kind}:[{namespace}]"), link).unwrap();
        }
    }

    fn list_podman(&self, storage: &str, name: &str) -> std::path::PathBuf {
        let path = format!("{storage}/overlay-containers/containers.json");
        self.write(&path, &format!(r#"[{{"id":"{ID}","names":["{name}"],"metadata":"{{}}"}}]"#));
        self.dir.path().join(path)
    }
}

#[test]
fn a_task_that_is_gone_is_unknown() {
    let identity = identify_in(&Host::new().roots, 4242);
    assert_eq!(identity, Identity::new("pid-4242", Runtime::Unknown));
    assert_eq!(identify(-1).runtime, Runtime::Unknown);
}

#[test]
fn a_pid_namespace_of_nobody_is_a_sandbox() {
    let host = Host::new();
    host.task("100", 2, 0, 1, "0::/user.slice\n");
    assert_eq!(identify_in(&host.roots, 100), Identity::new("pid:[2]", Runtime::Sandbox));
}

#[test]
fn the_cgroup_alone_tells_id_and_runtime() {
    let host = Host::new();
    for (form, runtime) in [
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
        ("cri-containerd-", Runtime::Containerd),
        ("crio-", Runtime::Crio),
        ("", Runtime::Unknown),
    ] {
        host.write("proc/100/cgroup", &format!("0::/a/{form}{ID}.scope\n"));
        assert_eq!(identify_in(&host.roots, 100), Identity::new(ID, runtime));
    }
}

#[test]
fn a_bare_id_is_looked_for_with_every_engine() {
    let host = Host::new();
    host.task("100", 2, 0, 1, &format!("0::/kubepods/pod1/{ID}\n"));
    host.write(&format!("containerd/k8s.io/{ID}/config.json"), "{}");
    assert_eq!(identify_in(&host.roots, 100).runtime, Runtime::Containerd);
    host.write(&format!("docker/containers/{ID}/config.v2.json"), r#"{"Name":"/web"}"#);
    assert_eq!(identify_in(&host.roots, 100).name.as_deref(), Some("web"));
}

#[test]
fn an_engine_without_cgroups_is_found_through_its_runtime() {
    let host = Host::new();
    host.task("100", 2, 0, 1, "0::/\n");
    host.write(&format!("crun/{ID}/status"), r#"{"pid":100}"#);
    assert_eq!(identify_in(&host.roots, 100).runtime, Runtime::Crun);
    host.list_podman("storage", "web");
    let found = identify_in(&host.roots, 100);
    assert_eq!((found.runtime, found.name.as_deref()), (Runtime::Podman, Some("web")));
}

#[test]
fn lxc_and_nspawn_name_themselves() {
    let host = Host::new();
    host.task("100", 2, 0, 1, "0::/lxc.payload.web\n");
    let found = identify_in(&host.roots, 100);
    assert_eq!((found.runtime, found.name.as_deref()), (Runtime::Lxc, Some("web")));
}

/// Needs root, to make files of another user.
#[test]
fn a_users_container_takes_its_name_from_that_user_only() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = Host::new();
    host.list_podman("storage", "roots");
    let list = host.list_podman("ann/.local/share/containers/storage", "anns");
    chown(list, Some(1000), None).unwrap();
    let scope = format!("libpod-{ID}.scope");
    let name = |pid| identify_in(&host.roots, pid).name;

    host.task("100", 2, 100_999, 99, &format!("0::/{scope}\n"));
    host.task("99", 3, 1000, 1, "0::/\n");
    host.task("1", 1, 0, 0, "0::/\n");
    // conmon lives in Podman's mount namespace, and in the host's pid namespace.
    fs::remove_file(host.dir.path().join("proc/99/ns/pid")).unwrap();
    symlink("pid:[1]", host.dir.path().join("proc/99/ns/pid")).unwrap();
    assert_eq!(name(100).as_deref(), Some("anns"), "by the supervisor");

    host.task("101", 2, 100_999, 1, &format!("0::/{scope}\n"));
    host.write("proc/101/uid_map", "         0       1000          1\n         1     100000      65536\n");
    assert_eq!(name(101).as_deref(), Some("anns"), "by the map, once the supervisor is gone");

    host.task("102", 1, 1000, 1, &format!("0::/user.slice/user-1000.slice/{scope}\n"));
    assert_eq!(
        name(102).as_deref(),
        Some("anns"),
        "a cgroup of the user's that bears the id of root's container"
    );

    host.task("103", 2, 0, 1, &format!("0::/machine.slice/{scope}\n"));
    assert_eq!(name(103).as_deref(), Some("roots"));
}
