//! What the host's page table allows of an enclave: a map of ranges, as mmap and mprotect of `/dev/sgx_enclave` leave it.

use std::collections::BTreeMap;

use crate::arch::Permissions;

/// Permissions by range of offsets. A key is where a value begins to hold; before the first key nothing is allowed.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    from: BTreeMap<u64, Permissions>,
}

impl PageTable {
    /// What is allowed at an offset.
    pub(super) fn get(&self, offset: u64) -> Permissions {
        self.from.range(..=offset).next_back().map_or(Permissions::empty(), |(_, permissions)| *permissions)
    }

    /// The end of the run of equal permissions that holds `offset`, at most `limit`.
    pub(super) fn run_end(&self, offset: u64, limit: u64) -> u64 {
        self.from.range(offset + 1..).next().map_or(limit, |(next, _)| (*next).min(limit))
    }

    /// Allows `permissions` in `start..end`, and only those.
    pub(super) fn set(&mut self, start: u64, end: u64, permissions: Permissions) {
        let after = self.get(end);
        let before = start.checked_sub(1).map_or(Permissions::empty(), |last| self.get(last));
        let inside: Vec<u64> = self.from.range(start..=end).map(|(key, _)| *key).collect();
        for key in inside {
            self.from.remove(&key);
        }
        if before != permissions {
            self.from.insert(start, permissions);
        }
        if after != permissions {
            self.from.insert(end, after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_was_set_last(operations in prop::collection::vec((0u64..40, 1u64..20, 0u8..8), 0..40)) {
            let mut table = PageTable::default();
            let mut model = [Permissions::empty(); 64];
            for (start, length, bits) in operations {
                let permissions = Permissions::from_bits_truncate(bits);
                table.set(start, start + length, permissions);
                for page in start..start + length {
                    model[usize::try_from(page).unwrap()] = permissions;
                }
            }
            for page in 0..64u64 {
                prop_assert_eq!(table.get(page), model[usize::try_from(page).unwrap()]);
                let end = table.run_end(page, 64);
                for same in page..end {
                    prop_assert_eq!(model[usize::try_from(same).unwrap()], table.get(page));
                }
            }
        }
    }
}
