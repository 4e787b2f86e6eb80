//! How an enclave is built: measurement, limits, signatures.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use casemate_enclave_abi::elrange::{self, vcpu};
use casemate_enclave_abi::layout::MAX_VCPUS;
use casemate_host::{Image, MIN_HEAP, Plan, PlanError, signing};
use casemate_sgx::arch::{AttributeFlags, PAGE_SIZE, Permissions, SecInfo, Tcs};
use casemate_sgx::measure::Measurement;
use casemate_sgx::platform::emulated::{Emulated, Options};
use casemate_sgx::platform::{Platform as _, PlatformError};
use casemate_sgx::sign::SigningKey;
use zerocopy::IntoBytes as _;

const GIB: u64 = 1 << 30;

/// Enclaves begin at address 0, so a process has room for one at a time.
static ROOM: Mutex<()> = Mutex::new(());

fn image() -> Image {
    Image::embedded().unwrap()
}

fn platform(image: &Image, edmm: bool) -> Emulated {
    let mut options = Options::new([7; 16]);
    options.edmm = edmm;
    options.stub_offset = Some(image.stub());
    Emulated::new(options).unwrap()
}

fn key() -> SigningKey {
    let pem = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/key.pem");
    SigningKey::from_pem(&std::fs::read_to_string(pem).unwrap()).unwrap()
}

/// The measurement page by page, as the manual describes it and without the planner.
fn measured_by_hand(image: &Image, size: u64) -> Measurement {
    let mut measurement = Measurement::create(1, size);
    let mut page = |offset: u64, info: &SecInfo, bytes: &[u8; PAGE_SIZE]| {
        measurement.add(offset, info);
        measurement.extend_page(offset, bytes);
    };
    for segment in image.segments() {
        let (pages, rest) = segment.bytes.as_chunks::<PAGE_SIZE>();
        assert!(rest.is_empty());
        for (bytes, offset) in pages.iter().zip((segment.address..).step_by(PAGE_SIZE)) {
            page(offset, &SecInfo::reg(segment.permissions), bytes);
        }
    }
    for index in 0..MAX_VCPUS {
        let block = elrange::vcpu_block(index);
        let mut tcs = Tcs {
            ossa: elrange::ssa_frame(index, 0),
            nssa: 2,
            oentry: image.entry(),
            ofsbase: elrange::vcpu_page(index),
            ogsbase: elrange::vcpu_page(index),
            ..Tcs::default()
        };
        (tcs.fslimit, tcs.gslimit) = (0xfff, 0xfff);
        page(block, &SecInfo::tcs(), tcs.as_bytes().try_into().unwrap());
        let areas = [
            (vcpu::SSA, vcpu::SSA + 0x2000),
            (vcpu::GS, vcpu::GS + 0x1000),
            (vcpu::EXCEPTION_STACK, vcpu::EXCEPTION_STACK_TOP),
            (vcpu::STACK, vcpu::STACK_TOP),
        ];
        for offset in areas.into_iter().flat_map(|(start, end)| (start..end).step_by(PAGE_SIZE)) {
            page(block + offset, &SecInfo::reg(Permissions::RW), &[0; PAGE_SIZE]);
        }
    }
    measurement
}

#[test]
fn measurement_is_that_of_the_pages() {
    let image = image();
    let dynamic = Plan::new(&image, GIB, true).unwrap();
    assert_eq!(dynamic.measure(), measured_by_hand(&image, elrange::DYNAMIC_SIZE).finish());
    // Neither the heap nor the time changes it.
    assert_eq!(dynamic.measure(), Plan::new(&image, MIN_HEAP, true).unwrap().measure());

    let fixed = Plan::new(&image, MIN_HEAP, false).unwrap();
    let mut by_hand = measured_by_hand(&image, GIB);
    let program = Permissions::RWX;
    for (start, end, permissions) in [
        (elrange::HEAP, elrange::HEAP_END, Permissions::RW),
        (elrange::LOWEST, elrange::IMAGE, program),
        (elrange::USER, elrange::USER + MIN_HEAP, program),
    ] {
        for offset in (start..end).step_by(PAGE_SIZE) {
            by_hand.add(offset, &SecInfo::reg(permissions));
        }
    }
    assert_eq!(fixed.measure(), by_hand.finish());
    assert_ne!(fixed.measure(), Plan::new(&image, 2 * MIN_HEAP, false).unwrap().measure());
}

#[test]
fn impossible_heaps_are_refused() {
    let image = image();
    for heap in [0, MIN_HEAP - 1, elrange::MAX_HEAP + 1, u64::MAX] {
        for dynamic in [true, false] {
            let error = Plan::new(&image, heap, dynamic).unwrap_err();
            assert!(matches!(error, PlanError::Heap { .. }), "{error}");
            assert!(error.to_string().ends_with("is not possible: it can have 16M to 65024M"), "{error}");
        }
    }
    assert_eq!(Plan::new(&image, MIN_HEAP + 1, true).unwrap().heap(), MIN_HEAP + 4096);
    assert_eq!(Plan::new(&image, elrange::MAX_HEAP, false).unwrap().size(), elrange::DYNAMIC_SIZE);
}

#[test]
fn enclave_is_built_as_signed_and_not_otherwise() {
    let _room = ROOM.lock().unwrap();
    let (image, key) = (image(), key());
    for dynamic in [true, false] {
        let platform = platform(&image, dynamic);
        let plan = Plan::new(&image, MIN_HEAP, dynamic).unwrap();
        let builder = signing::builder(plan.measure(), false, signing::today());
        let signed = builder.sign(&key).unwrap();
        let enclave = plan.build(&platform, &signed, false).unwrap();
        assert_eq!((enclave.base(), enclave.size()), (0, plan.size()));
        assert!(enclave.attributes().flags.contains(AttributeFlags::INIT | AttributeFlags::MODE64BIT));
        drop(enclave);

        let mut other = builder.clone();
        other.mrenclave[0] ^= 1;
        let mut broken = signed.clone();
        broken.signature[0] ^= 1;
        for (name, sigstruct, debug) in [
            ("measurement", other.sign(&key).unwrap(), false),
            ("signature", broken, false),
            ("debug", signed, true),
        ] {
            let error = plan.build(&platform, &sigstruct, debug).unwrap_err();
            assert!(matches!(error, PlanError::Platform(PlatformError::Einit(_))), "{name}: {error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

/// The promise: an enclave with a heap of 1 GiB is there in 300 ms. Only an optimised build keeps it, and only that is
/// asked to.
#[test]
fn enclave_of_a_gibibyte_is_quickly_there() {
    let _room = ROOM.lock().unwrap();
    let (image, key) = (image(), key());
    let optimised = !cfg!(debug_assertions);
    let heap = if optimised { GIB } else { MIN_HEAP };
    for dynamic in [true, false] {
        let platform = platform(&image, dynamic);
        let plan = Plan::new(&image, heap, dynamic).unwrap();
        let builder = signing::builder(plan.measure(), false, signing::today());
        let signed = builder.sign(&key).unwrap();
        let start = Instant::now();
        let enclave = plan.build(&platform, &signed, false).unwrap();
        let took = start.elapsed();
        println!(
            "heap {heap:#x}, EDMM {dynamic}: create, measure, init in {:.1} ms",
            took.as_secs_f64() * 1e3
        );
        drop(enclave);
        assert!(!optimised || took.as_millis() < 300, "{took:?}");
    }
}

#[test]
fn platform_without_room_says_so() {
    let _room = ROOM.lock().unwrap();
    let image = image();
    let platform = platform(&image, true);
    assert!(platform.capabilities().max_size_log2 >= 36);
    let plan = Plan::new(&image, GIB, true).unwrap();
    let signed = signing::builder(plan.measure(), false, signing::today()).sign(&key()).unwrap();
    let first = plan.build(&platform, &signed, false).unwrap();
    let error = plan.build(&platform, &signed, false).unwrap_err();
    assert!(matches!(error, PlanError::Platform(PlatformError::Range { .. })), "{error}");
    drop(first);
    plan.build(&platform, &signed, false).unwrap();
}
