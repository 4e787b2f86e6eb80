//! What the processor says of itself, for the programs inside: CPUID faults in an enclave.

use std::arch::x86_64::{__cpuid_count, CpuidResult};

use casemate_enclave_abi::CpuidEntry;

/// Basic leaves without subleaves that programs ask for: vendor, features, caches, frequencies.
const PLAIN: [u32; 5] = [0, 1, 2, 0x15, 0x16];
/// Leaves whose subleaves go on until one describes nothing: caches and topology.
const LISTS: [u32; 3] = [4, 0xb, 0x1f];
/// Subleaves of leaf 7, extended features.
const FEATURES: [u32; 3] = [0, 1, 2];
/// Subleaves of leaf 0xd, state components: sizes, XSAVEC, and the components that an enclave may have.
const COMPONENTS: [u32; 7] = [0, 1, 2, 5, 6, 7, 9];
/// First of the extended leaves.
const EXTENDED: u32 = 0x8000_0000;
/// Last of the extended leaves that programs ask for.
const EXTENDED_LAST: u32 = 0x8000_0008;
/// Caches, as AMD lists them.
const EXTENDED_CACHES: u32 = 0x8000_001d;
/// No processor has a list that long.
const MOST: u32 = 16;

/// The table for the start-up block. Hypervisors' leaves are left out.
pub(crate) fn table() -> Vec<CpuidEntry> {
    let mut entries = Vec::new();
    let last = __cpuid_count(0, 0).eax;
    let mut add = |leaf, subleaf| entries.push(entry(leaf, subleaf, __cpuid_count(leaf, subleaf)));
    for leaf in PLAIN.into_iter().filter(|leaf| *leaf <= last) {
        add(leaf, 0);
    }
    for (leaf, subleaves) in [(7, FEATURES.as_slice()), (0xd, COMPONENTS.as_slice())] {
        for subleaf in subleaves.iter().filter(|_| leaf <= last) {
            add(leaf, *subleaf);
        }
    }
    let last_extended = __cpuid_count(EXTENDED, 0).eax;
    for leaf in (EXTENDED..=EXTENDED_LAST).filter(|leaf| *leaf <= last_extended) {
        add(leaf, 0);
    }
    for leaf in LISTS.into_iter().filter(|leaf| *leaf <= last) {
        list(&mut entries, leaf);
    }
    if EXTENDED_CACHES <= last_extended {
        list(&mut entries, EXTENDED_CACHES);
    }
    entries
}

/// Adds the subleaves of a leaf, with the one that ends the list.
fn list(entries: &mut Vec<CpuidEntry>, leaf: u32) {
    for subleaf in 0..MOST {
        let found = entry(leaf, subleaf, __cpuid_count(leaf, subleaf));
        entries.push(found);
        let kind = match leaf {
            0xb | 0x1f => found.ecx >> 8 & 0xff,
            _ => found.eax & 0x1f,
        };
        if kind == 0 {
            return;
        }
    }
}

fn entry(leaf: u32, subleaf: u32, result: CpuidResult) -> CpuidEntry {
    let CpuidResult { eax, ebx, ecx, edx } = result;
    CpuidEntry { leaf, subleaf, eax, ebx, ecx, edx }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_this_processor_once_a_leaf() {
        let table = table();
        let vendor = table.iter().find(|entry| entry.leaf == 0).unwrap();
        assert_ne!(vendor.ebx, 0);
        let mut keys: Vec<_> = table.iter().map(|entry| (entry.leaf, entry.subleaf)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), table.len());
        assert!(keys.contains(&(7, 0)) && keys.contains(&(0xd, 1)));
        assert!(table.iter().all(|entry| entry.leaf >> 16 != 0x4000));
    }
}
