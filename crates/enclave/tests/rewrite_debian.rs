//! The rewriter over programs and libraries of this machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use casemate_enclave::elf;
use casemate_enclave::rewrite::{Entry, Island, Plan, Wanted, apply, island_size, scan};
use iced_x86::{Decoder, DecoderOptions, Instruction};

const ENTRY: Entry = Entry { syscall: 8, cpuid: 16, rdtsc: 24, rdtscp: 32 };
/// Where the files are put; the island goes a little above.
const BASE: u64 = 0x7f00_0000_0000;

struct Code {
    address: u64,
    bytes: Vec<u8>,
}

/// The executable segments of a file and where its functions begin.
fn load(path: &str) -> Option<(Vec<Code>, Vec<u64>)> {
    let file = std::fs::read(path).ok()?;
    let program = elf::parse(&file, file.len() as u64).unwrap_or_else(|error| panic!("{path}: {error}"));
    let bytes = |offset: u64, len: u64| {
        let (start, len) = (usize::try_from(offset).expect("offset"), usize::try_from(len).expect("length"));
        &file[start..start + len]
    };
    let bias = if program.kind == elf::Kind::Movable { BASE } else { 0 };
    let code = program.segments.iter().filter(|segment| segment.execute).map(|segment| Code {
        address: bias + segment.address,
        bytes: bytes(segment.file.offset, segment.file.len).to_vec(),
    });
    let starts = program.eh_frame_hdr.and_then(|range| {
        let holder = program
            .segments
            .iter()
            .find(|segment| segment.address <= range.address && range.address + range.len <= segment.end())?;
        let header = bytes(holder.file.offset + (range.address - holder.address), range.len);
        elf::function_starts(header, bias + range.address)
    });
    Some((code.collect(), starts.unwrap_or_default()))
}

fn report(path: &str, how: &str, plan: &Plan, took: Duration) {
    let mut classes = BTreeMap::new();
    for site in plan.sites() {
        *classes.entry((site.kind, site.class)).or_insert(0) += 1;
    }
    println!("{path} ({how}): {} sites {classes:?}, left {:x?}, {took:?}", plan.sites().len(), plan.left());
}

/// Scans and rewrites each executable segment with and without function starts; the sites found and left, with starts.
fn rewrite(path: &str) -> Option<(usize, usize)> {
    let (segments, starts) = load(path)?;
    let mut count = (0, 0);
    for mut segment in segments {
        let (Code { address, bytes }, wanted) = (&mut segment, Wanted::ALL);
        let begin = Instant::now();
        let plan = scan(bytes, *address, &starts, wanted);
        report(path, &format!("{} bytes, {} starts", bytes.len(), starts.len()), &plan, begin.elapsed());
        let begin = Instant::now();
        let bare = scan(bytes, *address, &[], wanted);
        report(path, "no starts", &bare, begin.elapsed());
        assert!(plan.is_complete());
        // Both ways see the same instructions.
        let all = |plan: &Plan| {
            let sites = plan.sites().iter().map(|site| (site.address, site.kind));
            let mut all: Vec<_> =
                sites.chain(plan.left().iter().map(|left| (left.address, left.kind))).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(all(&plan), all(&bare), "{path}");
        count = (count.0 + plan.sites().len(), count.1 + plan.left().len());

        let before = bytes.clone();
        let island_address = (*address + bytes.len() as u64).next_multiple_of(4096) + (64 << 20);
        let begin = Instant::now();
        let island = apply(&plan, bytes, *address, island_address, ENTRY).expect("the island is in reach");
        println!("{path}: island of {} bytes, applied in {:?}", island.code.len(), begin.elapsed());
        assert!(island.code.len() <= island_size(&plan));
        assert_eq!((island.patched.len(), island.left.len()), (plan.sites().len(), 0));
        check_only_windows_changed(&before, bytes, *address, &plan);
        check_displaced(&before, *address, &plan, &island);
    }
    Some(count)
}

/// Each displaced instruction is in the island, with the same operands and the same target in memory.
fn check_displaced(code: &[u8], address: u64, plan: &Plan, island: &Island) {
    let mut moved: BTreeMap<u64, Vec<Instruction>> = BTreeMap::new();
    for instruction in &mut Decoder::with_ip(64, &island.code, island.address, DecoderOptions::NONE) {
        let original = island.original_of(instruction.ip());
        moved.entry(original.expect("each instruction stands for one")).or_default().push(instruction);
    }
    for (site, patched) in plan.sites().iter().zip(&island.patched) {
        assert_eq!((site, island.original_of(patched.trampoline)), (&patched.site, Some(site.window.start)));
        let offset = |at: u64| usize::try_from(at - address).expect("in the segment");
        let window = &code[offset(site.window.start)..offset(site.window.end)];
        for instruction in &mut Decoder::with_ip(64, window, site.window.start, DecoderOptions::NONE) {
            // The site itself is a `lea` and a jump there.
            let there = &moved[&instruction.ip()];
            assert!(
                instruction.ip() == site.address || there.contains(&instruction),
                "{instruction:x?}: {there:x?}"
            );
        }
    }
}

fn check_only_windows_changed(before: &[u8], after: &[u8], address: u64, plan: &Plan) {
    let mut windows = plan.sites().iter().peekable();
    for (offset, (old, new)) in before.iter().zip(after).enumerate() {
        let at = address + offset as u64;
        while windows.next_if(|site| site.window.end <= at).is_some() {}
        let overwritten = windows.peek().is_some_and(|site| {
            let end = if site.stays() { site.address } else { site.window.end };
            (site.window.start..end).contains(&at)
        });
        assert!(overwritten || old == new, "the byte at {at:#x} has changed");
    }
}

#[test]
fn every_site_of_the_c_library_is_rewritten() {
    for path in ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"] {
        if let Some((sites, left)) = rewrite(path) {
            assert!(sites > 20, "{path}: {sites} sites");
            assert_eq!(left, 0, "{path}");
        }
    }
}

#[test]
fn sites_of_other_programs() {
    for path in [
        "/lib/x86_64-linux-gnu/libpthread.so.0",
        "/lib/x86_64-linux-gnu/libgomp.so.1",
        "/lib/x86_64-linux-gnu/libcrypto.so.3",
        "/lib/ld-musl-x86_64.so.1",
        "/usr/bin/busybox",
        "/usr/bin/python3",
        "/usr/bin/runc",
        "/usr/bin/containerd",
    ] {
        match rewrite(path) {
            Some((sites, left)) => {
                println!("{path}: {sites} rewritten, {left} left to trap");
                // libcrypto has tables among its code; what looks like a site there must not be touched.
                let tables = path.contains("crypto");
                assert!(tables || left * 50 <= sites, "{path}: {left} of {sites} are left to trap");
            }
            None => println!("{path}: not here"),
        }
    }
}
