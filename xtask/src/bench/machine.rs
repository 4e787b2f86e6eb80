//! What the numbers were measured on, and what a process costs.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The machine, as text for the report.
pub(crate) fn describe() -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
    };
    let uname = rustix::system::uname();
    let virtual_machine =
        if field("flags").split(' ').any(|flag| flag == "hypervisor") { "virtual" } else { "real" };
    json!({
        "cpu": field("model name"),
        "cpu_id": format!("family {} model {} stepping {}", field("cpu family"), field("model"), field("stepping")),
        "cores": thread::available_parallelism().map_or(1, usize::from),
        "machine": virtual_machine,
        "kernel": uname.release().to_string_lossy(),
        "load_at_start": load(),
    })
}

/// The load average of the last minute: high where somebody else uses the machine.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? / 1024.0)
}

/// Processor time that a process has used, all its threads, in seconds: run time of `/proc/PID/task/*/schedstat`.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/task");
    let mut ns = 0.0;
    for thread in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        ns += text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(ns / 1e9)
}

/// How much of one core a process uses while nothing happens, in percent.
pub(crate) fn busy_percent(pid: u32, time: Duration) -> Result<f64> {
    let before = cpu_seconds(pid)?;
    // Not a wait for something: the passing of this time is what is measured.
    thread::sleep(time);
    Ok((cpu_seconds(pid)? - before) / time.as_secs_f64() * 100.0)
}
