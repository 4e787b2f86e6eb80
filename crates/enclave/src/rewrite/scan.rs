//! Finding sites and choosing their windows.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use super::branches::Landings;
use super::emit::JUMP_LEN;
use super::plan::{Class, Left, MAX_SITES, Plan, Reason, Site, SiteKind, Wanted};
use super::sweep::{Segment, Step, Sweep};

/// So many instructions before a site are considered for its window.
const NEIGHBOURS: usize = 8;

/// Finds the wanted instructions in an executable segment and says how each can be rewritten.
///
/// `starts` are the run-time addresses where functions are known to begin, ascending
/// ([`function_starts`](crate::elf::function_starts)); it may be empty, and those outside the segment do not matter. They are
/// trusted: wrong ones lead to wrong sites, which harms the program that brought them and nobody else.
///
/// Only the neighbourhood of byte pairs that may be sites is decoded. The work is linear in the segment's length whatever
/// its bytes are.
#[must_use]
pub fn scan(code: &[u8], address: u64, starts: &[u64], wanted: Wanted) -> Plan {
    let mut plan = Plan { address, len: code.len(), sites: Vec::new(), left: Vec::new(), complete: true };
    if u64::try_from(code.len()).ok().and_then(|len| address.checked_add(len)).is_none() {
        plan.complete = false;
        return plan;
    }
    let starts: Vec<u64> = starts.iter().map(|&start| begin(code, address, start)).collect();
    let segment = Segment { code, address, starts: &starts };
    let found = find(segment, wanted);
    plan.complete = found.len() < MAX_SITES;
    let mut guarded: Vec<_> = found
        .iter()
        .flat_map(|found| &found.choices)
        .map(|choice| choice.guard.clone())
        .filter(|guard| !guard.is_empty())
        .collect();
    guarded.sort_unstable_by_key(|guard| guard.start);
    let landings = Landings::find(segment, guarded.into_iter());
    let mut taken = 0;
    for found in found {
        let address = segment.address_of(found.step.offset);
        match found.choose(taken, &landings) {
            Ok(choice) => {
                taken = choice.window.end;
                plan.sites.push(Site {
                    address,
                    len: u8::try_from(found.step.len).unwrap_or(u8::MAX),
                    kind: found.kind,
                    window: segment.address_of(choice.window.start)..segment.address_of(choice.window.end),
                    class: choice.class,
                });
            }
            Err(reason) => plan.left.push(Left { address, kind: found.kind, reason }),
        }
    }
    plan
}

/// How a signal's restorer begins: `mov $15, %rax; syscall`.
const RESTORER: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];

/// Where the function that an unwind table has at `start` begins. Tables have restorers of signals one byte early: an
/// unwinder looks up the byte before a return address, and a restorer is nobody's callee (glibc,
/// `sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c`).
fn begin(code: &[u8], address: u64, start: u64) -> u64 {
    let next = start.wrapping_add(1);
    let at = next.checked_sub(address).and_then(|offset| usize::try_from(offset).ok());
    let restorer = at.and_then(|at| code.get(at..)).is_some_and(|rest| rest.starts_with(&RESTORER));
    if restorer { next } else { start }
}

/// A site with the windows that are possible.
struct Found {
    step: Step,
    kind: SiteKind,
    /// Best first.
    choices: Vec<Choice>,
}

/// A possible window; offsets in the segment.
struct Choice {
    class: Class,
    window: Range<usize>,
    /// Where no branch may land.
    guard: Range<usize>,
}

impl Found {
    /// The best window that begins at or behind `taken` and that no branch lands in.
    fn choose(&self, taken: usize, landings: &Landings) -> Result<&Choice, Reason> {
        let mut reason = if self.step.certain { Reason::NoWindow } else { Reason::Uncertain };
        for choice in self.choices.iter().filter(|choice| choice.window.start >= taken) {
            if !landings.hit(choice.guard.clone()) {
                return Ok(choice);
            }
            reason = Reason::BranchTarget;
        }
        Err(reason)
    }
}

/// All sites, ascending, at most [`MAX_SITES`].
fn find(segment: Segment<'_>, wanted: Wanted) -> Vec<Found> {
    let mut result = Vec::new();
    let mut neighbours = Neighbours::default();
    let mut sweep = Sweep::from(segment, 0);
    let mut from = 0;
    while let Some(pair) = next_pair(segment.code, from, wanted) {
        from = pair.saturating_add(1);
        if sweep.position() > pair {
            continue;
        }
        let fresh = Sweep::before(segment, pair);
        if fresh.position() > sweep.position() {
            sweep = fresh;
        }
        while sweep.position() <= pair {
            let Some(step) = sweep.next() else { return result };
            let Some(kind) = neighbours.take(&step).filter(|&kind| wanted.contains(kind)) else { continue };
            let certain = step.certain && Sweep::is_code(segment, step.end());
            let choices = if certain { neighbours.choices(segment, &step) } else { Vec::new() };
            let step = Step { certain, ..step };
            result.push(Found { step, kind, choices });
            if result.len() >= MAX_SITES {
                return result;
            }
        }
    }
    result
}

/// The first offset from `from` on whose bytes may be a wanted instruction.
fn next_pair(code: &[u8], from: usize, wanted: Wanted) -> Option<usize> {
    let rest = code.get(from..)?;
    let index = rest.windows(2).position(|pair| match *pair {
        [0x0f, 0x05] => wanted.syscall,
        [0x0f, 0xa2] => wanted.cpuid,
        [0x0f, 0x31 | 0x01] => wanted.rdtsc,
        _ => false,
    })?;
    from.checked_add(index)
}

/// The instructions before the current one that may be displaced: contiguous, of one function, ending where it begins.
#[derive(Default)]
struct Neighbours(VecDeque<Step>);

impl Neighbours {
    /// Takes the next instruction in. A site is not taken, but told; ask for its [`Neighbours::choices`] at once.
    fn take(&mut self, step: &Step) -> Option<SiteKind> {
        let contiguous = self.0.back().is_some_and(|last| last.end() == step.offset && last.kind.is_none());
        if step.begins || !step.certain || !contiguous {
            self.0.clear();
        }
        if step.kind.is_some() {
            return step.kind;
        }
        if step.movable && step.certain {
            if self.0.len() >= NEIGHBOURS {
                self.0.pop_front();
            }
            self.0.push_back(*step);
        } else {
            self.0.clear();
        }
        None
    }

    /// The windows of a site, best first; leaves no neighbours for the next one.
    fn choices(&mut self, segment: Segment<'_>, site: &Step) -> Vec<Choice> {
        let before = core::mem::take(&mut self.0);
        if let Some(last) = before.back().filter(|last| last.len >= JUMP_LEN) {
            return [Choice { class: Class::A, window: last.offset..site.end(), guard: 0..0 }].into();
        }
        let mut choices = Vec::new();
        // With five bytes before the site its own bytes can stay.
        let start_of = |at_least: usize| {
            before
                .iter()
                .rev()
                .map(|step| step.offset)
                .find(|&start| site.offset.saturating_sub(start) >= at_least)
        };
        if let Some(start) = start_of(JUMP_LEN) {
            let guard = start.saturating_add(1)..site.offset;
            choices.push(Choice { class: Class::B, window: start..site.end(), guard });
        }
        if let Some(end) = window_after(segment, site) {
            choices.push(Choice {
                class: Class::C,
                window: site.offset..end,
                guard: site.offset.saturating_add(1)..end,
            });
        }
        if let Some(start) = start_of(JUMP_LEN.saturating_sub(site.len).max(1)) {
            let guard = start.saturating_add(1)..site.end();
            choices.push(Choice { class: Class::B, window: start..site.end(), guard });
        }
        choices
    }
}

/// Where a window ends that holds the site and as many of the following instructions as a jump needs.
fn window_after(segment: Segment<'_>, site: &Step) -> Option<usize> {
    let mut end = site.end();
    let mut sweep = Sweep::from(segment, end);
    while end.saturating_sub(site.offset) < JUMP_LEN {
        let step = sweep.next().filter(|step| step.offset == end && step.movable && !step.begins)?;
        end = step.end();
    }
    Some(end)
}
