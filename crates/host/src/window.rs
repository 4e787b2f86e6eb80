//! The window: the memory outside ELRANGE that host and enclave share.

use casemate_enclave_abi::{AtomicU64, Layout, Region, Window};

use crate::raw::memory;

/// A window with its layout. Its memory stays until the process ends, as the enclave may use it at any time.
#[derive(Clone, Copy)]
pub(crate) struct SharedWindow {
    words: &'static [AtomicU64],
    layout: Layout,
}

impl std::fmt::Debug for SharedWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedWindow").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl SharedWindow {
    /// New, all zeros.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub(crate) fn new(layout: Layout) -> Result<Self, rustix::io::Errno> {
        Ok(Self { words: memory::words(layout.total())?, layout })
    }

    /// All of it.
    pub(crate) fn window(self) -> Window<'static> {
        Window::new(self.words)
    }

    /// Its parts.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its address, as the enclave is told at its entry.
    pub(crate) fn address(self) -> u64 {
        memory::address(self.words)
    }

    /// What a region of bytes holds now, at most as much as the region has; for messages.
    pub(crate) fn bytes(self, region: Region, length: u64) -> Vec<u8> {
        let length = usize::try_from(length.min(region.len)).unwrap_or(0);
        let mut bytes = vec![0; length];
        match self.window().copy_in(region.offset, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}
