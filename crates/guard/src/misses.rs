//! Programs that the kernel skipped: a processor was at work in the same program already, and its task was preempted.

use std::collections::HashSet;

use libbpf_rs::Link;
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};

use crate::error::{Error, bpf_error};

/// Counts what was skipped since the last time.
#[derive(Debug)]
pub(crate) struct Misses {
    programs: HashSet<u32>,
    seen: u64,
}

impl Misses {
    /// Of the programs behind these links.
    pub(crate) fn of<'a>(links: impl Iterator<Item = &'a Link>) -> Result<Self, Error> {
        let id = |link: &Link| Ok(link.info().map_err(bpf_error("look up"))?.prog_id);
        let mut misses = Self { programs: links.map(id).collect::<Result<_, Error>>()?, seen: 0 };
        misses.seen = misses.total();
        Ok(misses)
    }

    /// How many times programs were skipped since the last call.
    pub(crate) fn since_last(&mut self) -> u64 {
        let total = self.total();
        total.saturating_sub(std::mem::replace(&mut self.seen, total))
    }

    fn total(&self) -> u64 {
        ProgInfoIter::with_query_opts(ProgInfoQueryOptions::default())
            .filter(|program| self.programs.contains(&program.id))
            .map(|program| program.recursion_misses)
            .sum()
    }
}
