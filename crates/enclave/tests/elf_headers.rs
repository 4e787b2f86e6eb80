//! ELF headers: those of this machine's programs, each error, and hostile bytes.

use casemate_enclave::elf::{
    Elf, ElfError, FileRange, Kind, MAX_HEADERS_LEN, MemoryRange, function_starts, parse, shebang,
};
use proptest::prelude::*;

/// A program header.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    mem_size: u64,
    align: u64,
}

const LOAD: u32 = 1;
const INTERP: u32 = 3;
const TEXT: Header = Header {
    kind: LOAD,
    flags: 5,
    offset: 0,
    address: 0x40_0000,
    file_size: 0x1234,
    mem_size: 0x1234,
    align: 0x1000,
};
const DATA: Header = Header {
    kind: LOAD,
    flags: 6,
    offset: 0x1e00,
    address: 0x40_2e00,
    file_size: 0x200,
    mem_size: 0x1000,
    align: 0x1000,
};
/// Length of the file that the headers above describe.
const FILE_LEN: u64 = 0x2000;

fn file(headers: &[Header]) -> Vec<u8> {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2_u16, 62] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_u32.to_le_bytes());
    for word in [0x40_1000_u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, u16::try_from(headers.len()).expect("few"), 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for header in headers {
        bytes.extend(header.kind.to_le_bytes());
        bytes.extend(header.flags.to_le_bytes());
        for word in
            [header.offset, header.address, header.address, header.file_size, header.mem_size, header.align]
        {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

fn error(headers: &[Header]) -> String {
    parse(&file(headers), FILE_LEN).expect_err("a bad file").to_string()
}

/// The file above with some bytes replaced.
fn spoiled(at: usize, bytes: &[u8]) -> String {
    let mut file = file(&[TEXT, DATA]);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    parse(&file, FILE_LEN).expect_err("a bad file").to_string()
}

#[test]
fn a_small_program() {
    let bytes = file(&[TEXT, DATA]);
    assert_eq!(Elf::headers_len(&bytes[..64]), Ok(64 + 2 * 56));
    let elf = parse(&bytes, FILE_LEN).expect("a good file");
    assert_eq!((elf.kind, elf.entry, elf.header_count), (Kind::Fixed, 0x40_1000, 2));
    assert_eq!(elf.headers_address, Some(0x40_0040));
    assert_eq!(elf.span(), MemoryRange { address: 0x40_0000, len: 0x4000 });
    assert!(!elf.executable_stack && elf.interpreter.is_none());
    let [text, data] = elf.segments[..] else { panic!("{elf:?}") };
    assert_eq!((text.read, text.write, text.execute), (true, false, true));
    assert_eq!((data.read, data.write, data.execute), (true, true, false));
    assert_eq!((data.file, data.end()), (FileRange { offset: 0x1e00, len: 0x200 }, 0x40_3e00));
}

#[test]
fn other_headers() {
    let interp =
        Header { kind: INTERP, offset: 0x400, address: 0x40_0400, file_size: 28, mem_size: 28, ..TEXT };
    let phdr = Header { kind: 6, address: 0x40_0f00, ..TEXT };
    let stack = Header { kind: 0x6474_e551, flags: 7, ..TEXT };
    let relro = Header { kind: 0x6474_e552, address: 0x40_2e00, mem_size: 0x200, ..DATA };
    let frame = Header { kind: 0x6474_e550, address: 0x40_0800, mem_size: 0x40, ..TEXT };
    let property = Header { kind: 0x6474_e553, ..TEXT };
    let elf = parse(&file(&[phdr, interp, TEXT, DATA, stack, relro, frame, property]), FILE_LEN)
        .expect("a good file");
    assert_eq!(elf.headers_address, Some(0x40_0f00));
    assert_eq!(elf.interpreter, Some(FileRange { offset: 0x400, len: 28 }));
    assert!(elf.executable_stack);
    assert_eq!(elf.relro, Some(MemoryRange { address: 0x40_2e00, len: 0x200 }));
    assert_eq!(elf.eh_frame_hdr, Some(MemoryRange { address: 0x40_0800, len: 0x40 }));
    assert_eq!(error(&[interp, interp, TEXT]), "more than one interpreter is named");
    let too_long = Header { file_size: 4097, ..interp };
    assert_eq!(error(&[too_long, TEXT]), "the path of the interpreter is empty, too long or without an end");
    assert_eq!(error(&[Header { offset: FILE_LEN - 1, ..interp }, TEXT]), "segment 0 ends beyond the file");
}

#[test]
fn paths_of_interpreters() {
    assert_eq!(Elf::interpreter_path(b"/lib/ld.so\0"), Ok(&b"/lib/ld.so"[..]));
    assert_eq!(Elf::interpreter_path(b"/lib/ld.so\0\0"), Ok(&b"/lib/ld.so"[..]));
    for bytes in [&b""[..], b"\0", b"\0x\0", b"/lib/ld.so"] {
        assert_eq!(Elf::interpreter_path(bytes), Err(ElfError::InterpreterPath));
    }
}

#[test]
fn errors_name_the_thing() {
    assert_eq!(parse(b"#!/bin/sh\n", 10).expect_err("no ELF").to_string(), "not an ELF file");
    assert_eq!(parse(b"", 0), Err(ElfError::NotElf));
    assert_eq!(spoiled(4, &[1]), "32-bit ELF file");
    assert_eq!(spoiled(5, &[2]), "big-endian ELF file");
    assert_eq!(spoiled(18, &[183, 0]), "ELF file for another machine (AArch64)");
    assert_eq!(spoiled(18, &[1, 1]), "ELF file for another machine (number 257)");
    assert_eq!(spoiled(16, &[1]), "ELF object file, not a program");
    assert_eq!(spoiled(16, &[4]), "ELF core dump, not a program");
    assert_eq!(spoiled(54, &[32]), "ELF file with program headers of 32 bytes, expected 56");
    assert_eq!(spoiled(56, &[0]), "ELF file with 0 program headers, expected 1 to 1170");
    assert_eq!(spoiled(56, &[0xff, 0xff]), "ELF file with 65535 program headers, expected 1 to 1170");
    assert_eq!(
        spoiled(32, &[0xff; 8]),
        "ELF file whose program headers end at byte 18446744073709551615, too far"
    );
    assert_eq!(spoiled(56, &[9]), "ELF file shorter than its headers (568 bytes)");
    assert_eq!(error(&[Header { kind: 4, ..TEXT }]), "ELF file without a segment to load");
}

#[test]
fn bad_segments() {
    let data = |change: &dyn Fn(&mut Header)| {
        let mut data = DATA;
        change(&mut data);
        error(&[TEXT, data])
    };
    assert_eq!(data(&|data| data.file_size = 0x201), "segment 1 ends beyond the file");
    assert_eq!(data(&|data| data.offset = u64::MAX - 0x1ff), "segment 1 ends beyond the file");
    assert_eq!(data(&|data| data.mem_size = 0x1ff), "segment 1 is larger in the file than in memory");
    assert_eq!(data(&|data| data.mem_size = u64::MAX), "segment 1 ends beyond the address space");
    assert_eq!(data(&|data| data.address = 1 << 63), "segment 1 ends beyond the address space");
    assert_eq!(data(&|data| data.align = 0x3000), "segment 1 has alignment 0x3000, which is no power of two");
    assert_eq!(
        data(&|data| data.offset = 0x1d00),
        "segment 1 has an address and a file offset that differ within a page"
    );
    assert_eq!(error(&[DATA, TEXT]), "segment 1 does not lie above the segment before it");
    assert_eq!(error(&[TEXT, TEXT]), "segment 1 does not lie above the segment before it");
}

#[test]
fn programs_of_this_machine() {
    for path in
        ["/bin/ls", "/bin/busybox", "/usr/bin/python3", "/lib64/ld-linux-x86-64.so.2", "/usr/bin/runc"]
    {
        let Ok(bytes) = std::fs::read(path) else { continue };
        let len = bytes.len() as u64;
        let headers = Elf::headers_len(&bytes[..64]).expect("an ELF file");
        let elf = parse(&bytes[..headers], len).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(Some(parse(&bytes[..headers - 1], len)), Some(Err(ElfError::NeedMore(headers))));
        assert!(
            elf.segments.iter().any(|segment| {
                segment.execute && segment.address <= elf.entry && elf.entry < segment.end()
            })
        );
        assert!(elf.headers_address.is_some(), "{path}");
        if let Some(range) = elf.interpreter {
            let (start, end) = (usize::try_from(range.offset), usize::try_from(range.offset + range.len));
            let path = Elf::interpreter_path(&bytes[start.expect("small")..end.expect("small")]);
            assert_eq!(path, Ok(&b"/lib64/ld-linux-x86-64.so.2"[..]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), len in any::<u64>(), address in any::<u64>()) {
        let _ = parse(&bytes, len);
        let _ = Elf::headers_len(&bytes);
        let _ = function_starts(&bytes, address);
        let _ = Elf::interpreter_path(&bytes);
        if let Some((interpreter, argument)) = shebang(&bytes) {
            prop_assert!(!interpreter.is_empty() && !interpreter.contains(&b' '));
            prop_assert!(argument.is_none_or(|argument| !argument.contains(&b'\n')));
        }
    }

    /// Whatever is accepted keeps the promises of the types' documentation.
    #[test]
    fn mutated_headers(
        changes in prop::collection::vec((0_usize..64 + 8 * 56, prop_oneof![any::<u8>(), Just(0), Just(255)]), 0..6),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        len in prop_oneof![4 => Just(FILE_LEN), 1 => any::<u64>()],
    ) {
        let interp = Header { kind: INTERP, offset: 0x400, address: 0x40_0400, file_size: 28, mem_size: 28, ..TEXT };
        let stack = Header { kind: 0x6474_e551, flags: 7, ..TEXT };
        let high = Header { address: 0x50_0000, offset: 0, align: 0x20_0000, ..TEXT };
        let tls = Header { kind: 7, ..DATA };
        let mut bytes = file(&[interp, TEXT, DATA, high, stack, tls, tls, tls]);
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let Ok(elf) = parse(&bytes, len) else { return Ok(()) };
        prop_assert!(Elf::headers_len(&bytes).is_ok_and(|needed| needed <= bytes.len() && needed <= MAX_HEADERS_LEN));
        prop_assert!(!elf.segments.is_empty() && elf.alignment.is_power_of_two());
        let mut end = 0;
        for segment in &elf.segments {
            prop_assert!(end <= segment.address && segment.file.len <= segment.mem_size);
            prop_assert!(segment.file.len == 0 || segment.file.offset + segment.file.len <= len);
            end = segment.address + segment.mem_size;
        }
        prop_assert!(end < 1 << 47);
        let span = elf.span();
        prop_assert!(span.address <= elf.segments[0].address && span.address + span.len >= end);
        prop_assert!(elf.interpreter.is_none_or(|range| range.offset + range.len <= len && range.len <= 4096));
    }

    #[test]
    fn mutated_unwind_tables(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        count in 0_u32..30,
        address in any::<u64>(),
    ) {
        bytes.splice(0..0, [&[1, 0x1b, 3, 0x3b, 0, 0, 0, 0][..], &count.to_le_bytes()].concat());
        if let Some(starts) = function_starts(&bytes, address) {
            prop_assert!(starts.is_sorted_by(|a, b| a < b) && starts.len() <= count.try_into().unwrap());
        }
    }
}
