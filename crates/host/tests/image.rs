//! The image: what is in it, what must not be in it, and files that are none.

use casemate_enclave_abi::elrange;
use casemate_host::{Image, ImageError};
use casemate_sgx::arch::Permissions;
use casemate_sgx::platform::emulated::STUB;
use iced_x86::{Code, CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic};
use proptest::prelude::*;

/// The file that is embedded.
static FILE: &[u8] = include_bytes!(env!("CASEMATE_EMBED_IMAGE"));

/// Instructions that fault in an enclave (SDM vol. 3D, 35.6.1), or that its kernel has no business with.
const FORBIDDEN: [Mnemonic; 26] = [
    Mnemonic::Syscall,
    Mnemonic::Sysenter,
    Mnemonic::Sysret,
    Mnemonic::Sysexit,
    Mnemonic::Int,
    Mnemonic::Int1,
    Mnemonic::Cpuid,
    Mnemonic::Getsec,
    Mnemonic::Rdpmc,
    Mnemonic::Sgdt,
    Mnemonic::Sidt,
    Mnemonic::Sldt,
    Mnemonic::Str,
    Mnemonic::Vmcall,
    Mnemonic::Vmfunc,
    Mnemonic::In,
    Mnemonic::Out,
    Mnemonic::Insb,
    Mnemonic::Insd,
    Mnemonic::Outsb,
    Mnemonic::Outsd,
    Mnemonic::Hlt,
    Mnemonic::Iretq,
    Mnemonic::Encls,
    Mnemonic::Enclv,
    Mnemonic::Xsetbv,
];

/// Features of the baseline that the image is compiled for, of what enclaves need, and of what every processor with SGX has.
fn is_allowed(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    matches!(
        feature,
        F::INTEL8086
            | F::INTEL186
            | F::INTEL286
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::CMOV
            | F::CX8
            | F::CMPXCHG16B
            | F::TSC
            | F::MULTIBYTENOP
            | F::PAUSE
            | F::FXSR
            | F::SSE
            | F::SSE2
            | F::CLFSH
            | F::XSAVE
            | F::XSAVEC
            | F::FSGSBASE
            | F::RDRAND
            | F::RDSEED
            | F::SGX1
            | F::CET_IBT
    )
}

fn instructions(image: &Image) -> impl Iterator<Item = Instruction> {
    image.segments().iter().filter(|segment| segment.permissions.contains(Permissions::X)).flat_map(
        |segment| {
            Decoder::with_ip(64, &segment.bytes, segment.address, DecoderOptions::NONE)
                .into_iter()
                .collect::<Vec<_>>()
        },
    )
}

#[test]
fn image_has_only_instructions_that_an_enclave_can_execute() {
    let image = Image::embedded().unwrap();
    let text = image.segments().iter().find(|segment| segment.permissions.contains(Permissions::X)).unwrap();
    for instruction in instructions(&image).filter(|instruction| !instruction.is_invalid()) {
        let at = instruction.ip();
        assert!(!FORBIDDEN.contains(&instruction.mnemonic()), "{:?} at {at:#x}", instruction.mnemonic());
        // The compiler writes TZCNT for BSF: the bytes are those of `rep bsf`, and older processors take them as that.
        if instruction.code() == Code::Fninit || instruction.mnemonic() == Mnemonic::Tzcnt {
            continue;
        }
        for feature in instruction.cpuid_features() {
            assert!(is_allowed(*feature), "{:?} ({feature:?}) at {at:#x}", instruction.mnemonic());
        }
    }
    let invalid = instructions(&image).filter(Instruction::is_invalid).map(|instruction| instruction.ip());
    let invalid: Vec<_> = invalid.collect();
    assert!(invalid.is_empty(), "no instructions at {invalid:x?} in {text:?}");
}

#[test]
fn there_is_one_enclu_and_it_is_the_stub() {
    let image = Image::embedded().unwrap();
    let bytes = |needle: &[u8]| -> Vec<u64> {
        let segments = image.segments().iter().filter(|segment| segment.permissions.contains(Permissions::X));
        let places = segments.flat_map(|segment| {
            (segment.address..)
                .zip(segment.bytes.windows(needle.len()))
                .filter(|(_, window)| *window == needle)
        });
        places.map(|(address, _)| address).collect()
    };
    // By bytes, not by instructions: a jump into the middle of one finds none either.
    assert_eq!(bytes(&STUB[..3]), [image.stub()]);
    assert_eq!(bytes(&STUB), [image.stub()]);
}

#[test]
fn pages_lie_where_the_memory_map_has_them() {
    let image = Image::embedded().unwrap();
    assert!(!image.is_empty());
    for segment in image.segments() {
        assert!(segment.address >= elrange::IMAGE && segment.end() <= elrange::IMAGE_END, "{segment:?}");
        assert_ne!(segment.permissions, Permissions::RWX, "{segment:?}");
    }
    let pages: u64 = image.segments().iter().map(casemate_host::Segment::len).sum();
    assert_eq!(image.len(), pages);
}

#[test]
fn files_that_are_no_image_are_refused() {
    assert!(matches!(Image::parse(b""), Err(ImageError::Elf(_))));
    assert!(matches!(Image::parse(b"#!/bin/sh\n"), Err(ImageError::Elf(_))));
    let program = std::fs::read("/proc/self/exe").unwrap();
    assert!(matches!(Image::parse(&program), Err(ImageError::Kind { kind: 3, machine: 62 })));
    for length in [16, 63, 64, 200, FILE.len() / 2, FILE.len() - 1] {
        assert!(Image::parse(&FILE[..length]).is_err(), "{length}");
    }
}

/// Fields of the program headers, with the errors that they give.
#[test]
fn segments_that_cannot_be_are_refused() {
    // e_phoff is 64 in the files of every linker; one header has 56 bytes.
    let header = 64;
    let with = |at: usize, value: u64| {
        let mut file = FILE.to_vec();
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        Image::parse(&file)
    };
    let problem = |result: Result<Image, ImageError>| match result {
        Err(ImageError::Segment { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(with(header + 16, elrange::IMAGE + 1)), "does not begin on a page");
    assert_eq!(problem(with(header + 16, elrange::IMAGE_END)), "lies outside the image's range");
    assert_eq!(problem(with(header + 16, 0)), "lies outside the image's range");
    assert_eq!(problem(with(header + 40, u64::MAX)), "lies outside the image's range");
    assert_eq!(problem(with(header + 8, u64::MAX)), "is longer than the file");
    assert_eq!(problem(with(header + 32, u64::MAX)), "is longer than the file");
    assert_eq!(problem(with(header + 40, 1)), "has more contents than room");
    let flags = |flags: u64| with(header, 1 | flags << 32);
    assert_eq!(problem(flags(7)), "cannot be read, or can be written and executed");
    assert_eq!(problem(flags(1)), "cannot be read, or can be written and executed");
    assert!(matches!(flags(4), Err(ImageError::Entry(_))));
    assert!(matches!(with(24, 0), Err(ImageError::Entry(0))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_file_breaks_the_parser(changes in prop::collection::vec((0..400_usize, any::<u8>()), 1..8)) {
        let mut file = FILE.to_vec();
        for (place, byte) in changes {
            file[place] = byte;
        }
        if let Ok(image) = Image::parse(&file) {
            for segment in image.segments() {
                prop_assert!(segment.address >= elrange::IMAGE && segment.end() <= elrange::IMAGE_END);
            }
        }
    }
}
