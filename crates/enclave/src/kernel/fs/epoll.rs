//! Readiness of many files (epoll(7)): level- and edge-triggered, one-shot.
//!
//! An instance is told of changes by the wait queues of the files that it watches, and looks only at files that have changed:
//! five thousand that are idle cost nothing. Files of which only the host knows are looked at each time; for them an edge is
//! a change that their wait queues have counted since it was reported last.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use casemate_enclave::vfs::flags::{open, poll};
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::file::File;
use super::open_file::OpenFile;
use super::wait::{self, Awaited, WaitQueue, Watcher};
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

/// One watched file of an instance.
struct Interest {
    file: Weak<OpenFile>,
    /// Where it is put when its file changes.
    ready: Arc<Ready>,
    /// Whether it is in the list there.
    listed: AtomicBool,
    state: Mutex<InterestState>,
}

#[derive(Clone, Copy)]
struct InterestState {
    event: Event,
    /// Count of changes when it was last reported; only for files that must be asked.
    reported: Option<u64>,
    /// A one-shot that has been reported.
    spent: bool,
    /// It has been taken out.
    removed: bool,
}

/// Interests that may be ready: those whose files have changed since they were found not to be.
#[derive(Default)]
struct Ready {
    list: Mutex<VecDeque<Arc<Interest>>>,
    /// Woken when there are more.
    changed: Arc<WaitQueue>,
}

impl Interest {
    /// Has it looked at.
    fn list(self: &Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            self.ready.list.lock().push_back(Arc::clone(self));
        }
    }
}

/// What tells an interest of changes. The wait queues have weak references to it.
struct Bell(Weak<Interest>);

impl Watcher for Bell {
    fn changed(&self, events: u32) {
        let Some(interest) = self.0.upgrade() else { return };
        let state = *interest.state.lock();
        if !state.spent && events & (state.event.events & !OPTIONS | poll::ERR | poll::HUP) != 0 {
            interest.list();
            interest.ready.changed.wake_for(poll::IN | poll::RDNORM);
        }
    }
}

/// Descriptor and open file: both together name an interest.
type Key = (i32, usize);

/// An interest, and what keeps it told.
struct Entry {
    interest: Arc<Interest>,
    _bell: Arc<Bell>,
}

#[derive(Default)]
struct State {
    interests: BTreeMap<Key, Entry>,
    /// Those whose files the host must be asked about.
    asked: Vec<Arc<Interest>>,
    /// How many interests there may be before those of closed files are taken out.
    sweep_at: usize,
}

/// An epoll instance.
#[derive(Default)]
pub(crate) struct Epoll {
    state: Mutex<State>,
    ready: Arc<Ready>,
}

fn key(fd: i32, file: &Arc<OpenFile>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

fn queues(file: &dyn File) -> Vec<Arc<WaitQueue>> {
    let mut queues = Vec::new();
    file.queues(&mut queues);
    queues
}

fn changes(file: &dyn File) -> u64 {
    queues(file).iter().map(|queue| queue.changes()).fold(0, u64::wrapping_add)
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
            Some(inner) if inner.watched().iter().any(|file| file.file().epoll().is_some()) => {
                Err(Errno::ELOOP)
            }
            Some(_) if self.is_held() => Err(Errno::ELOOP),
            _ => Ok(()),
        }
    }

    fn watched(&self) -> Vec<Arc<OpenFile>> {
        self.state.lock().interests.values().filter_map(|entry| entry.interest.file.upgrade()).collect()
    }

    /// Whether some open instance watches this one.
    fn is_held(&self) -> bool {
        let files = {
            let files = crate::process::process().files.lock();
            files.numbers().into_iter().filter_map(|fd| files.get(fd).ok()).collect::<Vec<_>>()
        };
        files.iter().filter_map(|file| file.file().epoll()).any(|other| {
            let watched = other.watched();
            watched.iter().filter_map(|file| file.file().epoll()).any(|inner| core::ptr::eq(inner, self))
        })
    }

    /// EPOLL_CTL_ADD.
    ///
    /// # Errors
    /// EEXIST, ELOOP. EPERM: a file that is always ready.
    pub(crate) fn add(&self, fd: i32, file: &Arc<OpenFile>, event: Event) -> Result<(), Errno> {
        self.check(file)?;
        let interest = Arc::new(Interest {
            file: Arc::downgrade(file),
            ready: Arc::clone(&self.ready),
            listed: AtomicBool::new(false),
            state: Mutex::new(InterestState { event, reported: None, spent: false, removed: false }),
        });
        let bell = Arc::new(Bell(Arc::downgrade(&interest)));
        {
            let mut state = self.state.lock();
            if state.interests.len() >= state.sweep_at {
                state.interests.retain(|_, entry| entry.interest.file.strong_count() > 0);
                state.asked.retain(|interest| interest.file.strong_count() > 0);
                state.sweep_at = (state.interests.len() * 2).max(64);
            }
            let key = key(fd, file);
            if state.interests.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            let entry = Entry { interest: Arc::clone(&interest), _bell: Arc::clone(&bell) };
            state.interests.insert(key, entry);
            if file.file().console_streams() != 0 || file.file().asked() {
                state.asked.push(Arc::clone(&interest));
            }
        }
        for queue in queues(file.file()) {
            let bell: Arc<dyn Watcher> = Arc::<Bell>::clone(&bell);
            queue.watch(Arc::downgrade(&bell));
        }
        self.look_at(&interest);
        Ok(())
    }

    /// Has an interest looked at that is new or has changed.
    fn look_at(&self, interest: &Arc<Interest>) {
        interest.list();
        self.ready.changed.wake_for(poll::IN | poll::RDNORM);
    }

    /// EPOLL_CTL_MOD.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn modify(&self, fd: i32, file: &Arc<OpenFile>, event: Event) -> Result<(), Errno> {
        let interest = {
            let state = self.state.lock();
            let entry = state.interests.get(&key(fd, file)).ok_or(Errno::ENOENT)?;
            Arc::clone(&entry.interest)
        };
        *interest.state.lock() = InterestState { event, reported: None, spent: false, removed: false };
        self.look_at(&interest);
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let entry = state.interests.remove(&key(fd, file)).ok_or(Errno::ENOENT)?;
        state.asked.retain(|interest| !Arc::ptr_eq(interest, &entry.interest));
        drop(state);
        entry.interest.state.lock().removed = true;
        Ok(())
    }

    /// All interests, for another enclave.
    pub(crate) fn interests(&self) -> Vec<(i32, Arc<OpenFile>, Event)> {
        let state = self.state.lock();
        let each = state.interests.iter().filter_map(|((fd, _), entry)| {
            let event = entry.interest.state.lock().event;
            Some((*fd, entry.interest.file.upgrade()?, event))
        });
        each.collect()
    }

    /// What is ready of an interest now.
    fn find(interest: &Interest, report: bool) -> Result<Option<Event>, Errno> {
        let state = *interest.state.lock();
        let Some(file) = interest.file.upgrade().filter(|_| !state.spent && !state.removed) else {
            return Ok(None);
        };
        let file = file.file();
        // Before the look: a change after it is an edge of its own.
        let asked = file.console_streams() != 0 || file.asked();
        let changes = asked.then(|| changes(file));
        let wanted = state.event.events & !OPTIONS | poll::ERR | poll::HUP;
        let found = file.poll()? & wanted;
        if found == 0 || state.event.events & EDGE != 0 && asked && state.reported == changes {
            return Ok(None);
        }
        if report {
            let mut state = interest.state.lock();
            state.reported = changes;
            state.spent |= state.event.events & ONCE != 0;
        }
        Ok(Some(Event { events: found, data: state.event.data }))
    }

    /// What is ready, at most `limit`; reported to the program where `report` is set.
    fn ready(&self, limit: usize, report: bool) -> Result<Vec<Event>, Errno> {
        for interest in &self.state.lock().asked {
            interest.list();
        }
        let mut events = Vec::new();
        // Not those that are listed meanwhile, as the ones that are reported are.
        let count = self.ready.list.lock().len();
        for _ in 0..count {
            let Some(interest) = self.ready.list.lock().pop_front() else { break };
            // Before the look, so that a change after it lists it again.
            interest.listed.store(false, Ordering::Release);
            let Some(event) = Self::find(&interest, report)? else { continue };
            events.push(event);
            // What is level-triggered is looked at again until it is found not to be ready.
            let state = *interest.state.lock();
            if !report || state.event.events & EDGE == 0 && !state.spent {
                interest.list();
            }
            if events.len() == limit {
                break;
            }
        }
        Ok(events)
    }

    fn awaited(&self, awaited: &mut Awaited) {
        awaited.queues.push(Arc::clone(&self.ready.changed));
        let asked = self.state.lock().asked.clone();
        for interest in asked {
            let state = *interest.state.lock();
            let Some(file) = interest.file.upgrade() else { continue };
            // An edge that was reported comes again only with a change in here.
            let waits = state.event.events & EDGE == 0 || state.reported != Some(changes(file.file()));
            if waits && !state.spent {
                awaited.streams |= wait::streams_for(file.file(), state.event.events);
                file.file().outside(state.event.events, &mut awaited.pipes);
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
        queues.push(Arc::clone(&self.ready.changed));
    }

    fn console_streams(&self) -> u64 {
        let mut awaited = Awaited::default();
        self.awaited(&mut awaited);
        awaited.streams
    }

    fn asked(&self) -> bool {
        !self.state.lock().asked.is_empty()
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
