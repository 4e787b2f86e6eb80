//! Carrying a plan out: trampolines into the island, jumps into the segment.

use alloc::vec::Vec;
use core::ops::Range;

use super::emit::{ENTER_LEN, EmitError, Emitter, JUMP_LEN, Link, SYSCALL, jump};
use super::error::RewriteError;
use super::plan::{Class, Left, Plan, Reason, Site, SiteKind, island_size};

/// Bytes of a window behind the jump.
const INT3: u8 = 0xcc;

/// Where the kernel keeps the addresses of its entries: displacements from the base of `gs`. What each entry may rely on
/// and must do is in the documentation of [this module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// For `syscall`; return address in `rcx`.
    pub syscall: i32,
    /// For `cpuid`; return address in `rbx`.
    pub cpuid: i32,
    /// For `rdtsc`; return address in `rdx`.
    pub rdtsc: i32,
    /// For `rdtscp`; return address in `rdx`.
    pub rdtscp: i32,
}

/// A site that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The site.
    pub site: Site,
    /// Where its trampoline begins.
    pub trampoline: u64,
}

/// The trampolines of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Island {
    /// Where it belongs.
    pub address: u64,
    /// Its bytes; at most [`island_size`].
    pub code: Vec<u8>,
    /// What was rewritten, ascending by site.
    pub patched: Vec<Patched>,
    /// What could not be, because the island does not reach what its instructions refer to.
    pub left: Vec<Left>,
    /// Each instruction of the island and what it stands for, ascending.
    origins: Vec<(u64, u64)>,
    /// Each overwritten instruction and where it is now, ascending.
    resumes: Vec<(u64, u64)>,
}

impl Island {
    /// An island that is in its place already, of which only the addresses are wanted: see [`Island::addresses`].
    #[must_use]
    pub fn of_addresses(address: u64, origins: Vec<(u64, u64)>, resumes: Vec<(u64, u64)>) -> Self {
        Self { address, code: Vec::new(), patched: Vec::new(), left: Vec::new(), origins, resumes }
    }

    /// What [`Island::original_of`] and [`Island::resume_at`] answer from: pairs, ascending by their first.
    #[must_use]
    pub fn addresses(&self) -> [&[(u64, u64)]; 2] {
        [&self.origins, &self.resumes]
    }

    /// The original address that an instruction of the island stands for. `None` if no instruction begins there.
    #[must_use]
    pub fn original_of(&self, address: u64) -> Option<u64> {
        lookup(&self.origins, address)
    }

    /// Where an instruction of the segment is that was overwritten by other than a jump of its own: the place to go on
    /// after a trap at `address` that an indirect jump or a restored signal frame led to.
    #[must_use]
    pub fn resume_at(&self, address: u64) -> Option<u64> {
        lookup(&self.resumes, address)
    }
}

fn lookup(pairs: &[(u64, u64)], key: u64) -> Option<u64> {
    let index = pairs.binary_search_by_key(&key, |&(key, _)| key).ok()?;
    pairs.get(index).map(|&(_, value)| value)
}

/// Rewrites the sites of `plan` in `code`, the segment at `address` that was scanned, for an island at `island_address`.
///
/// # Errors
/// [`RewriteError`]; the code is unchanged then. A single site whose neighbours cannot be moved so far is no error: it
/// stays as it is and is in [`Island::left`].
pub fn apply(
    plan: &Plan,
    code: &mut [u8],
    address: u64,
    island_address: u64,
    entry: Entry,
) -> Result<Island, RewriteError> {
    if (address, code.len()) != (plan.address, plan.len) {
        return Err(RewriteError::OtherSegment { address, len: code.len() });
    }
    let room = island_size(plan);
    if !is_reachable(address, code.len(), island_address, room) {
        return Err(RewriteError::Island(island_address));
    }
    let mut island = Island {
        address: island_address,
        code: Vec::new(),
        patched: Vec::new(),
        left: Vec::new(),
        origins: Vec::new(),
        resumes: Vec::new(),
    };
    let mut emitter = Emitter::new(island_address, room);
    for site in plan.sites() {
        let window = Window::of(site, code, address)?;
        let before = (emitter.len(), island.origins.len(), island.resumes.len());
        let trampoline = emitter.here();
        match island.trampoline(&mut emitter, &window, entry) {
            Ok(()) => island.patched.push(Patched { site: site.clone(), trampoline }),
            Err(EmitError::OutOfReach) => {
                emitter.truncate(before.0);
                island.origins.truncate(before.1);
                island.resumes.truncate(before.2);
                island.left.push(Left { address: site.address, kind: site.kind, reason: Reason::OutOfReach });
            }
            Err(EmitError::NotMovable) => return Err(RewriteError::Changed(site.address)),
        }
    }
    for patched in &island.patched {
        patch(code, address, patched)?;
    }
    island.code = emitter.finish();
    Ok(island)
}

/// Whether a jump reaches from each end of the segment to each end of the island, and the two are apart.
fn is_reachable(address: u64, len: usize, island: u64, room: usize) -> bool {
    let end = |start: u64, len: usize| u64::try_from(len).ok().and_then(|len| start.checked_add(len));
    let (Some(end), Some(island_end)) = (end(address, len), end(island, room)) else { return false };
    let apart = island >= end || address >= island_end;
    let distance = end.max(island_end).saturating_sub(address.min(island));
    apart && i32::try_from(distance).is_ok()
}

/// A site with the bytes of its window.
struct Window<'a> {
    site: &'a Site,
    /// Displaced instructions before the site.
    before: &'a [u8],
    /// Displaced instructions after it.
    after: &'a [u8],
}

impl<'a> Window<'a> {
    /// The window's bytes, which must still hold the site.
    fn of(site: &'a Site, code: &'a [u8], address: u64) -> Result<Self, RewriteError> {
        let changed = RewriteError::Changed(site.address);
        let bytes = |range: Range<u64>| code.get(offset_in(address, range)?);
        let before = bytes(site.window.start..site.address).ok_or(changed)?;
        let own = bytes(site.address..site.after()).ok_or(changed)?;
        let after = bytes(site.after()..site.window.end).ok_or(changed)?;
        let opcode: &[u8] = match site.kind {
            SiteKind::Syscall => &SYSCALL,
            SiteKind::Cpuid => &[0x0f, 0xa2],
            SiteKind::Rdtsc => &[0x0f, 0x31],
            SiteKind::Rdtscp => &[0x0f, 0x01, 0xf9],
        };
        if own.ends_with(opcode) { Ok(Self { site, before, after }) } else { Err(changed) }
    }
}

fn offset_in(address: u64, range: Range<u64>) -> Option<Range<usize>> {
    let offset = |at: u64| at.checked_sub(address).and_then(|offset| usize::try_from(offset).ok());
    Some(offset(range.start)?..offset(range.end)?)
}

impl Island {
    /// Writes the trampoline of one site.
    fn trampoline(
        &mut self,
        emitter: &mut Emitter,
        window: &Window<'_>,
        entry: Entry,
    ) -> Result<(), EmitError> {
        let site = window.site;
        let (origins, resumes) = (&mut self.origins, &mut self.resumes);
        emitter.displaced(window.before, site.window.start, |old, new| {
            origins.push((new, old));
            // At the window's first byte is the jump, which leads there anyway.
            if old != site.window.start {
                resumes.push((old, new));
            }
        })?;
        if !site.stays() && site.class != Class::C {
            resumes.push((site.address, emitter.here()));
        }
        let (link, slot) = match site.kind {
            SiteKind::Syscall => (Link::Rcx, entry.syscall),
            SiteKind::Cpuid => (Link::Rbx, entry.cpuid),
            SiteKind::Rdtsc => (Link::Rdx, entry.rdtsc),
            SiteKind::Rdtscp => (Link::Rdx, entry.rdtscp),
        };
        let restartable = site.kind == SiteKind::Syscall && !site.stays();
        origins.push((emitter.here(), site.address));
        if !restartable && window.after.is_empty() {
            emitter.load_address(link, site.after())?;
            origins.push((emitter.here(), site.address));
            emitter.jump_gs(slot);
            return Ok(());
        }
        // The kernel returns to the island: behind the entry's jump, and behind a `syscall` to restart at.
        let back = emitter.after(if restartable { ENTER_LEN + SYSCALL.len() } else { ENTER_LEN });
        emitter.load_address(link, back)?;
        origins.push((emitter.here(), site.address));
        emitter.jump_gs(slot);
        if restartable {
            origins.push((emitter.here(), site.address));
            emitter.syscall();
            origins.push((emitter.here(), site.after()));
            emitter.load_address(link, site.after())?;
        }
        emitter.displaced(window.after, site.after(), |old, new| {
            origins.push((new, old));
            resumes.push((old, new));
        })?;
        origins.push((emitter.here(), site.window.end));
        emitter.jump(site.window.end)
    }
}

/// Writes the jump to a trampoline.
fn patch(code: &mut [u8], address: u64, patched: &Patched) -> Result<(), RewriteError> {
    let site = &patched.site;
    let error = RewriteError::Changed(site.address);
    let end = if site.stays() { site.address } else { site.window.end };
    let range = offset_in(address, site.window.start..end).ok_or(error)?;
    let bytes = code.get_mut(range).ok_or(error)?;
    // Reach was checked for the whole segment.
    let jump = jump(site.window.start, patched.trampoline).map_err(|_| error)?;
    let (head, rest) = bytes.split_first_chunk_mut::<JUMP_LEN>().ok_or(error)?;
    *head = jump;
    rest.fill(INT3);
    Ok(())
}
