//! The arena never gives the same byte to two owners, and gives every byte back.

use casemate_enclave_abi::arena::GRANULE;
use casemate_enclave_abi::{Arena, Block, Offset};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Alloc(u64),
    Free(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![
        4 => 0_u64..2 * GRANULE,
        2 => 0_u64..80 * GRANULE,
        1 => any::<u64>(),
    ];
    let step = prop_oneof![
        3 => len.prop_map(Step::Alloc),
        2 => any::<prop::sample::Index>().prop_map(Step::Free),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn blocks_are_apart_and_come_back(steps in steps(), base in (0_u64..100).prop_map(|n| n * 8), granules in 0_u64..200) {
        let len = granules * GRANULE + 5;
        let mut arena = Arena::<3>::new(Offset(base), len).unwrap();
        let managed = granules.min(3 * 64);
        let mut used = vec![false; usize::try_from(managed).unwrap()];
        let mut blocks: Vec<Block> = Vec::new();
        let range = |block: &Block| {
            let start = usize::try_from((block.offset().0 - base) / GRANULE).unwrap();
            start..start + usize::try_from(block.len() / GRANULE).unwrap()
        };
        for step in steps {
            match step {
                Step::Alloc(len) => {
                    let count = len.div_ceil(GRANULE).max(1);
                    let longest = used.split(|used| *used).map(<[bool]>::len).max().unwrap_or(0);
                    let Some(block) = arena.alloc(len) else {
                        prop_assert!(u64::try_from(longest).unwrap() < count, "refused {count} of {longest}");
                        continue;
                    };
                    prop_assert_eq!(block.len(), count * GRANULE);
                    prop_assert!((block.offset().0 - base).is_multiple_of(GRANULE));
                    for place in &mut used[range(&block)] {
                        prop_assert!(!*place, "given twice");
                        *place = true;
                    }
                    blocks.push(block);
                }
                Step::Free(index) if !blocks.is_empty() => {
                    let block = blocks.swap_remove(index.index(blocks.len()));
                    used[range(&block)].fill(false);
                    arena.free(block);
                }
                Step::Free(_) => {}
            }
            let free = u64::try_from(used.iter().filter(|used| !**used).count()).unwrap();
            prop_assert_eq!(arena.free_bytes(), free * GRANULE);
        }
        for block in blocks {
            arena.free(block);
        }
        prop_assert_eq!(arena.alloc(managed * GRANULE).is_some(), managed > 0);
    }
}

#[test]
fn an_arena_is_possible() {
    assert!(Arena::<1>::new(Offset(4), GRANULE).is_none());
    assert!(Arena::<1>::new(Offset(8), u64::MAX).is_none());
    let mut arena: Arena = Arena::new(Offset(0), 0).unwrap();
    assert_eq!(arena.alloc(0), None);
    let mut arena: Arena = Arena::new(Offset(0), 1 << 40).unwrap();
    assert_eq!(arena.free_bytes(), 16 << 20);
    assert_eq!(arena.alloc((16 << 20) + 1), None);
    assert_eq!(arena.alloc(16 << 20).unwrap().len(), 16 << 20);
    assert_eq!(arena.alloc(1), None);
}

#[test]
#[should_panic(expected = "is not a block of this arena")]
#[cfg(debug_assertions)]
fn a_foreign_block_is_a_bug() {
    let mut one = Arena::<1>::new(Offset(0), GRANULE).unwrap();
    let mut other = Arena::<1>::new(Offset(GRANULE), GRANULE).unwrap();
    other.free(one.alloc(1).unwrap());
}
