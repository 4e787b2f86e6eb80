//! How an enclave is built from an image: which pages, where, with which permissions, measured or not.

use std::sync::Arc;

use casemate_enclave_abi::elrange::{self, vcpu};
use casemate_enclave_abi::layout::{MAX_VCPUS, PAGE};
use casemate_sgx::arch::{
    AttributeFlags, Attributes, Miscselect, PAGE_SIZE, Permissions, SecInfo, Secs, Sigstruct, Tcs,
};
use casemate_sgx::measure::Measurement;
use casemate_sgx::platform::{Enclave, Platform, PlatformError, Source};
use zerocopy::IntoBytes as _;

use crate::image::Image;
use crate::size::Size;

/// The least program memory that is of any use.
pub const MIN_HEAP: u64 = 16 << 20;

/// MISCSELECT of every enclave: without it a page fault's address is not told.
pub const MISCSELECT: Miscselect = Miscselect::EXINFO;

/// Why an enclave cannot be planned or built.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Less or more program memory than possible.
    #[error("a heap of {} is not possible: it can have {} to {}", Size(*heap), Size(MIN_HEAP), Size(*most))]
    Heap {
        /// Asked for.
        heap: u64,
        /// Possible.
        most: u64,
    },
    /// Larger than the processor's enclaves.
    #[error("an enclave of {} is not possible on this processor, whose have at most 2^{most_log2} bytes", Size(*size))]
    Size {
        /// Bytes of ELRANGE.
        size: u64,
        /// log2 of what is possible.
        most_log2: u8,
    },
    /// The platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// Contents of a part.
#[derive(Clone, Debug)]
enum Contents {
    Bytes(Vec<u8>),
    Zeros(u64),
}

impl Contents {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Bytes(bytes) => Source::Bytes(bytes),
            Self::Zeros(length) => Source::Zeros(*length),
        }
    }
}

/// Pages that are added together.
#[derive(Clone, Debug)]
struct Part {
    offset: u64,
    contents: Contents,
    kind: SecInfo,
    measured: bool,
    /// What the host's page table allows from the start.
    mapped: Permissions,
}

/// A range that is mapped beyond what was added: its pages come later (EDMM).
#[derive(Clone, Copy, Debug)]
struct Room {
    offset: u64,
    length: u64,
}

/// A heap in whole pages, and ELRANGE for it where there is no EDMM.
///
/// # Errors
/// It is too small or too large.
pub(crate) fn check_heap(heap: u64) -> Result<(u64, u64), PlanError> {
    let rounded = heap.checked_next_multiple_of(PAGE).filter(|_| heap >= MIN_HEAP);
    rounded
        .and_then(|rounded| Some((rounded, elrange::fixed_size(rounded)?)))
        .ok_or(PlanError::Heap { heap, most: elrange::MAX_HEAP })
}

/// An enclave before it is built. The same image, heap and mode give the same plan, and so the same measurement.
///
/// The base of ELRANGE is 0: offsets are addresses. Image and vCPU pages are measured whole, zeros too (16 vCPUs cost 2 ms),
/// so that nothing in them is of the host's choosing. Without EDMM all memory that could ever be used is added too, but
/// not measured: the kernel clears it before use.
#[derive(Clone, Debug)]
pub struct Plan {
    size: u64,
    heap: u64,
    dynamic: bool,
    parts: Vec<Part>,
    rooms: Vec<Room>,
}

impl Plan {
    /// The plan for an image with `heap` bytes of program memory, rounded up to whole pages. `dynamic` is for platforms with
    /// EDMM: pages are added as they are used, and the measurement does not depend on the heap.
    ///
    /// # Errors
    /// The heap is too small or too large.
    pub fn new(image: &Image, heap: u64, dynamic: bool) -> Result<Self, PlanError> {
        let (rounded, fixed) = check_heap(heap)?;
        let size = if dynamic { elrange::DYNAMIC_SIZE } else { fixed };
        let mut plan = Self { size, heap: rounded, dynamic, parts: Vec::new(), rooms: Vec::new() };
        for segment in image.segments() {
            plan.parts.push(Part {
                offset: segment.address,
                contents: Contents::Bytes(segment.bytes.clone()),
                kind: SecInfo::reg(segment.permissions),
                measured: true,
                mapped: segment.permissions,
            });
        }
        for index in 0..MAX_VCPUS {
            plan.add_vcpu(elrange::vcpu_block(index), image.entry());
        }
        // With EDMM addresses are plenty: the heap bounds the pages that the kernel accepts, not where they lie.
        let end = if dynamic { size } else { elrange::USER.saturating_add(rounded) };
        let program = [(elrange::LOWEST, elrange::IMAGE), (elrange::USER, end)];
        if dynamic {
            plan.add_room(elrange::HEAP, elrange::HEAP_END);
            for (start, end) in program {
                plan.add_room(start, end);
            }
        } else {
            // The kernel maps program memory by host calls, as the program asks for it.
            plan.add_unmeasured(elrange::HEAP, elrange::HEAP_END, Permissions::RW, Permissions::RW);
            for (start, end) in program {
                plan.add_unmeasured(start, end, Permissions::RWX, Permissions::empty());
            }
        }
        Ok(plan)
    }

    /// Bytes of ELRANGE.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of program memory above the kernel.
    #[must_use]
    pub const fn heap(&self) -> u64 {
        self.heap
    }

    /// Whether pages come when they are used.
    #[must_use]
    pub const fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    /// Pages that are added before the start, and how many of them are measured.
    #[must_use]
    pub fn pages(&self) -> (u64, u64) {
        let pages = |part: &Part| part.contents.source().len() / PAGE;
        let measured = self.parts.iter().filter(|part| part.measured).map(pages).sum();
        (self.parts.iter().map(pages).sum(), measured)
    }

    /// MRENCLAVE.
    #[must_use]
    pub fn measure(&self) -> [u8; 32] {
        const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        let mut measurement = Measurement::create(vcpu::SSA_FRAME_PAGES, self.size);
        for part in &self.parts {
            let source = part.contents.source();
            for at in (0..source.len()).step_by(PAGE_SIZE) {
                let offset = part.offset.saturating_add(at);
                measurement.add(offset, &part.kind);
                if !part.measured {
                    continue;
                }
                let page = match source {
                    Source::Zeros(_) => &ZEROS,
                    Source::Bytes(bytes) => {
                        let place = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                        place.and_then(|rest| rest.first_chunk()).unwrap_or(&ZEROS)
                    }
                };
                measurement.extend_page(offset, page);
            }
        }
        measurement.finish()
    }

    /// ATTRIBUTES of the enclave on a platform with these state components.
    #[must_use]
    pub fn attributes(xfrm: u64, debug: bool) -> Attributes {
        let mut flags = AttributeFlags::MODE64BIT;
        flags.set(AttributeFlags::DEBUG, debug);
        Attributes { flags, xfrm }
    }

    /// The SECS on a platform with these state components.
    #[must_use]
    pub fn secs(&self, xfrm: u64, debug: bool) -> Secs {
        Secs {
            size: self.size,
            baseaddr: 0,
            ssaframesize: vcpu::SSA_FRAME_PAGES,
            miscselect: MISCSELECT,
            attributes: Self::attributes(xfrm, debug),
            ..Secs::default()
        }
    }

    /// Builds the enclave and maps its pages; it can be entered then.
    ///
    /// # Errors
    /// The enclave is too large for the platform, or the signature is not for this plan, or the platform's own.
    pub fn build(
        &self,
        platform: &dyn Platform,
        sigstruct: &Sigstruct,
        debug: bool,
    ) -> Result<Arc<dyn Enclave>, PlanError> {
        let capabilities = platform.capabilities();
        let most_log2 = capabilities.max_size_log2;
        if self.size.trailing_zeros() > u32::from(most_log2) {
            return Err(PlanError::Size { size: self.size, most_log2 });
        }
        let enclave = platform.create(&self.secs(capabilities.xfrm, debug))?;
        for part in &self.parts {
            enclave.add_pages(part.contents.source(), part.offset, &part.kind, part.measured)?;
        }
        enclave.init(sigstruct)?;
        for part in self.parts.iter().filter(|part| !part.mapped.is_empty()) {
            enclave.protect(part.offset, part.contents.source().len(), part.mapped)?;
        }
        for room in &self.rooms {
            enclave.protect(room.offset, room.length, Permissions::RWX)?;
        }
        Ok(enclave)
    }

    /// The pages of the vCPU whose block is at this address.
    fn add_vcpu(&mut self, block: u64, entry: u64) {
        // The block's layout is made of constants; nothing here can overflow.
        let gs = block + vcpu::GS;
        let tcs = Tcs {
            ossa: block + vcpu::SSA,
            nssa: vcpu::NSSA,
            oentry: entry,
            ofsbase: gs,
            ogsbase: gs,
            // A 64-bit enclave has no use for the limits; EADD wants whole pages.
            fslimit: 0xfff,
            gslimit: 0xfff,
            ..Tcs::default()
        };
        self.parts.push(Part {
            offset: block + vcpu::TCS,
            contents: Contents::Bytes(tcs.as_bytes().to_vec()),
            kind: SecInfo::tcs(),
            measured: true,
            mapped: Permissions::RW,
        });
        let frames = u64::from(vcpu::NSSA) * u64::from(vcpu::SSA_FRAME_PAGES) * PAGE;
        for (offset, length) in [
            (vcpu::SSA, frames),
            (vcpu::GS, PAGE),
            (vcpu::EXCEPTION_STACK, vcpu::EXCEPTION_STACK_TOP - vcpu::EXCEPTION_STACK),
            (vcpu::STACK, vcpu::STACK_TOP - vcpu::STACK),
        ] {
            self.parts.push(Part {
                offset: block + offset,
                contents: Contents::Zeros(length),
                kind: SecInfo::reg(Permissions::RW),
                measured: true,
                mapped: Permissions::RW,
            });
        }
    }

    fn add_unmeasured(&mut self, start: u64, end: u64, allowed: Permissions, mapped: Permissions) {
        self.parts.push(Part {
            offset: start,
            contents: Contents::Zeros(end - start),
            kind: SecInfo::reg(allowed),
            measured: false,
            mapped,
        });
    }

    fn add_room(&mut self, start: u64, end: u64) {
        self.rooms.push(Room { offset: start, length: end - start });
    }
}
