//! Protections and the accesses that they allow.

use bitflags::bitflags;

bitflags! {
    /// What may be done with a page. The bits are those of `PROT_*` (include/uapi/asm-generic/mman-common.h) and of
    /// the R, W, X flags of SECINFO (Intel SDM vol. 3D, 38.11).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Prot: u8 {
        /// Read.
        const R = 1;
        /// Write.
        const W = 2;
        /// Execute.
        const X = 4;
    }
}

impl Prot {
    /// `PROT_NONE`.
    pub const NONE: Self = Self::empty();
    /// Read and write.
    pub const RW: Self = Self::R.union(Self::W);
    /// Read and execute.
    pub const RX: Self = Self::R.union(Self::X);
    /// Everything.
    pub const RWX: Self = Self::all();

    /// What the hardware makes of it: neither the EPCM nor x86 page tables know write or execute without read.
    #[must_use]
    pub const fn effective(self) -> Self {
        if self.is_empty() { self } else { self.union(Self::R) }
    }

    /// Whether a mapping with this protection allows `access`, as `access_error` of arch/x86/mm/fault.c has it: any
    /// protection but `PROT_NONE` can be read.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        self.effective().contains(access.needs())
    }
}

/// What an instruction, or the kernel on the program's behalf, wants to do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Fetch instructions.
    Exec,
}

impl Access {
    /// The permission that it needs.
    #[must_use]
    pub const fn needs(self) -> Prot {
        match self {
            Self::Read => Prot::R,
            Self::Write => Prot::W,
            Self::Exec => Prot::X,
        }
    }
}
