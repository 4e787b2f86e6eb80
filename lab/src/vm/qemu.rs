//! One virtual machine: starts it, reads its lines, and never waits longer than it must.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::job::Line;

const QEMU: &str = "qemu-system-x86_64";
/// From the start to the guest's first line: 3 to 10 s under software emulation, more on a busy machine.
const BOOT: Duration = Duration::from_secs(90);
/// Between two lines: a case's own watchdog is 20 s, and a guard's start is mostly the verifier, under emulation.
const SILENCE: Duration = Duration::from_secs(120);
/// How much of the console a failure shows: so many lines at its end, or from where the kernel began to complain.
const TAIL_LINES: usize = 25;
const CRASH_LINES: usize = 60;
const CRASH: [&str; 4] = ["Oops", "BUG:", "Kernel panic", "general protection"];

/// What to boot.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) disk: &'a Path,
    /// The value of `lsm=`.
    pub(super) lsm: &'a str,
    /// Where console and results are written.
    pub(super) scratch: &'a Path,
    /// For the whole run.
    pub(super) limit: Duration,
    /// One processor, whose clock advances by a nanosecond an instruction.
    pub(super) counts: bool,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It said that all is done.
    Done,
    /// It powered off or crashed before that.
    Died,
    /// It was ended by us.
    TimedOut,
}

/// A machine that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Machine<'_> {
    /// Boots the machine and hands each of its lines to `heard`.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub(super) fn run(&self, mut heard: impl FnMut(Line)) -> Result<End> {
        let results = self.scratch.join("results");
        fs::write(&results, "").context("cannot create the file of results")?;
        let mut running = Running(self.start(&results)?);
        let mut reader = Reader { file: File::open(&results)?, pending: String::new() };
        let start = Instant::now();
        let mut last = start;
        let mut booted = false;
        loop {
            let ended = running.0.try_wait().context("cannot wait for QEMU")?.is_some();
            for line in reader.lines()? {
                last = Instant::now();
                booted = true;
                let done = matches!(line, Line::Done);
                heard(line);
                if done {
                    return Ok(End::Done);
                }
            }
            if ended {
                return Ok(End::Died);
            }
            if start.elapsed() > self.limit || last.elapsed() > if booted { SILENCE } else { BOOT } {
                return Ok(End::TimedOut);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&self, results: &Path) -> Result<Child> {
        let serial = |path: &Path| format!("file:{}", path.display());
        let mut command = Command::new(QEMU);
        // One thread for both processors: with two, the kernel's patching of its own code is not safe under emulation, and a
        // machine dies once in a while of a breakpoint that is no longer there.
        command.args(["-accel", "tcg,thread=single", "-m", "1024"]);
        if self.counts {
            // QEMU counts each round of `rep movsb` as an instruction: a kernel that believes it to be quick would hide the
            // guard's instructions behind thousands of them a page.
            command.args(["-icount", "shift=0", "-seed", "1", "-smp", "1", "-cpu", "max,-erms"]);
        } else {
            command.args(["-smp", "2", "-cpu", "max"]);
        }
        command.args(["-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none"]);
        command.arg("-serial").arg(serial(&self.console())).arg("-serial").arg(serial(results));
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        command.arg("-drive");
        command.arg(format!("file={},if=virtio,format=raw,snapshot=on,cache=unsafe", self.disk.display()));
        // A crash must end the machine at once. Mitigations are of no use under emulation, and slow.
        let line = "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off random.trust_cpu=on audit=0";
        // Where memory lies decides how many page tables a fork copies: the same in each machine that is compared.
        let places = if self.counts { " nokaslr norandmaps cryptomgr.notests" } else { "" };
        command.arg("-append").arg(format!("{line} lsm={}{places}", self.lsm));
        // Its copy of the disk.
        command.env("TMPDIR", self.scratch);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.scratch.join("qemu"))?);
        command.spawn().with_context(|| format!("cannot start {QEMU}: install qemu-system-x86"))
    }

    fn console(&self) -> PathBuf {
        self.scratch.join("console")
    }

    /// The last of what the guest's kernel and QEMU said.
    pub(super) fn console_tail(&self) -> String {
        let mut text = String::new();
        for path in [self.scratch.join("qemu"), self.console()] {
            text.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap_or_default()));
        }
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let crash = lines.iter().position(|line| CRASH.iter().any(|word| line.contains(word)));
        let tail = lines.len().saturating_sub(TAIL_LINES);
        let (start, count) = crash.map_or((tail, TAIL_LINES), |crash| (crash.min(tail), CRASH_LINES));
        lines[start..].iter().take(count).map(|line| format!("\n    | {line}")).collect()
    }
}

/// The lines of a file that grows.
struct Reader {
    file: File,
    pending: String,
}

impl Reader {
    fn lines(&mut self) -> Result<Vec<Line>> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).context("cannot read the results")?;
        self.pending.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.pending.rfind('\n') else { return Ok(Vec::new()) };
        let rest = self.pending.split_off(end + 1);
        let complete = std::mem::replace(&mut self.pending, rest);
        // Anything else on that line is no result: a kernel that dies may write to every console it finds.
        Ok(complete.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect())
    }
}
