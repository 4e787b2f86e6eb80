//! Loading, attaching and pinning the kernel side; taking over one that is pinned already.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, Link, MapHandle};

use crate::bpf::{GuardSkel, GuardSkelBuilder, Victim, decode};
use crate::config::{Config, Mode, Sandboxes};
use crate::error::{Error, bpf_error, file_error};
use crate::pins::{self, Pin};
use crate::probe::{self, Offer};
use crate::shared::Shared;

/// The program whose link says that a guard is there.
pub(crate) const CHECKPOINT: &str = "on_sys_exit";

/// The programs that are attached for good; each has a link of its name.
const SENSORS: [&str; 8] = [
    "on_exit",
    "on_newtask",
    "on_exec",
    "on_cgroup_move",
    "on_io_uring",
    "on_io_uring_submit",
    "on_sysctl",
    CHECKPOINT,
];

/// The maps that outlive the agent.
const MAPS: [&str; 10] = [
    "tags",
    "containers",
    "namespaces",
    "made_namespaces",
    "container_dirs",
    "exemptions",
    "blank",
    "verdicts",
    "lifecycle",
    "bss",
];

/// What the programs are told before they are loaded, and cannot be told otherwise afterwards.
#[derive(Debug, Hash)]
struct Policy {
    runtimes: u32,
    sandboxes: u32,
    strict: u32,
}

impl Policy {
    /// `enum policy` of bpf/types.h.
    const ENFORCE: u32 = 0;
    const AUDIT: u32 = 1;
    const IGNORE: u32 = 2;

    fn of(config: &Config) -> Self {
        let audit = config.mode == Mode::Audit;
        let sandboxes = match config.scope.sandboxes {
            Sandboxes::Ignore => Self::IGNORE,
            Sandboxes::Enforce if !audit => Self::ENFORCE,
            Sandboxes::Enforce | Sandboxes::Audit => Self::AUDIT,
        };
        let runtimes = if audit { Self::AUDIT } else { Self::ENFORCE };
        Self { runtimes, sandboxes, strict: u32::from(config.strict) }
    }

    /// The number of this build's programs with this policy: never 0, which is none.
    fn generation(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        BUILD.hash(&mut hasher);
        self.hash(&mut hasher);
        hasher.finish().max(1)
    }
}

/// Sweeps until no task is adopted any more: parents may come after their children in the task list.
const MAX_ADOPTION_SWEEPS: usize = 16;

/// The kernel side, attached. Dropping it leaves the pins, and so the enforcement, in place.
pub(crate) struct Kernel {
    skel: GuardSkel<'static>,
    pub(crate) shared: Shared,
    sweep: Link,
    pins: Vec<Pin>,
    /// Tasks of containers that ran before.
    pub(crate) adopted: u64,
}

/// A build of the programs, as a name: version and hash of the object file (build.rs).
const BUILD: &str = env!("GUARD_BUILD");

impl Kernel {
    /// Loads and attaches, or joins what is pinned.
    pub(crate) fn start(config: &Config) -> Result<Self, Error> {
        libbpf_rs::set_print(None);
        pins::prepare()?;
        let pinned = pins::exist();
        let policy = Policy::of(config);
        let generation = policy.generation();
        let offer = probe::offer();
        // Where every pin of this generation is there, the sensors are: the verifier need not see them again.
        let kept = if active() == Some(generation) { reopen(&offer, generation) } else { None };
        let mut skel = load(&offer, &policy, pinned, kept.is_some())?;
        let mut shared = Shared::map(&MapHandle::try_from(&skel.maps.bss).map_err(bpf_error("read"))?)?;
        shared.change(|settings| {
            settings.agent_tgid = std::process::id();
            settings.agent_pgid = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
        });
        run_once(&skel.progs.learn_host.attach().map_err(bpf_error("attach"))?)?;
        let links = match kept {
            Some(links) => links,
            None => {
                shared.change(|settings| settings.pins_armed = 0);
                let links = attach(&mut skel, offer.cgroup2.as_deref(), generation)?;
                shared.change(|settings| settings.active = generation);
                links
            }
        };
        // Those of another generation do nothing any more.
        pins::remove_links(|name| !name.starts_with(&pins::link_prefix(generation)))?;
        let sweep = skel.progs.sweep.attach().map_err(bpf_error("attach"))?;
        let mut kernel = Self { skel, shared, sweep, pins: pins_of(links, generation)?, adopted: 0 };
        kernel.learn_pins()?;
        if kernel.shared.settings().adopted == 0 {
            kernel.adopt()?;
        }
        Ok(kernel)
    }

    fn adopt(&mut self) -> Result<(), Error> {
        self.shared.change(|settings| settings.adopting = 1);
        let before = self.shared.read().adoptions;
        let mut seen = u64::MAX;
        for _ in 0..MAX_ADOPTION_SWEEPS {
            self.sweep()?;
            let adoptions = self.shared.read().adoptions;
            if adoptions == seen {
                break;
            }
            seen = adoptions;
        }
        self.adopted = self.shared.read().adoptions - before;
        // Last: a start that was cut off before counts as none, and the next one adopts.
        self.shared.change(|settings| {
            settings.adopting = 0;
            settings.adopted = 1;
        });
        Ok(())
    }

    /// Looks at every task once. Returns the tasks of condemned containers that are still alive.
    pub(crate) fn sweep(&self) -> Result<Vec<Victim>, Error> {
        let mut bytes = Vec::new();
        let read = |e| Error::System { action: "sweep the tasks", source: e };
        Iter::new(&self.sweep).map_err(bpf_error("iterate"))?.read_to_end(&mut bytes).map_err(read)?;
        Ok(bytes.chunks_exact(size_of::<Victim>()).filter_map(decode).collect())
    }

    /// Tells the kernel side which inodes are the pins.
    fn learn_pins(&mut self) -> Result<(), Error> {
        let handles = self.pins.iter().map(Pin::look_up).collect::<Result<Vec<_>, _>>()?;
        let numbers: Vec<u32> = handles.iter().map(|h| h.as_raw_fd().unsigned_abs()).collect();
        self.shared.change(|settings| fill(&mut settings.pin_fds, &numbers));
        run_once(&self.skel.progs.learn_pins.attach().map_err(bpf_error("attach"))?)?;
        self.shared.change(|settings| settings.pins_armed = 1);
        Ok(())
    }

    /// Puts back pins that somebody has removed. Returns how many.
    pub(crate) fn repair_pins(&mut self) -> Result<usize, Error> {
        let mut repaired = 0;
        for pin in &self.pins {
            repaired += usize::from(pin.repair()?);
        }
        if repaired > 0 {
            self.learn_pins()?;
        }
        Ok(repaired)
    }

    pub(crate) fn maps(&self) -> &crate::bpf::GuardMaps<'static> {
        &self.skel.maps
    }
}

fn load(offer: &Offer, policy: &Policy, pinned: bool, attached: bool) -> Result<GuardSkel<'static>, Error> {
    // One agent a process, for as long as it lives.
    let object = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = GuardSkelBuilder::default().open(object).map_err(bpf_error("open"))?;
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        if SENSORS.contains(&name.as_str()) {
            program.set_autoload(!attached && offered(offer, &name));
        }
    }
    let constants = open.maps.rodata_data.as_mut().expect("the skeleton maps its .rodata");
    constants.policy = policy.runtimes;
    constants.sandbox_policy = policy.sandboxes;
    constants.strict = policy.strict;
    constants.generation = policy.generation();
    for mut map in open.open_object_mut().maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        let short = if name.ends_with(".bss") { "bss" } else { name.as_str() };
        if name.contains(".rodata") {
            continue;
        }
        map.set_pin_path(pins::map(short)).map_err(bpf_error("pin"))?;
    }
    open.load().map_err(|source| {
        if pinned && source.kind() == libbpf_rs::ErrorKind::InvalidInput {
            Error::OtherVersion { path: pins::root().to_owned() }
        } else {
            bpf_error("load")(source)
        }
    })
}

fn run_once(link: &Link) -> Result<(), Error> {
    let mut nothing = Vec::new();
    let read = |e| Error::System { action: "iterate over the tasks", source: e };
    Iter::new(link).map_err(bpf_error("iterate"))?.read_to_end(&mut nothing).map_err(read)?;
    Ok(())
}

/// Attaches every sensor. They do nothing before their generation is in force.
fn attach(
    skel: &mut GuardSkel<'_>,
    cgroup2: Option<&Path>,
    generation: u64,
) -> Result<Vec<(&'static str, Link)>, Error> {
    // Left by a start that was cut off, or by somebody who removed one of them.
    pins::remove_links(|name| name.starts_with(&pins::link_prefix(generation)))?;
    let p = &mut skel.progs;
    let mut links = Vec::new();
    links.push(("on_exit", p.on_exit.attach()));
    links.push(("on_newtask", p.on_newtask.attach()));
    links.push(("on_exec", p.on_exec.attach()));
    if p.on_cgroup_move.autoload() {
        links.push(("on_cgroup_move", p.on_cgroup_move.attach()));
    }
    if p.on_io_uring.autoload() {
        links.push(("on_io_uring", p.on_io_uring.attach()));
    }
    if p.on_io_uring_submit.autoload() {
        links.push(("on_io_uring_submit", p.on_io_uring_submit.attach()));
    }
    if let Some(path) = cgroup2 {
        let root = fs::File::open(path).map_err(file_error("open", path))?;
        links.push(("on_sysctl", p.on_sysctl.attach_cgroup(root.as_raw_fd())));
    }
    links.push((CHECKPOINT, p.on_sys_exit.attach()));
    let mut attached = Vec::new();
    for (name, link) in links {
        let mut link = link.map_err(bpf_error("attach"))?;
        link.pin(pins::link(generation, name)).map_err(bpf_error("pin"))?;
        attached.push((name, link));
    }
    Ok(attached)
}

/// Is there on this host what a sensor attaches to?
fn offered(offer: &Offer, sensor: &str) -> bool {
    match sensor {
        "on_io_uring" => offer.io_uring,
        "on_io_uring_submit" => offer.io_uring_submit,
        "on_cgroup_move" => offer.cgroup_attach,
        "on_sysctl" => offer.cgroup2.is_some(),
        _ => true,
    }
}

/// The links of the same generation, if every one is there.
fn reopen(offer: &Offer, generation: u64) -> Option<Vec<(&'static str, Link)>> {
    let wanted = SENSORS.into_iter().filter(|sensor| offered(offer, sensor));
    wanted.map(|name| Some((name, Link::open(pins::link(generation, name)).ok()?))).collect()
}

/// The generation that is in force, if a guard of this shape is pinned.
fn active() -> Option<u64> {
    let map = MapHandle::from_pinned_path(pins::map("bss")).ok()?;
    Some(Shared::map(&map).ok()?.settings().active)
}

/// Everything that is pinned, by descriptor: the guard lives as long as the pins or the agent.
fn pins_of(links: Vec<(&'static str, Link)>, generation: u64) -> Result<Vec<Pin>, Error> {
    let mut all = Vec::new();
    for (name, link) in links {
        all.push(Pin::new(pins::link(generation, name), link.as_fd())?);
    }
    for name in MAPS {
        let map =
            MapHandle::from_pinned_path(pins::map(name)).map_err(bpf_error("read the pinned maps of"))?;
        all.push(Pin::new(pins::map(name), map.as_fd())?);
    }
    Ok(all)
}

fn fill(slots: &mut [u32], ids: &[u32]) {
    slots.fill(0);
    for (slot, id) in slots.iter_mut().zip(ids) {
        *slot = *id;
    }
}

/// Before pins are removed on purpose: nobody is to be blamed for it.
pub(crate) fn disarm() -> Result<(), Error> {
    if pins::map("bss").exists() {
        Shared::map(&pinned_map("bss")?)?.change(|settings| settings.pins_armed = 0);
    }
    Ok(())
}

/// A pinned map of a guard that is there, for readers other than the agent.
pub(crate) fn pinned_map(name: &str) -> Result<MapHandle, Error> {
    if !pins::exist() {
        return Err(Error::NotRunning);
    }
    MapHandle::from_pinned_path(pins::map(name)).map_err(bpf_error("read the pinned maps of"))
}
