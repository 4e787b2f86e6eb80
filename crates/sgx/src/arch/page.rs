//! Pages: permissions, types, SECINFO and PAGEINFO.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Reserved;

/// What an enclave page allows; the low three bits of SECINFO.FLAGS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions(u8);

bitflags! {
    impl Permissions: u8 {
        /// Read.
        const R = 1 << 0;
        /// Write; the manual refuses it without read.
        const W = 1 << 1;
        /// Execute.
        const X = 1 << 2;

        /// Read and write.
        const RW = Self::R.bits() | Self::W.bits();
        /// Read and execute.
        const RX = Self::R.bits() | Self::X.bits();
        /// All.
        const RWX = Self::R.bits() | Self::W.bits() | Self::X.bits();
    }
}

impl Permissions {
    /// Whether the processor accepts these: what can be written can be read (SDM vol. 3D, EADD).
    #[must_use]
    pub const fn is_valid(self) -> bool {
        Self::RWX.contains(self) && (!self.contains(Self::W) || self.contains(Self::R))
    }
}

/// Type of an enclave page (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageType {
    /// The enclave's own structure.
    Secs = 0,
    /// A thread's.
    Tcs = 1,
    /// Code and data.
    Reg = 2,
    /// Versions of pages that are swapped out.
    Va = 3,
    /// On its way out.
    Trim = 4,
}

impl PageType {
    /// The one of this number. Shadow-stack pages (5 and 6) count as unknown: nothing here uses them.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Secs,
            1 => Self::Tcs,
            2 => Self::Reg,
            3 => Self::Va,
            4 => Self::Trim,
            _ => return None,
        })
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        match self {
            Self::Secs => 0,
            Self::Tcs => 1,
            Self::Reg => 2,
            Self::Va => 3,
            Self::Trim => 4,
        }
    }
}

/// SECINFO.FLAGS (SDM vol. 3D, ch. 37). Bits 8 to 15 hold the page type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SecInfoFlags(u64);

bitflags! {
    impl SecInfoFlags: u64 {
        /// Read.
        const R = 1 << 0;
        /// Write.
        const W = 1 << 1;
        /// Execute.
        const X = 1 << 2;
        /// New, waits for EACCEPT.
        const PENDING = 1 << 3;
        /// Of a changed type, waits for EACCEPT.
        const MODIFIED = 1 << 4;
        /// Of restricted permissions, waits for EACCEPT.
        const PR = 1 << 5;
        /// The page type.
        const PAGE_TYPE = 0xff << 8;
    }
}

/// SECINFO: what a page is (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct SecInfo {
    /// Permissions, state and type.
    pub flags: SecInfoFlags,
    /// Zero.
    pub reserved: Reserved<56>,
}

impl SecInfo {
    /// A page of this type with these permissions, no state bit set.
    #[must_use]
    pub const fn new(page_type: PageType, permissions: Permissions) -> Self {
        let bits = u64::from_le_bytes([permissions.bits(), page_type.raw(), 0, 0, 0, 0, 0, 0]);
        Self { flags: SecInfoFlags::from_bits_retain(bits), reserved: Reserved::ZERO }
    }

    /// A regular page.
    #[must_use]
    pub const fn reg(permissions: Permissions) -> Self {
        Self::new(PageType::Reg, permissions)
    }

    /// A thread's page: no permission at all, only the processor touches it.
    #[must_use]
    pub const fn tcs() -> Self {
        Self::new(PageType::Tcs, Permissions::empty())
    }

    /// The same with these state bits (PENDING, MODIFIED, PR) set, as EACCEPT wants to see them.
    #[must_use]
    pub const fn with(self, state: SecInfoFlags) -> Self {
        Self { flags: self.flags.union(state), ..self }
    }

    /// What the page allows.
    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        Permissions::from_bits_truncate(self.flags.bits().to_le_bytes()[0])
    }

    /// The page's type, if it is one of those known here.
    #[must_use]
    pub const fn page_type(&self) -> Option<PageType> {
        PageType::from_raw(self.flags.bits().to_le_bytes()[1])
    }

    /// The state bits: PENDING, MODIFIED and PR.
    #[must_use]
    pub const fn state(&self) -> SecInfoFlags {
        self.flags.intersection(SecInfoFlags::PENDING.union(SecInfoFlags::MODIFIED).union(SecInfoFlags::PR))
    }

    /// Whether nothing is set that the manual reserves.
    #[must_use]
    pub fn reserved_is_zero(&self) -> bool {
        SecInfoFlags::all().contains(self.flags) && self.reserved.is_zero()
    }
}

/// PAGEINFO: operand of EADD and EAUG (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct PageInfo {
    /// Address in the enclave.
    pub linaddr: u64,
    /// Address of the contents.
    pub srcpge: u64,
    /// Address of the SECINFO.
    pub secinfo: u64,
    /// Address of the SECS.
    pub secs: u64,
}

const _: () = assert!(size_of::<SecInfo>() == 64 && align_of::<SecInfo>() == 64);
const _: () = assert!(size_of::<PageInfo>() == 32 && align_of::<PageInfo>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secinfo_has_the_bits_of_the_manual() {
        let info = SecInfo::reg(Permissions::RX).with(SecInfoFlags::PR);
        assert_eq!(info.flags.bits(), 0x0225);
        assert_eq!((info.permissions(), info.page_type()), (Permissions::RX, Some(PageType::Reg)));
        assert_eq!(info.state(), SecInfoFlags::PR);
        assert_eq!(SecInfo::tcs().flags.bits(), 0x0100);
        assert!(info.reserved_is_zero());
    }

    #[test]
    fn reserved_bits_and_unknown_types_show() {
        let mut info = SecInfo::tcs();
        info.flags = SecInfoFlags::from_bits_retain(1 << 6 | 9 << 8);
        assert!(!info.reserved_is_zero());
        assert_eq!(info.page_type(), None);
        let mut info = SecInfo::tcs();
        info.reserved.0[55] = 1;
        assert!(!info.reserved_is_zero());
    }

    #[test]
    fn write_needs_read() {
        assert!(Permissions::RWX.is_valid() && Permissions::empty().is_valid() && Permissions::X.is_valid());
        assert!(!Permissions::W.is_valid() && !(Permissions::W | Permissions::X).is_valid());
    }
}
