//! Sockets that more than one process has: children serve what their parents have opened, inside as natively.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::{PATH, PYTHON, Server, free_port, shielded, text};

fn casemate(options: &[&str], arguments: &[&str]) -> Command {
    shielded(&[&["--env", PATH], options].concat(), arguments)
}

/// Whether a Python program says the same natively and inside, and ends well.
fn same(program: &str) {
    let native =
        Command::new(PYTHON).args(["-c", program]).env_clear().stdin(Stdio::null()).output().unwrap();
    assert!(native.status.success(), "{}", text(&native.stderr));
    for options in [&["--vcpus", "1"][..], &["--vcpus", "2"]] {
        let shielded = casemate(options, &[PYTHON, "-c", program]).output().unwrap();
        let stderr = text(&shielded.stderr);
        assert_eq!(text(&native.stdout), text(&shielded.stdout), "{stderr}");
        assert!(shielded.status.success(), "{stderr}");
    }
}

#[test]
fn pairs() {
    for kind in ["SOCK_STREAM", "SOCK_SEQPACKET", "SOCK_DGRAM"] {
        same(&format!(
            r#"
import os, select, socket
a, b = socket.socketpair(socket.AF_UNIX, socket.{kind})
a.send(b"before")
b.send(b"to a")
pid = os.fork()
if pid == 0:
    a.close()
    got = b.recv(100)
    b.send(b"got " + got)
    print("child", b.recv(100), flush=True)
    b.send(b"end")
    os._exit(3)
b.close()
print(a.recv(4))
print(select.select([a], [], [], 20)[0] == [a])
print(a.recv(100))
a.send(b"second")
print(os.waitpid(pid, 0)[1])
print(a.recv(100))
a.setblocking(False)
try:
    print(a.recv(100))
except OSError as error:
    print(error.errno)
"#
        ));
    }
}

#[test]
fn pipes_of_multiprocessing() {
    same(
        r#"
import multiprocessing as mp
def double(pipe):
    while (number := pipe.recv()) is not None:
        pipe.send(number * 2)
mp.set_start_method("fork")
ours, theirs = mp.Pipe()
child = mp.Process(target=double, args=(theirs,))
child.start()
theirs.close()
for number in range(20):
    ours.send(number)
    print(ours.recv())
ours.send(None)
child.join()
print(child.exitcode)
"#,
    );
}

#[test]
fn children_take_the_connections_of_their_parents_socket() {
    same(
        r#"
import os, socket
server = socket.create_server(("127.0.0.1", 0), backlog=64)
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        while True:
            connection, _ = server.accept()
            with connection:
                asked = connection.recv(100)
                if asked == b"end":
                    os._exit(0)
                connection.sendall(asked.upper())
    children.append(pid)
address = server.getsockname()
server.close()
for number in range(60):
    with socket.create_connection(address) as client:
        client.sendall(b"number %d" % number)
        print(client.recv(100), client.recv(100))
for _ in children:
    with socket.create_connection(address) as client:
        client.sendall(b"end")
        client.recv(1)
for pid in children:
    print(os.waitpid(pid, 0)[1])
"#,
    );
}

#[test]
fn who_reads_gets_what_came_before_the_fork() {
    same(
        r#"
import os, socket, subprocess, time
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.sendall(b"first ")
connection, _ = server.accept()
time.sleep(0.2)
pid = os.fork()
if pid == 0:
    client.close()
    server.close()
    got = connection.recv(6)
    connection.sendall(b"child " + got)
    os._exit(0)
print(client.recv(100))
print(os.waitpid(pid, 0)[1])
# The child's end was not the connection's.
client.sendall(b"second")
print(connection.recv(100))
connection.sendall(b"parent")
print(client.recv(100))
client.shutdown(socket.SHUT_WR)
subprocess.run(["/bin/echo", "by a program"], stdout=connection)
connection.close()
print(client.recv(100), client.recv(100))
"#,
    );
}

#[test]
fn a_child_does_not_disturb_connections_in_epoll() {
    same(
        r#"
import os, select, socket, time
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
connection, _ = server.accept()
poll = select.epoll()
poll.register(connection, select.EPOLLIN)
print(poll.poll(0))
pid = os.fork()
if pid == 0:
    time.sleep(1)
    os._exit(0)
for number in range(5):
    client.sendall(b"%d" % number)
    print(len(poll.poll(20)), connection.recv(100))
print(os.waitpid(pid, 0)[1])
client.sendall(b"after")
print(len(poll.poll(20)), connection.recv(100))
client.close()
print(len(poll.poll(20)), connection.recv(100))
"#,
    );
}

#[test]
fn datagrams() {
    same(
        r#"
import os, socket
ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ours.bind(("127.0.0.1", 0))
pid = os.fork()
if pid == 0:
    got, sender = ours.recvfrom(100)
    ours.sendto(got + b" back", sender)
    os._exit(0)
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other.sendto(b"there", ours.getsockname())
print(other.recv(100))
print(os.waitpid(pid, 0)[1])
"#,
    );
}

impl Server {
    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("/bin/kill").args([signal, &pid]).status().unwrap().success());
    }

    /// How it has ended, within some time.
    fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

/// Asks until an answer is as wanted.
fn ask(what: impl Fn() -> String, wanted: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let answer = what();
        if wanted(&answer) || begin.elapsed() > Duration::from_secs(30) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nginx_with_workers() {
    assert!(std::path::Path::new("/usr/sbin/nginx").exists(), "nginx is missing: run scripts/setup.sh");
    let directory = TempDir::new().unwrap();
    let place = directory.path().display().to_string();
    let port = free_port();
    let configuration = |answer: &str| {
        let text = format!(
            "daemon off; user root; worker_processes 2; error_log {place}/error; pid {place}/pid;\n\
             events {{}}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; return 200 {answer}; }} }}\n"
        );
        std::fs::write(directory.path().join("conf"), text).unwrap();
    };
    configuration("first");
    let (mount, conf) = (format!("{place}:{place}"), format!("{place}/conf"));
    let options = ["--mount", &mount, "--tmpfs", "/var/lib/nginx"];
    let mut server =
        Server(casemate(&options, &["/usr/sbin/nginx", "-c", &conf]).stderr(Stdio::null()).spawn().unwrap());
    let url = format!("http://127.0.0.1:{port}/");
    let get = || text(&run("/usr/bin/curl", &["-s", "-m", "10", &url]).stdout);
    assert_eq!(ask(get, |answer| answer == "first"), "first");
    for _ in 0..40 {
        assert_eq!(get(), "first");
    }
    configuration("second");
    server.signal("-HUP");
    assert_eq!(ask(get, |answer| answer == "second"), "second");
    server.signal("-QUIT");
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn redis_saves_while_it_serves() {
    assert!(std::path::Path::new("/usr/bin/redis-server").exists(), "redis is missing: run scripts/setup.sh");
    let directory = TempDir::new().unwrap();
    let place = directory.path().display().to_string();
    let port = free_port().to_string();
    let mount = format!("{place}:{place}");
    let arguments = ["/usr/bin/redis-server", "--port", &port, "--dir", &place, "--save", ""];
    let mut server =
        Server(casemate(&["--mount", &mount], &arguments).stdout(Stdio::null()).spawn().unwrap());
    let redis = |arguments: &[&str]| {
        text(&run("/usr/bin/redis-cli", &[&["-p", &port], arguments].concat()).stdout).trim().to_string()
    };
    assert_eq!(ask(|| redis(&["ping"]), |answer| answer == "PONG"), "PONG");
    assert_eq!(redis(&["eval", "for i=1,20000 do redis.call('set', i, i) end return 1", "0"]), "1");
    let load = ["-p", &port, "-t", "set,get", "-n", "20000", "-c", "8", "-q"];
    let load = Command::new("/usr/bin/redis-benchmark").args(load).stdout(Stdio::null()).spawn().unwrap();
    for (save, status) in
        [("bgsave", "rdb_last_bgsave_status:ok"), ("bgrewriteaof", "aof_last_bgrewrite_status:ok")]
    {
        assert!(redis(&[save]).contains("started"));
        let info = ask(
            || redis(&["info", "persistence"]),
            |info| info.contains("rdb_bgsave_in_progress:0") && info.contains("aof_rewrite_in_progress:0"),
        );
        assert!(info.contains(status), "{info}");
    }
    assert!(load.wait_with_output().unwrap().status.success());
    assert_eq!(redis(&["get", "777"]), "777");
    assert!(directory.path().join("dump.rdb").metadata().unwrap().len() > 100_000);
    redis(&["shutdown", "nosave"]);
    assert_eq!(server.ended(), Some(0));
}
