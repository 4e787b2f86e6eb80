//! `casemate run`: servers inside answer clients outside, byte for byte; clients inside reach servers outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{PYTHON, Server, free_port, shielded};

/// How long a server may take to come up, and a client to end.
const PATIENCE: Duration = Duration::from_secs(60);

fn inside(arguments: &[&str]) -> Command {
    shielded(&["--vcpus", "2", "--env", "PATH=/usr/sbin:/usr/bin"], arguments)
}

/// Starts a server and waits until it takes connections at a port.
fn serve(port: u16, arguments: &[&str]) -> Server {
    let mut server = Server(inside(arguments).stdout(Stdio::null()).spawn().expect("casemate starts"));
    let begin = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(server.0.try_wait().expect("a status").is_none(), "{arguments:?} ended");
        assert!(begin.elapsed() < PATIENCE, "{arguments:?} does not come up");
        thread::sleep(Duration::from_millis(50));
    }
    server
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream
}

/// Bytes that are not the same at any two places near each other.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

const THREADS: &str = "
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(50000):
            self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, request_queue_size, daemon_threads = True, 256, True
Server(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
";

const EVENTS: &str = "
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(50000):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, '127.0.0.1', int(sys.argv[1]), backlog=256)
    await server.serve_forever()
asyncio.run(main())
";

/// Many connections at once, of all lengths, each compared byte for byte; some clients vanish in the middle.
fn echo_under_load(program: &str) {
    let port = free_port();
    let _server = serve(port, &[PYTHON, "-c", program, &port.to_string()]);
    let clients = (0..48_usize).map(|client| {
        thread::spawn(move || {
            let length = if client % 8 == 0 { 3_000_000 } else { 1 + client * 997 };
            let sent = noise(client as u64, length);
            let mut stream = connect(port);
            if client % 6 == 5 {
                let _ = stream.write_all(&sent);
                return;
            }
            let mut half = stream.try_clone().expect("a second handle");
            let expected = sent.clone();
            let writer = thread::spawn(move || {
                half.write_all(&sent).expect("the server reads");
                half.shutdown(Shutdown::Write).expect("half closed");
            });
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("the server answers and ends");
            writer.join().expect("all is written");
            assert!(got == expected, "client {client}: {} bytes of {}", got.len(), expected.len());
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().expect("a client ends well");
    }
}

#[test]
fn threads_serve() {
    echo_under_load(THREADS);
}

#[test]
fn an_event_loop_serves() {
    echo_under_load(EVENTS);
}

#[test]
fn idle_connections_cost_nothing_and_are_there() {
    let port = free_port();
    let _server = serve(port, &[PYTHON, "-c", EVENTS, &port.to_string()]);
    let mut idle: Vec<_> = (0..300).map(|_| connect(port)).collect();
    for round in 0..50_u8 {
        let mut stream = connect(port);
        stream.write_all(&[round; 100]).expect("written");
        let mut got = [0; 100];
        stream.read_exact(&mut got).expect("answered");
        assert_eq!(got, [round; 100]);
    }
    for stream in &mut idle {
        stream.write_all(b"still here").expect("written");
        let mut got = [0; 10];
        stream.read_exact(&mut got).expect("answered");
        assert_eq!(&got, b"still here");
    }
}

#[test]
fn redis_keeps_what_it_is_given() {
    let port = free_port();
    let arguments = ["/usr/bin/redis-server", "--save", "", "--bind", "127.0.0.1", "--port"];
    let _server = serve(port, &[&arguments[..], &[&port.to_string()]].concat());
    let clients = (0..8_u64).map(|client| {
        thread::spawn(move || {
            let mut stream = connect(port);
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            for round in 0..40 {
                let value = noise(client * 1000 + round, usize::try_from(round * 1531).expect("small"));
                write!(stream, "*3\r\n$3\r\nSET\r\n$2\r\nk{client}\r\n${}\r\n", value.len())
                    .expect("written");
                stream.write_all(&value).expect("written");
                write!(stream, "\r\n*2\r\n$3\r\nGET\r\n$2\r\nk{client}\r\n").expect("written");
                let mut line = String::new();
                reader.read_line(&mut line).expect("an answer");
                assert_eq!(line, "+OK\r\n");
                line.clear();
                reader.read_line(&mut line).expect("an answer");
                assert_eq!(line, format!("${}\r\n", value.len()));
                let mut got = vec![0; value.len() + 2];
                reader.read_exact(&mut got).expect("the value");
                assert!(got.starts_with(&value) && got.ends_with(b"\r\n"), "client {client}, round {round}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().expect("a client ends well");
    }
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    command.stderr(Stdio::piped()).output().expect("it ends")
}

#[test]
fn a_client_inside_reaches_a_server_outside() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let SocketAddr::V4(address) = listener.local_addr().expect("its address") else { panic!("no IPv4") };
    let body = noise(7, 2_000_000);
    let expected = body.clone();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut line = String::new();
        while reader.read_line(&mut line).expect("a request") > 2 {
            line.clear();
        }
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).expect("written");
        stream.write_all(&body).expect("written");
    });
    let url = format!("http://{address}/");
    let got = output(&mut inside(&["/usr/bin/curl", "-s", "-m", "50", &url]));
    assert!(got.stdout == expected, "{} bytes; {}", got.stdout.len(), String::from_utf8_lossy(&got.stderr));
    server.join().expect("the server ends well");
}

/// What does not depend on where it runs: the same program natively says the same.
const SEMANTICS: &str = r"
import socket, select, errno, os, array, threading, struct
def attempt(name, f):
    try: print(name, f())
    except OSError as e: print(name, errno.errorcode.get(e.errno, e))
L = '127.0.0.1'
# Nobody listens; what cannot be.
s = socket.socket(); s.bind((L, 0)); dead = s.getsockname()
attempt('refused', lambda: socket.create_connection(dead, 5)); s.close()
attempt('packet', lambda: socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET))
attempt('unconnected', lambda: socket.socket().recv(1))
attempt('no address', lambda: socket.socket().getpeername())
# Options.
s = socket.socket()
for level, option, value in [(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, 9999, 1)]:
    attempt('set', lambda: s.setsockopt(level, option, value))
    attempt('get', lambda: s.getsockopt(level, option))
for option in [socket.SO_TYPE, socket.SO_ERROR, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ACCEPTCONN]:
    attempt('fact', lambda: s.getsockopt(socket.SOL_SOCKET, option))
# A connection to itself: half close, peek, readiness by level and by edge.
l = socket.create_server((L, 0)); c = socket.create_connection(l.getsockname()); a, peer = l.accept()
print('peer', peer == c.getsockname(), a.getsockname() == l.getsockname())
p = select.epoll(); p.register(a, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
print('idle', p.poll(0))
c.sendall(b'hello'); print('edge', p.poll(5) == [(a.fileno(), select.EPOLLIN)], p.poll(0.1))
print('peek', a.recv(3, socket.MSG_PEEK), a.recv(100))
attempt('dontwait', lambda: a.recv(1, socket.MSG_DONTWAIT))
a.settimeout(0.05); attempt('timeout', lambda: str(a.recv(1)) ); a.settimeout(None)
c.shutdown(socket.SHUT_WR); print('rdhup', p.poll(5) == [(a.fileno(), select.EPOLLIN | select.EPOLLRDHUP)])
print('end', a.recv(10)); a.sendall(b'x' * 200000)
got = b''
while len(got) < 200000: got += c.recv(65536)
print('half', len(got), set(got)); a.close(); print('closed', c.recv(1)); c.close()
threading.Thread(target=lambda: socket.create_connection(l.getsockname()).sendall(b'ab' * 50000)).start()
a, _ = l.accept(); print('all', len(a.recv(100000, socket.MSG_WAITALL))); a.close()
# Datagrams.
u, v = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
u.bind((L, 0)); v.bind((L, 0)); v.sendto(b'12345', u.getsockname()); v.sendto(b'', u.getsockname())
print('poll', [n for n, _ in [(x is u, 0) for x in select.select([u, v], [], [], 5)[0]]])
d, f = u.recvfrom(3); print('cut', d, f == v.getsockname()); print('empty', u.recv(10))
attempt('nothing', lambda: u.recv(1, socket.MSG_DONTWAIT))
data, _, flags, _ = (v.sendto(b'abcdef', u.getsockname()), u.recvmsg(2))[1]; print('msg', data, flags == socket.MSG_TRUNC)
# IPv6.
l6 = socket.create_server(('::1', 0), family=socket.AF_INET6); c6 = socket.create_connection(l6.getsockname()[:2])
c6.sendall(b'six'); print('six', l6.accept()[0].recv(10))
# Unix sockets: all kinds, descriptors, names.
for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]:
    x, y = socket.socketpair(socket.AF_UNIX, kind)
    x.send(b'one'); x.send(b'two'); print('pair', y.recv(2), y.recv(9))
    x.close(); attempt('gone', lambda: y.send(b'?'))
x, y = socket.socketpair(); r, w = os.pipe()
socket.send_fds(x, [b'fd'], [w]); msg, fds, _, _ = socket.recv_fds(y, 10, 4); os.write(fds[0], b'through'); print(msg, os.read(r, 10))
name = '/tmp/casemate-test-socket-%d' % os.getpid()
s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect(name)
a, _ = s.accept(); a.sendall(b'by name'); print(c.recv(20), s.getsockname() == name, c.getpeername() == name)
attempt('twice', lambda: socket.socket(socket.AF_UNIX).bind(name)); os.unlink(name)
attempt('unlinked', lambda: socket.socket(socket.AF_UNIX).connect(name))
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('\0casemate-test-%d' % os.getpid())
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'abstract', s.getsockname()); print(s.recv(20))
s.close(); x.close()
attempt('raw', lambda: socket.socket(socket.AF_INET, 77))
";

#[test]
fn sockets_do_what_linux_does() {
    let natively = output(Command::new(PYTHON).args(["-c", SEMANTICS]).current_dir("/"));
    let shielded = output(&mut inside(&[PYTHON, "-c", SEMANTICS]));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&natively.stderr), "");
    assert_eq!(text(&shielded.stdout), text(&natively.stdout), "{}", text(&shielded.stderr));
    assert!(shielded.status.success() && natively.status.success());
}
