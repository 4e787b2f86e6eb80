//! A server, native or inside, for as long as a value of it lives.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::entry::{Place, Runner, last_lines, pid_of};

const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(10);

/// It is killed, with everything that it started, when this goes.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

/// A port of the loopback interface that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

impl Server {
    /// Starts it and waits until somebody answers on the port.
    pub(crate) fn start(runner: &Runner, place: Place, argv: &[&str], port: u16) -> Result<Self> {
        let mut command = runner.command(place, argv);
        let log = runner.work().join(format!("log-{port}"));
        let file = File::create(&log)?;
        // Its own group: a master's workers go with it.
        command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut server = Self { child, port };
        let start = Instant::now();
        let said = || last_lines(&fs::read_to_string(&log).unwrap_or_default());
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended at its start, {status}: {}", said());
            }
            if start.elapsed() > START {
                bail!("the server does not answer: {}", said());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn pid(&self) -> Result<Pid> {
        pid_of(&self.child)
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Asks it to end, and says whether it did, as a server does that is asked.
    pub(crate) fn stop(&mut self) -> Result<()> {
        kill_process(self.pid()?, Signal::TERM).context("cannot signal the server")?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > END {
                bail!("the server does not end when it is asked to");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            // Gone already, where it ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// What a client prints; it has to succeed.
pub(crate) fn client(argv: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    let output = super::entry::bounded(&mut command, input.as_bytes(), Duration::from_secs(120))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{}: {} {}", argv[0], last_lines(&text), last_lines(&errors));
    }
    Ok(text)
}
