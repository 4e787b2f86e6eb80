//! The types that say who a container is, and how its strings may be shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Longest name, image, or label (key and value together) that is kept, in bytes. A longer one is left out, not cut:
/// a cut value could match an exception that the whole one does not.
const MAX_TEXT: usize = 1024;

/// How many labels of a container are kept; they go into every event.
const MAX_LABELS: usize = 64;

/// Who a container is, as its runtime tells it.
///
/// The strings come from whoever made the image or started the container: show them through [`printable`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The runtime's id; for a sandbox its pid namespace (`pid:[4026532000]`).
    pub id: String,
    /// The container's name.
    pub name: Option<String>,
    /// The image, as it was asked for.
    pub image: Option<String>,
    /// What started the container.
    pub runtime: Runtime,
    /// The Kubernetes pod it belongs to.
    pub pod: Option<Pod>,
    /// Labels (Docker, CRI-O) or annotations (containerd, Podman, runc, crun).
    pub labels: BTreeMap<String, String>,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What started a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Docker Engine.
    Docker,
    /// Podman, with or without root.
    Podman,
    /// containerd: Kubernetes, nerdctl, ctr.
    Containerd,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    Crio,
    /// runc without an engine.
    Runc,
    /// crun without an engine.
    Crun,
    /// LXC.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// A pid namespace that no known runtime made: bubblewrap, a browser, a service.
    Sandbox,
    /// Not known; often the task is already gone.
    Unknown,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Sandbox => "sandbox",
            Self::Unknown => "unknown",
        })
    }
}

impl Identity {
    /// An identity of which only id and runtime are known.
    pub fn new(id: &str, runtime: Runtime) -> Self {
        Self { id: id.to_owned(), name: None, image: None, runtime, pod: None, labels: BTreeMap::new() }
    }

    /// Keeps as many of `labels` as an event may carry.
    pub(super) fn set_labels(&mut self, labels: impl IntoIterator<Item = (String, String)>) {
        let fits = |(key, value): &(String, String)| !key.is_empty() && key.len() + value.len() <= MAX_TEXT;
        self.labels = labels.into_iter().filter(fits).take(MAX_LABELS).collect();
    }
}

impl Pod {
    /// The pod that the values under two keys of `labels` name.
    pub(super) fn from_labels(
        labels: &BTreeMap<String, String>,
        namespace: &str,
        name: &str,
    ) -> Option<Self> {
        Some(Self { namespace: text(labels.get(namespace)?)?, name: text(labels.get(name)?)? })
    }
}

/// `value`, unless it is empty or longer than an event may carry.
pub(super) fn text(value: &str) -> Option<String> {
    (!value.is_empty() && value.len() <= MAX_TEXT).then(|| value.to_owned())
}

/// `value` with every character replaced that could act on a terminal instead of being shown there: control
/// characters (escape sequences, new lines) and the invisible ones that reorder or hide text.
pub fn printable(value: &str) -> String {
    value.chars().map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_keeps_text_and_replaces_what_acts() {
        assert_eq!(printable("web-1 é 漢"), "web-1 é 漢");
        assert_eq!(printable("a\x1b[2Jb\r\nc\u{9b}d\x7f"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(printable("\u{202e}cod\u{2066}"), "\u{fffd}cod\u{fffd}");
    }

    #[test]
    fn serialised_as_the_event_schema_says() {
        let mut identity = Identity::new("ab", Runtime::Crio);
        identity.pod = Some(Pod { namespace: "prod".into(), name: "web".into() });
        assert_eq!(
            serde_json::to_string(&identity).unwrap(),
            r#"{"id":"ab","name":null,"image":null,"runtime":"cri-o","pod":{"namespace":"prod","name":"web"},"labels":{}}"#
        );
    }

    #[test]
    fn runtimes_print_as_they_serialise() {
        use Runtime::*;
        for runtime in [Docker, Podman, Containerd, Crio, Runc, Crun, Lxc, Nspawn, Sandbox, Unknown] {
            assert_eq!(serde_json::to_value(runtime).unwrap(), runtime.to_string());
        }
    }

    #[test]
    fn labels_are_bounded() {
        let mut identity = Identity::new("ab", Runtime::Docker);
        identity.set_labels((0..1000).map(|n| (format!("k{n}"), String::new())));
        assert_eq!(identity.labels.len(), MAX_LABELS);
        identity.set_labels([("k".to_owned(), "v".repeat(MAX_TEXT)), ("l".to_owned(), "v".to_owned())]);
        assert_eq!(identity.labels.keys().collect::<Vec<_>>(), ["l"]);
    }
}
