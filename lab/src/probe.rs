//! What this kernel can do, asked once; and, for each thing that can be missing, why a case is not run.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What the payload module makes.
pub(crate) const PAYLOAD_DEVICE: &str = "/dev/casemate_payload";

/// The answers.
#[derive(Debug)]
pub(crate) struct Probe {
    release: String,
    config: String,
    filesystems: String,
    io_uring_disabled: String,
    cgroups: String,
    scratch_fs: String,
}

impl Probe {
    /// Asks the kernel; `scratch` is where the secrets will lie.
    pub(crate) fn ask(scratch: &Path) -> Self {
        let fs_type = Command::new("stat").args(["--file-system", "--format=%T"]).arg(scratch).output();
        Self {
            release: read("/proc/sys/kernel/osrelease"),
            config: kernel_config(),
            filesystems: read("/proc/filesystems"),
            io_uring_disabled: read("/proc/sys/kernel/io_uring_disabled"),
            cgroups: read("/proc/self/cgroup"),
            scratch_fs: fs_type
                .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
                .unwrap_or_default(),
        }
    }

    /// Whether the kernel was configured with `option`; without a configuration to read, assume so and let the case tell.
    fn configured(&self, option: &str) -> bool {
        self.config.is_empty() || self.config.lines().any(|line| line.strip_prefix(option) == Some("=y"))
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The running kernel's configuration, from /proc or /boot.
fn kernel_config() -> String {
    let release = read("/proc/sys/kernel/osrelease");
    match Command::new("zcat").arg("/proc/config.gz").output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => read(&format!("/boot/config-{}", release.trim())),
    }
}

pub(crate) fn nothing_missing(_: &Probe) -> Option<String> {
    None
}

pub(crate) fn no_payload_module(_: &Probe) -> Option<String> {
    let there = Path::new(PAYLOAD_DEVICE).exists();
    (!there).then(|| "the payload module is loaded in virtual machines only: `cargo xtask lab`".to_owned())
}

pub(crate) fn pid_ns_goes_down_only(_: &Probe) -> Option<String> {
    Some("the kernel lets a task enter its own pid namespace or one below it, never one above".to_owned())
}

pub(crate) fn no_32_bit_calls(probe: &Probe) -> Option<String> {
    let there = probe.configured("CONFIG_IA32_EMULATION");
    (!there).then(|| "the kernel has no 32-bit system calls (CONFIG_IA32_EMULATION)".to_owned())
}

pub(crate) fn no_io_uring(probe: &Probe) -> Option<String> {
    let there = probe.configured("CONFIG_IO_URING") && !probe.io_uring_disabled.starts_with('2');
    (!there).then(|| "io_uring is missing or switched off (kernel.io_uring_disabled)".to_owned())
}

/// What these programs use of io_uring (files opened into slots, a polling thread without registered files) came by 5.15.
pub(crate) fn no_io_uring_slots(probe: &Probe) -> Option<String> {
    let mut numbers = probe.release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    no_io_uring(probe).or_else(|| {
        (version < (5, 15)).then(|| "io_uring opens no file into a slot before Linux 5.15".to_owned())
    })
}

pub(crate) fn no_ext4_handles(probe: &Probe) -> Option<String> {
    let there = probe.scratch_fs == "ext2/ext3";
    (!there).then(|| format!("the program forges ext4 handles; the secret lies on {}", probe.scratch_fs))
}

pub(crate) fn no_32_bit_handles(probe: &Probe) -> Option<String> {
    no_32_bit_calls(probe).or_else(|| no_ext4_handles(probe))
}

pub(crate) fn no_cgroup_v1(probe: &Probe) -> Option<String> {
    let there = probe.filesystems.lines().any(|line| line.ends_with("\tcgroup"));
    (!there).then(|| "the kernel has no cgroup v1".to_owned())
}

pub(crate) fn no_cgroup_v1_pids(probe: &Probe) -> Option<String> {
    let there = probe.cgroups.lines().any(|line| line.contains(":pids:"));
    (!there).then(|| "the pids controller is not on a cgroup v1 hierarchy".to_owned())
}

pub(crate) fn no_uevent_helper(probe: &Probe) -> Option<String> {
    let there = probe.configured("CONFIG_UEVENT_HELPER") && Path::new("/sys/kernel/uevent_helper").exists();
    (!there).then(|| "the kernel has no uevent_helper (CONFIG_UEVENT_HELPER)".to_owned())
}

pub(crate) fn no_binfmt_misc(probe: &Probe) -> Option<String> {
    let there = probe.filesystems.contains("binfmt_misc");
    (!there).then(|| "the kernel has no binfmt_misc".to_owned())
}
