//! Copies through a window do what copies of plain bytes do, at every offset and length.

use casemate_enclave_abi::{AtomicU64, Offset, OutOfWindow, Window};
use proptest::prelude::*;

const LEN: usize = 128;

fn words(len: usize) -> Vec<AtomicU64> {
    (0..len / 8).map(|_| AtomicU64::new(0)).collect()
}

proptest! {
    #[test]
    fn copies_are_those_of_plain_bytes(
        steps in prop::collection::vec((0_usize..LEN + 20, prop::collection::vec(any::<u8>(), 0..LEN + 20)), 1..20),
    ) {
        let words = words(LEN);
        let window = Window::new(&words);
        let mut model = [0_u8; LEN];
        for (at, bytes) in steps {
            let offset = Offset(u64::try_from(at).unwrap());
            let expected = model.get_mut(at..at + bytes.len()).map(|part| part.copy_from_slice(&bytes));
            let len = u64::try_from(bytes.len()).unwrap();
            prop_assert_eq!(window.copy_out(offset, &bytes), expected.ok_or(OutOfWindow { offset, len }));

            let mut found = vec![0xee; bytes.len()];
            prop_assert_eq!(window.copy_in(offset, &mut found).is_ok(), expected.is_some());
            if expected.is_some() {
                prop_assert_eq!(&found, &bytes);
            } else {
                prop_assert!(found.iter().all(|byte| *byte == 0xee), "a refused copy wrote");
            }

            let mut all = [0; LEN];
            window.copy_in(Offset(0), &mut all).unwrap();
            prop_assert_eq!(all, model);
        }
    }

    #[test]
    fn no_offset_and_no_length_gets_out(offset: u64, len: u64, near in 0_u64..200) {
        let words = words(LEN);
        let window = Window::new(&words);
        let size = u64::try_from(LEN).unwrap();
        for offset in [offset, near, near.wrapping_neg()] {
            let word_inside = offset.is_multiple_of(8) && offset < size;
            prop_assert_eq!(window.load(Offset(offset)).is_some(), word_inside);
            prop_assert_eq!(window.store(Offset(offset), 1).is_ok(), word_inside);
            prop_assert_eq!(window.load_words::<3>(Offset(offset)).is_some(), word_inside && offset + 24 <= size);
            for len in [len, near] {
                if let Some(part) = window.slice(Offset(offset), len) {
                    prop_assert_eq!(part.len(), len);
                    prop_assert!(offset + len <= size);
                }
            }
        }
    }
}
