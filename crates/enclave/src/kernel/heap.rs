//! The kernel's own heap: talc over a range of ELRANGE that grows page by page.

use core::alloc::Layout;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, Ordering};

use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::source::Source;
use talc::sync::TalcLock;

use crate::arch::{layout, leaves};

/// The heap grows by at least this many bytes.
const STEP: usize = 1 << 20;

/// Whether pages are added on demand. Set at boot, before the first allocation.
static DYNAMIC: AtomicBool = AtomicBool::new(false);

/// Says whether the enclave has EDMM.
pub(crate) fn set_dynamic(dynamic: bool) {
    DYNAMIC.store(dynamic, Ordering::Relaxed);
}

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Grow, DefaultBinning> =
    TalcLock::new(Grow { next: start(), heap_end: None });

#[expect(clippy::cast_possible_truncation, reason = "an address; usize has 64 bits")]
const fn start() -> usize {
    const { assert!(size_of::<usize>() == 8) };
    layout::HEAP as usize
}

/// Where the heap goes on.
#[derive(Debug)]
struct Grow {
    next: usize,
    heap_end: Option<NonNull<u8>>,
}

// SAFETY: the pointer is an address in the heap's range, which belongs to the allocator.
unsafe impl Send for Grow {}

// SAFETY: `acquire` allocates nothing.
unsafe impl Source for Grow {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = layout.size().checked_add(layout.align() * 2).ok_or(())?;
        let bytes = wanted.max(STEP).checked_next_multiple_of(STEP).ok_or(())?;
        let begin = talc.source.next;
        let end = begin.checked_add(bytes).ok_or(())?;
        if end as u64 > layout::HEAP_END {
            return Err(());
        }
        if DYNAMIC.load(Ordering::Relaxed) {
            for page in (begin as u64..end as u64).step_by(4096) {
                leaves::accept_new(page).map_err(|_| ())?;
            }
        }
        talc.source.next = end;
        let grown = match talc.source.heap_end {
            // SAFETY: the memory behind the heap's end is in the heap's range, accessible and unused.
            Some(heap_end) => Some(unsafe { talc.extend(heap_end, with_exposed_provenance_mut(end)) }),
            // SAFETY: the first memory of the heap's range, accessible and unused.
            None => unsafe { talc.claim(with_exposed_provenance_mut(begin), bytes) },
        };
        talc.source.heap_end = grown;
        grown.map(|_| ()).ok_or(())
    }
}
