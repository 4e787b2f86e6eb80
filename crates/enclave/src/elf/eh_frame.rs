//! `.eh_frame_hdr`: the sorted index of unwind tables, which is a list of where functions begin.

use alloc::vec::Vec;

/// `DW_EH_PE_*`, Linux Standard Base, "DWARF Exception Header Encoding".
mod encoding {
    /// Unsigned value of 4 bytes.
    pub(super) const UDATA4: u8 = 0x03;
    /// Signed value of 4 bytes, relative to the header's own address.
    pub(super) const DATAREL_SDATA4: u8 = 0x3b;
    /// The format is in the low bits.
    pub(super) const FORMAT: u8 = 0x0f;
}

/// Bytes of an entry of the table: start of the function, its unwind entry.
const ENTRY_LEN: usize = 8;

/// Where functions begin, ascending and without repetition, told by the bytes of `.eh_frame_hdr` at `address` (the
/// run-time address, so that the result is in run-time addresses).
///
/// Takes what gcc, clang, GNU ld, gold, lld and mold write. `None` for anything else; whoever asks can do without.
#[must_use]
pub fn function_starts(header: &[u8], address: u64) -> Option<Vec<u64>> {
    let [1, frame_encoding, encoding::UDATA4, encoding::DATAREL_SDATA4] = *header.first_chunk()? else {
        return None;
    };
    let frame_len: usize = match frame_encoding & encoding::FORMAT {
        // udata4, sdata4
        0x03 | 0x0b => 4,
        // absptr, udata8, sdata8
        0x00 | 0x04 | 0x0c => 8,
        _ => return None,
    };
    let rest = header.get(4..)?.get(frame_len..)?;
    let (count, table) = rest.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let table = table.get(..count.checked_mul(ENTRY_LEN)?)?;
    let mut starts = Vec::with_capacity(count);
    for entry in table.chunks_exact(ENTRY_LEN) {
        let offset = i64::from(i32::from_le_bytes(*entry.first_chunk()?));
        let start = address.checked_add_signed(offset)?;
        match starts.last() {
            Some(&last) if start < last => return None,
            Some(&last) if start == last => {}
            _ => starts.push(start),
        }
    }
    Some(starts)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::function_starts;

    fn header(offsets: &[i32]) -> Vec<u8> {
        let mut bytes = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(offsets.len()).expect("few").to_le_bytes());
        for offset in offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes
    }

    #[test]
    fn reads_a_table() {
        let bytes = header(&[-0x1000, -0x800, -0x800, 0x20]);
        assert_eq!(function_starts(&bytes, 0x5000), Some(vec![0x4000, 0x4800, 0x5020]));
        assert_eq!(function_starts(&header(&[]), 0x5000), Some(vec![]));
    }

    #[test]
    fn odd_tables_are_none() {
        let good = header(&[-0x1000, 0x20]);
        for len in 0..good.len() {
            assert_eq!(function_starts(&good[..len], 0x5000), None, "cut at {len}");
        }
        for at in 0..4 {
            let mut bad = good.clone();
            bad[at] = 0x7e;
            assert_eq!(function_starts(&bad, 0x5000), None, "byte {at}");
        }
        assert_eq!(function_starts(&header(&[0x20, 0x10]), 0x5000), None, "not sorted");
        assert_eq!(function_starts(&header(&[-0x1000]), 0x10), None, "below zero");
    }
}
