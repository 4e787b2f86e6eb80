//! What an enclave is allowed: ATTRIBUTES and MISCSELECT.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// ATTRIBUTES.FLAGS (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct AttributeFlags(u64);

bitflags! {
    impl AttributeFlags: u64 {
        /// Set by EINIT; never asked for.
        const INIT = 1 << 0;
        /// A debugger may read and write the enclave: no secrets.
        const DEBUG = 1 << 1;
        /// 64-bit code.
        const MODE64BIT = 1 << 2;
        /// May derive the provisioning keys.
        const PROVISIONKEY = 1 << 4;
        /// May derive the launch key.
        const EINITTOKENKEY = 1 << 5;
        /// Control-flow enforcement inside.
        const CET = 1 << 6;
        /// Key separation and sharing.
        const KSS = 1 << 7;
        /// Threads may ask to be told of asynchronous exits.
        const AEXNOTIFY = 1 << 10;
    }
}

/// XFRM: the XSAVE components an enclave may use, bits as in XCR0 (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Xfrm(u64);

bitflags! {
    impl Xfrm: u64 {
        /// x87 state; always on.
        const X87 = 1 << 0;
        /// XMM registers; always on.
        const SSE = 1 << 1;
        /// Upper halves of the YMM registers.
        const AVX = 1 << 2;
        /// Mask registers of AVX-512.
        const OPMASK = 1 << 5;
        /// Upper halves of ZMM0 to ZMM15.
        const ZMM_HI256 = 1 << 6;
        /// ZMM16 to ZMM31.
        const HI16_ZMM = 1 << 7;
        /// Protection keys.
        const PKRU = 1 << 9;
        /// Tile configuration of AMX.
        const XTILECFG = 1 << 17;
        /// Tiles of AMX.
        const XTILEDATA = 1 << 18;

        /// What every enclave has, and the least that ECREATE accepts.
        const LEGACY = Self::X87.bits() | Self::SSE.bits();
    }
}

/// ATTRIBUTES (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attributes {
    /// Rights.
    pub flags: AttributeFlags,
    /// XSAVE components, bits as in [`Xfrm`]; a plain number, because masks set bits that have no name.
    pub xfrm: u64,
}

impl Attributes {
    /// These rights and these XSAVE components.
    #[must_use]
    pub const fn new(flags: AttributeFlags, xfrm: Xfrm) -> Self {
        Self { flags, xfrm: xfrm.bits() }
    }

    /// The bits that both have. This is how a signed mask is applied.
    #[must_use]
    pub const fn masked(self, mask: Self) -> Self {
        Self {
            flags: AttributeFlags::from_bits_retain(self.flags.bits() & mask.flags.bits()),
            xfrm: self.xfrm & mask.xfrm,
        }
    }
}

/// MISCSELECT: what an asynchronous exit writes besides the registers (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Miscselect(u32);

bitflags! {
    impl Miscselect: u32 {
        /// Address and error code of #PF and #GP; without it they are not reported at all.
        const EXINFO = 1 << 0;
        /// Reports #CP.
        const CPINFO = 1 << 1;
    }
}

const _: () = assert!(size_of::<Attributes>() == 16);
const _: () = assert!(size_of::<Miscselect>() == 4);
