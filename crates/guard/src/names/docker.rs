//! Docker Engine: its containers' files, and its API where the files are elsewhere.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::files::{self, Roots};
use super::identity::{Identity, Pod, Runtime, text};
use super::process::Process;

/// How long dockerd may take for its whole answer.
const API_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest answer of dockerd that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// What `config.v2.json` and `GET /containers/<id>/json` have in common.
#[derive(Deserialize)]
struct State {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

/// Reads container `id` from the data roots of `owner`'s dockerd.
pub(super) fn from_files(roots: &Roots, owner: u32, id: &str) -> Option<Identity> {
    data_roots(roots, owner).iter().find_map(|root| {
        let path = root.join("containers").join(id).join("config.v2.json");
        Some(identity(id, files::read_json(&path, owner)?))
    })
}

/// Asks dockerd itself, whose data root may be anywhere. Only root's: a rootless dockerd keeps to its default.
pub(super) fn from_socket(roots: &Roots, owner: u32, id: &str) -> Option<Identity> {
    if owner != 0 {
        return None;
    }
    let answer = get(&roots.docker_socket, &format!("/containers/{id}/json"))?;
    Some(identity(id, serde_json::from_slice(body(&answer)?).ok()?))
}

/// The data roots, each followed by those that `userns-remap` keeps below it (`100000.100000`).
fn data_roots(roots: &Roots, owner: u32) -> Vec<PathBuf> {
    if owner != 0 {
        return roots.home(owner).map(|home| home.join(".local/share/docker")).into_iter().collect();
    }
    let is_remapped = |name: &String| {
        name.split_once('.')
            .is_some_and(|(uid, gid)| uid.parse::<u32>().is_ok() && gid.parse::<u32>().is_ok())
    };
    let with_remapped = |root: &PathBuf| {
        let remapped = files::names(root).filter(is_remapped).map(|name| root.join(name)).collect::<Vec<_>>();
        [vec![root.clone()], remapped].concat()
    };
    roots.docker.iter().chain(&running_roots(roots)).flat_map(with_remapped).collect()
}

/// Data roots that running daemons were given on their command line. Only of daemons in our own mount namespace: a
/// container can call its programs what it likes.
fn running_roots(roots: &Roots) -> Vec<PathBuf> {
    let daemon_root = |name: String| {
        let process = Process::new(roots, name.parse().ok()?);
        let arguments = process.arguments_of("dockerd")?;
        process.own_namespace("mnt").is_none().then_some(())?;
        data_root_argument(&arguments)
    };
    files::names(&roots.proc).filter_map(daemon_root).collect()
}

/// `--data-root PATH`, `--data-root=PATH`, or `-g` as it was called once.
fn data_root_argument(arguments: &[String]) -> Option<PathBuf> {
    arguments.iter().enumerate().find_map(|(at, argument)| {
        let value = match argument.as_str() {
            "--data-root" | "--graph" | "-g" => arguments.get(at + 1)?,
            other => other.strip_prefix("--data-root=").or_else(|| other.strip_prefix("--graph="))?,
        };
        Some(PathBuf::from(value)).filter(|path| path.is_absolute())
    })
}

fn identity(id: &str, state: State) -> Identity {
    let mut identity = Identity::new(id, Runtime::Docker);
    identity.name = state.name.and_then(|name| text(name.trim_start_matches('/')));
    let Some(config) = state.config else { return identity };
    identity.image = config.image.and_then(|image| text(&image));
    let labels = config.labels.unwrap_or_default();
    // The kubelet's labels, on containers that it starts through dockershim or cri-dockerd.
    identity.pod = Pod::from_labels(&labels, "io.kubernetes.pod.namespace", "io.kubernetes.pod.name");
    if let Some(name) = labels.get("io.kubernetes.container.name").and_then(|name| text(name)) {
        identity.name = Some(name);
    }
    identity.set_labels(labels);
    identity
}

/// The whole answer to `GET path` on the HTTP server behind `socket`. As HTTP/1.0, so that the body is not chunked
/// and ends with the connection.
fn get(socket: &Path, path: &str) -> Option<Vec<u8>> {
    let deadline = Instant::now() + API_TIMEOUT;
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_write_timeout(Some(API_TIMEOUT)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        // The limit is on the sum, or a server that sends a byte at a time could keep the caller for ever.
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut chunk).ok()? {
            0 => return Some(answer),
            count => answer.extend_from_slice(chunk.get(..count)?),
        }
        if answer.len() > MAX_ANSWER {
            return None;
        }
    }
}

/// The body of a successful HTTP answer.
fn body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (answer.get(..end)?, answer.get(end + 4..)?);
    let status = head.split(|byte| *byte == b' ').nth(1)?;
    (head.starts_with(b"HTTP/1.") && status == b"200").then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_roots_on_the_command_line_are_found() {
        let root = |line: &str| data_root_argument(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(root("dockerd --debug --data-root /srv/docker"), Some("/srv/docker".into()));
        assert_eq!(root("dockerd --data-root=/srv/docker -D"), Some("/srv/docker".into()));
        assert_eq!(root("dockerd --data-root relative"), None);
        assert_eq!(root("dockerd --data-root"), None);
        assert_eq!(root("dockerd"), None);
    }

    use std::fs;
    use std::os::unix::net::UnixListener;

    const ID: &str = "50e09296d19f3753771c3c486f0630a7550f8fd3f0e7904fccbeea7f7df31107";
    const JSON: &str = r#"{"StreamConfig":{},"State":{"Running":true,"Pid":4985},"ID":"50e0","Image":"sha256:a1",
        "Name":"/web","Config":{"Hostname":"50e0","Cmd":["/bin/sleep","3600"],"Image":"shop/web:1",
        "Entrypoint":null,"Labels":{"team":"blue"}},"RestartCount":0}"#;

    fn fixture(dir: &Path, below: &str, json: &str) -> Roots {
        let place = dir.join(below).join("containers").join(ID);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("config.v2.json"), json).unwrap();
        Roots { docker: vec![dir.into()], docker_socket: dir.join("docker.sock"), ..Roots::default() }
    }

    #[test]
    fn reads_the_containers_file() {
        let dir = tempfile::tempdir().unwrap();
        for below in ["", "100000.100000"] {
            let found = from_files(&fixture(dir.path(), below, JSON), 0, ID).unwrap();
            assert_eq!(found.name.as_deref(), Some("web"));
            assert_eq!(found.image.as_deref(), Some("shop/web:1"));
            assert_eq!(found.labels, BTreeMap::from([("team".into(), "blue".into())]));
            assert_eq!((found.runtime, found.pod), (Runtime::Docker, None));
            fs::remove_dir_all(dir.path().join(below).join("containers")).unwrap();
        }
    }

    #[test]
    fn a_pod_comes_from_the_kubelets_labels() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"Name":"/k8s_web_web-0_prod_1_0","Config":{"Image":"x","Labels":{
            "io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-0",
            "io.kubernetes.pod.namespace":"prod"}}}"#;
        let found = from_files(&fixture(dir.path(), "", json), 0, ID).unwrap();
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.pod, Some(Pod { namespace: "prod".into(), name: "web-0".into() }));
    }

    #[test]
    fn broken_files_are_no_identity_and_null_fields_are_none() {
        let dir = tempfile::tempdir().unwrap();
        for length in 0..JSON.len() {
            let roots = fixture(dir.path(), "", &JSON[..length]);
            assert_eq!(from_files(&roots, 0, ID), None, "{length}");
        }
        for json in ["[]", "{\"Name\":7}", &"[".repeat(100_000)] {
            assert_eq!(from_files(&fixture(dir.path(), "", json), 0, ID), None);
        }
        let roots = fixture(dir.path(), "", r#"{"Name":null,"Config":{"Image":"","Labels":null}}"#);
        assert_eq!(from_files(&roots, 0, ID), Some(Identity::new(ID, Runtime::Docker)));
    }

    fn serve(answer: &str) -> (tempfile::TempDir, Roots, std::thread::JoinHandle<String>) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { docker_socket: dir.path().join("docker.sock"), ..Roots::default() };
        let listener = UnixListener::bind(&roots.docker_socket).unwrap();
        let answer = answer.to_owned();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (dir, roots, server)
    }

    #[test]
    fn asks_the_api() {
        let (_dir, roots, server) =
            serve(&format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{JSON}"));
        let found = from_socket(&roots, 0, ID).unwrap();
        assert_eq!(found.name.as_deref(), Some("web"));
        assert!(server.join().unwrap().starts_with(&format!("GET /containers/{ID}/json HTTP/1.0\r\n")));
        assert_eq!(from_socket(&roots, 1000, ID), None, "root's daemon does not know a user's containers");
    }

    #[test]
    fn an_unhelpful_api_is_no_identity() {
        for answer in
            ["", "HTTP/1.0 404 Not Found\r\n\r\n{}", "HTTP/1.0 200 OK\r\n\r\n{\"Name\"", "\r\n\r\n{}"]
        {
            let (_dir, roots, server) = serve(answer);
            assert_eq!(from_socket(&roots, 0, ID), None, "{answer}");
            server.join().unwrap();
        }
    }

    #[test]
    fn a_silent_api_is_left_after_the_timeout() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { docker_socket: dir.path().join("docker.sock"), ..Roots::default() };
        let _listener = UnixListener::bind(&roots.docker_socket).unwrap();
        let start = Instant::now();
        assert_eq!(from_socket(&roots, 0, ID), None);
        assert!(start.elapsed() < API_TIMEOUT * 3);
    }
}
