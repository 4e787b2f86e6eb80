//! The servers inside, under mixed load for a long time: steady clients that check every byte, storms of connections, clients
//! that go away in the middle, and thousands that say nothing.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::entry::{Place, Runner};
use super::load::{Client, Protocol, connect, half_a_request};
use super::server::Server;
use super::servers::{Web, soaked_redis, start_memcached, start_web};
use crate::bench::machine;

const STEADY_CLIENTS: u64 = 4;
const IDLE: usize = 5_000;
const STORM: usize = 300;
/// How much more memory than after a third of the time is no leak: what allocators round up.
const GROWTH: f64 = 1.1;
const GROWTH_MIB: f64 = 32.0;

/// What happened to one server.
#[derive(Debug, Default)]
struct Counters {
    rounds: AtomicU64,
    storms: AtomicU64,
    vanished: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl Counters {
    fn error(&self, what: &str, error: &anyhow::Error) {
        self.errors
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(format!("{what}: {error:#}"));
    }
}

type Start = fn(&Runner) -> Result<Server>;

const SERVERS: [(&str, Protocol, usize, Start); 4] = [
    ("redis", Protocol::Redis, IDLE, |runner| soaked_redis(runner, Place::Inside)),
    ("memcached", Protocol::Memcached, IDLE, |runner| start_memcached(runner, Place::Inside)),
    ("nginx", Protocol::Http, IDLE, |runner| Ok(start_web(runner, Place::Inside, Web::NginxAlone)?.0)),
    // As many as it has threads for, and the queue: the others wait to be accepted.
    ("apache2", Protocol::Http, 20, |runner| Ok(start_web(runner, Place::Inside, Web::ApacheAlone)?.0)),
];

/// Runs it; true where nothing went wrong.
pub(crate) fn run(runner: &Runner, time: Duration, wanted: &dyn Fn(&str) -> bool) -> Result<bool> {
    let limit =
        Rlimit { current: Some(60_000), maximum: getrlimit(Resource::Nofile).maximum.max(Some(60_000)) };
    if setrlimit(Resource::Nofile, limit).is_err() {
        bail!("cannot open 60,000 connections: raise the limit (ulimit -n)");
    }
    runner.fresh()?;
    let chosen: Vec<_> = SERVERS.into_iter().filter(|(name, ..)| wanted(name)).collect();
    if chosen.is_empty() {
        bail!("--only leaves no server");
    }
    // Each has its own share of the time where they are the machine's only load; together they share it.
    let mut servers = Vec::new();
    for (name, protocol, idle, start) in chosen {
        servers.push((name, protocol, idle, start(runner)?));
    }
    println!(
        "| server | minutes | rounds, each byte checked | storms | vanished | idle | errors | MiB at 1/3, at the end |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut met = true;
    thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter_mut()
            .map(|(name, protocol, idle, server)| {
                scope.spawn(move || one(name, *protocol, *idle, server, time))
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(Ok(good)) => met &= good,
                Ok(Err(error)) => {
                    eprintln!("soak: {error:#}");
                    met = false;
                }
                Err(_) => met = false,
            }
        }
    });
    Ok(met)
}

/// Load on one server, until the time is over.
fn one(name: &str, protocol: Protocol, idle: usize, server: &mut Server, time: Duration) -> Result<bool> {
    let counters = Arc::new(Counters::default());
    let over = Arc::new(AtomicBool::new(false));
    let port = server.port;
    let mut threads: Vec<_> = (0..STEADY_CLIENTS)
        .map(|id| {
            let (counters, over) = (Arc::clone(&counters), Arc::clone(&over));
            thread::spawn(move || steady(protocol, port, id, &counters, &over))
        })
        .collect();
    let (shared, flag) = (Arc::clone(&counters), Arc::clone(&over));
    threads.push(thread::spawn(move || rough(protocol, port, &shared, &flag)));
    let quiet: Vec<_> = (0..idle).map_while(|_| connect(port).ok()).collect();
    if quiet.len() < idle {
        counters.error("idle", &anyhow::anyhow!("only {} of {idle} connections", quiet.len()));
    }
    let start = Instant::now();
    let mut early = None;
    while start.elapsed() < time && server.runs()? {
        // The passing of time is what is wanted.
        thread::sleep(Duration::from_millis(500));
        if early.is_none() && start.elapsed() > time / 3 {
            early = Some(machine::resident_mib(server.id())?);
        }
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let alive = server.runs()?;
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            bail!("a client of {name} failed");
        }
    }
    let late = if alive { machine::resident_mib(server.id())? } else { 0.0 };
    let idle = quiet.len();
    drop(quiet);
    if !alive {
        counters.error("server", &anyhow::anyhow!("it ended"));
    } else if let Err(error) = server.stop() {
        counters.error("server", &error);
    }
    let early = early.unwrap_or(late);
    if late > early * GROWTH + GROWTH_MIB {
        counters.error("memory", &anyhow::anyhow!("grew from {early:.0} to {late:.0} MiB"));
    }
    let errors = counters.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "| {name} | {minutes:.1} | {} | {} | {} | {idle} | {} | {early:.0}, {late:.0} |",
        load(&counters.rounds),
        load(&counters.storms),
        load(&counters.vanished),
        errors.len()
    );
    for error in errors.iter().take(5) {
        eprintln!("soak: {name}: {error}");
    }
    Ok(errors.is_empty())
}

/// Asks and checks; after an error, on a new connection.
fn steady(protocol: Protocol, port: u16, id: u64, counters: &Counters, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut client = match Client::new(protocol, port, id) {
            Ok(client) => client,
            Err(error) => {
                counters.error("steady client", &error);
                thread::sleep(Duration::from_secs(1));
                continue;
            }
        };
        while !over.load(Ordering::Relaxed) {
            if let Err(error) = client.round() {
                counters.error("steady client", &error);
                break;
            }
            counters.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Storms, and clients that go away in the middle of a request or before they have read the answer.
fn rough(protocol: Protocol, port: u16, counters: &Counters, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match storm(port) {
            Ok(()) => counters.storms.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                counters.error("storm", &error);
                0
            }
        };
        for round in 0..20 {
            match vanish(protocol, port, round % 2 == 0) {
                Ok(()) => counters.vanished.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    counters.error("vanishing client", &error);
                    0
                }
            };
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Many connections at once that close without a word.
fn storm(port: u16) -> Result<()> {
    let all: Vec<TcpStream> = (0..STORM).map(|_| connect(port)).collect::<Result<_>>()?;
    drop(all);
    Ok(())
}

/// Half of a request, or a whole one whose answer nobody reads; then gone, with a reset or without.
fn vanish(protocol: Protocol, port: u16, reset: bool) -> Result<()> {
    let mut stream = connect(port)?;
    let whole: &[u8] = match protocol {
        Protocol::Http => b"GET /file7 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Protocol::Redis => b"*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n",
        Protocol::Memcached => b"stats\r\n",
    };
    stream.write_all(if reset { whole } else { half_a_request(protocol) })?;
    if reset {
        set_socket_linger(&stream, Some(Duration::ZERO))?;
    }
    Ok(())
}
