//! The first stack, read back as a C library reads it.

use casemate_enclave::elf::stack::{Image, MAX_STRING_LEN, StackError, Start, build};
use proptest::prelude::*;

struct Memory<'a>(&'a Image);

impl Memory<'_> {
    fn word(&self, address: u64) -> u64 {
        let at = usize::try_from(address - self.0.rsp).expect("above rsp");
        u64::from_le_bytes(*self.0.bytes[at..].first_chunk().expect("within the stack"))
    }

    fn string(&self, address: u64) -> &[u8] {
        let at = usize::try_from(address - self.0.rsp).expect("above rsp");
        let len = self.0.bytes[at..].iter().position(|&byte| byte == 0).expect("an end");
        &self.0.bytes[at..at + len]
    }
}

/// Checks everything that the ABI promises.
fn check(start: &Start<'_>, image: &Image, top: u64) {
    let memory = Memory(image);
    assert_eq!(image.rsp % 16, 0);
    assert_eq!(image.rsp + image.bytes.len() as u64, top);
    let argv: &[&[u8]] = if start.argv.is_empty() { &[b""] } else { start.argv };
    let mut at = image.rsp;
    let mut next = || {
        at += 8;
        memory.word(at - 8)
    };
    assert_eq!(next(), argv.len() as u64);
    let first = argv.iter().map(|string| (next(), *string)).collect::<Vec<_>>();
    assert_eq!(next(), 0);
    let second = start.envp.iter().map(|string| (next(), *string)).collect::<Vec<_>>();
    assert_eq!(next(), 0);
    // Programs rewrite their title in place: the strings follow each other without a gap.
    let mut expected = image.arguments.0;
    for (address, string) in first.iter().chain(&second) {
        assert_eq!(*address, expected);
        assert_eq!(memory.string(*address), *string);
        expected += string.len() as u64 + 1;
    }
    assert_eq!(image.environment.1, expected);
    assert_eq!(image.arguments.1, image.environment.0);
    let mut auxv = std::iter::from_fn(|| Some((next(), next())));
    for pair in start.auxv {
        assert_eq!(auxv.next(), Some(*pair));
    }
    let own: Vec<_> = auxv.by_ref().take_while(|&(key, _)| key != 0).collect();
    let [(25, random), (31, execfn), (15, platform)] = own[..] else { panic!("{own:?}") };
    assert_eq!(memory.word(random).to_le_bytes(), start.random[..8]);
    assert_eq!(memory.word(random + 8).to_le_bytes(), start.random[8..]);
    assert_eq!(memory.string(execfn), start.execfn);
    assert_eq!(memory.string(platform), b"x86_64");
    assert_eq!(image.auxv.1 - image.auxv.0, (start.auxv.len() as u64 + 4) * 16);
    assert_eq!(memory.word(image.auxv.0), start.auxv.first().map_or(25, |pair| pair.0));
    assert_eq!(memory.word(top - 8), 0);
}

const START: Start<'_> = Start {
    argv: &[b"ls", b"-l", b""],
    envp: &[b"PATH=/bin", b"HOME=/"],
    auxv: &[(6, 4096), (3, 0x40_0040)],
    execfn: b"/bin/ls",
    random: [7; 16],
};

#[test]
fn a_plain_stack() {
    for top in [0x7fff_ffff_f000, 0x7fff_ffff_fff0, 0x10_0003] {
        check(&START, &build(&START, top, 1 << 16).expect("it fits"), top);
    }
    let empty = Start { argv: &[], envp: &[], auxv: &[], execfn: b"", ..START };
    check(&empty, &build(&empty, 0x10_0000, 4096).expect("it fits"), 0x10_0000);
}

#[test]
fn what_does_not_fit() {
    assert_eq!(build(&START, 0x10_0000, 100), Err(StackError::TooBig { room: 100 }));
    assert_eq!(build(&START, 64, 4096), Err(StackError::Top(64)));
    assert_eq!(build(&START, 0, 4096), Err(StackError::Top(0)));
    let long = vec![b'x'; MAX_STRING_LEN];
    let start = Start { argv: &[&long], ..START };
    assert_eq!(build(&start, 1 << 40, 1 << 20), Err(StackError::StringTooLong(MAX_STRING_LEN)));
    let start = Start { envp: &[b"A=\0"], ..START };
    assert_eq!(build(&start, 1 << 40, 1 << 20), Err(StackError::ZeroByte));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stack(
        argv in prop::collection::vec(prop::collection::vec(1_u8.., 0..40), 0..12),
        envp in prop::collection::vec(prop::collection::vec(1_u8.., 0..40), 0..12),
        auxv in prop::collection::vec((1_u64..15, any::<u64>()), 0..20),
        execfn in prop::collection::vec(1_u8.., 0..40),
        random in any::<[u8; 16]>(),
        top in prop_oneof![any::<u64>(), 0_u64..2000],
        room in 0_usize..4000,
    ) {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        let envp: Vec<&[u8]> = envp.iter().map(Vec::as_slice).collect();
        let start = Start { argv: &argv, envp: &envp, auxv: &auxv, execfn: &execfn, random };
        if let Ok(image) = build(&start, top, room) {
            prop_assert!(image.bytes.len() <= room);
            check(&start, &image, top);
        }
    }
}
