//! What an attack is let loose on: a directory, a process, a disk and a BPF map of the host, all made for one run.

mod disk;
mod knobs;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::cases::{Case, Need};
use crate::watch;
pub(crate) use disk::Disk;
pub(crate) use knobs::Knobs;

/// The world of one run. Dropping it removes everything.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// Unique to this run; also the name of its container.
    pub(crate) name: String,
    pub(crate) secret: String,
    victim: Process,
    victim_line: Vec<String>,
    pub(crate) disk: Option<Disk>,
    decoy: Option<Process>,
    /// Removed last: the disk is mounted in it.
    dir: tempfile::TempDir,
}

/// A process of the host that is told to end when dropped.
#[derive(Debug)]
struct Process(Child);

impl Process {
    /// Starts `command` and returns it with the first line that it prints.
    fn start(mut command: Command) -> Result<(Self, String)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("a child without stdout")?;
        let process = Self(child);
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim().is_empty() {
            bail!("{} did not start", command.get_program().display());
        }
        Ok((process, line))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if !watch::until(Duration::from_secs(2), || !matches!(self.0.try_wait(), Ok(None))) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

impl Fixture {
    /// Makes the world that `case` needs. `programs` is where the compiled programs are.
    ///
    /// # Errors
    /// When the host refuses one of its parts.
    pub(crate) fn new(case: &Case, label: &str, programs: &Path) -> Result<Self> {
        let unique = random_hex()?;
        let secret = format!("casemate-lab-secret-{unique}");
        let dir = tempfile::Builder::new().prefix("casemate-lab-").tempdir_in("/tmp")?;
        let host = dir.path().join("host");
        let shm = dir.path().join("shm");
        fs::create_dir(&host)?;
        fs::create_dir(&shm)?;
        fs::write(host.join("secret"), &secret)?;
        fs::write(host.join("prey"), "a file of the host\n")?;
        fs::write(host.join(&secret), "for whoever lists the directory\n")?;
        fs::write(host.join("document"), "CASEMATE-LAB document\n")?;
        fs::copy(programs.join("visitor"), host.join("visitor"))?;
        rustix::fs::chmod(host.join("document"), rustix::fs::Mode::from_raw_mode(0o755))?;
        fs::write(shm.join("after"), [0_u8; 4096])?;

        let name = format!("lab-{label}-{}", &unique[..6]);
        let mut command = Command::new(programs.join("victim"));
        command.arg(host.join("secret")).arg(host.join("mark")).arg(&host).arg(&name).arg(shm.join("socket"));
        // A key of the run's own: nobody else's segment is touched.
        command.arg(format!("0x{}", &unique[..7]));
        let (victim, line) = Process::start(command).context("cannot start the victim")?;
        let victim_line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if victim_line.len() != 4 {
            bail!("the victim said {line:?} instead of four numbers");
        }
        let disk = case.has(Need::Disk).then(|| Disk::new(dir.path(), &secret)).transpose()?;
        let decoy = if case.has(Need::Bpf) {
            let mut command = Command::new(programs.join("bpf_decoy"));
            command.arg(pin_dir(&name)).arg(host.join("mark"));
            Some(Process::start(command).context("cannot start the decoy")?.0)
        } else {
            None
        };
        Ok(Self { name, secret, victim, victim_line, disk, decoy, dir })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn host_dir(&self) -> PathBuf {
        self.path("host")
    }

    pub(crate) fn victim_pid(&self) -> i32 {
        self.victim_line[0].parse().unwrap_or(0)
    }

    /// The process with a user namespace of its own.
    pub(crate) fn userns_pid(&self) -> i32 {
        self.victim_line[1].parse().unwrap_or(0)
    }

    /// Whether the attack ran an instruction behind the call that breaks out.
    pub(crate) fn ran_on(&self) -> bool {
        let mut first = [0_u8; 1];
        let read = File::open(self.path("shm/after")).and_then(|mut file| file.read_exact(&mut first));
        read.is_err() || first[0] != 0
    }

    /// What the case's processes of the host must still be after a guarded run; `None` when all is well.
    pub(crate) fn harm(&mut self) -> Option<String> {
        if !matches!(self.victim.0.try_wait(), Ok(None)) {
            return Some("the host process that was the target is dead".to_owned());
        }
        let decoy_died = self.decoy.as_mut().is_some_and(|decoy| !matches!(decoy.0.try_wait(), Ok(None)));
        decoy_died.then(|| "the owner of the decoy is dead".to_owned())
    }

    /// The parameters of the attack.
    pub(crate) fn env(&self, case: &Case) -> Vec<(String, String)> {
        let proc = if case.has(Need::HostPid) { "/proc" } else { "/hostproc" };
        let inode = fs::metadata(self.path("host/secret")).map(|meta| meta.ino()).unwrap_or(0);
        let mut env = vec![
            ("PATH", "/bin:/usr/bin:/sbin".to_owned()),
            ("LAB_RUN", self.name.clone()),
            ("LAB_NAME", self.name.clone()),
            ("LAB_PROC", proc.to_owned()),
            ("LAB_FD", "3".to_owned()),
            ("LAB_PID", self.victim_line[0].clone()),
            ("LAB_USERNS_PID", self.victim_line[1].clone()),
            ("LAB_ADDRESS", self.victim_line[2].clone()),
            ("LAB_SECRET_FD", self.victim_line[3].clone()),
            ("LAB_SECRET", self.path("host/secret").display().to_string()),
            ("LAB_MARK", self.path("host/mark").display().to_string()),
            ("LAB_SECRET_INODE", inode.to_string()),
            ("LAB_SOCKET", self.name.clone()),
            ("LAB_SHM_KEY", format!("0x{}", &self.secret[20..27])),
            ("LAB_AGENT_PID", self.victim_line[0].clone()),
        ];
        if let Some(disk) = &self.disk {
            env.push(("LAB_LOOP_MAJOR", "7".to_owned()));
            env.push(("LAB_LOOP_MINOR", disk.minor.to_string()));
        }
        env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The environment entry that every process of the run's container carries.
    pub(crate) fn tag(&self) -> String {
        format!("LAB_RUN={}", self.name)
    }
}

/// Where the decoy of the run `name` pins its map and link.
pub(crate) fn pin_dir(name: &str) -> PathBuf {
    Path::new("/sys/fs/bpf").join(name)
}

fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
