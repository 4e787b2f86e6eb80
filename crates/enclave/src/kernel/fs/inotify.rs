//! Watching files (inotify(7)): of what this program does itself. What others do in a mount of the host's is not seen.
//!
//! A watch is on a path without links, and follows it when it is renamed. Everything here that makes, changes or removes something says so by [`tell`].

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use casemate_enclave::vfs::flags::{open, poll};
use casemate_enclave::vfs::path;
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::devices;
use super::file::{File, Sink};
use super::open_file::OpenFile;
use super::terminal::FIONREAD;
use super::wait::{self, WaitQueue};
use crate::user;

const NAME: &str = "anon_inode:inotify";

/// Events and options of a watch (`include/uapi/linux/inotify.h`).
pub(crate) mod event {
    pub(crate) const ACCESS: u32 = 0x1;
    pub(crate) const MODIFY: u32 = 0x2;
    pub(crate) const ATTRIB: u32 = 0x4;
    pub(crate) const CLOSE_WRITE: u32 = 0x8;
    pub(crate) const CLOSE_NOWRITE: u32 = 0x10;
    pub(crate) const OPEN: u32 = 0x20;
    pub(crate) const MOVED_FROM: u32 = 0x40;
    pub(crate) const MOVED_TO: u32 = 0x80;
    pub(crate) const CREATE: u32 = 0x100;
    pub(crate) const DELETE: u32 = 0x200;
    pub(crate) const DELETE_SELF: u32 = 0x400;
    pub(crate) const MOVE_SELF: u32 = 0x800;
    pub(crate) const ALL: u32 = 0xfff;
    pub(crate) const OVERFLOW: u32 = 0x4000;
    pub(crate) const IGNORED: u32 = 0x8000;
    pub(crate) const ONLYDIR: u32 = 0x0100_0000;
    pub(crate) const DONT_FOLLOW: u32 = 0x0200_0000;
    pub(crate) const EXCL_UNLINK: u32 = 0x0400_0000;
    pub(crate) const MASK_CREATE: u32 = 0x1000_0000;
    pub(crate) const MASK_ADD: u32 = 0x2000_0000;
    pub(crate) const ISDIR: u32 = 0x4000_0000;
    pub(crate) const ONESHOT: u32 = 0x8000_0000;
}

/// Events that wait at most (`fs.inotify.max_queued_events`).
const MAX_EVENTS: usize = 16_384;

/// Watches of an instance at most (`fs.inotify.max_user_watches`).
const MAX_WATCHES: usize = 65_536;

/// Bytes of an event without its name.
const HEADER: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: String,
}

impl Event {
    /// Bytes of the name, padded with zeros as Linux does.
    fn name_length(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.name_length();
        let mut bytes = Vec::with_capacity(HEADER + length);
        bytes.extend_from_slice(&self.watch.to_le_bytes());
        bytes.extend_from_slice(&self.mask.to_le_bytes());
        bytes.extend_from_slice(&self.cookie.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.resize(HEADER + length, 0);
        bytes
    }
}

struct Watch {
    number: i32,
    path: String,
    mask: u32,
}

#[derive(Default)]
struct State {
    watches: Vec<Watch>,
    events: VecDeque<Event>,
    last: i32,
}

impl State {
    fn push(&mut self, event: Event) {
        if self.events.back() == Some(&event) {
            return;
        }
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else if self.events.back().is_some_and(|last| last.mask != event::OVERFLOW) {
            let name = String::new();
            self.events.push_back(Event { watch: -1, mask: event::OVERFLOW, cookie: 0, name });
        }
    }

    /// Takes a watch away, and says so.
    fn remove(&mut self, number: i32) -> bool {
        let Some(index) = self.watches.iter().position(|watch| watch.number == number) else { return false };
        self.watches.remove(index);
        self.push(Event { watch: number, mask: event::IGNORED, cookie: 0, name: String::new() });
        true
    }

    /// What has happened to `path`; `true` where somebody watches it.
    fn tell(&mut self, path: &str, mask: u32, cookie: u32) -> bool {
        let (parent, name) = path::split(path).unwrap_or(("/", ""));
        let happened = mask & event::ALL;
        let of_self = happened & !(event::CREATE | event::DELETE | event::MOVED_FROM | event::MOVED_TO);
        let of_child = happened & !(event::DELETE_SELF | event::MOVE_SELF);
        let mut told = Vec::new();
        let mut spent = Vec::new();
        for watch in &self.watches {
            let (wanted, name) = if watch.path == path {
                (of_self, "")
            } else if watch.path == parent && !name.is_empty() {
                (of_child, name)
            } else {
                continue;
            };
            if watch.mask & wanted == 0 {
                continue;
            }
            let mask = watch.mask & wanted | mask & event::ISDIR;
            told.push(Event { watch: watch.number, mask, cookie, name: name.into() });
            if watch.mask & event::ONESHOT != 0 {
                spent.push(watch.number);
            }
        }
        if happened & event::DELETE_SELF != 0 {
            spent.extend(self.watches.iter().filter(|watch| watch.path == path).map(|watch| watch.number));
        }
        let any = !told.is_empty() || !spent.is_empty();
        for event in told {
            self.push(event);
        }
        for number in spent {
            self.remove(number);
        }
        any
    }
}

/// An instance.
#[derive(Default)]
pub(crate) struct Inotify {
    state: Mutex<State>,
    changed: Arc<WaitQueue>,
}

static INSTANCES: Mutex<Vec<Weak<Inotify>>> = Mutex::new(Vec::new());

/// How many watches there are in all: mostly none, and then nothing is told.
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// Something has happened to what lies at a path without links: events, and [`event::ISDIR`].
pub(super) fn tell(path: &str, mask: u32) {
    tell_with(path, mask, 0);
}

fn tell_with(path: &str, mask: u32, cookie: u32) {
    if WATCHES.load(Ordering::Relaxed) == 0 {
        return;
    }
    let instances: Vec<_> = INSTANCES.lock().iter().filter_map(Weak::upgrade).collect();
    for instance in instances {
        let before = instance.state.lock().watches.len();
        if instance.state.lock().tell(path, mask, cookie) {
            let after = instance.state.lock().watches.len();
            WATCHES.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
            instance.changed.wake();
        }
    }
}

/// A name has moved.
pub(super) fn tell_moved(old: &str, new: &str, directory: bool) {
    static COOKIE: AtomicU32 = AtomicU32::new(0);
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let kind = if directory { event::ISDIR } else { 0 };
    tell_with(old, event::MOVED_FROM | kind, cookie);
    tell_with(new, event::MOVED_TO | kind, cookie);
    tell_with(old, event::MOVE_SELF | kind, 0);
    if WATCHES.load(Ordering::Relaxed) == 0 {
        return;
    }
    // Watches go where what they watch goes.
    for instance in INSTANCES.lock().iter().filter_map(Weak::upgrade) {
        for watch in &mut instance.state.lock().watches {
            match path::below(&watch.path, old) {
                Some("") => watch.path = new.into(),
                Some(rest) => watch.path = path::join(new, rest),
                None => {}
            }
        }
    }
}

impl Inotify {
    /// A new instance; `flags`: O_NONBLOCK.
    pub(crate) fn open(flags: u32) -> Arc<OpenFile> {
        let instance: Arc<Self> = Arc::default();
        let mut instances = INSTANCES.lock();
        instances.retain(|instance| instance.strong_count() > 0);
        instances.push(Arc::downgrade(&instance));
        drop(instances);
        OpenFile::new(instance, flags & open::NONBLOCK, NAME.into())
    }

    /// Watches a path without links, or changes the watch that is there.
    ///
    /// # Errors
    /// ENOSPC: too many. EEXIST: there is one, and IN_MASK_CREATE is set.
    pub(crate) fn add(&self, path: String, mask: u32) -> Result<i32, Errno> {
        let mut state = self.state.lock();
        let kept = mask & (event::ALL | event::ONESHOT | event::EXCL_UNLINK);
        if let Some(watch) = state.watches.iter_mut().find(|watch| watch.path == path) {
            if mask & event::MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            watch.mask = if mask & event::MASK_ADD != 0 { watch.mask | kept } else { kept };
            return Ok(watch.number);
        }
        if state.watches.len() >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        state.last += 1;
        let number = state.last;
        state.watches.push(Watch { number, path, mask: kept });
        WATCHES.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    }

    /// Takes a watch away.
    ///
    /// # Errors
    /// EINVAL: there is none of this number.
    pub(crate) fn remove(&self, number: i32) -> Result<(), Errno> {
        if !self.state.lock().remove(number) {
            return Err(Errno::EINVAL);
        }
        WATCHES.fetch_sub(1, Ordering::Relaxed);
        self.changed.wake();
        Ok(())
    }

    /// As many events as fit; `None`: there are none.
    fn take(&self, room: usize) -> Result<Option<Vec<u8>>, Errno> {
        let mut state = self.state.lock();
        let mut bytes = Vec::new();
        while let Some(first) = state.events.front() {
            let event = first.bytes();
            if bytes.len() + event.len() > room {
                break;
            }
            bytes.extend(event);
            state.events.pop_front();
        }
        match (bytes.is_empty(), state.events.is_empty()) {
            (false, _) => Ok(Some(bytes)),
            (true, true) => Ok(None),
            (true, false) => Err(Errno::EINVAL),
        }
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        WATCHES.fetch_sub(self.state.get_mut().watches.len(), Ordering::Relaxed);
    }
}

impl File for Inotify {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(NAME, 0o600, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::ANON_INODES))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        let room = to.len();
        let bytes = wait::blocking(self, nonblock, || self.take(room))?;
        to.put(0, &bytes)?;
        Ok(bytes.len())
    }

    fn ioctl(&self, request: u32, argument: u64) -> Result<u64, Errno> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let length: usize = self.state.lock().events.iter().map(|event| HEADER + event.name_length()).sum();
        user::write_value(argument, &u32::try_from(length).unwrap_or(u32::MAX))?;
        Ok(0)
    }

    fn poll(&self) -> Result<u32, Errno> {
        Ok(if self.state.lock().events.is_empty() { 0 } else { poll::IN | poll::RDNORM })
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.changed));
    }

    fn inotify(&self) -> Option<&Inotify> {
        Some(self)
    }

    fn label(&self) -> Option<String> {
        Some(NAME.into())
    }
}
