//! Rewritten code behaves as the original: random instructions around a site run natively, then rewritten, from the same
//! state, and everything that a program can see is compared.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod rewrite_native;

use std::collections::BTreeMap;

use casemate_enclave::rewrite::{Class, Plan, SiteKind, Wanted, apply, scan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rewrite_native::{Arena, ENTRY, EXIT, Registers};

/// The arena: code, island, data, stack.
const ISLAND: usize = 0x4000;
const DATA: usize = 0x8000;
const STACK_TOP: usize = 0xf000;
const ARENA: usize = 0x10000;
/// Numbers of general registers.
const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RSP: u8 = 4;
const RBP: u8 = 5;
const RDI: u8 = 7;

/// One instruction; `rip` is the offset of a displacement to a place in the data, counted from the arena.
#[derive(Clone, Debug)]
struct Item {
    bytes: Vec<u8>,
    rip: Option<(usize, u32)>,
}

impl Item {
    fn plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), rip: None }
    }

    fn rip(head: &[u8], data: u32, tail: &[u8]) -> Self {
        let bytes = [head, &[0; 4], tail].concat();
        Self { bytes, rip: Some((head.len(), data)) }
    }
}

const fn rex(wide: bool, reg: u8, rm: u8) -> u8 {
    0x40 | if wide { 8 } else { 0 } | (reg >> 3) << 2 | rm >> 3
}

const fn modrm(mode: u8, reg: u8, rm: u8) -> u8 {
    mode << 6 | (reg & 7) << 3 | rm & 7
}

/// An instruction that writes `to` at most, among the general registers.
fn item(to: impl Strategy<Value = u8> + 'static) -> impl Strategy<Value = Item> {
    let slot = (0_u8..14).prop_map(|slot| slot * 8);
    let immediate = prop_oneof![any::<u32>(), Just(0x0005_050f), Just(0x050f_a20f), Just(0x310f)];
    (to, 0_u8..16, any::<bool>(), slot, immediate, 0_u8..30, 0_u8..16).prop_map(
        |(to, from, wide, slot, imm, which, xmm)| {
            let long = u32::from(slot).to_le_bytes();
            let data = u32::try_from(DATA).expect("small") + u32::from(slot);
            let imm = imm.to_le_bytes();
            let both = [rex(wide, from, to), modrm(3, from, to)];
            let arithmetic = [0x01, 0x29, 0x31, 0x21, 0x09, 0x39, 0x85, 0x11, 0x19, 0x89];
            match which {
                0..=9 => Item::plain([both[0], arithmetic[usize::from(which)], both[1]]),
                // The short form without a prefix, between the first eight registers.
                10 if to < 8 && from < 8 => Item::plain([0x89, both[1]]),
                10 | 11 => Item::plain([&[rex(false, 0, to), 0xc7, modrm(3, 0, to)][..], &imm].concat()),
                12 if to < 8 => Item::plain([&[0xb8 | to][..], &imm].concat()),
                12 | 13 => Item::plain([&[rex(true, 0, to), 0xb8 | to & 7][..], &imm, &imm].concat()),
                14 => Item::plain([rex(true, to, RBP), 0x8d, modrm(1, to, RBP), slot]),
                15 => Item::rip(&[rex(true, to, 0), 0x8d, modrm(0, to, 5)], data, &[]),
                16 => Item::plain([rex(true, 0, to), 0x83, modrm(3, 0, to), imm[0]]),
                17 => Item::plain([rex(true, to, RBP), 0x8b, modrm(1, to, RBP), slot]),
                18 => Item::plain([rex(true, from, RBP), 0x89, modrm(1, from, RBP), slot]),
                19 => Item::plain([&[rex(true, from, RBP), 0x89, modrm(2, from, RBP)][..], &long].concat()),
                20 => Item::rip(&[rex(true, to, 0), 0x8b, modrm(0, to, 5)], data, &[]),
                21 => Item::rip(&[0x81, 0x3d], data, &imm),
                22 => Item::rip(&[0xc6, 0x05], data, &[imm[0]]),
                23 => Item::plain([0xf3, 0x0f, 0x6f, modrm(1, xmm & 7, RBP), slot]),
                24 => Item::plain([0x0f, 0x28, modrm(3, xmm & 7, from & 7)]),
                // Into and out of the red zone.
                25 => Item::plain([rex(true, from, RSP), 0x89, modrm(1, from, RSP), 0x24, 0x88 + slot]),
                26 => Item::plain([rex(true, to, RSP), 0x8b, modrm(1, to, RSP), 0x24, 0x88 + slot]),
                27 => Item::plain([rex(true, to, from), 0x0f, 0x40 | xmm, modrm(3, to, from)]),
                28 => Item::plain([0x66, rex(true, xmm & 7, to), 0x0f, 0x7e, modrm(3, xmm & 7, to)]),
                _ => Item::plain([0x90]),
            }
        },
    )
}

fn items(forbidden: &'static [u8], count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Item>> {
    let to = (0_u8..16)
        .prop_filter("needed unchanged", move |to| !forbidden.contains(to) && *to != RSP && *to != RBP);
    prop::collection::vec(item(to), count)
}

#[derive(Clone, Debug)]
struct Program {
    kind: SiteKind,
    items: Vec<Item>,
    /// Which of the items is the site.
    site: usize,
    /// A conditional jump at the beginning, to the beginning of an item.
    jump: Option<(u8, usize)>,
    registers: Registers,
    data: Vec<u8>,
}

fn program() -> impl Strategy<Value = Program> {
    let kind = prop_oneof![
        6 => Just(SiteKind::Syscall), 2 => Just(SiteKind::Cpuid), 1 => Just(SiteKind::Rdtsc), 1 => Just(SiteKind::Rdtscp)
    ];
    let number = prop_oneof![Just(39_u64), Just(110), Just(102), Just(0x7fff_0000), Just(0x1_0000_0000)];
    let parts =
        (items(&[RAX, RCX, RDI], 0..6), items(&[RAX, RDI], 0..6), items(&[RAX, RDX], 0..5), items(&[], 0..4));
    let state =
        (any::<[u64; 16]>(), any::<u64>(), any::<[u128; 16]>(), prop::collection::vec(any::<u8>(), 256));
    let jump = prop::option::weighted(0.3, (0_u8..16, any::<prop::sample::Index>()));
    let leaf = prop_oneof![Just(0_u64), Just(7), Just(0x8000_0002), Just(0x8000_0003)];
    (kind, parts, state, jump, any::<bool>(), any::<bool>(), number, leaf).prop_map(
        |(
            kind,
            (keep_rcx, before, after, last),
            (mut general, flags, vector, data),
            jump,
            set,
            prefix,
            number,
            leaf,
        )| {
            let mut items = match kind {
                SiteKind::Cpuid => keep_rcx,
                _ => before,
            };
            let number = if kind == SiteKind::Syscall { number } else { leaf };
            general[usize::from(RAX)] = number;
            general[usize::from(RDI)] = number;
            general[usize::from(RCX)] &= 1;
            if set {
                // mov eax, edi
                items.push(Item::plain([0x89, 0xf8]));
            }
            let site = items.len();
            items.push(match kind {
                SiteKind::Syscall if prefix => Item::plain([0x48, 0x0f, 0x05]),
                SiteKind::Syscall => Item::plain([0x0f, 0x05]),
                SiteKind::Cpuid => Item::plain([0x0f, 0xa2]),
                SiteKind::Rdtsc => Item::plain([0x0f, 0x31]),
                SiteKind::Rdtscp => Item::plain([0x0f, 0x01, 0xf9]),
            });
            if matches!(kind, SiteKind::Rdtsc | SiteKind::Rdtscp) {
                // The time differs from run to run: forget it.
                for register in [RAX, RDX, RCX] {
                    items.push(Item::plain([0xb8 | register, 1, 2, 3, 4]));
                }
            }
            items.extend(after);
            items.extend(last);
            let jump = jump.map(|(condition, index)| (condition, index.index(items.len())));
            // Carry, parity, adjust, zero, sign, overflow.
            let registers = Registers { general, flags: flags & 0x8d5 | 2, vector };
            Program { kind, items, site, jump, registers, data }
        },
    )
}

/// The program's bytes at the beginning of the arena, and the offset of each item.
fn assemble(program: &Program) -> (Vec<u8>, Vec<usize>) {
    let mut at = if program.jump.is_some() { 2 } else { 0 };
    let mut offsets = Vec::new();
    for item in &program.items {
        offsets.push(at);
        at += item.bytes.len();
    }
    let mut code = Vec::new();
    if let Some((condition, index)) = program.jump {
        code.extend([0x70 | condition, u8::try_from(offsets[index] - 2).expect("a short program")]);
    }
    for item in &program.items {
        let start = code.len();
        code.extend_from_slice(&item.bytes);
        if let Some((at, data)) = item.rip {
            let distance = data - u32::try_from(code.len()).expect("a short program");
            code[start + at..start + at + 4].copy_from_slice(&distance.to_le_bytes());
        }
    }
    code.extend(EXIT);
    (code, offsets)
}

/// Everything that a run leaves: registers, data, the stack with the red zone.
#[derive(Debug, PartialEq)]
struct Outcome {
    registers: Registers,
    memory: Vec<u8>,
}

fn run(arena: &mut Arena, program: &Program, from: u64) -> Outcome {
    let base = arena.address();
    let mut registers = program.registers.clone();
    registers.general[usize::from(RSP)] = base + u64::try_from(STACK_TOP).expect("small");
    registers.general[usize::from(RBP)] = base + u64::try_from(DATA).expect("small");
    let bytes = arena.bytes();
    bytes[DATA..].fill(0x5a);
    bytes[DATA..DATA + program.data.len()].copy_from_slice(&program.data);
    // SAFETY: programs end in EXIT, and access memory by rbp, rsp and rip only, within the arena's data and stack.
    let registers = unsafe { arena.run(from, &registers) };
    Outcome { registers, memory: arena.bytes()[DATA..].to_vec() }
}

/// Runs a program both ways from its beginning and from each instruction of the window; the plan.
fn compare(arena: &mut Arena, program: &Program) -> Result<Plan, TestCaseError> {
    let base = arena.address();
    let (code, offsets) = assemble(program);
    arena.bytes()[..code.len()].copy_from_slice(&code);
    let plan = scan(&arena.bytes()[..code.len()], base, &[base], Wanted::ALL);
    let Some(site) = plan.sites().first() else { return Ok(plan) };
    prop_assert_eq!(plan.sites().len(), 1);
    prop_assert_eq!(site.kind, program.kind);
    prop_assert_eq!(site.address, base + offsets[program.site] as u64);

    let mut starts = vec![base];
    starts.extend(offsets.iter().map(|&offset| base + offset as u64).filter(|at| site.window.contains(at)));
    let native: Vec<_> = starts.iter().map(|&start| run(arena, program, start)).collect();
    let island = apply(&plan, &mut arena.bytes()[..code.len()], base, base + ISLAND as u64, ENTRY)
        .expect("an island in reach");
    prop_assert_eq!(island.patched.len(), 1);
    arena.bytes()[ISLAND..ISLAND + island.code.len()].copy_from_slice(&island.code);
    for (start, native) in starts.into_iter().zip(native) {
        let resume = island.resume_at(start);
        let stays = start == base || start == site.window.start || start == site.address && site.stays();
        prop_assert_eq!(resume.is_none(), stays, "a place to go on for {:#x} of {:?}", start, site);
        if let Some(resume) = resume {
            prop_assert_eq!(island.original_of(resume), Some(start));
        }
        let rewritten = run(arena, program, resume.unwrap_or(start));
        prop_assert_eq!(
            &native.registers,
            &rewritten.registers,
            "registers, from {:#x} of {:?}",
            start,
            site
        );
        prop_assert!(native.memory == rewritten.memory, "memory, from {start:#x} of {site:?}");
    }
    Ok(plan)
}

#[test]
fn rewritten_code_behaves_as_the_original() {
    let mut arena = Arena::new(ARENA);
    let mut counts: BTreeMap<(SiteKind, Option<(Class, bool)>), u32> = BTreeMap::new();
    let counts_of_run = std::cell::RefCell::new(&mut counts);
    let arena = std::cell::RefCell::new(&mut arena);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(6000) });
    runner
        .run(&program(), |program| {
            let plan = compare(&mut arena.borrow_mut(), &program)?;
            let key = plan.sites().first().map(|site| (site.class, site.stays()));
            *counts_of_run.borrow_mut().entry((program.kind, key)).or_default() += 1;
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    println!("programs by kind, class and whether the site stays: {counts:?}");
    let common = [(Class::A, true), (Class::B, true), (Class::C, false)];
    for kind in [SiteKind::Syscall, SiteKind::Cpuid, SiteKind::Rdtsc, SiteKind::Rdtscp] {
        // Rarely a window holds three or four bytes before the site, and none after it.
        let rare = (kind == SiteKind::Syscall).then_some((Class::B, false));
        for shape in common.into_iter().chain(rare) {
            assert!(counts.contains_key(&(kind, Some(shape))), "no {kind:?} of {shape:?}");
        }
    }
}
