//! A storm of short-lived containers, several at once, while the guard is killed, stopped, removed and started again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::ground::Ground;
use super::guard::Guard;
use super::runtime::{Runtime, bundle};
use super::{Body, Case, Needs, Outcome};
use crate::host;

pub(super) const CASES: &[Case] =
    &[Case { name: "storm/restarts", needs: Needs::Runtime, body: Body::Code(storm) }];

/// How many containers are born and gone.
const CONTAINERS: usize = 400;
/// How many live at the same time, beside those that stay.
const AT_ONCE: usize = 4;
/// How many live through the whole storm, and must answer at its end.
const STAYING: usize = 10;
/// What each does in its short life: a few processes, a pipe, its own /proc, files, another user.
const LIFE: &str =
    "ps >/tmp/ps; cat /proc/self/status | grep -c . >/tmp/n; (sleep 0.01 &); su user -c 'id -u'; exit 7";

fn storm(ground: &Ground, guard: Option<&mut Guard>) -> Result<Outcome> {
    let dir = ground.directory("storm")?;
    let (short, long) = (dir.join("short"), dir.join("long"));
    for (path, args) in [(&short, ["sh", "-c", LIFE].as_slice()), (&long, ["sleep", "1000"].as_slice())] {
        let mut config = bundle(ground, path, args)?;
        let tmp = serde_json::json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] });
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.push(tmp);
        }
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                serde_json::json!(["CAP_SETUID", "CAP_SETGID", "CAP_KILL"]);
        }
        super::runtime::save(path, &config)?;
    }
    let staying: Vec<String> = (0..STAYING).map(|number| format!("casemate-storm-stays-{number}")).collect();
    for id in &staying {
        Runtime::Runc.delete(id);
        Runtime::Runc.run_detached(&long, id)?;
    }
    let stormed = blow(&short, guard);
    let answered = staying.iter().try_for_each(|id| {
        let answer = host::stdout_of(Runtime::Runc.command().args(["exec", id, "id", "-u"]));
        answer.map(drop).with_context(|| format!("{id} did not live through the storm"))
    });
    for id in &staying {
        Runtime::Runc.delete(id);
    }
    stormed.and(answered).map(|()| Outcome::Passed)
}

/// Lets [`CONTAINERS`] be born and gone while the guard goes through its restarts.
fn blow(bundle: &std::path::Path, guard: Option<&mut Guard>) -> Result<()> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let worker = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= CONTAINERS || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if let Err(error) = short_life(bundle, number) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        let restarted = guard.map_or(Ok(()), |guard| {
            let mut round = 0;
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                match round % 3 {
                    0 => guard.restart(Signal::KILL)?,
                    1 => guard.restart(Signal::TERM)?,
                    _ => guard.reinstall()?,
                }
                round += 1;
            }
            if round < 3 {
                bail!("the storm was over after {round} restarts: it must outlast all three kinds");
            }
            Ok(())
        });
        if restarted.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_panic) => bail!("a storm thread panicked"),
            }
        }
        restarted
    })
}

/// One container from birth to exit: it must end by itself with its own status.
fn short_life(bundle: &std::path::Path, number: usize) -> Result<()> {
    let runtime = if number.is_multiple_of(2) { Runtime::Runc } else { Runtime::Crun };
    let id = format!("casemate-storm-{number}");
    let mut run = runtime.command();
    run.args(["run", "--bundle"]).arg(bundle).arg(&id);
    let output = run.output().with_context(|| format!("cannot start {}", runtime.name()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(7) && said.trim() == "1000" {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    bail!("{} run {id} ended with {}: {said}{error}", runtime.name(), output.status)
}
