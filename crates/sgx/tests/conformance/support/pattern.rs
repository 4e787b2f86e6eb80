//! Known contents of every register, for instructions under test.

use casemate_sgx::arch::Xfrm;

/// A block as the program takes it: an XSAVE area in standard form, general registers, flags, the components to load.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
pub(crate) struct Pattern {
    pub(crate) xsave: [u8; 4096],
    /// In the order of GPRSGX: rax rcx rdx rbx rsp rbp rsi rdi r8 to r15.
    pub(crate) registers: [u64; 16],
    pub(crate) rflags: u64,
    pub(crate) xfrm: u64,
}

/// Carry, parity, sign, overflow and direction, with what is always set.
pub(crate) const FLAGS: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 11;

/// Positions of RBX and RCX.
pub(crate) const RCX: usize = 1;
pub(crate) const RBX: usize = 3;

/// Offsets of components in the standard form, where a processor has them (CPUID.0DH).
fn component(bit: u32) -> (usize, usize) {
    let leaf = std::arch::x86_64::__cpuid_count(0xd, bit);
    let size = |value: u32| usize::try_from(value).expect("64-bit");
    (size(leaf.ebx), size(leaf.eax))
}

impl Pattern {
    /// Every register different, from a seed; MXCSR and the x87 control word as the ABI has them, but rounding down.
    pub(crate) fn new(xfrm: u64, seed: u8) -> Box<Self> {
        let mut pattern = Box::new(Self { xsave: [0; 4096], registers: [0; 16], rflags: FLAGS, xfrm });
        for (index, register) in (0_u8..).zip(&mut pattern.registers) {
            *register = u64::from_le_bytes([seed ^ (0x10 + index); 8]) & 0x7fff_ffff_ffff;
        }
        let area = &mut pattern.xsave;
        area[0..2].copy_from_slice(&0x077f_u16.to_le_bytes());
        // Two registers of the x87 in use: the top at 6.
        area[2..4].copy_from_slice(&(6_u16 << 11).to_le_bytes());
        area[4] = 0b1100_0000;
        area[24..28].copy_from_slice(&0x3f80_u32.to_le_bytes());
        area[28..32].copy_from_slice(&0xffff_u32.to_le_bytes());
        for index in 0..2_usize {
            let register = &mut area[32 + 16 * index..][..10];
            register.copy_from_slice(&[seed, 2, 3, 4, 5, 6, 7, 0x80 | seed, 0, 0x40]);
        }
        for (byte, at) in (0_u8..=255).zip(160..416) {
            area[at] = byte ^ seed;
        }
        for bit in [Xfrm::AVX, Xfrm::OPMASK, Xfrm::ZMM_HI256, Xfrm::HI16_ZMM] {
            if xfrm & bit.bits() != 0 {
                let (start, length) = component(bit.bits().trailing_zeros());
                for (byte, place) in (seed..=255).cycle().zip(&mut area[start..start + length]) {
                    *place = byte | 1;
                }
            }
        }
        area[512..520].copy_from_slice(&xfrm.to_le_bytes());
        pattern
    }

    pub(crate) fn address(&self) -> u64 {
        super::machine::address(std::ptr::from_ref(self).cast_mut())
    }

    /// What the program stored behind an instruction under test.
    pub(crate) fn from_gs_page(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let mut xsave = [0; 4096];
        xsave[..0xc00].copy_from_slice(&bytes[0x400..]);
        let mut registers = [0; 16];
        for (index, register) in registers.iter_mut().enumerate() {
            *register = word(0x300 + 8 * index);
        }
        Self { xsave, registers, rflags: word(0x380), xfrm: word(0x88) }
    }

    /// What differs from what was loaded, by name. The legacy area's last 96 bytes are nobody's.
    pub(crate) fn differences(&self, loaded: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (index, (left, right)) in self.registers.iter().zip(&loaded.registers).enumerate() {
            if left != right {
                differences.push(format!("register {index}: {left:#x} and {right:#x}"));
            }
        }
        if self.rflags != loaded.rflags {
            differences.push(format!("flags: {:#x} and {:#x}", self.rflags, loaded.rflags));
        }
        differences.extend(differences_of_xsave(&self.xsave, &loaded.xsave, self.xfrm));
        differences
    }
}

/// Differences of two XSAVE areas, by component.
pub(crate) fn differences_of_xsave(left: &[u8], right: &[u8], xfrm: u64) -> Vec<String> {
    let mut ranges = vec![
        ("x87 control, status and tag".to_owned(), 0..5),
        ("MXCSR".to_owned(), 24..28),
        ("x87 registers".to_owned(), 32..160),
        ("xmm".to_owned(), 160..416),
        ("XSTATE_BV".to_owned(), 512..520),
    ];
    for bit in [Xfrm::AVX, Xfrm::OPMASK, Xfrm::ZMM_HI256, Xfrm::HI16_ZMM] {
        if xfrm & bit.bits() != 0 {
            let number = bit.bits().trailing_zeros();
            let (start, length) = component(number);
            ranges.push((format!("component {number}"), start..start + length));
        }
    }
    ranges
        .into_iter()
        .filter(|(_, range)| left[range.clone()] != right[range.clone()])
        .map(|(name, range)| format!("{name}: {:x?} and {:x?}", &left[range.clone()], &right[range]))
        .collect()
}
