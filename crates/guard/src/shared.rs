//! The page that agent and kernel side share: settings one way, counters the other.
//!
//! The skeleton's own mapping is of no use: where the map is pinned and taken over, libbpf leaves it unconnected.

use std::mem::offset_of;
use std::os::fd::AsFd;
use std::ptr;

use libbpf_rs::MapHandle;
use rustix::mm::{MapFlags, ProtFlags};

use crate::bpf::{GuardSettings, GuardState, Page};
use crate::error::Error;

/// The mapped `.bss` of the kernel side, for as long as the process lives.
pub(crate) struct Shared {
    settings: *mut GuardSettings,
    state: *const GuardState,
}

impl Shared {
    pub(crate) fn map(bss: &MapHandle) -> Result<Self, Error> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let page = unsafe {
            rustix::mm::mmap(ptr::null_mut(), size_of::<Page>(), protection, flags, bss.as_fd(), 0)
        };
        let page =
            page.map_err(|e| Error::System { action: "map the guard's shared page", source: e.into() })?;
        let at = |offset| page.cast::<u8>().wrapping_add(offset);
        Ok(Self {
            settings: at(offset_of!(Page, settings)).cast(),
            state: at(offset_of!(Page, state)).cast_const().cast(),
        })
    }

    /// A copy of the kernel side's counters, as they are now.
    pub(crate) fn read(&self) -> GuardState {
        // SAFETY: `state` points into a live, page-aligned mapping of a Page; the kernel writes to it at any time,
        // which a volatile copy of plain integers allows for.
        unsafe { self.state.read_volatile() }
    }

    /// A copy of the settings.
    pub(crate) fn settings(&self) -> GuardSettings {
        // SAFETY: as in `read`.
        unsafe { self.settings.read_volatile() }
    }

    /// Changes the settings; the agent is their only writer.
    pub(crate) fn change(&mut self, with: impl FnOnce(&mut GuardSettings)) {
        let mut settings = self.settings();
        with(&mut settings);
        // SAFETY: as in `read`; `&mut self` and the agent's lock keep other writers away.
        unsafe { self.settings.write_volatile(settings) };
    }
}
