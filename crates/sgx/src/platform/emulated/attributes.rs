//! What an enclave may be: the checks of ECREATE and EINIT.

use std::arch::x86_64::{__cpuid_count, _xgetbv};

use crate::arch::{
    AttributeFlags, ErrorCode, Gprsgx, Miscselect, Secs, Sigstruct, SsaFrame, XSAVE_HEADER_END, Xfrm,
};
use crate::platform::PlatformError;
use crate::sign;

/// The state components that an enclave may use here: those of XCR0 that SGX knows.
pub(super) fn supported_xfrm() -> u64 {
    let known = Xfrm::LEGACY | Xfrm::AVX | Xfrm::OPMASK | Xfrm::ZMM_HI256 | Xfrm::HI16_ZMM;
    // SAFETY: every processor with FSGSBASE has XSAVE, and the kernel turns it on.
    (unsafe { xcr0() }) & known.bits()
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: the feature is there, as the caller promises.
    unsafe { _xgetbv(0) }
}

/// Whether components go together, as XSETBV wants them (SDM vol. 1, 13.3).
fn is_consistent(xfrm: u64) -> bool {
    let avx512 = Xfrm::OPMASK | Xfrm::ZMM_HI256 | Xfrm::HI16_ZMM;
    let has = |components: Xfrm| xfrm & components.bits() == components.bits();
    let wide = xfrm & avx512.bits();
    has(Xfrm::LEGACY) && (wide == 0 || (has(avx512) && has(Xfrm::AVX)))
}

/// Bytes of an XSAVE area in standard form with these components (CPUID.0DH).
fn xsave_size(xfrm: u64) -> usize {
    let component = |bit: u32| {
        let leaf = __cpuid_count(0xd, bit);
        usize::try_from(u64::from(leaf.eax) + u64::from(leaf.ebx)).expect("64-bit")
    };
    (2..63).filter(|bit| xfrm >> bit & 1 == 1).map(component).fold(XSAVE_HEADER_END, usize::max)
}

/// ECREATE's checks of what an enclave asks for (SDM vol. 3D, ECREATE).
pub(super) fn check(secs: &Secs, frame: SsaFrame) -> Result<(), PlatformError> {
    let attributes = secs.attributes;
    let supported = AttributeFlags::DEBUG | AttributeFlags::MODE64BIT | AttributeFlags::PROVISIONKEY;
    if !supported.contains(attributes.flags) || !attributes.flags.contains(AttributeFlags::MODE64BIT) {
        return Err(PlatformError::Attribute {
            name: "ATTRIBUTES.FLAGS",
            value: attributes.flags.bits(),
            supported: supported.bits(),
        });
    }
    let xfrm = supported_xfrm();
    if attributes.xfrm & !xfrm != 0 || !is_consistent(attributes.xfrm) {
        return Err(PlatformError::Attribute {
            name: "ATTRIBUTES.XFRM",
            value: attributes.xfrm,
            supported: xfrm,
        });
    }
    if !Miscselect::EXINFO.contains(secs.miscselect) {
        return Err(PlatformError::Attribute {
            name: "MISCSELECT",
            value: secs.miscselect.bits().into(),
            supported: Miscselect::EXINFO.bits().into(),
        });
    }
    let range = |reason| PlatformError::Range { base: secs.baseaddr, size: secs.size, reason };
    let reserved = [
        secs.reserved1.is_zero(),
        secs.reserved2.is_zero(),
        secs.reserved3.is_zero(),
        secs.reserved4.is_zero(),
        secs.cet_attributes == 0,
        secs.cet_leg_bitmap_offset == 0,
        // What only KSS gives a meaning.
        secs.configid == [0; 64],
        secs.configsvn == 0,
    ];
    if reserved.contains(&false) {
        return Err(range("its SECS has reserved bytes that are not zero"));
    }
    let rest = frame.size()
        - if secs.miscselect.is_empty() { size_of::<Gprsgx>() } else { frame.size() - frame.exinfo() };
    if xsave_size(attributes.xfrm) > rest {
        return Err(range("its SSA frames do not hold the state that XFRM names"));
    }
    Ok(())
}

/// EINIT's checks (SDM vol. 3D, EINIT), in its order.
pub(super) fn check_signature(
    secs: &Secs,
    mrenclave: &[u8; 32],
    sigstruct: &Sigstruct,
    provision: bool,
) -> Result<(), PlatformError> {
    let refuse = |code: ErrorCode, why: &str| Err(PlatformError::Einit(format!("{code}: {why}")));
    if let Err(error) = sign::verify(sigstruct) {
        return Err(PlatformError::Einit(format!("{}: {error}", error.code())));
    }
    if sigstruct.enclavehash != *mrenclave {
        return refuse(ErrorCode::InvalidMeasurement, "it was signed for another measurement");
    }
    if secs.attributes.masked(sigstruct.attributemask) != sigstruct.attributes.masked(sigstruct.attributemask)
    {
        return refuse(ErrorCode::InvalidAttribute, "it was signed for other attributes");
    }
    if secs.miscselect.bits() & sigstruct.miscmask != sigstruct.miscselect.bits() & sigstruct.miscmask {
        return refuse(ErrorCode::InvalidAttribute, "it was signed for another MISCSELECT");
    }
    if secs.attributes.flags.contains(AttributeFlags::PROVISIONKEY) && !provision {
        return refuse(ErrorCode::InvalidAttribute, "PROVISIONKEY needs the provisioning device");
    }
    Ok(())
}
