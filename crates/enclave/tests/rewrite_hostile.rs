//! The rewriter over bytes that nobody would write.

use std::time::{Duration, Instant};

use casemate_enclave::rewrite::{Entry, SiteKind, Wanted, apply, island_size, scan};
use iced_x86::{Code, Decoder, DecoderOptions};
use proptest::prelude::*;

const BASE: u64 = 0x40_0000;
const ENTRY: Entry = Entry { syscall: 0x10, cpuid: 0x18, rdtsc: 0x20, rdtscp: 0x28 };

/// Bytes of which many are parts of sites and branches.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(vec![0x0f, 0x05]),
        2 => Just(vec![0x0f, 0xa2]),
        1 => Just(vec![0x0f, 0x31]),
        1 => Just(vec![0x0f, 0x01, 0xf9]),
        3 => any::<u8>().prop_map(|nr| vec![0xb8, nr, 0, 0, 0]),
        2 => any::<i8>().prop_map(|distance| vec![0xeb, distance.cast_unsigned()]),
        1 => any::<i8>().prop_map(|distance| {
            [&[0xe9][..], &i32::from(distance).to_le_bytes()].concat()
        }),
        3 => prop::collection::vec(any::<u8>(), 1..5),
        2 => Just(vec![0x90]),
        2 => Just(vec![0x48, 0x89, 0xf7]),
    ];
    prop::collection::vec(piece, 0..150).prop_map(|pieces| pieces.concat())
}

fn opcode(kind: SiteKind) -> &'static [u8] {
    match kind {
        SiteKind::Syscall => &[0x0f, 0x05],
        SiteKind::Cpuid => &[0x0f, 0xa2],
        SiteKind::Rdtsc => &[0x0f, 0x31],
        SiteKind::Rdtscp => &[0x0f, 0x01, 0xf9],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn plans_are_sound(
        code in code(),
        starts in prop::collection::vec(any::<u16>(), 0..20),
        sorted in any::<bool>(),
        island in prop_oneof![Just(BASE + 0x10_0000), any::<u64>()],
    ) {
        let mut starts: Vec<_> = starts.into_iter().map(|start| BASE - 100 + u64::from(start) / 64).collect();
        if sorted {
            starts.sort_unstable();
        }
        let plan = scan(&code, BASE, &starts, Wanted::ALL);
        let mut end = BASE;
        for site in plan.sites() {
            prop_assert!(end <= site.window.start && site.window.end <= BASE + code.len() as u64);
            prop_assert!(site.window.start <= site.address && site.after() <= site.window.end);
            prop_assert!(site.window.end - site.window.start >= 5);
            end = site.window.end;
            let after = usize::try_from(site.after() - BASE).unwrap();
            prop_assert!(code[..after].ends_with(opcode(site.kind)));
            if sorted {
                prop_assert!(!starts.iter().any(|start| site.window.start < *start && *start < site.window.end));
            }
        }
        let mut patched = code.clone();
        match apply(&plan, &mut patched, BASE, island, ENTRY) {
            Ok(result) => {
                prop_assert!(result.code.len() <= island_size(&plan));
                for (offset, (old, new)) in code.iter().zip(&patched).enumerate() {
                    let at = BASE + offset as u64;
                    prop_assert!(old == new || plan.sites().iter().any(|site| site.window.contains(&at)));
                }
            }
            Err(_) => prop_assert_eq!(patched, code),
        }
    }

    /// No site is missed or invented in what decodes from a known start, without a gap, to its end.
    #[test]
    fn sites_are_those_of_a_plain_decoder(code in code()) {
        let mut expected = Vec::new();
        let mut end = 0;
        for instruction in &mut Decoder::with_ip(64, &code, BASE, DecoderOptions::NONE) {
            if instruction.is_invalid() {
                break;
            }
            end += instruction.len();
            if matches!(instruction.code(), Code::Syscall | Code::Cpuid | Code::Rdtsc | Code::Rdtscp) {
                expected.push(instruction.ip());
            }
        }
        let code = &code[..end];
        let plan = scan(code, BASE, &[BASE], Wanted::ALL);
        let mut seen: Vec<_> = plan.sites().iter().map(|site| site.address).collect();
        seen.extend(plan.left().iter().map(|left| left.address));
        seen.sort_unstable();
        prop_assert_eq!(seen, expected);
    }
}

/// Whatever a segment holds, each byte costs about the same.
#[test]
fn work_is_linear() {
    let patterns: [&[u8]; 8] = [
        &[0x0f, 0x05],
        &[0xb8, 0x0f, 0x05, 0, 0],
        &[0x48, 0x89, 0xf7, 0x89, 0xd0, 0x0f, 0x05],
        &[0x48, 0x89, 0xf7, 0x89, 0xd0, 0x0f, 0x05, 0x75, 0xf7, 0xe9, 0xee, 0xff, 0xff, 0xff],
        &[0x06, 0x0f, 0x05],
        &[0x00],
        &[0x0f],
        &[0x66],
    ];
    for pattern in patterns {
        let code: Vec<_> = pattern.iter().copied().cycle().take(300_000).collect();
        for starts in [vec![], (BASE..BASE + 300_000).collect::<Vec<_>>()] {
            let begin = Instant::now();
            let plan = scan(&code, BASE, &starts, Wanted::ALL);
            let took = begin.elapsed();
            println!("{pattern:x?} with {} starts: {} sites in {took:?}", starts.len(), plan.sites().len());
            assert!(took < Duration::from_secs(20), "{pattern:x?}: {took:?}");
        }
    }
}
