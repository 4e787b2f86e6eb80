//! The few instructions that trampolines are made of, and moving instructions of the program.

use alloc::vec::Vec;

use iced_x86::{Decoder, DecoderOptions};

use super::sweep::is_displaceable;

/// Bytes of `jmp rel32`.
pub(super) const JUMP_LEN: usize = 5;
/// Bytes of `lea reg, [rip + disp32]`.
const LEA_LEN: usize = 7;
/// Bytes of `jmp *%gs:disp32`.
const JUMP_GS_LEN: usize = 8;
/// Bytes from a `lea` that loads a return address to behind the jump to the kernel that follows it.
pub(super) const ENTER_LEN: usize = LEA_LEN + JUMP_GS_LEN;
/// What a trampoline takes at most beside the window's own instructions.
pub(super) const OVERHEAD: usize = ENTER_LEN + SYSCALL.len() + LEA_LEN + JUMP_LEN;
/// `syscall`.
pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// A register that carries a return address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    Rcx,
    Rbx,
    Rdx,
}

/// Why an instruction cannot be written where it should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmitError {
    /// What it refers to is farther than 2 GiB.
    OutOfReach,
    /// It is not one that [`super::scan()`] lets move.
    NotMovable,
}

/// Appends machine code that begins at an address.
#[derive(Debug)]
pub(super) struct Emitter {
    bytes: Vec<u8>,
    address: u64,
}

impl Emitter {
    pub(super) fn new(address: u64, capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), address }
    }

    /// Where the next instruction goes.
    pub(super) fn here(&self) -> u64 {
        self.after(0)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was written from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The address `len` bytes from here. [`super::apply`] has checked that the island does not wrap.
    pub(super) fn after(&self, len: usize) -> u64 {
        let offset = self.bytes.len().saturating_add(len);
        self.address.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// `syscall`, which traps in an enclave.
    pub(super) fn syscall(&mut self) {
        self.bytes.extend_from_slice(&SYSCALL);
    }

    /// `lea register, [rip + ...]`: no flag is changed.
    pub(super) fn load_address(&mut self, link: Link, target: u64) -> Result<(), EmitError> {
        let displacement = displacement(self.after(LEA_LEN), target)?;
        let operand = match link {
            Link::Rcx => 0x0d,
            Link::Rbx => 0x1d,
            Link::Rdx => 0x15,
        };
        self.bytes.extend_from_slice(&[0x48, 0x8d, operand]);
        self.bytes.extend_from_slice(&displacement);
        Ok(())
    }

    /// `jmp *%gs:slot`.
    pub(super) fn jump_gs(&mut self, slot: i32) {
        self.bytes.extend_from_slice(&[0x65, 0xff, 0x24, 0x25]);
        self.bytes.extend_from_slice(&slot.to_le_bytes());
    }

    /// `jmp target`.
    pub(super) fn jump(&mut self, target: u64) -> Result<(), EmitError> {
        let jump = jump(self.here(), target)?;
        self.bytes.extend_from_slice(&jump);
        Ok(())
    }

    /// The instructions `code` of the program, which are at `address`; tells `moved` for each its old and new address.
    ///
    /// Their bytes stay the same but for displacements relative to `rip`.
    pub(super) fn displaced(
        &mut self,
        code: &[u8],
        address: u64,
        mut moved: impl FnMut(u64, u64),
    ) -> Result<(), EmitError> {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        while decoder.can_decode() {
            let position = decoder.position();
            let instruction = decoder.decode();
            let bytes = code.get(position..decoder.position()).ok_or(EmitError::NotMovable)?;
            if instruction.is_invalid() || !is_displaceable(&instruction) {
                return Err(EmitError::NotMovable);
            }
            moved(instruction.ip(), self.here());
            let start = self.bytes.len();
            let end = self.after(bytes.len());
            self.bytes.extend_from_slice(bytes);
            if instruction.is_ip_rel_memory_operand() {
                let at =
                    start.saturating_add(decoder.get_constant_offsets(&instruction).displacement_offset());
                let field = self
                    .bytes
                    .get_mut(at..)
                    .and_then(<[u8]>::first_chunk_mut)
                    .ok_or(EmitError::NotMovable)?;
                *field = displacement(end, instruction.ip_rel_memory_address())?;
            }
        }
        Ok(())
    }
}

/// The bytes of `jmp target` at `from`.
pub(super) fn jump(from: u64, target: u64) -> Result<[u8; JUMP_LEN], EmitError> {
    let [a, b, c, d] = displacement(from.saturating_add(JUMP_LEN as u64), target)?;
    Ok([0xe9, a, b, c, d])
}

/// What to add to `next`, the address after an instruction, to get to `target`.
fn displacement(next: u64, target: u64) -> Result<[u8; 4], EmitError> {
    let distance = target.wrapping_sub(next).cast_signed();
    i32::try_from(distance).map(i32::to_le_bytes).map_err(|_| EmitError::OutOfReach)
}
