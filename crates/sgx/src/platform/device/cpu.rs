//! What CPUID says of SGX (SDM vol. 3D, 36.7 "Discovering support for Intel SGX").

use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

/// The leaf that describes SGX.
const SGX: u32 = 0x12;

/// A range of protected memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpcSection {
    /// Physical address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// What the processor can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSgx {
    /// Enclaves at all.
    pub sgx1: bool,
    /// EDMM.
    pub sgx2: bool,
    /// EDECCSSA.
    pub edeccssa: bool,
    /// MISCSELECT.EXINFO.
    pub exinfo: bool,
    /// State components that enclaves may use.
    pub xfrm: u64,
    /// The largest enclave, log2 of bytes.
    pub max_size_log2: u8,
    /// Protected memory.
    pub epc: Vec<EpcSection>,
}

impl CpuSgx {
    /// Asks this processor. `None` where it has no SGX, or the firmware has switched it off.
    #[must_use]
    pub fn probe() -> Option<Self> {
        let highest = __cpuid(0).eax;
        // CPUID.7.0:EBX.SGX
        if highest < SGX || __cpuid_count(7, 0).ebx >> 2 & 1 == 0 {
            return None;
        }
        Some(Self::decode(|subleaf| __cpuid_count(SGX, subleaf)))
    }

    fn decode(leaf: impl Fn(u32) -> CpuidResult) -> Self {
        let capability = leaf(0);
        let attributes = leaf(1);
        let bit = |register: u32, bit: u32| register >> bit & 1 == 1;
        // Sections follow from the second subleaf on, until one is of type 0.
        let sections = (2..64).map(leaf).take_while(|section| section.eax & 0xf != 0);
        Self {
            sgx1: bit(capability.eax, 0),
            sgx2: bit(capability.eax, 1),
            edeccssa: bit(capability.eax, 11),
            exinfo: bit(capability.ebx, 0),
            xfrm: u64::from(attributes.edx) << 32 | u64::from(attributes.ecx),
            max_size_log2: capability.edx.to_le_bytes()[1],
            epc: sections.filter(|section| section.eax & 0xf == 1).map(section).collect(),
        }
    }
}

fn section(leaf: CpuidResult) -> EpcSection {
    let value = |low: u32, high: u32| u64::from(high & 0xf_ffff) << 32 | u64::from(low & 0xffff_f000);
    EpcSection { start: value(leaf.eax, leaf.ebx), size: value(leaf.ecx, leaf.edx) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_read_as_the_manual_lays_them_out() {
        let leaf = |subleaf| match subleaf {
            0 => CpuidResult { eax: 0x803, ebx: 1, ecx: 0, edx: 0x381f },
            1 => CpuidResult { eax: 0x36, ebx: 0, ecx: 0xe7, edx: 1 },
            2 => CpuidResult { eax: 0x4000_0001, ebx: 0x10, ecx: 0x7e00_1001, edx: 0x1f },
            3 => CpuidResult { eax: 2, ebx: 0, ecx: 0x1000, edx: 0 },
            _ => CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 },
        };
        let cpu = CpuSgx::decode(leaf);
        assert!(cpu.sgx1 && cpu.sgx2 && cpu.edeccssa && cpu.exinfo);
        assert_eq!((cpu.xfrm, cpu.max_size_log2), (0x1_0000_00e7, 0x38));
        assert_eq!(cpu.epc, [EpcSection { start: 0x10_4000_0000, size: 0x1f_7e00_1000 }]);
    }

    #[test]
    fn a_list_without_end_ends() {
        let leaf = |_| CpuidResult { eax: 1, ebx: 0, ecx: 0x1000, edx: 0 };
        assert_eq!(CpuSgx::decode(leaf).epc.len(), 62);
    }
}
