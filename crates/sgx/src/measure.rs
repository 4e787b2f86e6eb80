//! MRENCLAVE: the digest of how an enclave was built.
//!
//! SHA-256 over one 64-byte record for ECREATE and for each EADD, and a record with 256 bytes of contents for
//! each EEXTEND, in the order of the instructions (SDM vol. 3D, the instructions' pages).

use sha2::{Digest as _, Sha256};
use zerocopy::IntoBytes as _;

use crate::arch::{EEXTEND_SIZE, PAGE_SIZE, PageType, Permissions, SecInfo, SecInfoFlags};

/// Length of a record.
const RECORD: usize = 64;

/// How much of SECINFO is measured: what of an EADD record follows tag and offset.
const SECINFO_MEASURED: usize = RECORD - 16;

/// A measurement under way.
#[derive(Clone, Debug)]
pub struct Measurement {
    hash: Sha256,
}

impl Measurement {
    /// ECREATE of an enclave of `size` bytes with state frames of `ssa_frame_size` pages.
    #[must_use]
    pub fn create(ssa_frame_size: u32, size: u64) -> Self {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(b"ECREATE\0");
        record[8..12].copy_from_slice(&ssa_frame_size.to_le_bytes());
        record[12..20].copy_from_slice(&size.to_le_bytes());
        Self { hash: Sha256::new_with_prefix(record) }
    }

    /// EADD of a page at `offset` bytes from the enclave's base.
    pub fn add(&mut self, offset: u64, secinfo: &SecInfo) {
        let mut secinfo = *secinfo;
        if secinfo.page_type() == Some(PageType::Tcs) {
            // The processor clears them before it measures (SDM vol. 3D, EADD, "Operation").
            secinfo.flags.remove(SecInfoFlags::from_bits_retain(Permissions::RWX.bits().into()));
        }
        let mut record = record(b"EADD\0\0\0\0", offset);
        record[16..].copy_from_slice(&secinfo.as_bytes()[..SECINFO_MEASURED]);
        self.hash.update(record);
    }

    /// EEXTEND of the 256 bytes at `offset` from the enclave's base.
    pub fn extend(&mut self, offset: u64, data: &[u8; EEXTEND_SIZE]) {
        self.hash.update(record(b"EEXTEND\0", offset));
        self.hash.update(data);
    }

    /// EEXTEND of a whole page, from the lowest address up, as Linux does it.
    pub fn extend_page(&mut self, offset: u64, page: &[u8; PAGE_SIZE]) {
        let (chunks, _) = page.as_chunks::<EEXTEND_SIZE>();
        let offsets = (offset..).step_by(EEXTEND_SIZE);
        for (offset, chunk) in offsets.zip(chunks) {
            self.extend(offset, chunk);
        }
    }

    /// MRENCLAVE, as EINIT computes it.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

/// A record of this kind about the bytes at this offset.
fn record(tag: &[u8; 8], offset: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(tag);
    record[8..16].copy_from_slice(&offset.to_le_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_sixteen_chunks_in_order() {
        let mut page = [0; PAGE_SIZE];
        for (i, byte) in page.iter_mut().enumerate() {
            *byte = i.to_le_bytes()[1];
        }
        let mut whole = Measurement::create(1, 0x10000);
        whole.extend_page(0x2000, &page);
        let mut chunks = Measurement::create(1, 0x10000);
        for i in 0..16_u8 {
            chunks.extend(0x2000 + u64::from(i) * 256, &[i; 256]);
        }
        assert_eq!(whole.finish(), chunks.finish());
    }

    #[test]
    fn everything_counts() {
        let base = || Measurement::create(1, 0x10000);
        let digest = |build: &dyn Fn(&mut Measurement)| {
            let mut measurement = base();
            build(&mut measurement);
            measurement.finish()
        };
        let reg = SecInfo::reg(Permissions::RW);
        let mut all = [
            digest(&|_| ()),
            Measurement::create(2, 0x10000).finish(),
            Measurement::create(1, 0x20000).finish(),
            digest(&|m| m.add(0, &reg)),
            digest(&|m| m.add(0x1000, &reg)),
            digest(&|m| m.add(0, &SecInfo::tcs())),
            digest(&|m| m.add(0, &SecInfo::reg(Permissions::RX))),
            digest(&|m| m.extend(0, &[0; 256])),
            digest(&|m| m.extend(0, &[1; 256])),
        ];
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn tcs_permissions_do_not_count() {
        let mut plain = Measurement::create(1, 0x10000);
        plain.add(0, &SecInfo::tcs());
        let mut with = Measurement::create(1, 0x10000);
        with.add(0, &SecInfo::new(PageType::Tcs, Permissions::RW));
        assert_eq!(plain.finish(), with.finish());
    }
}
