//! The servers: their clients' answers, and their rates, in both places.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Signal, kill_process};

use super::entry::{Outcome, Place, Program, Runner};
use super::load::{Client, FILES, Protocol, file};
use super::server::{Server, client, free_port};

const REDIS: &[&str] = &["/usr/bin/redis-server", "/usr/bin/redis-benchmark"];
const MEMCACHED: &[&str] = &["/usr/bin/memcached", "/usr/bin/memccapable"];
const NGINX: &[&str] = &["/usr/sbin/nginx", "/usr/bin/wrk", "/usr/bin/curl"];
const APACHE: &[&str] = &["/usr/sbin/apache2", "/usr/bin/wrk", "/usr/bin/curl"];

/// All of them.
pub(crate) fn all() -> Vec<Program> {
    let entry = |name, what, needs, run| Program { name, what, needs, slow: false, fails: None, run };
    vec![
        entry(
            "redis",
            "redis-cli script, redis-benchmark (every test); GET with 50 clients",
            REDIS,
            |runner| both(runner, |place| redis(runner, place)),
        ),
        entry(
            "redis persistence",
            "AOF, BGSAVE, BGREWRITEAOF; a new server has every key",
            REDIS,
            |runner| both(runner, |place| redis_persistence(runner, place)),
        ),
        entry("memcached", "`-t 4`: memccapable, text and binary; set and get", MEMCACHED, |runner| {
            both(runner, |place| memcached(runner, place))
        }),
        entry("nginx, one process", "`master_process off`: files, keep-alive, TLS; wrk", NGINX, |runner| {
            both(runner, |place| web(runner, place, Web::NginxAlone))
        }),
        entry("nginx", "master and two workers: files, keep-alive, TLS, reload; wrk", NGINX, |runner| {
            both(runner, |place| web(runner, place, Web::Nginx))
        }),
        entry(
            "apache2, one process",
            "`-X`, event MPM, 25 threads: files, keep-alive, TLS; wrk",
            APACHE,
            |runner| both(runner, |place| web(runner, place, Web::ApacheAlone)),
        ),
        entry(
            "apache2",
            "event MPM as Debian has it: files, keep-alive, TLS, reload; wrk",
            APACHE,
            |runner| both(runner, |place| web(runner, place, Web::Apache)),
        ),
        entry("curl", "curl inside, with TLS, against nginx", NGINX, curl),
    ]
}

/// What a server answered, for comparison, and how fast.
struct Answers {
    text: String,
    rate: f64,
}

/// Runs it in both places.
fn both(runner: &Runner, run: impl Fn(Place) -> Result<Answers>) -> Result<Outcome> {
    let mut seen = Vec::new();
    for place in [Place::Native, Place::Inside] {
        runner.fresh()?;
        seen.push(run(place).with_context(|| format!("{place:?}"))?);
    }
    let (native, inside) = (&seen[0], &seen[1]);
    if native.text != inside.text {
        let lines = native.text.lines().zip(inside.text.lines()).find(|(one, other)| one != other);
        let (one, other) = lines.unwrap_or(("(more)", "(less)"));
        return Ok(Outcome::Different(format!("answers {other:?} (native {one:?})")));
    }
    let rate = |answers: &Answers| {
        if answers.rate > 0.0 { format!("{:.0}/s", answers.rate) } else { "–".to_owned() }
    };
    Ok(Outcome::Same(rate(native), rate(inside)))
}

fn start_redis(runner: &Runner, place: Place, more: &[&str]) -> Result<Server> {
    let port = free_port()?;
    let text = port.to_string();
    let directory = runner.work().display().to_string();
    let argv = [&["/usr/bin/redis-server", "--port", &text, "--dir", &directory], more].concat();
    Server::start(runner, place, &argv, port)
}

const REDIS_SCRIPT: &str = include_str!("sources/redis.txt");

fn redis(runner: &Runner, place: Place) -> Result<Answers> {
    let mut server = start_redis(runner, place, &[])?;
    let port = server.port.to_string();
    let mut text = client(&["redis-cli", "-p", &port], REDIS_SCRIPT)?;
    let all = client(&["redis-benchmark", "-p", &port, "-n", "3000", "-c", "20", "--csv"], "")?;
    for line in all.lines().skip(1) {
        let name = line.split(',').next().unwrap_or_default();
        writeln!(text, "benchmark {name}")?;
    }
    let get = client(&["redis-benchmark", "-p", &port, "-n", "60000", "-c", "50", "-t", "get", "--csv"], "")?;
    let rate = get.lines().nth(1).and_then(|row| row.split(',').nth(1)?.trim_matches('"').parse().ok());
    let rate = rate.with_context(|| format!("redis-benchmark gave no rate: {get}"))?;
    server.stop()?;
    Ok(Answers { text, rate })
}

fn redis_persistence(runner: &Runner, place: Place) -> Result<Answers> {
    let options = ["--appendonly", "yes"];
    let mut text = String::new();
    let mut server = start_redis(runner, place, &options)?;
    let mut writer = Client::new(Protocol::Redis, server.port, 1)?;
    for _ in 0..500 {
        writer.round()?;
    }
    for (start, running, well) in [
        ("BGSAVE", "rdb_bgsave_in_progress:0", "rdb_last_bgsave_status:ok"),
        ("BGREWRITEAOF", "aof_rewrite_in_progress:0", "aof_last_bgrewrite_status:ok"),
    ] {
        let port = server.port.to_string();
        let ask = |words: &[&str]| client(&[&["redis-cli", "-p", &port], words].concat(), "");
        writeln!(text, "{}", ask(&[start])?.trim())?;
        let began = Instant::now();
        // It starts a little after the answer where another one is still running.
        loop {
            thread::sleep(Duration::from_millis(100));
            writer.round()?;
            let information = ask(&["info", "persistence"])?;
            if information.contains(running) && !information.contains("_scheduled:1") {
                ensure!(information.contains(well), "{start} failed");
                break;
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "{start} does not end");
        }
    }
    let checked = client(&["redis-check-rdb", &runner.work().join("dump.rdb").display().to_string()], "")?;
    writeln!(text, "{}", checked.contains("RDB looks OK"))?;
    let dump = |server: &Server| -> Result<String> {
        let port = server.port.to_string();
        let keys = client(&["redis-cli", "-p", &port, "keys", "*"], "")?;
        let mut keys: Vec<_> = keys.lines().collect();
        keys.sort_unstable();
        let gets: String = keys.iter().map(|key| format!("GET {key}\n")).collect();
        client(&["redis-cli", "-p", &port], &gets)
    };
    let before = dump(&server)?;
    server.stop()?;
    let mut again = start_redis(runner, place, &options)?;
    writeln!(text, "all there again: {}", dump(&again)? == before)?;
    again.stop()?;
    Ok(Answers { text, rate: 0.0 })
}

/// Redis as the long run has it.
pub(crate) fn soaked_redis(runner: &Runner, place: Place) -> Result<Server> {
    start_redis(runner, place, &["--maxclients", "12000", "--appendonly", "yes"])
}

/// Memcached with four threads.
pub(crate) fn start_memcached(runner: &Runner, place: Place) -> Result<Server> {
    let port = free_port()?;
    let text = port.to_string();
    let argv = [
        "/usr/bin/memcached",
        "-t",
        "4",
        "-p",
        &text,
        "-l",
        "127.0.0.1",
        "-u",
        "root",
        "-c",
        "8000",
        "-m",
        "256",
    ];
    Server::start(runner, place, &argv, port)
}

fn memcached(runner: &Runner, place: Place) -> Result<Answers> {
    let mut server = start_memcached(runner, place)?;
    let capable = client(&["memccapable", "-h", "127.0.0.1", "-p", &server.port.to_string()], "")?;
    let rate = rounds(Protocol::Memcached, server.port, 20, Duration::from_secs(3))?;
    server.stop()?;
    // Not the times.
    Ok(Answers { text: capable, rate })
}

/// Rounds in a second of some clients at once, every byte checked.
fn rounds(protocol: Protocol, port: u16, clients: u64, time: Duration) -> Result<f64> {
    let start = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|id| {
            thread::spawn(move || -> Result<u32> {
                let mut client = Client::new(protocol, port, id)?;
                let mut count = 0;
                while start.elapsed() < time {
                    client.round()?;
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for thread in threads {
        let Ok(result) = thread.join() else { bail!("a client failed") };
        count += result?;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Ways to run a web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Web {
    NginxAlone,
    Nginx,
    ApacheAlone,
    Apache,
}

impl Web {
    /// How many clients at once. Apache closes kept connections where all of its 25 threads are busy.
    fn connections(self) -> &'static str {
        match self {
            Self::NginxAlone | Self::Nginx => "50",
            Self::ApacheAlone | Self::Apache => "20",
        }
    }

    fn reloads(self) -> Option<Signal> {
        match self {
            Self::Nginx => Some(Signal::HUP),
            Self::Apache => Some(Signal::USR1),
            Self::NginxAlone | Self::ApacheAlone => None,
        }
    }
}

/// Files, certificate and configuration, and the server. Its second port has TLS.
pub(crate) fn start_web(runner: &Runner, place: Place, web: Web) -> Result<(Server, u16)> {
    let work = runner.work();
    let site = work.join("site");
    fs::create_dir_all(&site)?;
    for number in 0..FILES {
        fs::write(site.join(format!("file{number}")), file(number))?;
    }
    let key = work.join("key.pem").display().to_string();
    let certificate = work.join("cert.pem").display().to_string();
    client(
        &[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ],
        "",
    )?;
    let (port, tls) = (free_port()?, free_port()?);
    let configuration = work.join("server.conf");
    let text = match web {
        Web::NginxAlone => nginx(work, port, tls, "master_process off;"),
        Web::Nginx => nginx(work, port, tls, "worker_processes 2;"),
        Web::ApacheAlone | Web::Apache => apache(work, port, tls),
    };
    fs::write(&configuration, text)?;
    let configuration = configuration.display().to_string();
    let argv: &[&str] = match web {
        Web::NginxAlone | Web::Nginx => &["/usr/sbin/nginx", "-e", "stderr", "-c", &configuration],
        Web::ApacheAlone => &["/usr/sbin/apache2", "-X", "-f", &configuration],
        Web::Apache => &["/usr/sbin/apache2", "-DFOREGROUND", "-f", &configuration],
    };
    Ok((Server::start(runner, place, argv, port)?, tls))
}

fn nginx(work: &Path, port: u16, tls: u16, processes: &str) -> String {
    let work = work.display();
    format!(
        "daemon off;\n{processes}\nuser root;\npid {work}/pid;\nerror_log stderr error;\n\
         worker_rlimit_nofile 12000;\nevents {{ worker_connections 8000; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 100000;\n\
         client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c;\n\
         uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;\n\
         server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{tls} ssl; root {work}/site;\n\
         ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem; }}\n}}\n"
    )
}

fn apache(work: &Path, port: u16, tls: u16) -> String {
    let work = work.display();
    let modules = ["mpm_event", "authz_core", "mime", "dir", "ssl", "socache_shmcb"];
    let load: String = modules
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    format!(
        "ServerRoot {work}\n{load}ServerName localhost\nPidFile {work}/pid\nErrorLog {work}/errors\nLogLevel warn\n\
         Listen 127.0.0.1:{port}\nListen 127.0.0.1:{tls}\nTypesConfig /etc/mime.types\nDocumentRoot {work}/site\n\
         KeepAlive On\nMaxKeepAliveRequests 0\nThreadsPerChild 25\n\
         <Directory {work}/site>\nRequire all granted\n</Directory>\n\
         <VirtualHost 127.0.0.1:{tls}>\nSSLEngine on\nSSLCertificateFile {work}/cert.pem\nSSLCertificateKeyFile {work}/key.pem\n\
         DocumentRoot {work}/site\n</VirtualHost>\n"
    )
}

fn web(runner: &Runner, place: Place, web: Web) -> Result<Answers> {
    let (mut server, tls) = start_web(runner, place, web)?;
    let port = server.port;
    let mut text = String::new();
    ask(port, tls, runner.work(), &mut text)?;
    if let Some(signal) = web.reloads() {
        kill_process(server.pid()?, signal).context("cannot signal the server")?;
        thread::sleep(Duration::from_secs(1));
        ensure!(server.runs()?, "the server did not survive its reload");
        ask(port, tls, runner.work(), &mut text)?;
    }
    let url = format!("http://127.0.0.1:{port}/file2");
    let said =
        client(&["wrk", "--threads", "1", "--connections", web.connections(), "--duration", "3s", &url], "")?;
    ensure!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "wrk: {said}");
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    let rate = rate.with_context(|| format!("wrk gave no rate: {said}"))?;
    server.stop()?;
    Ok(Answers { text, rate })
}

/// Every file on one connection, ranges and errors, and every file with TLS.
fn ask(port: u16, tls: u16, work: &Path, text: &mut String) -> Result<()> {
    let mut connection = Client::new(Protocol::Http, port, 0)?;
    for number in (0..FILES).chain((0..FILES).rev()) {
        connection.get(number).with_context(|| format!("file{number}"))?;
    }
    let plain = format!("http://127.0.0.1:{port}");
    for (path, options) in [("/none", "-i"), ("/file3", "-r100-199"), ("/file5", "-I")] {
        let url = format!("{plain}{path}");
        let said = client(
            &["curl", "-s", options, "--output", "/dev/null", "-w", "%{http_code} %{size_download}", &url],
            "",
        )?;
        writeln!(text, "{path} {said}")?;
    }
    let certificate = work.join("cert.pem").display().to_string();
    let got = work.join("got").display().to_string();
    let place = format!("localhost:{tls}:127.0.0.1");
    for number in 0..FILES {
        let url = format!("https://localhost:{tls}/file{number}");
        client(
            &["curl", "-sS", "--fail", "--cacert", &certificate, "--resolve", &place, "-o", &got, &url],
            "",
        )?;
        ensure!(fs::read(&got)? == file(number), "TLS: wrong bytes in file{number}");
        fs::remove_file(&got)?;
    }
    Ok(())
}

/// The client inside, the server outside.
fn curl(runner: &Runner) -> Result<Outcome> {
    runner.fresh()?;
    let (_server, tls) = start_web(runner, Place::Native, Web::NginxAlone)?;
    let mut times = Vec::new();
    for place in [Place::Native, Place::Inside] {
        let url = format!("https://localhost:{tls}/file7");
        let resolve = format!("localhost:{tls}:127.0.0.1");
        let argv = ["/usr/bin/curl", "-sS", "--cacert", "cert.pem", "--resolve", &resolve, "-o", "got", &url];
        let ran = runner.run(place, &argv, "", Duration::from_secs(60))?;
        ensure!(ran.end == 0, "{place:?}: ends with {}: {}", ran.end, ran.err);
        let got = runner.work().join("got");
        ensure!(fs::read(&got)? == file(7), "{place:?}: wrong bytes");
        fs::remove_file(got)?;
        times.push(format!("{:.2} s", ran.time.as_secs_f64()));
    }
    Ok(Outcome::Same(times[0].clone(), times[1].clone()))
}
