//! `cpuid` for guest code: what the host says of the processor, less what an enclave cannot use.

use casemate_enclave_abi::CpuidEntry;
use spin::Once;

use crate::arch::frame::Frame;

/// What the host said, copied in at boot.
static TABLE: Once<alloc::vec::Vec<CpuidEntry>> = Once::new();

/// Takes the host's table into use.
pub(crate) fn init(table: alloc::vec::Vec<CpuidEntry>) {
    TABLE.call_once(|| table);
}

/// Components that an enclave of ours may use (XFRM): x87, SSE, AVX, AVX-512.
const XFRM: u32 = 0b1110_0111;

/// The answer of the processor as far as it is known; zeros otherwise, as for a leaf that does not exist.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidEntry {
    let entries = TABLE.get().map_or(&[][..], |table| table.as_slice());
    let with_leaf = |entry: &&CpuidEntry| entry.leaf == leaf;
    let found = entries
        .iter()
        .filter(with_leaf)
        .find(|entry| entry.subleaf == subleaf)
        .or_else(|| if has_subleaves(leaf) { None } else { entries.iter().find(with_leaf) });
    let none = CpuidEntry { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    filter(found.copied().unwrap_or(none))
}

fn has_subleaves(leaf: u32) -> bool {
    matches!(leaf, 4 | 7 | 0xb | 0xd | 0xf | 0x10 | 0x12 | 0x14 | 0x18 | 0x1f | 0x8000_001d)
}

/// Takes away what does not work inside.
fn filter(mut entry: CpuidEntry) -> CpuidEntry {
    match (entry.leaf, entry.subleaf) {
        // No hypervisor leaves, no MONITOR, no VMX, no SMX.
        (1, _) => entry.ecx &= !(1 << 31 | 1 << 3 | 1 << 5 | 1 << 6),
        // No SGX inside SGX, no transactions (every exit aborts them), no protection keys.
        (7, 0) => {
            entry.ebx &= !(1 << 2 | 1 << 4 | 1 << 11);
            entry.ecx &= !(1 << 3 | 1 << 4 | 1 << 7 | 1 << 30);
            // No AMX, no CET.
            entry.edx &= !(1 << 20 | 1 << 22 | 1 << 24 | 1 << 25);
        }
        (0xd, 0) => entry.eax &= XFRM,
        _ => {}
    }
    entry
}

/// A rewritten `cpuid` of guest code.
#[unsafe(no_mangle)]
extern "C" fn cpuid_dispatch(frame: &mut Frame) {
    let low = |register: u64| u32::try_from(register & 0xffff_ffff).unwrap_or(0);
    let answer = cpuid(low(frame.rax), low(frame.rcx));
    frame.rax = u64::from(answer.eax);
    frame.rbx = u64::from(answer.ebx);
    frame.rcx = u64::from(answer.ecx);
    frame.rdx = u64::from(answer.edx);
}
