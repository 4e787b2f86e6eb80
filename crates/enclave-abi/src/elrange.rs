//! Where everything lies in ELRANGE. The host builds the enclave by these numbers, and the kernel inside knows them.
//!
//! ELRANGE begins at address 0, so that programs that are linked to a fixed address fit (0x400000). The kernel sits in the
//! middle of the first gigabyte: below it such programs, above it everything else.

use crate::layout::{MAX_VCPUS, PAGE};

/// The first address that the host can map.
pub const LOWEST: u64 = 0x1_0000;

/// Where the image is linked, and how far it may reach.
pub const IMAGE: u64 = 0x1000_0000;
/// End of the room for the image.
pub const IMAGE_END: u64 = 0x1200_0000;

/// Where the blocks of the vCPUs begin; one each.
pub const VCPUS: u64 = 0x1200_0000;
/// Bytes from one vCPU's block to the next. There are always `MAX_VCPUS`; how many are used is said at start.
pub const VCPU_STRIDE: u64 = 0x4_0000;
/// Offsets in a vCPU's block. What is not named is not there, and catches stacks that overflow.
pub mod vcpu {
    use crate::layout::PAGE;

    /// The TCS.
    pub const TCS: u64 = 0;
    /// The SSA frames: two, of one page each.
    pub const SSA: u64 = PAGE;
    /// SSA frames.
    pub const NSSA: u32 = 2;
    /// Pages in a frame.
    pub const SSA_FRAME_PAGES: u32 = 1;
    /// The page at GS.
    pub const GS: u64 = 4 * PAGE;
    /// The stack of entries at CSSA 1.
    pub const EXCEPTION_STACK: u64 = 6 * PAGE;
    /// Its top.
    pub const EXCEPTION_STACK_TOP: u64 = 10 * PAGE;
    /// The stack of the vCPU's own code: boot, idle.
    pub const STACK: u64 = 12 * PAGE;
    /// Its top.
    pub const STACK_TOP: u64 = 44 * PAGE;
}

/// The kernel's heap.
pub const HEAP: u64 = 0x1400_0000;
/// Its end.
pub const HEAP_END: u64 = 0x2000_0000;

/// Where programs' memory begins, besides what lies below the image.
pub const USER: u64 = HEAP_END;

/// ELRANGE when pages are added on demand (EDMM): one size, and so one measurement, whatever the heap.
pub const DYNAMIC_SIZE: u64 = 1 << 36;

/// Where the stacks of guest threads in the kernel begin, with EDMM: up to the end of ELRANGE.
pub const STACKS: u64 = DYNAMIC_SIZE - (1 << 31);

/// Bytes of program memory that an enclave of `DYNAMIC_SIZE` can have.
pub const MAX_HEAP: u64 = DYNAMIC_SIZE - USER;

/// Address of a vCPU's block.
#[must_use]
pub const fn vcpu_block(index: u64) -> u64 {
    VCPUS + index * VCPU_STRIDE
}

/// Address of a vCPU's page at GS.
#[must_use]
pub const fn vcpu_page(index: u64) -> u64 {
    vcpu_block(index) + vcpu::GS
}

/// Address of a vCPU's SSA frame.
#[must_use]
pub const fn ssa_frame(index: u64, cssa: u64) -> u64 {
    vcpu_block(index) + vcpu::SSA + cssa * vcpu::SSA_FRAME_PAGES as u64 * PAGE
}

/// ELRANGE without EDMM: a power of two that holds the heap, which is added page by page.
#[must_use]
pub const fn fixed_size(heap: u64) -> Option<u64> {
    match USER.checked_add(heap) {
        Some(end) if heap <= MAX_HEAP => Some(end.next_power_of_two()),
        _ => None,
    }
}

const _: () = assert!(vcpu_block(MAX_VCPUS) <= HEAP);
const _: () = assert!(vcpu::STACK_TOP <= VCPU_STRIDE);
