//! Redis and nginx in containers, with load from the host over loopback.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::container::{Container, Kind};
use super::report::Target;
use super::rounds::Probe;

const SERVER_CPU: usize = 0;
const CLIENT_CPU: &str = "1";
const REDIS_PORT: u16 = 26_379;
const NGINX_PORT: u16 = 28_080;
const CONNECTIONS: &str = "50";
/// Issue "Reach": Redis and nginx at least this share of unguarded.
const TARGET: Target = Target::RatioAtLeast(0.98);

/// Both servers, each in its container, alive through all rounds.
#[derive(Debug)]
pub(crate) struct Servers {
    redis: Container,
    nginx: Container,
}

impl Servers {
    pub(crate) fn start(scratch: &Path) -> Result<Self> {
        for program in ["redis-server", "redis-benchmark", "nginx", "wrk", "taskset"] {
            if !["/usr/bin", "/usr/sbin"].iter().any(|bin| Path::new(bin).join(program).exists()) {
                bail!(
                    "{program} is missing: install redis-server, redis-tools, nginx-light, wrk and util-linux"
                );
            }
        }
        let files = scratch.join("files");
        write_files(&files)?;
        let redis = redis(&files, scratch)?;
        let nginx = nginx(&files, scratch)?;
        for container in [&redis, &nginx] {
            pin(container.init_pid()?)?;
        }
        Ok(Self { redis, nginx })
    }

    pub(crate) fn ids(&self) -> [&str; 2] {
        [&self.redis.id, &self.nginx.id]
    }

    /// Everything that is measured here; `seconds`: how long one value takes, about.
    pub(crate) fn probes<'a>(&'a self, seconds: u32) -> Vec<Probe<'a>> {
        let redis = |test: &'static str| {
            let what = format!("Redis {}, container", test.to_uppercase());
            Probe::rate(what, Some(TARGET), move || redis_benchmark(test, seconds))
        };
        let nginx = Probe::rate("nginx, static page, container".into(), Some(TARGET), move || wrk(seconds));
        vec![redis("set"), redis("get"), nginx]
    }
}

fn write_files(files: &Path) -> Result<()> {
    fs::create_dir_all(files)?;
    fs::write(
        files.join("index.html"),
        "<!doctype html><title>Casemate</title><p>A small static page.</p>\n".repeat(8),
    )?;
    let configuration = format!(
        "daemon off;\nworker_processes 1;\nuser root;\npid /tmp/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  open_file_cache off;\n\
         client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;\n\
         uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;\n\
         server {{ listen 127.0.0.1:{NGINX_PORT}; location / {{ root /bench; }} }}\n}}\n"
    );
    fs::write(files.join("nginx.conf"), configuration).context("cannot write nginx.conf")
}

fn answers(port: u16) -> impl Fn() -> bool {
    move || TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// What answers on the port must be ours.
fn must_be_free(port: u16) -> Result<()> {
    if answers(port)() {
        bail!("something listens on port {port} of this machine already: stop it");
    }
    Ok(())
}

fn redis(files: &Path, scratch: &Path) -> Result<Container> {
    must_be_free(REDIS_PORT)?;
    let port = REDIS_PORT.to_string();
    let argv = [
        "/usr/bin/redis-server",
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        "/tmp",
    ];
    Container::server(Kind::Server { argv: &argv, files }, scratch, answers(REDIS_PORT))
}

fn nginx(files: &Path, scratch: &Path) -> Result<Container> {
    must_be_free(NGINX_PORT)?;
    let argv = ["/usr/sbin/nginx", "-e", "stderr", "-p", "/tmp", "-c", "/bench/nginx.conf"];
    Container::server(Kind::Server { argv: &argv, files }, scratch, answers(NGINX_PORT))
}

/// Puts a process, its threads and its children on the servers' processor.
fn pin(pid: i32) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(SERVER_CPU);
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let task = task?;
        let tid = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        sched_setaffinity(tid, &cpus).with_context(|| format!("cannot pin a task of process {pid}"))?;
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).try_for_each(pin)?;
    }
    Ok(())
}

/// On the clients' processor.
fn client(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", CLIENT_CPU, program]);
    command
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn redis_benchmark(test: &str, seconds: u32) -> Result<f64> {
    // It takes a number of requests, not a time; this is about what a core does in a second.
    let requests = (seconds * 130_000).to_string();
    let mut command = client("redis-benchmark");
    command.args(["-h", "127.0.0.1", "-p", &REDIS_PORT.to_string(), "-c", CONNECTIONS, "-P", "1"]);
    command.args(["-n", &requests, "-t", test, "--csv"]);
    let text = output(command)?;
    // "SET","61804.70",...
    let row = text.lines().find(|line| line.starts_with(&format!("\"{}\"", test.to_uppercase())));
    let rate = row.and_then(|row| row.split(',').nth(1)?.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark gave no rate: {text}"))
}

fn wrk(seconds: u32) -> Result<f64> {
    let mut command = client("wrk");
    command.args(["--threads", "1", "--connections", CONNECTIONS, "--duration", &format!("{seconds}s")]);
    let text = output({
        command.arg(format!("http://127.0.0.1:{NGINX_PORT}/index.html"));
        command
    })?;
    if text.contains("Non-2xx") {
        bail!("nginx did not serve the page: {text}");
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.with_context(|| format!("wrk gave no rate: {text}"))
}
