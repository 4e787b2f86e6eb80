//! Which windows are chosen, what is written, and what is left to trap: one case each.

use casemate_enclave::rewrite::{
    Class, Entry, MAX_SITES, Plan, Reason, RewriteError, SiteKind, Wanted, apply, island_size, scan,
};

const BASE: u64 = 0x40_0000;
const ISLAND: u64 = 0x50_0000;
const ENTRY: Entry = Entry { syscall: 0x10, cpuid: 0x18, rdtsc: 0x20, rdtscp: 0x28 };
/// `ret`, and room for what follows.
const RET: u8 = 0xc3;

fn plan(code: &[u8]) -> Plan {
    scan(code, BASE, &[BASE], Wanted::ALL)
}

/// The class and the window, as offsets, of the one site.
fn window(code: &[u8]) -> Option<(Class, u64, u64)> {
    let plan = plan(code);
    assert!(plan.sites().len() + plan.left().len() == 1, "{plan:x?}");
    let site = plan.sites().first()?;
    Some((site.class, site.window.start - BASE, site.window.end - BASE))
}

fn reason(code: &[u8]) -> Reason {
    let plan = plan(code);
    assert!(plan.is_empty() && plan.left().len() == 1, "{plan:x?}");
    plan.left()[0].reason
}

#[test]
fn one_long_instruction_before() {
    // endbr64; mov eax, 39; syscall; ret
    let code = [0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, RET];
    assert_eq!(window(&code), Some((Class::A, 4, 11)));
    let mut patched = code;
    let island = apply(&plan(&code), &mut patched, BASE, ISLAND, ENTRY).expect("in reach");
    // jmp to the island; the syscall stays.
    let distance = u32::try_from(ISLAND - (BASE + 9)).expect("small").to_le_bytes();
    assert_eq!(patched[..4], code[..4]);
    assert_eq!(patched[4], 0xe9);
    assert_eq!(patched[5..9], distance);
    assert_eq!(patched[9..], code[9..]);
    // mov eax, 39; lea rcx, [rip + back]; jmp *%gs:0x10
    let back = u32::try_from(ISLAND + 12 - (BASE + 11)).expect("small").wrapping_neg().to_le_bytes();
    let expected =
        [&code[4..9], &[0x48, 0x8d, 0x0d], &back, &[0x65, 0xff, 0x24, 0x25, 0x10, 0, 0, 0]].concat();
    assert_eq!(island.code, expected);
    assert_eq!(island.original_of(ISLAND), Some(BASE + 4));
    assert_eq!(island.original_of(ISLAND + 5), Some(BASE + 9));
    assert_eq!(island.original_of(ISLAND + 12), Some(BASE + 9));
    assert_eq!(island.original_of(ISLAND + 1), None);
    assert_eq!(island.resume_at(BASE + 9), None);
}

#[test]
fn several_instructions_before() {
    // mov rdi, rsi; mov eax, edx; syscall; ret
    assert_eq!(window(&[0x48, 0x89, 0xf7, 0x89, 0xd0, 0x0f, 0x05, RET]), Some((Class::B, 0, 7)));
    // mov eax, edx; inc eax; syscall; ret: four bytes, so that the syscall goes too
    let code = [0x89, 0xd0, 0xff, 0xc0, 0x0f, 0x05, RET];
    assert_eq!(window(&code), Some((Class::B, 0, 6)));
    let mut patched = code;
    let island = apply(&plan(&code), &mut patched, BASE, ISLAND, ENTRY).expect("in reach");
    assert_eq!(patched[5..], [0xcc, RET]);
    // Four bytes, lea, jmp, then the syscall to restart at, then rcx as the program expects it.
    assert_eq!(island.code[4 + 15..4 + 17], [0x0f, 0x05]);
    assert_eq!(island.original_of(ISLAND + 4 + 17), Some(BASE + 6));
    assert_eq!(island.resume_at(BASE), None);
    assert_eq!(island.resume_at(BASE + 2), Some(ISLAND + 2));
    assert_eq!(island.resume_at(BASE + 4), Some(ISLAND + 4));
    assert_eq!(island.code.len(), 4 + 15 + 2 + 7 + 5);
    assert!(island.code.len() <= island_size(&plan(&code)));
}

#[test]
fn instructions_after() {
    // syscall; cmp rax, -4095; ret
    let code = [0x0f, 0x05, 0x48, 0x3d, 1, 0xf0, 0xff, 0xff, RET];
    assert_eq!(window(&code), Some((Class::C, 0, 8)));
    let mut patched = code;
    let island = apply(&plan(&code), &mut patched, BASE, ISLAND, ENTRY).expect("in reach");
    assert_eq!(patched[5..], [0xcc, 0xcc, 0xcc, RET]);
    assert_eq!(island.resume_at(BASE), None);
    assert_eq!(island.resume_at(BASE + 2), Some(ISLAND + 15 + 2 + 7));
    // cpuid needs no place to restart at.
    let code = [0x0f, 0xa2, 0x48, 0x3d, 1, 0xf0, 0xff, 0xff, RET];
    let mut patched = code;
    let island = apply(&plan(&code), &mut patched, BASE, ISLAND, ENTRY).expect("in reach");
    assert_eq!(island.code[..3], [0x48, 0x8d, 0x1d]);
    assert_eq!(island.code.len(), 15 + 6 + 5);
}

#[test]
fn no_window() {
    assert_eq!(reason(&[0x0f, 0x05, RET]), Reason::NoWindow);
    // At the end of the segment, with nothing before.
    assert_eq!(reason(&[0x0f, 0x05]), Reason::NoWindow);
    // endbr64 stays where it is.
    assert_eq!(reason(&[0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x05, RET]), Reason::NoWindow);
    // A branch, a locked instruction and an address relative to eip do not move.
    assert_eq!(reason(&[0xe8, 0, 0x10, 0, 0, 0x0f, 0x05, RET]), Reason::NoWindow);
    assert_eq!(reason(&[0xf0, 0x83, 0x05, 0, 1, 0, 0, 1, 0x0f, 0x05, RET]), Reason::NoWindow);
    assert_eq!(reason(&[0x67, 0x48, 0x8d, 0x05, 0, 1, 0, 0, 0x0f, 0x05, RET]), Reason::NoWindow);
}

#[test]
fn the_next_function_is_no_part_of_a_window() {
    // mov eax, 39 | syscall; ret, and syscall; nop | nop; nop; ret
    let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, RET];
    assert_eq!(scan(&code, BASE, &[BASE, BASE + 5], Wanted::ALL).left().len(), 1);
    let code = [0x0f, 0x05, 0x90, 0x90, 0x90, RET];
    assert_eq!(scan(&code, BASE, &[BASE], Wanted::ALL).sites().len(), 1);
    assert_eq!(scan(&code, BASE, &[BASE, BASE + 3], Wanted::ALL).left().len(), 1);
}

#[test]
fn branches_into_a_window() {
    // je +2 over `mov rdi, rsi` into the middle; mov rdi, rsi; mov eax, edx; syscall; ret
    let code = |jump: &[u8]| [jump, &[0x48, 0x89, 0xf7, 0x89, 0xd0, 0x0f, 0x05, RET]].concat();
    assert_eq!(reason(&code(&[0x74, 3])), Reason::BranchTarget);
    // To the beginning of the window, and to the syscall itself, which stays.
    assert_eq!(window(&code(&[0x74, 0])), Some((Class::B, 2, 9)));
    assert_eq!(window(&code(&[0x74, 5])), Some((Class::B, 2, 9)));
    // From far away, and from after the window.
    assert_eq!(reason(&code(&[0x0f, 0x84, 3, 0, 0, 0])), Reason::BranchTarget);
    assert_eq!(reason(&[code(&[]), vec![0xeb, 0xf9]].concat()), Reason::BranchTarget);
    let far = [code(&[]), vec![0x90; 300], vec![0xe9], (-310_i32).to_le_bytes().to_vec()].concat();
    assert_eq!(reason(&far), Reason::BranchTarget);
    // Class A does not mind.
    assert_eq!(window(&[0x74, 2, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, RET]), Some((Class::A, 2, 9)));
}

#[test]
fn two_sites_share_nothing() {
    // mov eax, 39; syscall; syscall; ret
    let plan = plan(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x05, RET]);
    assert_eq!(plan.sites().len(), 1);
    assert_eq!((plan.left()[0].address, plan.left()[0].reason), (BASE + 7, Reason::NoWindow));
}

#[test]
fn bytes_that_are_no_instruction() {
    // mov eax, 0x050f; mov rax, [rip + 0x0000050f]; ret
    let plan = plan(&[0xb8, 0x0f, 0x05, 0, 0, 0x48, 0x8b, 0x05, 0x0f, 0x05, 0, 0, RET]);
    assert!(plan.is_empty() && plan.left().is_empty(), "{plan:x?}");
}

#[test]
fn after_bytes_that_are_no_code_nothing_is_certain() {
    let site = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, RET];
    let code = [&[0x06][..], &[0x90; 40], &site].concat();
    assert_eq!(reason(&code), Reason::Uncertain);
    // Unless a function is known to begin there, or enough of code has passed.
    assert_eq!(scan(&code, BASE, &[BASE, BASE + 41], Wanted::ALL).sites().len(), 1);
    assert_eq!(window(&[&[0x06][..], &[0x90; 400], &site].concat()), Some((Class::A, 401, 408)));
    // Nor before them.
    let code = [&site[..], &[0x06; 40]].concat();
    assert_eq!(reason(&code), Reason::Uncertain);
    assert_eq!(scan(&code, BASE, &[BASE, BASE + 8], Wanted::ALL).sites().len(), 1);
}

#[test]
fn readings_that_never_meet() {
    // From its first byte `mov rax, imm64`; from its last one `cmp eax, imm32; syscall; nop; nop; nop`.
    let quiet = [0x48, 0xb8, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x3d];
    let loud = [0x48, 0xb8, 0x90, 0x90, 0x0f, 0x05, 0x90, 0x90, 0x90, 0x3d];
    let code = [quiet.repeat(200), loud.repeat(10), vec![0x90; 300]].concat();
    let plan = scan(&code, BASE, &[], Wanted::ALL);
    assert!(plan.is_empty() && plan.left().len() == 10, "{plan:x?}");
    assert!(plan.left().iter().all(|left| left.reason == Reason::Uncertain));
    // A known beginning says which it is.
    assert!(scan(&code, BASE, &[BASE + 1900], Wanted::ALL).left().is_empty());
    assert_eq!(scan(&code, BASE, &[BASE + 1909], Wanted::ALL).sites().len(), 10);
}

#[test]
fn only_what_is_wanted() {
    let code = [
        0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xb8, 0, 0, 0, 0, 0x0f, 0xa2, 0xbf, 0, 0, 0, 0, 0x0f, 0x01, 0xf9, RET,
    ];
    let kinds =
        |wanted| scan(&code, BASE, &[], wanted).sites().iter().map(|site| site.kind).collect::<Vec<_>>();
    let none = Wanted { syscall: false, cpuid: false, rdtsc: false };
    assert_eq!(kinds(none), []);
    assert_eq!(kinds(Wanted { cpuid: true, ..none }), [SiteKind::Cpuid]);
    assert_eq!(kinds(Wanted::ALL), [SiteKind::Syscall, SiteKind::Cpuid, SiteKind::Rdtscp]);
}

#[test]
fn memory_out_of_the_islands_reach() {
    // mov rax, [rip + 2 GiB]; syscall; ret, with the island below
    let code = [0x48, 0x8b, 0x05, 0xff, 0xff, 0xff, 0x7f, 0x0f, 0x05, RET];
    let plan = plan(&code);
    let mut patched = code;
    let island = apply(&plan, &mut patched, BASE, BASE - 0x1000, ENTRY).expect("in reach");
    assert_eq!(patched, code);
    assert!(island.patched.is_empty() && island.code.is_empty());
    assert_eq!((island.left[0].address, island.left[0].reason), (BASE + 7, Reason::OutOfReach));
    assert_eq!(apply(&plan, &mut patched, BASE, BASE + 0x1000, ENTRY).expect("in reach").patched.len(), 1);
}

#[test]
fn what_cannot_be_applied_changes_nothing() {
    let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, RET];
    let plan = plan(&code);
    let mut other = code;
    for island in [BASE + (1 << 31), u64::MAX - 8, BASE, BASE + 7, BASE - 1] {
        assert_eq!(apply(&plan, &mut other, BASE, island, ENTRY), Err(RewriteError::Island(island)));
    }
    assert_eq!(
        apply(&plan, &mut other, BASE + 1, ISLAND, ENTRY),
        Err(RewriteError::OtherSegment { address: BASE + 1, len: 8 })
    );
    assert_eq!(other, code);
    other[6] = 0xa2;
    assert_eq!(apply(&plan, &mut other, BASE, ISLAND, ENTRY), Err(RewriteError::Changed(BASE + 5)));
    other = code;
    other[0] = 0xe8;
    assert_eq!(apply(&plan, &mut other, BASE, ISLAND, ENTRY), Err(RewriteError::Changed(BASE + 5)));
}

#[test]
fn a_segment_full_of_sites_is_cut_short() {
    let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05].repeat(MAX_SITES + 10);
    let plan = scan(&code, BASE, &[BASE], Wanted::ALL);
    assert_eq!(plan.sites().len(), MAX_SITES);
    assert!(!plan.is_complete());
    assert!(!scan(&code, u64::MAX - 10, &[], Wanted::ALL).is_complete());
}

#[test]
fn a_restorer_begins_one_byte_behind_its_unwind_entry() {
    // nopl 0(%rax), whose last byte is the unwind table's start; mov $15, %rax; syscall; nop
    let code = [0x0f, 0x1f, 0x40, 0x00, 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05, 0x90];
    let plan = scan(&code, 0x1000, &[0x1000, 0x1003], Wanted::ALL);
    assert_eq!(plan.sites().len(), 1);
    assert_eq!(plan.sites()[0].window, 0x1004..0x100d);
}
