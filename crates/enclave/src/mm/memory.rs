//! Pages and hardware in step: commits, discards and changes pages, each with as few host calls as it takes.

use super::error::Cause;
use super::hardware::{Hardware, HwError};
use super::pages::{PageState, Pages};
use super::prot::{Access, Prot};
use super::range::Range;

/// All pages of the address space and the hardware below them.
#[derive(Debug)]
pub(crate) struct Memory<H> {
    hardware: H,
    pages: Pages,
    dynamic: bool,
    limit: u64,
}

impl<H: Hardware> Memory<H> {
    /// No page of `bounds` is committed; at most `limit` bytes ever will be.
    pub(crate) fn new(hardware: H, bounds: Range, limit: u64) -> Self {
        let dynamic = hardware.dynamic();
        // Pages that were added unmeasured hold what the loader wanted.
        let initial =
            if dynamic { PageState::absent(Prot::RWX) } else { PageState::absent(Prot::NONE).stale() };
        Self { hardware, pages: Pages::new(bounds, initial), dynamic, limit }
    }

    pub(crate) fn hardware(&self) -> &H {
        &self.hardware
    }

    pub(crate) fn hardware_mut(&mut self) -> &mut H {
        &mut self.hardware
    }

    pub(crate) fn committed_bytes(&self) -> u64 {
        self.pages.committed_bytes()
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether `access` to all of `range` works as it is.
    pub(crate) fn allows(&self, range: Range, access: Access) -> bool {
        self.pages.all(range, |state| state.allows(access))
    }

    /// The first address of `range` where `access` does not work as it is.
    pub(crate) fn first_missing(&self, range: Range, access: Access) -> Option<u64> {
        self.pages.span(range, |state| !state.allows(access)).map(Range::start)
    }

    /// Bytes of `range` that are not committed.
    pub(crate) fn absent_bytes(&self, range: Range) -> u64 {
        self.pages.bytes(range, |state| !state.is_committed())
    }

    /// Bytes that can still be committed.
    pub(crate) fn room(&self) -> u64 {
        self.limit.saturating_sub(self.committed_bytes())
    }

    /// The parts of `range` whose pages are committed.
    pub(crate) fn committed(&self, range: Range) -> alloc::vec::Vec<Range> {
        self.pages.runs(range).filter(|(_, state)| state.is_committed()).map(|(run, _)| run).collect()
    }

    /// Whether all pages of `range` are as wanted.
    pub(crate) fn all(&self, range: Range, wanted: impl Fn(PageState) -> bool) -> bool {
        self.pages.all(range, wanted)
    }

    /// Gives committed pages another protection.
    pub(crate) fn change(&mut self, range: Range, prot: Prot) -> Result<(), Cause> {
        self.tighten(range, prot).and_then(|()| self.loosen(range, prot)).map_err(Cause::Host)
    }

    /// Makes all pages of `range` exist with the protection `prot`, which is not `PROT_NONE`: new ones are zero,
    /// committed ones keep their bytes.
    pub(crate) fn ensure(&mut self, range: Range, prot: Prot) -> Result<(), Cause> {
        if self.absent_bytes(range) > self.room() {
            return Err(Cause::OutOfMemory);
        }
        self.tighten(range, prot).and_then(|()| self.loosen(range, prot)).map_err(Cause::Host)?;
        self.commit(range, prot).map_err(Cause::Host)
    }

    /// Takes the bytes of `range` away: what is committed there later is zero.
    pub(crate) fn discard(&mut self, range: Range) -> Result<(), HwError> {
        self.each_span(range, PageState::is_committed, |memory, span| {
            if memory.dynamic {
                memory.open(span)?;
                memory.hardware.trim(span)?;
                memory.pages.update(span, |state| PageState::absent(state.host()));
            } else {
                memory.set_host(span, Prot::NONE)?;
                memory.pages.set(span, PageState::absent(Prot::NONE).stale());
            }
            Ok(())
        })
    }

    /// Makes the committed pages of `range` zero and writable instead of taking them away: cheaper if they are needed
    /// again at once.
    pub(crate) fn recycle(&mut self, range: Range) -> Result<(), HwError> {
        self.each_span(range, PageState::is_committed, |memory, span| {
            memory.make_writable(span)?;
            memory.hardware.zero(span)
        })
    }

    /// Zeroes short spans of writable pages in `range` on the spot and discards all others: `MADV_DONTNEED`.
    /// `short` is in bytes.
    pub(crate) fn forget(&mut self, range: Range, short: u64) -> Result<(), HwError> {
        self.each_span(range, PageState::is_committed, |memory, span| {
            if span.len() <= short && memory.allows(span, Access::Write) {
                memory.hardware.zero(span)
            } else {
                memory.discard(span)
            }
        })
    }

    /// First half of a change of protection, before the mappings say so: takes from the committed pages of `range`
    /// what `prot` does not have.
    ///
    /// A page that loses one permission and gets another is never seen with both. Without EDMM, where a change is one
    /// host call and nothing is enforced, a page that loses anything gets all of `prot` here.
    pub(crate) fn tighten(&mut self, range: Range, prot: Prot) -> Result<(), HwError> {
        if !self.dynamic {
            let host = prot.effective();
            return self.each_span(
                range,
                |state| state.is_committed() && !host.contains(state.host()),
                |memory, span| memory.set_host(span, host),
            );
        }
        let target = epcm_of(prot);
        let exceeds = |state: PageState| state.is_committed() && !target.contains(state.epcm());
        let mut rest = Some(range);
        while let Some(first) = rest.and_then(|rest| self.pages.span(rest, exceeds)) {
            // Within a span that exceeds, the part from its start whose pages keep the same.
            let Some(keep) = self.pages.get(first.start()).map(|state| state.epcm() & target) else { break };
            let Some(span) = self.pages.span(first, |state| state.epcm() & target == keep) else { break };
            self.open(span)?;
            self.hardware.restrict(span, keep)?;
            self.pages.update(span, |state| state.with_epcm(keep));
            rest = range.from(span.end());
        }
        if prot.is_empty() {
            self.set_host_around(range, |state| !state.host().is_empty(), Prot::NONE)?;
        }
        Ok(())
    }

    /// Second half, when the mappings say so: gives the committed pages of `range` what `prot` has.
    pub(crate) fn loosen(&mut self, range: Range, prot: Prot) -> Result<(), HwError> {
        if prot.is_empty() {
            return Ok(());
        }
        if !self.dynamic {
            let host = prot.effective();
            return self.each_span(
                range,
                |state| state.is_committed() && state.host() != host,
                |memory, span| memory.set_host(span, host),
            );
        }
        self.set_host_around(range, |state| state.host() != Prot::RWX, Prot::RWX)?;
        let target = epcm_of(prot);
        self.each_span(
            range,
            |state| state.is_committed() && !state.epcm().contains(target),
            |memory, span| memory.extend(span, target),
        )
    }

    /// Copies the committed pages of `from` to `to`, which is as long, has no committed page and gets the protection
    /// `prot`. `copy` moves the bytes. For the time of the copy both count, so the limit does not apply here: the
    /// caller discards `from` next.
    pub(crate) fn transfer(
        &mut self,
        from: Range,
        to: Range,
        prot: Prot,
        copy: &mut dyn FnMut(Range, Range),
    ) -> Result<(), HwError> {
        self.each_span(from, PageState::is_committed, |memory, span| {
            let start = to.start().saturating_add(span.start() - from.start());
            let Some(target) = Range::at(start, span.len()) else { return Err(HwError::Refused) };
            memory.commit(target, Prot::RW)?;
            if memory.dynamic {
                memory.open(span)?;
            } else {
                memory.each_span(
                    span,
                    |state| !state.host().contains(Prot::R),
                    |memory, unreadable| memory.set_host(unreadable, Prot::R),
                )?;
            }
            copy(span, target);
            memory.tighten(target, prot)?;
            memory.loosen(target, prot)
        })
    }

    /// Makes the absent pages of `range` exist, zero, with the protection `prot`.
    fn commit(&mut self, range: Range, prot: Prot) -> Result<(), HwError> {
        self.each_span(
            range,
            |state| !state.is_committed(),
            |memory, span| {
                let done = if memory.dynamic {
                    memory.commit_new(span, prot)
                } else {
                    memory.commit_present(span, prot)
                };
                if done.is_err() {
                    // Best effort; the table says in either case what is there.
                    let _ = memory.discard(span);
                    if !memory.dynamic {
                        let _ = memory.set_host(span, Prot::NONE);
                    }
                }
                done
            },
        )
    }

    fn commit_new(&mut self, span: Range, prot: Prot) -> Result<(), HwError> {
        self.open(span)?;
        self.hardware.accept_new(span)?;
        self.pages.set(span, PageState::committed(Prot::RW, Prot::RWX));
        self.tighten(span, prot)?;
        self.loosen(span, prot)
    }

    fn commit_present(&mut self, span: Range, prot: Prot) -> Result<(), HwError> {
        let stale = self.pages.span(span, PageState::is_stale).is_some();
        if stale {
            self.set_host(span, prot.effective() | Prot::RW)?;
            self.each_span(span, PageState::is_stale, |memory, span| memory.hardware.zero(span))?;
        }
        if !stale || !prot.contains(Prot::W) {
            self.set_host(span, prot.effective())?;
        }
        self.pages.update(span, |state| PageState::committed(Prot::RWX, state.host()));
        Ok(())
    }

    fn make_writable(&mut self, span: Range) -> Result<(), HwError> {
        if self.dynamic {
            self.open(span)?;
            self.each_span(
                span,
                |state| !state.epcm().contains(Prot::W),
                |memory, span| memory.extend(span, Prot::RW),
            )
        } else {
            self.each_span(
                span,
                |state| !state.host().contains(Prot::RW),
                |memory, span| memory.set_host(span, Prot::RW),
            )
        }
    }

    fn extend(&mut self, span: Range, perms: Prot) -> Result<(), HwError> {
        self.hardware.extend(span, perms)?;
        self.pages.update(span, |state| state.with_epcm(state.epcm() | perms));
        Ok(())
    }

    /// With EDMM: lets the host's page table allow everything in `span`, so that ENCLU reaches its pages. The EPCM
    /// decides what the program may do.
    fn open(&mut self, span: Range) -> Result<(), HwError> {
        match self.pages.hull(span, |state| state.host() != Prot::RWX) {
            Some(closed) => self.set_host(closed, Prot::RWX),
            None => Ok(()),
        }
    }

    /// With EDMM: one host call for all committed pages of `range` that `wanted` names, whatever lies between them.
    fn set_host_around(
        &mut self,
        range: Range,
        wanted: impl Fn(PageState) -> bool,
        host: Prot,
    ) -> Result<(), HwError> {
        match self.pages.hull(range, |state| state.is_committed() && wanted(state)) {
            Some(hull) => self.set_host(hull, host),
            None => Ok(()),
        }
    }

    fn set_host(&mut self, span: Range, host: Prot) -> Result<(), HwError> {
        self.hardware.protect(span, host)?;
        self.pages.update(span, |state| state.with_host(host));
        Ok(())
    }

    /// Calls `work` for each span of `range` whose pages satisfy `wanted`, lowest first. `work` may change the pages of
    /// its span.
    fn each_span(
        &mut self,
        range: Range,
        wanted: impl Fn(PageState) -> bool,
        mut work: impl FnMut(&mut Self, Range) -> Result<(), HwError>,
    ) -> Result<(), HwError> {
        let mut rest = Some(range);
        while let Some(span) = rest.and_then(|rest| self.pages.span(rest, &wanted)) {
            work(self, span)?;
            rest = range.from(span.end());
        }
        Ok(())
    }
}

/// What a page has in the EPCM for a mapping with the protection `prot`: R cannot be taken away.
fn epcm_of(prot: Prot) -> Prot {
    prot | Prot::R
}
