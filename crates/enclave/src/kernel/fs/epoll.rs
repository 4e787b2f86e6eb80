//! Readiness of many files (epoll(7)): level- and edge-triggered, one-shot.
//!
//! Nothing is queued: whoever waits looks at all files. An edge is a change that a file's wait queues have counted since it
//! was reported last.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Bound;

use casemate_enclave::vfs::flags::{open, poll};
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::file::File;
use super::open_file::OpenFile;
use super::wait::{self, Awaited, WaitQueue};
use super::{Carried, devices};

const NAME: &str = "anon_inode:[eventpoll]";

/// Report only changes (`EPOLLET`).
const EDGE: u32 = 1 << 31;
/// Report once (`EPOLLONESHOT`).
const ONCE: u32 = 1 << 30;
/// EPOLLEXCLUSIVE, EPOLLWAKEUP and the two above: no events.
const OPTIONS: u32 = 0xf000_0000;

/// What epoll_ctl(2) is told and epoll_wait(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) events: u32,
    pub(crate) data: u64,
}

struct Interest {
    file: Weak<OpenFile>,
    event: Event,
    /// Count of changes when it was last reported.
    reported: Option<u64>,
    /// A one-shot that has been reported.
    spent: bool,
}

/// Descriptor and open file: both together name an interest.
type Key = (i32, usize);

#[derive(Default)]
struct State {
    interests: BTreeMap<Key, Interest>,
    /// Whom to look at first the next time is behind this one.
    last: Option<Key>,
}

/// An epoll instance.
#[derive(Default)]
pub(crate) struct Epoll {
    state: Mutex<State>,
    /// Woken when interests change.
    changed: Arc<WaitQueue>,
}

fn key(fd: i32, file: &Arc<OpenFile>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

fn changes(file: &dyn File) -> u64 {
    let mut queues = Vec::new();
    file.queues(&mut queues);
    queues.iter().map(|queue| queue.changes()).fold(0, u64::wrapping_add)
}

impl Epoll {
    /// A new one.
    pub(crate) fn open() -> Arc<OpenFile> {
        OpenFile::new(Arc::new(Self::default()), open::RDWR, NAME.into())
    }

    fn check(&self, file: &OpenFile) -> Result<(), Errno> {
        if !file.file().pollable() {
            return Err(Errno::EPERM);
        }
        // Instances in instances: one level, which cannot be a circle.
        match file.file().epoll() {
            Some(inner) if inner.holds_instances() => Err(Errno::ELOOP),
            Some(_) if self.is_held() => Err(Errno::ELOOP),
            _ => Ok(()),
        }
    }

    fn holds_instances(&self) -> bool {
        let files: Vec<_> = self.state.lock().interests.values().filter_map(|i| i.file.upgrade()).collect();
        files.iter().any(|file| file.file().epoll().is_some())
    }

    /// Whether some open instance watches this one.
    fn is_held(&self) -> bool {
        let files = {
            let files = crate::process::process().files.lock();
            files.numbers().into_iter().filter_map(|fd| files.get(fd).ok()).collect::<Vec<_>>()
        };
        files.iter().filter_map(|file| file.file().epoll()).any(|other| {
            let watched: Vec<_> =
                other.state.lock().interests.values().filter_map(|i| i.file.upgrade()).collect();
            watched.iter().filter_map(|file| file.file().epoll()).any(|inner| core::ptr::eq(inner, self))
        })
    }

    /// EPOLL_CTL_ADD.
    ///
    /// # Errors
    /// EEXIST, ELOOP. EPERM: a file that is always ready.
    pub(crate) fn add(&self, fd: i32, file: &Arc<OpenFile>, event: Event) -> Result<(), Errno> {
        self.check(file)?;
        let mut state = self.state.lock();
        state.interests.retain(|_, interest| interest.file.strong_count() > 0);
        let key = key(fd, file);
        if state.interests.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        state
            .interests
            .insert(key, Interest { file: Arc::downgrade(file), event, reported: None, spent: false });
        drop(state);
        self.changed.wake();
        Ok(())
    }

    /// EPOLL_CTL_MOD.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn modify(&self, fd: i32, file: &Arc<OpenFile>, event: Event) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let interest = state.interests.get_mut(&key(fd, file)).ok_or(Errno::ENOENT)?;
        interest.event = event;
        interest.reported = None;
        interest.spent = false;
        drop(state);
        self.changed.wake();
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        self.state.lock().interests.remove(&key(fd, file)).map(|_| ()).ok_or(Errno::ENOENT)
    }

    /// All interests, for another enclave.
    pub(crate) fn interests(&self) -> Vec<(i32, Arc<OpenFile>, Event)> {
        let state = self.state.lock();
        let each = state.interests.iter();
        each.filter_map(|((fd, _), interest)| Some((*fd, interest.file.upgrade()?, interest.event))).collect()
    }

    /// Open files that are watched, those behind the last reported one first.
    fn watched(&self) -> Vec<(Key, Arc<OpenFile>, Event, Option<u64>)> {
        let state = self.state.lock();
        let start = state.last.map_or(Bound::Unbounded, Bound::Excluded);
        let end = state.last.map_or(Bound::Excluded((i32::MIN, 0)), Bound::Included);
        let behind = state.interests.range((start, Bound::Unbounded));
        let before = state.interests.range((Bound::Unbounded, end));
        behind
            .chain(before)
            .filter(|(_, interest)| !interest.spent)
            .filter_map(|(key, i)| Some((*key, i.file.upgrade()?, i.event, i.reported)))
            .collect()
    }

    /// What is ready, at most `limit`; reported to the program where `report` is set.
    fn ready(&self, limit: usize, report: bool) -> Result<Vec<Event>, Errno> {
        let mut events = Vec::new();
        for (key, file, event, reported) in self.watched() {
            if events.len() == limit {
                break;
            }
            let file = file.file();
            // Before the look: a change after it is an edge of its own.
            let changes = changes(file);
            let wanted = event.events & !OPTIONS | poll::ERR | poll::HUP;
            let found = file.poll()? & wanted;
            if found == 0 || event.events & EDGE != 0 && reported == Some(changes) {
                continue;
            }
            events.push(Event { events: found, data: event.data });
            if report {
                let mut state = self.state.lock();
                state.last = Some(key);
                if let Some(interest) = state.interests.get_mut(&key) {
                    interest.reported = Some(changes);
                    interest.spent |= event.events & ONCE != 0;
                }
            }
        }
        Ok(events)
    }

    fn awaited(&self, awaited: &mut Awaited) {
        awaited.queues.push(Arc::clone(&self.changed));
        for (_, file, event, reported) in self.watched() {
            file.file().queues(&mut awaited.queues);
            // An edge that was reported comes again only with a change in here.
            if event.events & EDGE == 0 || reported != Some(changes(file.file())) {
                awaited.streams |= wait::streams_for(file.file(), event.events);
                file.file().outside(event.events, &mut awaited.pipes);
            }
        }
    }

    /// epoll_wait(2): at least one event, at most `limit`, unless `deadline` comes first.
    ///
    /// # Errors
    /// EINTR.
    pub(crate) fn wait(&self, limit: usize, deadline: Option<u64>) -> Result<Vec<Event>, Errno> {
        let look = || {
            let events = self.ready(limit, true)?;
            Ok(if events.is_empty() { None } else { Some(events) })
        };
        Ok(wait::until(deadline, |awaited| self.awaited(awaited), look)?.unwrap_or_default())
    }
}

impl File for Epoll {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(NAME, 0o600, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::ANON_INODES))
    }

    fn poll(&self) -> Result<u32, Errno> {
        let ready = !self.ready(1, false)?.is_empty();
        Ok(if ready { poll::IN | poll::RDNORM } else { 0 })
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        let mut awaited = Awaited::default();
        self.awaited(&mut awaited);
        queues.append(&mut awaited.queues);
    }

    fn console_streams(&self) -> u64 {
        let mut awaited = Awaited::default();
        self.awaited(&mut awaited);
        awaited.streams
    }

    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Epoll)
    }

    fn outside(&self, _events: u32, pipes: &mut Vec<(u64, u64)>) {
        let mut awaited = Awaited::default();
        self.awaited(&mut awaited);
        pipes.append(&mut awaited.pipes);
    }

    fn epoll(&self) -> Option<&Epoll> {
        Some(self)
    }

    fn label(&self) -> Option<String> {
        Some(NAME.into())
    }
}
