//! A file system in memory: [`Node`]s, and [`Tree`]s of them.
//!
//! A node lives as long as a name or an open file has it. All data of a [`Budget`] together is bounded, so that a program
//! that fills its `/tmp` gets ENOSPC and the kernel keeps its heap.

mod contents;
mod node;
mod tree;

pub use contents::Budget;
pub use node::{Change, Item, Make, Node, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK, SEAL_WRITE, SEALS};
pub use tree::{RENAME_EXCHANGE, RENAME_NOREPLACE, Tree};
