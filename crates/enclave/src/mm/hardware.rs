//! What the page manager needs from SGX and from the host.

use core::error::Error;
use core::fmt;

use super::prot::Prot;
use super::range::Range;

/// Makes, changes and takes away enclave pages.
///
/// The implementation runs ENCLU leaves and asks the host; the manager keeps the order right. All or nothing: an
/// error says that nothing of the range changed, and an implementation that cannot tell (the host broke its own
/// protocol half way) ends the enclave instead of returning.
///
/// At the start, with EDMM: no page exists and the host's page table allows RWX everywhere. Without: all pages exist,
/// hold anything (they were added without being measured), have RWX in the EPCM, and the host's page table allows nothing.
///
/// The manager keeps to these rules, which the model of the tests checks: `accept_new` only for pages that do not
/// exist; everything else only for pages that exist, except `protect`; ENCLU leaves need the page to be readable in
/// the host's page table, so `accept_new`, `extend`, `restrict`, `trim` never run while the last `protect` of the
/// page took R away. `extend`, `restrict`, `trim` and `accept_new` are called only with EDMM.
pub trait Hardware {
    /// Whether pages can be added and changed after EINIT (EDMM, SGX2).
    fn dynamic(&self) -> bool;

    /// Makes pages: EAUG by the host, EACCEPT here (Intel SDM vol. 3D, 38.5.3). They are zero and have RW in the EPCM.
    ///
    /// # Errors
    /// The host did not add them. None of them exists then.
    fn accept_new(&mut self, range: Range) -> Result<(), HwError>;

    /// Adds permissions in the EPCM: EMODPE, without the host. `perms` always has R, and may name permissions that a
    /// page has already.
    ///
    /// # Errors
    /// The pages were not accessible.
    fn extend(&mut self, range: Range, perms: Prot) -> Result<(), HwError>;

    /// Sets permissions in the EPCM to a subset: SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS by the host, EACCEPT here.
    /// `perms` always has R.
    ///
    /// # Errors
    /// The host did not do it.
    fn restrict(&mut self, range: Range, perms: Prot) -> Result<(), HwError>;

    /// Takes pages away: SGX_IOC_ENCLAVE_MODIFY_TYPES to TRIM, EACCEPT, SGX_IOC_ENCLAVE_REMOVE_PAGES. What the host's
    /// page table allows there stays as it was.
    ///
    /// # Errors
    /// The host did not do it.
    fn trim(&mut self, range: Range) -> Result<(), HwError>;

    /// Sets what the host's page table allows, whether the pages exist or not. Advisory: the host may not do it.
    ///
    /// # Errors
    /// The host said that it did not do it.
    fn protect(&mut self, range: Range, prot: Prot) -> Result<(), HwError>;

    /// Fills pages with zeros. They exist and are writable, in the EPCM and in the host's page table.
    ///
    /// # Errors
    /// The pages were not accessible.
    fn zero(&mut self, range: Range) -> Result<(), HwError>;

    /// Maps a part of a segment of the host's, outside the enclave.
    ///
    /// # Errors
    /// The host did not do it. Where segments are of no use, always.
    fn map_outside(
        &mut self,
        _range: Range,
        _segment: u64,
        _offset: u64,
        _prot: Prot,
    ) -> Result<(), HwError> {
        Err(HwError::Refused)
    }

    /// Takes such mappings away. `segments` are those of which nothing is mapped any more.
    ///
    /// # Errors
    /// The host did not do it.
    fn unmap_outside(&mut self, _range: Range, _segments: &[u64]) -> Result<(), HwError> {
        Err(HwError::Refused)
    }

    /// Sets what the host's page table allows there.
    ///
    /// # Errors
    /// The host did not do it.
    fn protect_outside(&mut self, _range: Range, _prot: Prot) -> Result<(), HwError> {
        Err(HwError::Refused)
    }
}

/// What the host did not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HwError {
    /// It has no EPC left.
    OutOfMemory,
    /// It refused.
    Refused,
}

impl fmt::Display for HwError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "the host has no enclave memory left",
            Self::Refused => "the host refused to change enclave memory",
        })
    }
}

impl Error for HwError {}
