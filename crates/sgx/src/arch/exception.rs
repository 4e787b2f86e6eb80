//! What an asynchronous exit tells the enclave about a fault: EXITINFO and EXINFO.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Miscselect, Reserved};

/// Vector of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vector(pub u8);

impl Vector {
    /// Divide error.
    pub const DE: Self = Self(0);
    /// Debug.
    pub const DB: Self = Self(1);
    /// Breakpoint: `int3`.
    pub const BP: Self = Self(3);
    /// Bound range exceeded.
    pub const BR: Self = Self(5);
    /// Invalid opcode; in an enclave also `syscall`, `cpuid` and their like.
    pub const UD: Self = Self(6);
    /// General protection.
    pub const GP: Self = Self(13);
    /// Page fault.
    pub const PF: Self = Self(14);
    /// x87 floating point.
    pub const MF: Self = Self(16);
    /// Alignment check.
    pub const AC: Self = Self(17);
    /// SIMD floating point.
    pub const XM: Self = Self(19);
    /// Control protection.
    pub const CP: Self = Self(21);

    /// How EXITINFO reports this vector, or `None` where it reports nothing: interrupts, exceptions that are
    /// no business of the enclave's, and those that MISCSELECT did not ask for (SDM vol. 3D, ch. 37
    /// "Exception vectors").
    #[must_use]
    pub const fn reported_as(self, misc: Miscselect) -> Option<ExitType> {
        match self {
            Self::DE | Self::DB | Self::BR | Self::UD | Self::MF | Self::AC | Self::XM => {
                Some(ExitType::Hardware)
            }
            Self::BP => Some(ExitType::Software),
            Self::GP | Self::PF if misc.contains(Miscselect::EXINFO) => Some(ExitType::Hardware),
            Self::CP if misc.contains(Miscselect::CPINFO) => Some(ExitType::Hardware),
            _ => None,
        }
    }
}

/// EXITINFO.EXIT_TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitType {
    /// The processor raised it.
    Hardware = 3,
    /// An instruction asked for it.
    Software = 6,
}

/// EXITINFO in the state frame (SDM vol. 3D, ch. 37). Zero: the exit was no exception that is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct ExitInfo(pub u32);

impl ExitInfo {
    /// Nothing to report.
    pub const NONE: Self = Self(0);

    const TYPE_SHIFT: u32 = 8;
    const TYPE_MASK: u32 = 0b111;
    const VALID: u32 = 1 << 31;

    /// A valid report.
    #[must_use]
    pub const fn new(vector: Vector, exit_type: ExitType) -> Self {
        let exit_type = match exit_type {
            ExitType::Hardware => 3,
            ExitType::Software => 6,
        };
        Self(u32::from_le_bytes([vector.0, exit_type, 0, 0x80]))
    }

    /// What the processor writes for this vector under this MISCSELECT.
    #[must_use]
    pub const fn for_vector(vector: Vector, misc: Miscselect) -> Self {
        match vector.reported_as(misc) {
            Some(exit_type) => Self::new(vector, exit_type),
            None => Self::NONE,
        }
    }

    /// Whether there is a report.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// The vector, if there is a report.
    #[must_use]
    pub const fn vector(self) -> Option<Vector> {
        if self.is_valid() { Some(Vector(self.0.to_le_bytes()[0])) } else { None }
    }

    /// The type, if there is a report of a type that the manual defines.
    #[must_use]
    pub const fn exit_type(self) -> Option<ExitType> {
        if !self.is_valid() {
            return None;
        }
        match (self.0 >> Self::TYPE_SHIFT) & Self::TYPE_MASK {
            3 => Some(ExitType::Hardware),
            6 => Some(ExitType::Software),
            _ => None,
        }
    }
}

bitflags! {
    /// Error code of a page fault, as EXINFO.ERRCD holds it (SDM vol. 3A, "Page-fault exceptions"; vol. 3D, ch. 37).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageFaultCode: u32 {
        /// The page is there; the access was not allowed.
        const PRESENT = 1 << 0;
        /// A write.
        const WRITE = 1 << 1;
        /// In user mode; always, in an enclave.
        const USER = 1 << 2;
        /// A reserved bit in a page table.
        const RESERVED = 1 << 3;
        /// An instruction fetch.
        const FETCH = 1 << 4;
        /// A protection key.
        const PROTECTION_KEY = 1 << 5;
        /// A shadow stack.
        const SHADOW_STACK = 1 << 6;
        /// The EPCM said no, not the page tables.
        const SGX = 1 << 15;
    }
}

/// EXINFO, in the MISC region right below GPRSGX: details of #PF and #GP (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exinfo {
    /// Address that faulted (#PF); zero for #GP.
    pub maddr: u64,
    /// Error code; [`PageFaultCode`] for #PF.
    pub errcd: u32,
    /// Zero.
    pub reserved: Reserved<4>,
}

impl Exinfo {
    /// This address, this error code.
    #[must_use]
    pub const fn new(maddr: u64, errcd: u32) -> Self {
        Self { maddr, errcd, reserved: Reserved::ZERO }
    }
}

const _: () = assert!(size_of::<ExitInfo>() == 4);
const _: () = assert!(size_of::<Exinfo>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_info_has_the_bits_of_the_manual() {
        let info = ExitInfo::new(Vector::PF, ExitType::Hardware);
        assert_eq!(info.0, 1 << 31 | 3 << 8 | 14);
        assert_eq!((info.vector(), info.exit_type()), (Some(Vector::PF), Some(ExitType::Hardware)));
        assert_eq!(ExitInfo(info.0 & !(1 << 31)).vector(), None);
        assert_eq!(ExitInfo(1 << 31 | 2 << 8).exit_type(), None);
    }

    #[test]
    fn memory_faults_need_exinfo() {
        for vector in [Vector::GP, Vector::PF] {
            assert_eq!(ExitInfo::for_vector(vector, Miscselect::empty()), ExitInfo::NONE);
            assert!(ExitInfo::for_vector(vector, Miscselect::EXINFO).is_valid());
        }
        assert_eq!(Vector::CP.reported_as(Miscselect::EXINFO), None);
        assert_eq!(Vector::UD.reported_as(Miscselect::empty()), Some(ExitType::Hardware));
        assert_eq!(Vector::BP.reported_as(Miscselect::empty()), Some(ExitType::Software));
        // Timer, double fault, NMI: the enclave learns nothing.
        for vector in [2, 8, 32, 0xec] {
            assert_eq!(Vector(vector).reported_as(Miscselect::all()), None);
        }
    }
}
