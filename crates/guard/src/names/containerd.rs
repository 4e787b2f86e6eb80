//! containerd: the bundles of its running tasks, for Kubernetes, nerdctl and ctr.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{self, Roots};
use super::identity::{Identity, Pod, Runtime, text};
use super::process::Process;

/// containerd's own namespace for the containers of Docker Engine.
const DOCKER_NAMESPACE: &str = "moby";

/// The part of an OCI runtime configuration that names a container.
#[derive(Deserialize)]
pub(super) struct Bundle {
    annotations: Option<BTreeMap<String, String>>,
}

impl Bundle {
    /// The annotations in `config.json` of bundle `directory`.
    pub(super) fn annotations(directory: &Path, owner: u32) -> Option<BTreeMap<String, String>> {
        let bundle: Self = files::read_json(&directory.join("config.json"), owner)?;
        Some(bundle.annotations.unwrap_or_default())
    }
}

/// Reads container `id`, in whichever of containerd's namespaces it is.
pub(super) fn read(roots: &Roots, owner: u32, id: &str) -> Option<Identity> {
    namespaces(roots, owner).into_iter().find_map(|namespace| identity(&namespace, id))
}

/// Finds the container of `process` by its init task: ctr lets the user choose id and cgroup.
pub(super) fn find(roots: &Roots, process: &Process<'_>, owner: u32) -> Option<Identity> {
    namespaces(roots, owner).into_iter().find_map(|namespace| {
        let id = files::names(&namespace).find(|id| {
            let pid = files::read(&namespace.join(id).join("init.pid"), owner);
            let pid = pid.and_then(|pid| pid.trim().parse().ok());
            pid.is_some_and(|pid| process.belongs_to(pid, None))
        })?;
        let found = identity(&namespace, &id)?;
        // What the user chose as the id is all the name there is.
        Some(Identity { name: found.name.or_else(|| text(&id)), ..found })
    })
}

/// The directories of containerd's namespaces. A rootless containerd hides its own in a mount namespace.
fn namespaces(roots: &Roots, owner: u32) -> Vec<PathBuf> {
    if owner != 0 {
        return Vec::new();
    }
    let below = |root: &PathBuf| files::names(root).map(|name| root.join(name)).collect::<Vec<_>>();
    roots.containerd.iter().flat_map(below).collect()
}

fn identity(namespace: &Path, id: &str) -> Option<Identity> {
    let annotations = Bundle::annotations(&namespace.join(id), 0)?;
    let docker = namespace.file_name().is_some_and(|name| name == DOCKER_NAMESPACE);
    let mut identity = Identity::new(id, if docker { Runtime::Docker } else { Runtime::Containerd });
    let get = |key: &str| annotations.get(key).and_then(|value| text(value));
    identity.name = get("io.kubernetes.cri.container-name").or_else(|| get("nerdctl/name"));
    identity.image = get("io.kubernetes.cri.image-name");
    identity.pod = Pod::from_labels(
        &annotations,
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
    );
    identity.set_labels(annotations);
    Some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ID: &str = "abababababababababababababababababababababababababababababababab";

    fn fixture(namespace: &str, id: &str, json: &str) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("tasks").join(namespace).join(id);
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("config.json"), json).unwrap();
        fs::write(bundle.join("init.pid"), "100").unwrap();
        fs::create_dir(dir.path().join("100")).unwrap();
        let roots =
            Roots { proc: dir.path().into(), containerd: vec![dir.path().join("tasks")], ..Roots::default() };
        (dir, roots)
    }

    #[test]
    fn a_kubernetes_container() {
        let json = r#"{"ociVersion":"1.1.0","process":{"args":["web"]},"annotations":{
            "io.kubernetes.cri.container-name":"web","io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.image-name":"registry/shop/web:1","io.kubernetes.cri.sandbox-id":"cd",
            "io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"prod"}}"#;
        let (_dir, roots) = fixture("k8s.io", ID, json);
        let found = read(&roots, 0, ID).unwrap();
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.image.as_deref(), Some("registry/shop/web:1"));
        assert_eq!(found.pod, Some(Pod { namespace: "prod".into(), name: "web-0".into() }));
        assert_eq!(found.runtime, Runtime::Containerd);
        assert_eq!(read(&roots, 0, "cd"), None);
        assert_eq!(read(&roots, 1000, ID), None);
    }

    #[test]
    fn nerdctl_docker_and_ctr() {
        let (_dir, roots) = fixture("default", ID, r#"{"annotations":{"nerdctl/name":"web"}}"#);
        assert_eq!(read(&roots, 0, ID).unwrap().name.as_deref(), Some("web"));
        let (_dir, roots) = fixture("moby", ID, "{}");
        assert_eq!(read(&roots, 0, ID), Some(Identity::new(ID, Runtime::Docker)));
        let (_dir, roots) = fixture("default", "chosen", "{}");
        let found = find(&roots, &Process::new(&roots, 100), 0).unwrap();
        assert_eq!((found.id.as_str(), found.name.as_deref()), ("chosen", Some("chosen")));
        assert_eq!(find(&roots, &Process::new(&roots, 101), 0), None);
    }

    #[test]
    fn broken_bundles_are_no_identity() {
        for json in ["", "{", "[]", r#"{"annotations":{"a":1}}"#, r#"{"annotations":"#] {
            let (_dir, roots) = fixture("k8s.io", ID, json);
            assert_eq!(read(&roots, 0, ID), None, "{json}");
        }
    }
}
