//! Podman and CRI-O, which share containers/storage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cgroup::Form;
use super::containerd::Bundle;
use super::files::{self, Roots};
use super::identity::{Identity, Pod, Runtime, text};

/// The storage drivers of containers/storage; each has its own directory of containers.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

/// The lists of containers: those that survive a reboot, and those of `--rm`.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// Annotations that the engines make for themselves start so.
const OWN_ANNOTATIONS: [&str; 3] = ["io.podman.", "io.kubernetes.cri-o.", "io.container.manager"];

/// One entry of a list of containers.
#[derive(Deserialize)]
struct Entry {
    id: String,
    names: Option<Vec<String>>,
    metadata: Option<String>,
}

/// What Podman and CRI-O keep in an entry, as JSON inside JSON.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "image-name")]
    image_name: Option<String>,
    name: Option<String>,
}

/// Reads container `id` from the storage of `owner`. `form` says whose cgroup it has; the annotations tell, if it
/// does not.
pub(super) fn read(roots: &Roots, owner: u32, form: Form, id: &str) -> Option<Identity> {
    let directories = directories(roots, owner);
    let entry = directories.iter().find_map(|directory| entry(directory, owner, id));
    let annotations = directories
        .iter()
        .find_map(|directory| Bundle::annotations(&directory.join(id).join("userdata"), owner));
    if entry.is_none() && annotations.is_none() {
        return None;
    }
    let annotations = annotations.unwrap_or_default();
    let crio = form == Form::Crio
        || form == Form::Bare && annotations.contains_key("io.kubernetes.cri-o.ContainerType");
    let mut identity = Identity::new(id, if crio { Runtime::Crio } else { Runtime::Podman });
    if let Some(entry) = entry {
        let metadata: Option<Metadata> = entry.metadata.and_then(|json| serde_json::from_str(&json).ok());
        let (image, name) = metadata.map(|found| (found.image_name, found.name)).unwrap_or_default();
        let name = name.or_else(|| entry.names.and_then(|names| names.into_iter().next()));
        identity.name = name.and_then(|name| text(&name));
        identity.image = image.and_then(|image| text(&image));
    }
    annotate(&mut identity, annotations);
    Some(identity)
}

/// Adds what the bundle tells, mostly for CRI-O.
fn annotate(identity: &mut Identity, annotations: BTreeMap<String, String>) {
    let get = |key: &str| annotations.get(key).and_then(|value| text(value));
    if let Some(name) = get("io.kubernetes.container.name") {
        identity.name = Some(name);
    }
    if let Some(image) = get("io.kubernetes.cri-o.ImageName") {
        identity.image = Some(image);
    }
    identity.pod = Pod::from_labels(&annotations, "io.kubernetes.pod.namespace", "io.kubernetes.pod.name");
    let labels = annotations.get("io.kubernetes.cri-o.Labels");
    let labels: Option<BTreeMap<String, String>> = labels.and_then(|json| serde_json::from_str(json).ok());
    let made_by_user = |key: &String| !OWN_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix));
    let labels = labels.unwrap_or(annotations);
    identity.set_labels(labels.into_iter().filter(|(key, _)| made_by_user(key)));
}

/// The directories of containers in every storage of `owner`.
fn directories(roots: &Roots, owner: u32) -> Vec<PathBuf> {
    let storage = match owner {
        0 => roots.storage.clone(),
        _ => {
            let permanent = roots.home(owner).map(|home| home.join(".local/share/containers/storage"));
            permanent.into_iter().chain([roots.user_run(owner).join("containers")]).collect()
        }
    };
    let of_drivers = |root: &PathBuf| DRIVERS.map(|driver| root.join(format!("{driver}-containers")));
    storage.iter().flat_map(of_drivers).collect()
}

fn entry(directory: &Path, owner: u32, id: &str) -> Option<Entry> {
    LISTS.iter().find_map(|list| {
        let entries: Vec<Entry> = files::read_json(&directory.join(list), owner)?;
        entries.into_iter().find(|entry| entry.id == id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const ID: &str = "2d146cde851a283ba48278159b8344e7337831cf92857375d3f770ddcf696d0f";
    const LIST: &str = r#"[{"id":"dbcd","names":["other"],"image":"6c","layer":"a4","metadata":"{}"},
        {"id":"2d146cde851a283ba48278159b8344e7337831cf92857375d3f770ddcf696d0f","names":["web"],"image":"6c",
        "layer":"f0","metadata":"{\"image-name\":\"localhost/shop/web:1\",\"image-id\":\"6c\",\"name\":\"web\",\"created-at\":1795518519}",
        "created":"2026-11-24T11:08:39.159685018Z","flags":{"MountLabel":"","ProcessLabel":""}}]"#;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn roots(dir: &Path) -> Roots {
        Roots { storage: vec![dir.into()], ..Roots::default() }
    }

    #[test]
    fn every_driver_and_list() {
        for driver in DRIVERS {
            for list in LISTS {
                let dir = tempfile::tempdir().unwrap();
                write(&dir.path().join(format!("{driver}-containers/{list}")), LIST);
                let found = read(&roots(dir.path()), 0, Form::Podman, ID).unwrap();
                assert_eq!(found.name.as_deref(), Some("web"));
                assert_eq!(found.image.as_deref(), Some("localhost/shop/web:1"));
                assert_eq!(found.runtime, Runtime::Podman);
            }
        }
    }

    #[test]
    fn a_cri_o_container() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"container",
            "io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-0",
            "io.kubernetes.pod.namespace":"prod","io.kubernetes.cri-o.ImageName":"quay.io/shop/web:1",
            "io.kubernetes.cri-o.Labels":"{\"app\":\"shop\"}"}}"#;
        write(&dir.path().join(format!("overlay-containers/{ID}/userdata/config.json")), json);
        let roots = roots(dir.path());
        let found = read(&roots, 0, Form::Crio, ID).unwrap();
        assert_eq!(
            (found.name.as_deref(), found.image.as_deref()),
            (Some("web"), Some("quay.io/shop/web:1"))
        );
        assert_eq!(found.pod, Some(Pod { namespace: "prod".into(), name: "web-0".into() }));
        assert_eq!(found.labels, BTreeMap::from([("app".into(), "shop".into())]));
        assert_eq!(read(&roots, 0, Form::Bare, ID).unwrap(), found);
    }

    #[test]
    fn annotations_of_the_user_are_labels() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"annotations":{"io.container.manager":"libpod","io.kubernetes.cri-o.TTY":"false",
            "io.podman.annotations.init":"FALSE","team":"blue"}}"#;
        write(&dir.path().join(format!("overlay-containers/{ID}/userdata/config.json")), json);
        let found = read(&roots(dir.path()), 0, Form::Podman, ID).unwrap();
        assert_eq!(found.labels, BTreeMap::from([("team".into(), "blue".into())]));
    }

    #[test]
    fn a_rootless_container_is_read_from_its_owners_home() {
        let dir = tempfile::tempdir().unwrap();
        let me = fs::metadata(dir.path()).unwrap().uid();
        let uid = if me == 0 { 1000 } else { me };
        let home = dir.path().join("home");
        let list = home.join(".local/share/containers/storage/vfs-containers/containers.json");
        write(&list, LIST);
        if me == 0 {
            std::os::unix::fs::chown(&list, Some(uid), None).unwrap();
        }
        let passwd = dir.path().join("passwd");
        write(&passwd, &format!("ann:x:{uid}:{uid}::{}:/bin/sh\n", home.display()));
        let roots = Roots { passwd, run_user: dir.path().join("run"), ..roots(&dir.path().join("none")) };
        assert_eq!(read(&roots, uid, Form::Podman, ID).unwrap().name.as_deref(), Some("web"));
        assert_eq!(
            read(&roots, 0, Form::Podman, ID),
            None,
            "a user's storage says nothing about root's containers"
        );
    }

    #[test]
    fn broken_lists_are_no_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("overlay-containers/containers.json");
        for length in 0..LIST.len() {
            write(&path, &LIST[..length]);
            assert_eq!(read(&roots(dir.path()), 0, Form::Podman, ID), None, "{length}");
        }
        write(&path, &format!(r#"[{{"id":"{ID}","names":null,"metadata":"{{not json"}}]"#));
        let found = read(&roots(dir.path()), 0, Form::Podman, ID);
        assert_eq!(found, Some(Identity::new(ID, Runtime::Podman)));
    }
}
