//! EINIT: what it refuses, and by which code (SDM vol. 3D, EINIT, "Operation").

use casemate_sgx::arch::{AttributeFlags, Attributes, Miscselect, Sigstruct, Xfrm};
use casemate_sgx::platform::{Platform, PlatformError};
use casemate_sgx::sign::mrsigner;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::support::machine::Machine;
use crate::support::shape::{Shape, Signer};

fn init(platform: &dyn Platform, shape: &Shape, sigstruct: &Sigstruct) -> Result<(), PlatformError> {
    shape.load(platform).expect("an enclave").init(sigstruct)
}

/// EINIT must refuse; where the platform says why, for this reason.
fn refused(platform: &dyn Platform, shape: &Shape, sigstruct: &Sigstruct, code: &str) {
    let error = init(platform, shape, sigstruct).expect_err(code);
    // The kernel makes EPERM of every code.
    if platform.is_emulated() {
        assert!(error.to_string().contains(code), "{error}, want {code}");
    }
}

pub(crate) fn another_measurement_is_refused(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let other = Shape { marker: 1, ..shape };
    refused(platform, &other, &shape.sign(), "SGX_INVALID_MEASUREMENT");
    refused(platform, &Shape { threads: 3, ..shape }, &shape.sign(), "SGX_INVALID_MEASUREMENT");
    refused(platform, &Shape { size: 2 * shape.size, ..shape }, &shape.sign(), "SGX_INVALID_MEASUREMENT");
    init(platform, &shape, &shape.sign()).unwrap();
}

pub(crate) fn another_signer_changes_mrsigner_only(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let other = Shape { signer: Signer::Other, ..shape };
    assert_eq!(shape.sign().enclavehash, other.sign().enclavehash);
    assert_ne!(mrsigner(&shape.sign()), mrsigner(&other.sign()));
    Machine::with(platform, &other).unwrap();
}

pub(crate) fn other_attributes_are_refused(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let debug = Shape { attributes: shape.attributes | AttributeFlags::DEBUG, ..shape };
    refused(platform, &debug, &shape.sign(), "SGX_INVALID_ATTRIBUTE");
    refused(platform, &shape, &debug.sign(), "SGX_INVALID_ATTRIBUTE");
    let legacy = Shape { xfrm: Xfrm::LEGACY.bits(), ..shape };
    if legacy.xfrm != shape.xfrm {
        refused(platform, &legacy, &shape.sign(), "SGX_INVALID_ATTRIBUTE");
    }
    let mute = Shape { miscselect: Miscselect::empty(), ..shape };
    refused(platform, &mute, &shape.sign(), "SGX_INVALID_ATTRIBUTE");
    let provision = Shape { attributes: shape.attributes | AttributeFlags::PROVISIONKEY, ..shape };
    if platform.is_emulated() {
        refused(platform, &provision, &provision.sign(), "SGX_INVALID_ATTRIBUTE");
    }
}

pub(crate) fn masked_attributes_may_differ(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let mut builder = shape.builder();
    builder.attribute_mask =
        Attributes { flags: AttributeFlags::from_bits_retain(!AttributeFlags::DEBUG.bits()), xfrm: 3 };
    builder.miscselect_mask = 0;
    let sigstruct = builder.sign(&Signer::One.key()).unwrap();
    let debug = AttributeFlags::DEBUG | AttributeFlags::MODE64BIT;
    let other = Shape { attributes: debug, xfrm: 3, miscselect: Miscselect::empty(), ..shape };
    init(platform, &other, &sigstruct).unwrap();
}

/// One bit of every field: none is accepted.
pub(crate) fn every_field_is_signed(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let good = shape.sign();
    // The start of each field, in the order of SIGSTRUCT.
    let fields = [
        0, 16, 20, 24, 40, 44, 128, 512, 516, 900, 904, 908, 909, 910, 912, 928, 936, 944, 952, 960, 992,
        1008, 1024, 1026, 1028, 1040, 1424,
    ];
    for field in fields {
        let mut bytes = good.as_bytes().to_vec();
        bytes[field] ^= 0x10;
        let bad = Sigstruct::read_from_bytes(&bytes).unwrap();
        assert!(init(platform, &shape, &bad).is_err(), "a bit at {field}");
    }
}
