//! Decoding forward with certainty about where instructions begin.
//!
//! x86 code can be read from any byte, so a sweep that begins at an unknown place follows several readings at once:
//! one from each of 16 consecutive bytes. An instruction is at most 15 bytes long, so one of these is the true one as long
//! as the bytes are code. Readings that meet stay together, and once all have met, what is read is true.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};

use super::plan::SiteKind;

/// Readings begun where instruction boundaries are unknown: one more than the longest instruction.
const UNKNOWN: u32 = 0xffff;
/// After bytes that are no code, nothing is trusted for so many bytes. Text segments hold tables (of hand-written
/// cryptography, say); random bytes hold something that is no instruction about every 50 bytes.
const DISTRUST: usize = 256;
/// Longest instruction of x86, in bytes.
const MAX_INSTRUCTION: usize = 15;
/// How far back a known function start is used to begin at.
const LOOK_BACK: usize = 1024;
/// How far back a sweep begins where no function start is known.
const RUN_UP: usize = 512;

/// The bytes of a segment, where they are, and which functions begin in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) code: &'a [u8],
    pub(super) address: u64,
    /// Run-time addresses, ascending.
    pub(super) starts: &'a [u64],
}

impl Segment<'_> {
    /// The run-time address of a byte. Segments end below 2^64, so this never wraps.
    pub(super) fn address_of(&self, offset: usize) -> u64 {
        self.address.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// The offset of a run-time address; `None` outside the segment.
    pub(super) fn offset_of(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (offset < self.code.len()).then_some(offset)
    }

    /// The offset of the first function start at or behind `offset`.
    pub(super) fn start_from(&self, offset: usize) -> Option<usize> {
        let address = self.address_of(offset);
        let index = self.starts.partition_point(|&start| start < address);
        self.offset_of(*self.starts.get(index)?).filter(|&start| start >= offset)
    }

    /// The offset of the last function start at or before `offset`.
    fn start_before(&self, offset: usize) -> Option<usize> {
        let address = self.address_of(offset);
        let index = self.starts.partition_point(|&start| start <= address).checked_sub(1)?;
        self.offset_of(*self.starts.get(index)?).filter(|&start| start <= offset)
    }
}

/// One instruction of a sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Offset of its first byte in the segment.
    pub(super) offset: usize,
    /// Bytes.
    pub(super) len: usize,
    /// Whether an instruction surely begins here.
    pub(super) certain: bool,
    /// Whether a function begins here.
    pub(super) begins: bool,
    /// Which site it is, if it is one.
    pub(super) kind: Option<SiteKind>,
    /// Whether it does the same anywhere within reach of what it refers to.
    pub(super) movable: bool,
    /// Where it branches to, if it is a direct branch.
    pub(super) target: Option<u64>,
}

impl Step {
    pub(super) const fn end(&self) -> usize {
        self.offset.saturating_add(self.len)
    }

    fn new(instruction: &Instruction, offset: usize, certain: bool, begins: bool) -> Self {
        let kind = site_kind(instruction.code());
        Self {
            offset,
            len: instruction.len(),
            certain,
            begins,
            kind,
            movable: is_displaceable(instruction),
            target: is_direct_branch(instruction).then(|| instruction.near_branch_target()),
        }
    }
}

/// Reads a segment forward. No byte is decoded from twice.
pub(super) struct Sweep<'a> {
    segment: Segment<'a>,
    decoder: Decoder<'a>,
    instruction: Instruction,
    /// Where the readings are: bit `i` stands for `at + i`.
    live: u32,
    at: usize,
    distrust_until: usize,
    next_start: Option<usize>,
}

impl<'a> Sweep<'a> {
    /// A sweep that has, if the bytes allow, settled on where instructions begin some way before `offset`.
    pub(super) fn before(segment: Segment<'a>, offset: usize) -> Self {
        let known = segment.start_before(offset).filter(|&start| offset.saturating_sub(start) <= LOOK_BACK);
        let (at, live) = match (known, offset.checked_sub(RUN_UP)) {
            (Some(start), _) => (start, 1),
            // The beginning of a segment is the beginning of an instruction.
            (None, None | Some(0)) => (0, 1),
            (None, Some(at)) => (at, UNKNOWN),
        };
        Self::new(segment, at, live)
    }

    /// A sweep from `offset`, where an instruction begins.
    pub(super) fn from(segment: Segment<'a>, offset: usize) -> Self {
        Self::new(segment, offset, 1)
    }

    fn new(segment: Segment<'a>, at: usize, live: u32) -> Self {
        Self {
            segment,
            decoder: Decoder::with_ip(64, segment.code, segment.address, DecoderOptions::NONE),
            instruction: Instruction::default(),
            live,
            at,
            distrust_until: 0,
            next_start: segment.start_from(at),
        }
    }

    /// Whether all from `offset`, where an instruction should begin, reads as code: up to the next function, the end of the
    /// segment, or far enough to be no table.
    pub(super) fn is_code(segment: Segment<'a>, offset: usize) -> bool {
        let mut sweep = Self::from(segment, offset);
        let limit = sweep.next_start.unwrap_or(segment.code.len()).min(offset.saturating_add(DISTRUST));
        loop {
            let expected = sweep.at.saturating_add(usize::try_from(sweep.live.trailing_zeros()).unwrap_or(0));
            // An instruction that is cut off by the end of the segment is none, but no sign of a table either.
            if expected >= limit || expected.saturating_add(MAX_INSTRUCTION) > segment.code.len() {
                return true;
            }
            match sweep.next() {
                Some(step) if step.offset == expected => {}
                _ => return false,
            }
        }
    }

    /// Where the sweep is.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// The next instruction of any reading, ascending by offset; `None` at the end of the segment.
    pub(super) fn next(&mut self) -> Option<Step> {
        loop {
            if self.live == 0 {
                // No reading is left: these bytes are no code.
                self.live = UNKNOWN;
                self.distrust_until = self.at.saturating_add(DISTRUST);
            }
            let skip = self.live.trailing_zeros();
            self.live >>= skip;
            self.at = self.at.saturating_add(usize::try_from(skip).ok()?);
            let start = self.next_start.filter(|&start| start <= self.at);
            if let Some(start) = start {
                // An instruction begins at the start of a function, whatever was read before it.
                self.at = start;
                self.live = 1;
                self.distrust_until = 0;
                self.next_start = self.segment.start_from(start.saturating_add(1));
            }
            if self.at >= self.segment.code.len() {
                return None;
            }
            let offset = self.at;
            let alone = self.live == 1;
            self.live &= !1;
            if !self.decode(offset) {
                if self.live == 0 {
                    self.at = self.at.saturating_add(1);
                }
                continue;
            }
            // At most 15, far below the 32 bits there are.
            self.live |= 1 << self.instruction.len();
            let certain = alone && offset >= self.distrust_until;
            return Some(Step::new(&self.instruction, offset, certain, start.is_some()));
        }
    }

    /// Decodes at `offset`; false if there is no instruction, or one that runs into the next function.
    fn decode(&mut self, offset: usize) -> bool {
        if self.decoder.set_position(offset).is_err() {
            return false;
        }
        self.decoder.set_ip(self.segment.address_of(offset));
        self.decoder.decode_out(&mut self.instruction);
        let end = offset.saturating_add(self.instruction.len());
        !self.instruction.is_invalid() && self.next_start.is_none_or(|start| end <= start)
    }
}

fn site_kind(code: Code) -> Option<SiteKind> {
    match code {
        Code::Syscall => Some(SiteKind::Syscall),
        Code::Cpuid => Some(SiteKind::Cpuid),
        Code::Rdtsc => Some(SiteKind::Rdtsc),
        Code::Rdtscp => Some(SiteKind::Rdtscp),
        _ => None,
    }
}

/// Whether an instruction does the same elsewhere, within reach of what it refers to, and is no site itself. One with a
/// lock prefix would, but programs jump behind that prefix to do without it, which is the one habit of jumping into
/// instructions there is. `endbr64` has to stay where jumps land.
pub(super) fn is_displaceable(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Next
        && site_kind(instruction.code()).is_none()
        && !matches!(instruction.code(), Code::Endbr64 | Code::Endbr32)
        && !instruction.has_lock_prefix()
        && instruction.memory_base() != Register::EIP
}

fn is_direct_branch(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => true,
        FlowControl::Call => instruction.code() == Code::Call_rel32_64,
        _ => false,
    }
}
