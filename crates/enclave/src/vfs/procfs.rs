//! The texts of `/proc`, rendered from values (proc(5), fs/proc/array.c).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What uname(2) calls the system.
pub const SYSTEM: &str = "Linux";
/// Which Linux the calls are like.
pub const RELEASE: &str = "6.1.0";
/// What uname(2) calls the version.
pub const VERSION: &str = "#1 SMP casemate";

/// What is known about the program.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// Thread id.
    pub id: u32,
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u64,
    /// Real, effective user ids; real, effective group ids.
    pub ids: [u64; 4],
    /// File mode creation mask.
    pub umask: u32,
    /// Its name, without NUL.
    pub name: Vec<u8>,
    /// Guest threads.
    pub threads: usize,
    /// Bytes mapped.
    pub reserved: u64,
    /// Bytes committed.
    pub committed: u64,
    /// How long it has run, in clock ticks (1/100 s).
    pub ticks: u64,
    /// vCPUs.
    pub vcpus: u64,
    /// Descriptors that the table has room for.
    pub descriptors: usize,
}

impl Task {
    fn name(&self) -> String {
        let text = String::from_utf8_lossy(&self.name);
        text.chars().map(|c| if c == '\n' { '?' } else { c }).collect()
    }

    /// `/proc/self/stat`.
    #[must_use]
    pub fn stat(&self) -> String {
        let Self { id, pid, ppid, threads, ticks, reserved, committed, .. } = self;
        let pages = committed / 4096;
        // State, parent, group, session, terminal, its group, flags, faults; then times, priority, and so on.
        format!(
            "{id} ({}) R {ppid} {pid} {pid} 0 -1 4194304 0 0 0 0 {ticks} 0 0 0 20 0 {threads} 0 0 {reserved} {pages} \
             18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
            self.name()
        )
    }

    /// `/proc/self/statm`, in pages.
    #[must_use]
    pub fn statm(&self) -> String {
        format!("{} {} 0 0 0 {} 0\n", self.reserved / 4096, self.committed / 4096, self.committed / 4096)
    }

    /// `/proc/self/status`.
    #[must_use]
    pub fn status(&self) -> String {
        let [uid, euid, gid, egid] = self.ids;
        let mut text = format!("Name:\t{}\n", self.name());
        for (field, value) in [
            ("Umask", format!("{:04o}", self.umask)),
            ("State", String::from("R (running)")),
            ("Tgid", format!("{}", self.pid)),
            ("Ngid", String::from("0")),
            ("Pid", format!("{}", self.id)),
            ("PPid", format!("{}", self.ppid)),
            ("TracerPid", String::from("0")),
            ("Uid", format!("{uid}\t{euid}\t{euid}\t{euid}")),
            ("Gid", format!("{gid}\t{egid}\t{egid}\t{egid}")),
            ("FDSize", format!("{}", self.descriptors)),
            ("Groups", format!("{egid} ")),
            ("VmPeak", kib(self.reserved)),
            ("VmSize", kib(self.reserved)),
            ("VmHWM", kib(self.committed)),
            ("VmRSS", kib(self.committed)),
            ("RssAnon", kib(self.committed)),
            ("VmSwap", kib(0)),
            ("Threads", format!("{}", self.threads)),
            ("CapInh", capabilities(false)),
            ("CapPrm", capabilities(euid == 0)),
            ("CapEff", capabilities(euid == 0)),
            ("CapBnd", capabilities(true)),
            ("CapAmb", capabilities(false)),
            ("NoNewPrivs", String::from("0")),
            ("Seccomp", String::from("0")),
            ("Cpus_allowed", format!("{:x}", mask(self.vcpus))),
            ("Cpus_allowed_list", String::from(cpu_list(self.vcpus).trim_end())),
            ("Mems_allowed", String::from("1")),
            ("Mems_allowed_list", String::from("0")),
            ("voluntary_ctxt_switches", String::from("0")),
            ("nonvoluntary_ctxt_switches", String::from("0")),
        ] {
            text.push_str(field);
            text.push_str(":\t");
            text.push_str(&value);
            text.push('\n');
        }
        text
    }
}

fn kib(bytes: u64) -> String {
    format!("{:8} kB", bytes / 1024)
}

fn capabilities(all: bool) -> String {
    format!("{:016x}", if all { 0x1ff_ffff_ffff_u64 } else { 0 })
}

/// A bit for each processor.
#[must_use]
pub fn mask(cpus: u64) -> u64 {
    u32::try_from(cpus).ok().and_then(|shift| 1_u64.checked_shl(shift)).map_or(u64::MAX, |bit| bit - 1)
}

/// `/sys/devices/system/cpu/online` and its like.
#[must_use]
pub fn cpu_list(cpus: u64) -> String {
    match cpus {
        0 | 1 => String::from("0\n"),
        cpus => format!("0-{}\n", cpus - 1),
    }
}

/// `/proc/meminfo` of `total` bytes, of which `used` are in use.
#[must_use]
pub fn meminfo(total: u64, used: u64) -> String {
    let free = total.saturating_sub(used);
    let mut text = String::new();
    for (name, bytes) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used.min(total)),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Shmem", 0),
        ("CommitLimit", total),
        ("Committed_AS", used),
    ] {
        text.push_str(&format!("{:<16}{}\n", format!("{name}:"), kib(bytes)));
    }
    text.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
    text
}

/// What `/proc/cpuinfo` says of each processor.
#[derive(Clone, Debug, Default)]
pub struct Processor {
    /// CPUID leaf 0: EBX, EDX, ECX as text.
    pub vendor: String,
    /// The brand string, without padding.
    pub model_name: String,
    /// CPUID leaf 1, EAX.
    pub signature: u32,
    /// Names of its features.
    pub flags: Vec<&'static str>,
}

/// Names of CPUID bits as `/proc/cpuinfo` has them (`arch/x86/include/asm/cpufeatures.h`): leaf 1 EDX, leaf 1 ECX, leaf 7
/// EBX. Those that programs look for.
const FEATURES: [&[(u32, &str)]; 3] = [
    &[
        (0, "fpu"),
        (4, "tsc"),
        (5, "msr"),
        (8, "cx8"),
        (15, "cmov"),
        (19, "clflush"),
        (23, "mmx"),
        (24, "fxsr"),
        (25, "sse"),
        (26, "sse2"),
        (28, "ht"),
    ],
    &[
        (0, "pni"),
        (1, "pclmulqdq"),
        (9, "ssse3"),
        (12, "fma"),
        (13, "cx16"),
        (19, "sse4_1"),
        (20, "sse4_2"),
        (22, "movbe"),
        (23, "popcnt"),
        (25, "aes"),
        (26, "xsave"),
        (28, "avx"),
        (29, "f16c"),
        (30, "rdrand"),
    ],
    &[
        (0, "fsgsbase"),
        (3, "bmi1"),
        (5, "avx2"),
        (7, "smep"),
        (8, "bmi2"),
        (9, "erms"),
        (16, "avx512f"),
        (17, "avx512dq"),
        (18, "rdseed"),
        (19, "adx"),
        (28, "avx512cd"),
        (29, "sha_ni"),
        (30, "avx512bw"),
        (31, "avx512vl"),
    ],
];

/// Names of the bits that are set in the registers of [`FEATURES`]'s order.
#[must_use]
pub fn feature_names(registers: [u32; 3]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (register, features) in registers.iter().zip(FEATURES) {
        names.extend(features.iter().filter(|(bit, _)| register >> bit & 1 != 0).map(|(_, name)| *name));
    }
    names
}

/// `/proc/cpuinfo`.
#[must_use]
pub fn cpuinfo(processor: &Processor, cpus: u64) -> String {
    let signature = processor.signature;
    let base_family = signature >> 8 & 0xf;
    let family = if base_family == 15 { base_family + (signature >> 20 & 0xff) } else { base_family };
    let extended = if base_family == 6 || base_family == 15 { (signature >> 16 & 0xf) << 4 } else { 0 };
    let model = (signature >> 4 & 0xf) | extended;
    let flags = processor.flags.join(" ");
    let mut text = String::new();
    for cpu in 0..cpus {
        text.push_str(&format!(
            "processor\t: {cpu}\nvendor_id\t: {}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {}\n\
             stepping\t: {}\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\n\
             fpu\t\t: yes\nfpu_exception\t: yes\nwp\t\t: yes\nflags\t\t: {flags}\nbogomips\t: 0.00\n\
             clflush size\t: 64\ncache_alignment\t: 64\n\n",
            processor.vendor,
            processor.model_name,
            signature & 0xf,
        ));
    }
    text
}

/// `/proc/uptime`.
#[must_use]
pub fn uptime(monotonic_ns: u64) -> String {
    let hundredths = monotonic_ns / 10_000_000;
    format!("{}.{:02} 0.00\n", hundredths / 100, hundredths % 100)
}

/// `/proc/stat`, booted at this time (seconds since 1970).
#[must_use]
pub fn stat(cpus: u64, booted: u64) -> String {
    let mut text = String::from("cpu  0 0 0 0 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        text.push_str(&format!("cpu{cpu} 0 0 0 0 0 0 0 0 0 0\n"));
    }
    text.push_str(&format!(
        "intr 0\nctxt 0\nbtime {booted}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"
    ));
    text
}

/// One mount: where, what kind, read-only.
#[derive(Clone, Copy, Debug)]
pub struct Mount {
    /// Where it is.
    pub place: &'static str,
    /// Kind of file system.
    pub kind: &'static str,
    /// Whether nothing can be written.
    pub read_only: bool,
}

impl Mount {
    fn options(self) -> &'static str {
        if self.read_only { "ro" } else { "rw" }
    }
}

/// `/proc/self/mounts`.
#[must_use]
pub fn mounts(mounts: &[Mount]) -> String {
    mounts
        .iter()
        .map(|mount| format!("{} {} {} {} 0 0\n", mount.kind, mount.place, mount.kind, mount.options()))
        .collect()
}

/// `/proc/self/mountinfo`.
#[must_use]
pub fn mountinfo(mounts: &[Mount]) -> String {
    let mut text = String::new();
    for (id, mount) in (20..).zip(mounts) {
        let parent = if mount.place == "/" { 1 } else { 20 };
        let options = mount.options();
        text.push_str(&format!(
            "{id} {parent} 0:{id} / {} {options} - {} {} {options}\n",
            mount.place, mount.kind, mount.kind
        ));
    }
    text
}

/// NUL-terminated strings, as `/proc/self/cmdline` and `environ` have them.
#[must_use]
pub fn strings(strings: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for string in strings {
        text.extend_from_slice(string);
        text.push(0);
    }
    text
}

/// A version 4 UUID of these random bits, as `/proc/sys/kernel/random/uuid` gives one.
#[must_use]
pub fn uuid(random: [u64; 2]) -> String {
    let high = random[0] & !0xf000 | 0x4000;
    let low = random[1] & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\n",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn task() -> Task {
        Task {
            id: 7,
            pid: 7,
            ppid: 3,
            name: b"a (b)\nc".to_vec(),
            threads: 2,
            reserved: 8192,
            committed: 4096,
            vcpus: 4,
            ..Task::default()
        }
    }

    #[test]
    fn stat_has_the_fields_that_ps_counts() {
        extern crate std;
        let text = task().stat();
        let count = |line: &str| line[line.rfind(')').unwrap()..].split_ascii_whitespace().count();
        let real = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(count(&text), count(&real));
        assert!(text.starts_with("7 (a (b)?c) R 3 7 7 "));
        // Number 23 and 24, counted from 1, are size and resident pages.
        let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        assert_eq!((fields[20], fields[21], fields[17]), ("8192", "1", "2"));
    }

    #[test]
    fn status_has_tabs_and_kibibytes() {
        let text = task().status();
        assert!(text.contains("\nVmRSS:\t       4 kB\n"));
        assert!(text.contains("\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n"));
        assert!(text.lines().all(|line| line.contains(":\t")));
    }

    #[test]
    fn small_texts() {
        assert_eq!(cpu_list(1), "0\n");
        assert_eq!(mask(64), u64::MAX);
        assert_eq!(uptime(12_345_678_901), "12.34 0.00\n");
        assert_eq!(uuid([0; 2]), "00000000-0000-4000-8000-000000000000\n");
        assert_eq!(uuid([u64::MAX; 2]), "ffffffff-ffff-4fff-bfff-ffffffffffff\n");
        assert_eq!(strings(&[b"a".to_vec(), vec![]]), b"a\0\0");
        let text = meminfo(8 << 20, 1 << 20);
        assert!(text.starts_with("MemTotal:           8192 kB\nMemFree:            7168 kB\n"), "{text}");
    }

    #[test]
    fn families_and_models_are_put_together() {
        let processor =
            Processor { signature: 0x000c_06f2, flags: feature_names([1, 1, 1]), ..Processor::default() };
        let text = cpuinfo(&processor, 2);
        assert!(text.contains("cpu family\t: 6\nmodel\t\t: 207\n"), "{text}");
        assert!(text.contains("flags\t\t: fpu pni fsgsbase\n"));
        assert_eq!(text.matches("processor\t:").count(), 2);
    }

    #[test]
    fn mounts_have_their_columns() {
        let root = Mount { place: "/", kind: "casemate", read_only: true };
        let tmp = Mount { place: "/tmp", kind: "tmpfs", read_only: false };
        assert_eq!(mounts(&[root, tmp]), "casemate / casemate ro 0 0\ntmpfs /tmp tmpfs rw 0 0\n");
        assert_eq!(mountinfo(&[tmp]), "20 20 0:20 / /tmp rw - tmpfs tmpfs rw\n");
    }
}
