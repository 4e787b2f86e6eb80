//! The start-up block and the blob: what an honest host writes is read, what a hostile one writes is possible or refused.

use casemate_enclave_abi::{
    AtomicU64, BadStart, BlobWriter, CpuidEntry, Layout, Offset, Region, StartBlock, StringTable, Window,
    blob, split_strings, start,
};
use proptest::prelude::*;

const VCPUS: u64 = 2;
const ARENA: u64 = 3 * 4096;
const BLOB: u64 = 8192;

fn layout() -> Layout {
    Layout::new(VCPUS, ARENA, BLOB).unwrap().with_sockets(64).unwrap()
}

fn words() -> Vec<AtomicU64> {
    (0..layout().total() / 8).map(|_| AtomicU64::new(0)).collect()
}

const CPUID: [CpuidEntry; 2] = [
    CpuidEntry { leaf: 0, subleaf: 0, eax: 0x16, ebx: 0x756e_6547, ecx: 0x6c65_746e, edx: 0x4965_6e69 },
    CpuidEntry { leaf: 7, subleaf: 1, eax: u32::MAX, ebx: 1, ecx: 2, edx: 3 },
];

/// What an honest host does.
fn honest(window: Window<'_>) -> StartBlock {
    let layout = layout();
    let mut blob = BlobWriter::new(window, layout.blob());
    let strings = |strings: &'static [&'static str]| strings.iter().map(|string| string.as_bytes());
    let block = StartBlock {
        window_size: layout.total(),
        vcpus: VCPUS,
        heap_size: 1 << 30,
        flags: start::FLAG_EDMM | start::FLAG_EMULATED,
        uid: 1000,
        gid: 1001,
        euid: 0,
        egid: 5,
        pid: 4711,
        ppid: 0,
        umask: 0o022,
        hostname: blob.bytes(b"fort").unwrap(),
        program: blob.bytes(b"/bin/ls").unwrap(),
        cwd: blob.bytes(b"/").unwrap(),
        argv: blob.strings(strings(&["ls", "", "-l"])).unwrap(),
        env: blob.strings(strings(&["A=1", "PATH=/bin:/usr/bin"])).unwrap(),
        mounts: blob.strings(strings(&["rw:/srv", "tmpfs:/var/cache"])).unwrap(),
        cpuid: blob.cpuid(&CPUID).unwrap(),
        blob: layout.blob(),
        arena: layout.arena(),
        trace: 2,
        rows: 24,
        columns: 80,
        sockets: 64,
    };
    block.write(window).unwrap();
    block
}

/// The private copy that an enclave makes of strings, taken apart.
fn strings(window: Window<'_>, table: StringTable) -> Vec<Vec<u8>> {
    let mut copy = vec![0; usize::try_from(table.region.len).unwrap()];
    window.copy_in(table.region.offset, &mut copy).unwrap();
    split_strings(&copy, table.count).unwrap().map(<[u8]>::to_vec).collect()
}

#[test]
fn what_the_host_writes_the_enclave_reads() {
    let words = words();
    let window = Window::new(&words);
    let written = honest(window);
    let read = StartBlock::read(window).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.layout(), Some(layout()));
    assert_eq!(strings(window, read.argv), [&b"ls"[..], b"", b"-l"]);
    assert_eq!(strings(window, read.env), [&b"A=1"[..], b"PATH=/bin:/usr/bin"]);
    for (entry, index) in CPUID.into_iter().zip(0..) {
        assert_eq!(read.cpuid.get(window, index), Some(entry));
    }
    assert_eq!(read.cpuid.get(window, 2), None);
    let mut program = [0; 7];
    window.copy_in(read.program.offset, &mut program).unwrap();
    assert_eq!(&program, b"/bin/ls");
}

#[test]
fn a_blob_takes_what_fits() {
    let words = words();
    let window = Window::new(&words);
    let region = Region { offset: layout().blob().offset, len: 16 };
    let mut blob = BlobWriter::new(window, region);
    assert_eq!(blob.bytes(&[1; 17]), Err(blob::BlobError::Full));
    assert_eq!(blob.strings([&b"a\0b"[..]].into_iter()), Err(blob::BlobError::Nul));
    assert_eq!(blob.bytes(&[1; 9]).unwrap().len, 9);
    assert_eq!(blob.bytes(&[1; 1]), Err(blob::BlobError::Full));
    assert_eq!(blob.cpuid(&CPUID), Err(blob::BlobError::Full));
    let outside = Region { offset: Offset(window.len()), len: 64 };
    assert!(matches!(BlobWriter::new(window, outside).bytes(b"x"), Err(blob::BlobError::Outside(_))));
}

#[test]
fn each_lie_is_named() {
    let words = words();
    let window = Window::new(&words);
    let good = honest(window);
    let refused = |change: fn(&mut StartBlock)| {
        let mut block = good;
        change(&mut block);
        block.write(window).unwrap();
        StartBlock::read(window).unwrap_err()
    };
    let outside = Region { offset: layout().arena().offset, len: 8 };
    assert!(matches!(refused(|b| b.window_size += 8), BadStart::WindowSize { .. }));
    assert!(matches!(refused(|b| b.vcpus = 1), BadStart::WindowSize { .. }));
    assert!(matches!(refused(|b| b.vcpus = 17), BadStart::Layout { .. }));
    assert!(matches!(refused(|b| b.arena.len = u64::MAX), BadStart::Layout { .. }));
    assert!(matches!(refused(|b| b.arena.offset.0 += 4096), BadStart::Region { field: "arena", .. }));
    assert!(matches!(refused(|b| b.blob.offset.0 = 0), BadStart::Region { field: "blob", .. }));
    assert!(matches!(refused(|b| b.hostname.len = 65), BadStart::Region { field: "the host name", .. }));
    assert!(matches!(refused(|b| b.argv.region.len = u64::MAX), BadStart::Region { .. }));
    assert!(matches!(refused(|b| b.env.region.offset.0 = u64::MAX), BadStart::Region { .. }));
    assert!(matches!(refused(|b| b.cpuid.count = 1000), BadStart::Value { .. }));
    assert!(matches!(refused(|b| b.cpuid.count = 512), BadStart::Region { .. }));
    assert!(matches!(refused(|b| b.cpuid.offset.0 += 1), BadStart::Region { .. }));
    assert!(matches!(refused(|b| b.argv.count = 100), BadStart::Value { .. }));
    assert_eq!(refused(|b| b.flags = 1 << 5), BadStart::Value { field: "flags", value: 1 << 5 });
    assert!(matches!(refused(|b| b.heap_size += 1), BadStart::Value { .. }));
    assert!(matches!(refused(|b| b.uid = 0xffff_ffff), BadStart::Value { .. }));
    assert!(matches!(refused(|b| b.pid = 0), BadStart::Value { .. }));
    assert!(matches!(refused(|b| b.columns = 65_536), BadStart::Value { .. }));

    let mut block = good;
    block.cwd = outside;
    block.write(window).unwrap();
    let region = outside;
    assert_eq!(StartBlock::read(window), Err(BadStart::Region { field: "the working directory", region }));

    good.write(window).unwrap();
    window.store(Offset(8), 99).unwrap();
    assert_eq!(StartBlock::read(window), Err(BadStart::Version(99)));
    window.store(Offset(0), 1).unwrap();
    assert_eq!(StartBlock::read(window), Err(BadStart::Magic(1)));
    assert_eq!(StartBlock::read(window.slice(Offset(0), 264).unwrap()), Err(BadStart::Short));
}

proptest! {
    /// Whatever words of an honest block are changed to, what is accepted lies in the window.
    #[test]
    fn what_is_accepted_is_inside(
        changes in prop::collection::vec(
            (2_usize..34, prop_oneof![0_u64..100, any::<u64>(), (0_u64..100_000).prop_map(|n| n & !7)]), 1..4),
    ) {
        let words = words();
        let window = Window::new(&words);
        honest(window);
        for (word, value) in changes {
            window.store(Offset(u64::try_from(word).unwrap() * 8), value).unwrap();
        }
        let Ok(block) = StartBlock::read(window) else { return Ok(()) };
        let layout = block.layout().unwrap();
        prop_assert_eq!(layout.total(), window.len());
        prop_assert_eq!((block.blob, block.arena), (layout.blob(), layout.arena()));
        for index in 0..block.vcpus {
            let area = layout.vcpu(index).unwrap();
            for part in [area.control, area.submission, area.completion] {
                prop_assert!(window.region(part).is_some());
            }
        }
        for region in [block.hostname, block.program, block.cwd, block.argv.region, block.env.region] {
            prop_assert!(region.len == 0 || layout.blob().contains(region));
            let mut copy = vec![0; usize::try_from(region.len).unwrap()];
            prop_assert!(region.len == 0 || window.copy_in(region.offset, &mut copy).is_ok());
        }
        prop_assert!((0..block.cpuid.count).all(|index| block.cpuid.get(window, index).is_some()));
    }

    #[test]
    fn strings_of_any_bytes_are_what_they_are(bytes in prop::collection::vec(0_u8..4, 0..40), count in 0_u64..20) {
        let strings: Result<Vec<_>, _> = split_strings(&bytes, count).map(Iterator::collect);
        if let Ok(strings) = strings {
            prop_assert_eq!(u64::try_from(strings.len()).unwrap(), count);
            prop_assert!(strings.iter().all(|string| !string.contains(&0)));
            let joined: Vec<u8> = strings.iter().flat_map(|string| [*string, &[0]].concat()).collect();
            prop_assert_eq!(&joined, &bytes);
        }
    }
}
