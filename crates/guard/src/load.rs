//! Loading, attaching and pinning the kernel side; taking over one that is pinned already.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Iter, Link, MapHandle};

use crate::bpf::{GuardSkel, GuardSkelBuilder, Victim, decode};
use crate::config::{Config, Policy, Sandboxes};
use crate::error::{Error, bpf_error, file_error};
use crate::misses::Misses;
use crate::mode::Mode;
use crate::pins::{self, Pin};
use crate::probe::{self, Offer};
use crate::shared::Shared;
use crate::verifier_log;

/// The programs that only the agent runs.
const ITERATORS: [&str; 3] = ["learn_host", "learn_pins", "sweep"];

/// The maps that outlive the agent.
const MAPS: [&str; 11] = [
    "tags",
    "containers",
    "namespaces",
    "made_namespaces",
    "given_disks",
    "container_dirs",
    "exemptions",
    "blank",
    "verdicts",
    "lifecycle",
    "bss",
];

/// What the programs are told before they are loaded, and cannot be told otherwise afterwards.
#[derive(Debug, Hash)]
struct Constants {
    mode: Mode,
    runtimes: u32,
    sandboxes: u32,
    strict: u32,
    denials: u32,
    twins: u32,
}

impl Constants {
    /// `enum policy` of bpf/types.h.
    const ENFORCE: u32 = 0;
    const AUDIT: u32 = 1;
    const IGNORE: u32 = 2;

    fn of(config: &Config, mode: Mode, offer: &Offer) -> Self {
        let audit = config.policy == Policy::Audit;
        let sandboxes = match config.scope.sandboxes {
            Sandboxes::Ignore => Self::IGNORE,
            Sandboxes::Enforce if !audit => Self::ENFORCE,
            Sandboxes::Enforce | Sandboxes::Audit => Self::AUDIT,
        };
        let runtimes = if audit { Self::AUDIT } else { Self::ENFORCE };
        let denials = config.deny.iter().fold(0, |bits, denial| bits | denial.bit());
        Self {
            mode,
            runtimes,
            sandboxes,
            strict: u32::from(config.strict),
            denials,
            twins: u32::from(offer.twins),
        }
    }

    /// The number of this build's programs with these constants: never 0, which is none.
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
    pub(crate) mode: Mode,
    pub(crate) misses: Misses,
    /// Tasks of containers that ran before.
    pub(crate) adopted: u64,
}

/// A build of the programs, as a name: version and hash of the object file (build.rs).
const BUILD: &str = env!("GUARD_BUILD");

impl Kernel {
    /// Loads and attaches, or joins what is pinned.
    pub(crate) fn start(config: &Config) -> Result<Self, Error> {
        pins::prepare()?;
        let pinned = pins::exist();
        let offer = probe::offer();
        let mode = mode(config, &offer)?;
        let mut sensors: Vec<String> = offer.sensors(mode).into_iter().map(|s| s.program).collect();
        let sysctl = if mode.prevents() { None } else { offer.sysctl() };
        sensors.extend(sysctl.map(|(program, _)| program.to_owned()));
        let constants = Constants::of(config, mode, &offer);
        let generation = constants.generation();
        // Where every pin of this generation is there, the sensors are: the verifier need not see them again.
        let kept = if active() == Some(generation) { reopen(&sensors, generation) } else { None };
        let mut skel = load(if kept.is_some() { &[] } else { &sensors }, &constants, pinned)?;
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
                let links = attach(&mut skel, &sensors, sysctl, generation)?;
                shared.change(|settings| settings.active = generation);
                links
            }
        };
        // Those of another generation do nothing any more.
        pins::remove_links(|name| !name.starts_with(&pins::link_prefix(generation)))?;
        let ids = links.iter().map(|(_, link)| Ok(link.info().map_err(bpf_error("look up"))?.id));
        let ids = ids.collect::<Result<Vec<u32>, Error>>()?;
        shared.change(|settings| fill(&mut settings.link_ids, &ids));
        let sweep = skel.progs.sweep.attach().map_err(bpf_error("attach"))?;
        let misses = Misses::of(links.iter().map(|(_, link)| link))?;
        let pins = pins_of(links, generation)?;
        let mut kernel = Self { skel, shared, sweep, pins, mode, misses, adopted: 0 };
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

/// The mode that the configuration asks for, or the strongest that works here.
fn mode(config: &Config, offer: &Offer) -> Result<Mode, Error> {
    let mode = match config.mode {
        Some(mode) => offer.check(mode).map(|()| mode).map_err(|reason| Error::Mode { mode, reason })?,
        None => offer.choose().map_err(|reason| Error::NoMode { reason })?,
    };
    if !config.deny.is_empty() && !mode.prevents() {
        return Err(Error::CannotDeny);
    }
    Ok(mode)
}

fn load(sensors: &[String], constants: &Constants, pinned: bool) -> Result<GuardSkel<'static>, Error> {
    verifier_log::start();
    // One agent a process, for as long as it lives.
    let object = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = GuardSkelBuilder::default().open(object).map_err(bpf_error("open"))?;
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        program.set_autoload(ITERATORS.contains(&name.as_str()) || sensors.contains(&name));
    }
    let data = open.maps.rodata_data.as_mut().expect("the skeleton maps its .rodata");
    data.policy = constants.runtimes;
    data.sandbox_policy = constants.sandboxes;
    data.strict = constants.strict;
    data.prevention = u32::from(constants.mode.prevents());
    data.denials = constants.denials;
    data.twins = constants.twins;
    data.generation = constants.generation();
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
    sensors: &[String],
    sysctl: Option<(&str, &Path)>,
    generation: u64,
) -> Result<Vec<(String, Link)>, Error> {
    // Left by a start that was cut off, or by somebody who removed one of them.
    pins::remove_links(|name| name.starts_with(&pins::link_prefix(generation)))?;
    let mut links = Vec::new();
    for program in skel.object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        if !sensors.contains(&name) {
            continue;
        }
        let link = match sysctl {
            Some((sensor, path)) if name == sensor => {
                let root = fs::File::open(path).map_err(file_error("open", path))?;
                program.attach_cgroup(root.as_raw_fd())
            }
            _ => program.attach(),
        };
        let mut link = link.map_err(bpf_error("attach"))?;
        link.pin(pins::link(generation, &name)).map_err(bpf_error("pin"))?;
        links.push((name, link));
    }
    Ok(links)
}

/// The links of the same generation, if every one is there.
fn reopen(sensors: &[String], generation: u64) -> Option<Vec<(String, Link)>> {
    let open = |name: &String| Some((name.clone(), Link::open(pins::link(generation, name)).ok()?));
    sensors.iter().map(open).collect()
}

/// The generation that is in force, if a guard of this shape is pinned.
fn active() -> Option<u64> {
    let map = MapHandle::from_pinned_path(pins::map("bss")).ok()?;
    Some(Shared::map(&map).ok()?.settings().active)
}

/// Everything that is pinned, by descriptor: the guard lives as long as the pins or the agent.
fn pins_of(links: Vec<(String, Link)>, generation: u64) -> Result<Vec<Pin>, Error> {
    let mut all = Vec::new();
    for (name, link) in links {
        all.push(Pin::new(pins::link(generation, &name), link.as_fd())?);
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
