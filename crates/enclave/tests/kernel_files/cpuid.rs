//! A processor without features.

use casemate_enclave_abi::CpuidEntry;

pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidEntry {
    CpuidEntry { leaf, subleaf, eax: 0x41, ebx: 0x41, ecx: 0x41, edx: 0x41 }
}
