//! What the cgroup of a task tells about its container, on cgroup v1, v2 and both.

use std::collections::BTreeMap;

use super::Runtime;

/// How a runtime writes a container's id into the cgroup path, which tells the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// `/docker/<id>`, `docker-<id>.scope`.
    Docker,
    /// `libpod-<id>.scope`, `libpod_parent/libpod-<id>`, `libpod-payload-<id>`.
    Podman,
    /// `cri-containerd-<id>.scope`, `nerdctl-<id>.scope`.
    Containerd,
    /// `crio-<id>.scope`, `crio-<id>`.
    Crio,
    /// The id alone, below `kubepods` or any parent that an administrator chose.
    Bare,
}

/// Prefixes of a path component and the form they tell; the id follows, then perhaps `.scope`.
const PREFIXES: [(&str, Form); 7] = [
    ("docker-", Form::Docker),
    ("libpod-payload-", Form::Podman),
    ("libpod-", Form::Podman),
    ("cri-containerd-", Form::Containerd),
    ("nerdctl-", Form::Containerd),
    ("crio-", Form::Crio),
    ("", Form::Bare),
];

/// The cgroup paths in the text of `/proc/<pid>/cgroup` (cgroups(7)), one for each hierarchy.
pub(super) fn paths(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_owned).collect()
}

/// Whether `id` is an id as all engines make them.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The container's id. Where the hierarchies of cgroup v1 disagree, most of them are right.
pub(super) fn container_id(paths: &[String]) -> Option<(Form, String)> {
    let mut votes = BTreeMap::new();
    for found in paths.iter().filter_map(|path| outermost_id(path)) {
        *votes.entry(found).or_insert(0) += 1;
    }
    let ((form, id), _) = votes.into_iter().max_by_key(|(_, count)| *count)?;
    Some((form, id.to_owned()))
}

/// The id nearest the root of the hierarchy: what lies deeper was made inside the container, by a nested runtime or
/// by somebody who wants to be taken for another.
fn outermost_id(path: &str) -> Option<(Form, &str)> {
    let mut parent = "";
    for component in path.split('/') {
        if let Some((form, id)) = id_in(component) {
            let in_docker = form == Form::Bare && parent == "docker";
            return Some((if in_docker { Form::Docker } else { form }, id));
        }
        parent = component;
    }
    None
}

fn id_in(component: &str) -> Option<(Form, &str)> {
    let component = component.strip_suffix(".scope").unwrap_or(component);
    PREFIXES.iter().find_map(|(prefix, form)| {
        let id = component.strip_prefix(prefix)?;
        is_id(id).then_some((*form, id))
    })
}

/// The components of all paths that may be the id of a plain runc or crun container, outermost first.
pub(super) fn plain_ids(paths: &[String]) -> Vec<&str> {
    let mut ids = Vec::new();
    for component in paths.iter().flat_map(|path| path.split('/')) {
        let scope = component.strip_suffix(".scope").unwrap_or(component);
        let bare = scope.strip_prefix("runc-").or_else(|| scope.strip_prefix("crun-")).unwrap_or(scope);
        for id in [component, bare] {
            if !matches!(id, "" | "." | "..") && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

/// The user whose login session or user manager owns the cgroup (`/user.slice/user-1000.slice`), if that is not root.
/// Only the start of the path counts: a systemd inside a container makes such slices too.
pub(super) fn user_slice(paths: &[String]) -> Option<u32> {
    let uid = |path: &String| {
        let (uid, _) = path.strip_prefix("/user.slice/user-")?.split_once(".slice")?;
        uid.parse().ok()
    };
    paths.iter().filter_map(uid).find(|uid| *uid != 0)
}

/// The name of an LXC or systemd-nspawn container.
pub(super) fn machine(paths: &[String]) -> Option<(Runtime, String)> {
    paths.iter().find_map(|path| {
        let mut parent = "";
        for component in path.split('/') {
            let nspawn =
                component.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
            let lxc = component.strip_prefix("lxc.payload.").or((parent == "lxc").then_some(component));
            let found = nspawn.map(|name| (Runtime::Nspawn, name)).or(lxc.map(|name| (Runtime::Lxc, name)));
            if let Some((runtime, name)) = found.filter(|(_, name)| !name.is_empty()) {
                return Some((runtime, name.to_owned()));
            }
            parent = component;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn found(text: &str) -> Option<(Form, String)> {
        container_id(&paths(text))
    }

    #[test]
    fn every_form_of_every_runtime() {
        let a = id('a');
        let cases = [
            (format!("0::/docker/{a}"), Form::Docker),
            (format!("9:name=systemd:/docker/{a}\n8:pids:/docker/{a}\n0::/docker/{a}\n"), Form::Docker),
            (format!("0::/system.slice/docker-{a}.scope"), Form::Docker),
            (format!("0::/machine.slice/libpod-{a}.scope/container"), Form::Podman),
            (format!("4:memory:/libpod_parent/libpod-{a}"), Form::Podman),
            (format!("0::/system.slice/web.service/libpod-payload-{a}"), Form::Podman),
            (
                format!("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{a}.scope"),
                Form::Containerd,
            ),
            (format!("0::/kubepods.slice/crio-{a}.scope"), Form::Crio),
            (format!("11:cpu,cpuacct:/kubepods/besteffort/pod0f-1/{a}"), Form::Bare),
        ];
        for (text, form) in cases {
            assert_eq!(found(&text), Some((form, a.clone())), "{text}");
        }
    }

    #[test]
    fn what_is_no_container() {
        let a = id('a');
        for text in [
            String::new(),
            "0::/".to_owned(),
            "garbage".to_owned(),
            "0::/system.slice/docker.service".to_owned(),
            format!("0::/machine.slice/libpod-conmon-{a}.scope"),
            format!("0::/docker/{}", &a[1..]),
            format!("0::/docker/{}", a.to_uppercase()),
        ] {
            assert_eq!(found(&text), None, "{text}");
        }
    }

    #[test]
    fn a_nested_or_forged_id_does_not_hide_the_outer_one() {
        let (a, b) = (id('a'), id('b'));
        assert_eq!(found(&format!("0::/docker/{a}/docker/{b}")), Some((Form::Docker, a.clone())));
        let text = format!("3:cpu:/docker/{a}\n2:pids:/docker/{b}\n1:memory:/docker/{a}\n");
        assert_eq!(found(&text), Some((Form::Docker, a)));
    }

    #[test]
    fn ids_of_plain_runtimes_are_safe_path_components() {
        let paths = paths("0::/../x/runc-web.scope\n1:cpu:/web");
        assert_eq!(plain_ids(&paths), ["x", "runc-web.scope", "web"]);
    }

    #[test]
    fn users_and_machines() {
        let of = |text: &str| paths(text);
        assert_eq!(user_slice(&of("0::/user.slice/user-1000.slice/user@1000.service/x")), Some(1000));
        assert_eq!(user_slice(&of("0::/user.slice/user-0.slice")), None);
        assert_eq!(user_slice(&of("0::/docker/ab/user.slice/user-1000.slice")), None);
        assert_eq!(machine(&of("0::/lxc.payload.web/init.scope")), Some((Runtime::Lxc, "web".into())));
        assert_eq!(machine(&of("0::/lxc/web")), Some((Runtime::Lxc, "web".into())));
        let nspawn = of("0::/machine.slice/systemd-nspawn@deb.service/payload");
        assert_eq!(machine(&nspawn), Some((Runtime::Nspawn, "deb".into())));
        assert_eq!(machine(&of("0::/lxc/")), None);
    }
}
