//! Machines that run enclaves, behind one interface.
//!
//! [`device`] is Linux's driver with a real processor below it. [`emulated`] follows the same manual in software; it
//! takes the same image and the same signature, and protects nothing.
//!
//! An enclave is made by [`Platform::create`], filled by [`Enclave::add_pages`], sealed by [`Enclave::init`], mapped by
//! [`Enclave::protect`], and entered by [`Enclave::enter`] from as many threads as it has TCS pages.

pub mod device;
pub mod emulated;
mod error;
mod memory;
mod watch;

use std::fmt::Debug;
use std::sync::Arc;

pub use error::PlatformError;

use crate::arch::{Attributes, PAGE_SIZE, PageType, Permissions, Report, SecInfo, Secs, Sigstruct};

/// What a platform can do; what of it is missing, `casemate doctor` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// SGX2: pages can be added, changed and removed after initialisation (EDMM).
    pub edmm: bool,
    /// Faults report their address (MISCSELECT.EXINFO).
    pub exinfo: bool,
    /// EDECCSSA is there (AEX-Notify).
    pub edeccssa: bool,
    /// State components that an enclave may use (XCR0, as far as the platform lets enclaves have it).
    pub xfrm: u64,
    /// The largest enclave, log2 of bytes (CPUID.12H.0:EDX\[15:8\]).
    pub max_size_log2: u8,
}

/// Registers that pass through an entry and an exit, as `__vdso_sgx_enter_enclave` passes them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// First argument.
    pub rdi: u64,
    /// Second argument.
    pub rsi: u64,
    /// Third argument.
    pub rdx: u64,
    /// Fourth argument.
    pub r8: u64,
    /// Fifth argument.
    pub r9: u64,
}

/// The two leaves that enter an enclave, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterLeaf {
    /// EENTER: at the TCS's entry point.
    Enter = 2,
    /// ERESUME: where the last asynchronous exit left.
    Resume = 3,
}

/// How a stay in an enclave ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The enclave executed EEXIT, with these registers.
    Exited(Registers),
    /// An exception ended it, inside (after an AEX) or at the entering instruction itself.
    Exception(Exception),
}

/// An exception as the host is told of it (`struct sgx_enclave_run`). It is a hint: only the SSA frame inside the enclave
/// says what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The leaf at which the processor stands: `Enter` where entering itself failed, `Resume` after an AEX.
    pub leaf: EnterLeaf,
    /// The vector: 6 is #UD, 13 #GP, 14 #PF.
    pub vector: u8,
    /// The error code that goes with the vector.
    pub error_code: u16,
    /// Of a page fault, the address.
    pub address: u64,
}

/// What a signal handler wants of a thread that it interrupted inside an enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Go on where the enclave was (ERESUME).
    Resume,
    /// Enter on top of the interrupted frame, with this in RDI (EENTER with CSSA 1). When the enclave exits,
    /// [`Enclave::enter`] returns that exit, and its caller resumes.
    Enter(u64),
}

/// Called in a signal handler, so async-signal-safe: did the signal interrupt an enclave, and what now?
pub type InterruptHandler = fn(in_enclave: bool) -> Disposition;

/// Where the contents of added pages come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// These bytes, whole pages.
    Bytes(&'a [u8]),
    /// As many bytes of zeros.
    Zeros(u64),
}

impl Source<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// Whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A machine that runs enclaves.
pub trait Platform: Debug + Send + Sync {
    /// Its name, as on the command line: `device`, `emulated`.
    fn name(&self) -> &'static str;

    /// Whether it is emulated, and so protects nothing.
    fn is_emulated(&self) -> bool;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// ECREATE: reserves the ELRANGE that `secs` names (base and size) and begins an enclave there.
    ///
    /// # Errors
    /// The range is not free, not naturally aligned, too large; an attribute is refused.
    fn create(&self, secs: &Secs) -> Result<Arc<dyn Enclave>, PlatformError>;

    /// Has a signal of the host interrupt enclaves by way of `handler`.
    ///
    /// # Errors
    /// The kernel refuses the signal's handler.
    fn watch_signal(&self, signal: i32, handler: InterruptHandler) -> Result<(), PlatformError>;

    /// The target of a report that this platform's quoting enclave will accept.
    ///
    /// # Errors
    /// There is no quoting enclave, or it does not answer.
    fn quoting_target(&self) -> Result<crate::arch::TargetInfo, PlatformError>;

    /// A quote (version 3) of a report made for [`Platform::quoting_target`].
    ///
    /// # Errors
    /// The report is not genuine, or there is no quoting enclave.
    fn quote(&self, report: &Report) -> Result<Vec<u8>, PlatformError>;
}

/// An enclave on a platform. Offsets and lengths are in bytes from its base, whole pages.
pub trait Enclave: Debug + Send + Sync {
    /// Where its ELRANGE begins.
    fn base(&self) -> u64;

    /// The length of its ELRANGE.
    fn size(&self) -> u64;

    /// EADD, and EEXTEND where `measure`: adds pages of one kind. Only before [`Enclave::init`].
    ///
    /// # Errors
    /// Pages outside, twice, of a wrong type or permission; already initialised.
    fn add_pages(
        &self,
        source: Source<'_>,
        offset: u64,
        kind: &SecInfo,
        measure: bool,
    ) -> Result<(), PlatformError>;

    /// EINIT: checks the signature, the measurement and the attributes, and seals the enclave.
    ///
    /// # Errors
    /// What does not match; the enclave stays unusable.
    fn init(&self, sigstruct: &Sigstruct) -> Result<(), PlatformError>;

    /// The attributes that it was created with.
    fn attributes(&self) -> Attributes;

    /// Sets what the host's page table allows in a range (mmap and mprotect). The page's own permissions in the EPCM
    /// stand besides: an access needs both.
    ///
    /// # Errors
    /// More than the pages were added with; the kernel's own.
    fn protect(&self, offset: u64, length: u64, permissions: Permissions) -> Result<(), PlatformError>;

    /// EMODPR: takes permissions away; the enclave must EACCEPT. Returns the bytes done, which can be fewer.
    ///
    /// # Errors
    /// Not an initialised enclave with EDMM; a page is missing or in a wrong state.
    fn restrict_permissions(
        &self,
        offset: u64,
        length: u64,
        permissions: Permissions,
    ) -> Result<u64, PlatformError>;

    /// EMODT: changes pages to TCS or TRIM; the enclave must EACCEPT. Returns the bytes done.
    ///
    /// # Errors
    /// As above.
    fn modify_types(&self, offset: u64, length: u64, page_type: PageType) -> Result<u64, PlatformError>;

    /// EREMOVE of pages that are trimmed and accepted. Returns the bytes done.
    ///
    /// # Errors
    /// As above.
    fn remove_pages(&self, offset: u64, length: u64) -> Result<u64, PlatformError>;

    /// Enters the enclave by the TCS at address `tcs`, and returns when it has left.
    ///
    /// # Safety
    /// What runs inside has this process's rights to memory. The enclave must keep the convention of
    /// `__vdso_sgx_enter_enclave`: leave by EEXIT to the address that EENTER gave it in RCX, with RSP and RBP as they were.
    ///
    /// # Errors
    /// The platform itself fails; what happens to the enclave is an [`Exit`].
    unsafe fn enter(&self, tcs: u64, leaf: EnterLeaf, registers: Registers) -> Result<Exit, PlatformError>;
}

/// What ECREATE asks of an ELRANGE (SDM vol. 3D, ECREATE): its size, its alignment, and what the platform takes.
fn check_range(secs: &Secs, max_size_log2: u8) -> Result<(), PlatformError> {
    let (base, size) = (secs.baseaddr, secs.size);
    let refuse = |reason| Err(PlatformError::Range { base, size, reason });
    if base.checked_add(size).is_none() {
        return refuse("it wraps");
    }
    if !size.is_power_of_two() || size < 2 * PAGE_SIZE as u64 {
        return refuse("the size is not a power of two of at least two pages");
    }
    if base % size != 0 {
        return refuse("the base is not aligned to the size");
    }
    if size.ilog2() > u32::from(max_size_log2) {
        return refuse("it is larger than the platform takes");
    }
    Ok(())
}

/// Begin and end of whole pages in an enclave of `size` bytes.
fn whole_pages(offset: u64, length: u64, size: u64) -> Result<(u64, u64), PlatformError> {
    let page = PAGE_SIZE as u64;
    let end = offset.checked_add(length).filter(|end| *end <= size);
    match end {
        Some(end) if length > 0 && offset.is_multiple_of(page) && length.is_multiple_of(page) => {
            Ok((offset, end))
        }
        _ => Err(PlatformError::Outside { offset, length, size }),
    }
}
