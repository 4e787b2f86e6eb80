//! Words for the numbers in a kernel record.

use crate::bpf::EventRecord;

/// `enum ns_kind` of bpf/types.h.
pub(crate) const NAMESPACES: [&str; 10] =
    ["uts", "ipc", "mnt", "pid_for_children", "net", "time", "time_for_children", "cgroup", "pid", "user"];

/// `enum detail` of bpf/types.h, from `DETAIL_CAPS` on.
const FIRST_DETAIL: u32 = 32;

/// A C string in a fixed array.
pub(crate) fn text(bytes: &[i8]) -> String {
    let bytes: Vec<u8> = bytes.iter().take_while(|b| **b != 0).map(|b| b.cast_unsigned()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `enum action` of bpf/types.h.
pub(crate) fn action(number: u32) -> &'static str {
    if number == 1 { "kill" } else { "audit" }
}

/// The name of the system call, from the table of the caller's word size.
pub(crate) fn syscall(record: &EventRecord) -> Option<String> {
    const X32_BIT: u32 = 0x4000_0000;
    let number = u32::try_from(record.syscall).ok()?;
    let name = if record.compat != 0 {
        syscalls::x86::Sysno::new(usize::try_from(number).ok()?).map(|s| format!("{s} (32-bit)"))
    } else {
        syscalls::x86_64::Sysno::new(usize::try_from(number & !X32_BIT).ok()?).map(|s| s.to_string())
    };
    Some(name.unwrap_or_else(|| format!("system call {number}")))
}

/// What was expected and what was seen.
pub(crate) fn detail(record: &EventRecord) -> String {
    let (expected, seen) = (record.expected, record.seen);
    let file = text(&record.name);
    let number = record.detail;
    if let Some(ns) = usize::try_from(number).ok().and_then(|n| NAMESPACES.get(n)) {
        return format!("{ns} namespace: expected {expected}, seen {seen}, which is not the container's own");
    }
    match number.wrapping_sub(FIRST_DETAIL) {
        0 => format!("capabilities {seen:#x} exceed the bounding set {expected:#x} of birth"),
        1 => format!("user or group id changed from {expected} to {seen} without a call that may"),
        2 => "root directory is on a mount outside the container".to_owned(),
        3 => format!("working directory `{file}` is on a mount outside the container"),
        4 => format!("opened `{file}` on a mount outside the container"),
        5 => format!("used directory `{file}`, on a mount outside the container, as a starting point"),
        6 => format!("executed `{file}` on a mount outside the container"),
        7 => format!("seccomp mode fell from {expected} to {seen}"),
        8 => format!("seccomp filters fell from {expected} to {seen}"),
        9 => "the thread's seccomp flag was cleared".to_owned(),
        10 => "no_new_privs was cleared".to_owned(),
        11 => format!("opened the kernel's helper knob `{file}` for writing"),
        12 => format!("the kernel ran `{file}`, a file of a container, as its helper"),
        13 => format!("the kernel's helper ran the script `{file}` of a container"),
        14 => format!("traces process {seen} outside the container"),
        15 => format!("read or wrote memory of process {seen} outside the container"),
        16 => format!("opened `{file}` of a process outside the container"),
        17 => format!("opened namespace {seen}, which is not the container's own"),
        18 => format!("took a descriptor from process {seen} outside the container"),
        19 => format!("mounted on `{file}` a block device that is mounted outside the container"),
        20 => format!("opened block device `{file}`, which is in use outside the container"),
        21 => "moved a task out of the container's cgroup".to_owned(),
        22 => format!("got hold of one of the guard's BPF objects (bpf command {seen})"),
        23 => format!("sent signal {seen} to the guard's agent"),
        25 => "removed a pin of the guard".to_owned(),
        27 => "changed something by path while it holds a leaked directory outside the container".to_owned(),
        26 => "wrote a sysctl that is a helper knob of the kernel; the write was refused".to_owned(),
        24 => format!("opened `{file}` among the guard's pins"),
        28 => format!("changed or entered something by path, at `{file}` on a mount outside the container"),
        29 => format!("received directory `{file}`, which is on a mount outside the container"),
        _ => format!("detail {number}: expected {expected:#x}, seen {seen:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_at_the_first_nul() {
        assert_eq!(text(&[104, 105, 0, 106]), "hi");
        assert_eq!(text(&[104, 105]), "hi");
    }
}
