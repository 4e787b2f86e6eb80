//! SGX in software, exactly enough that one image and one signature run here and on a processor. It protects nothing.
//!
//! An enclave is a range of this process's memory. What the manual says an instruction does is done by ordinary code:
//! measurement, signature and attributes at EINIT, page permissions by mprotect, TCS states, SSA frames at exceptions,
//! EACCEPT and its like, reports and keys. Two modes differ in how ENCLU inside reaches that code:
//!
//! * *fast*: the image's one ENCLU, in its padded stub, is patched after measuring ([`STUB`]);
//! * *strict*: nothing is patched; ENCLU traps.
//!
//! What is not like a processor:
//!
//! * no memory is encrypted, nothing keeps the host out, nor the enclave in: it can execute executable memory of the host's;
//! * XCR0 is not switched to XFRM;
//! * a `syscall` inside raises #UD with RCX and R11 lost, `int 0x80` with the upper half of RAX lost; `cpuid` executes, and so
//!   do other instructions that are illegal in an enclave and legal outside; an enclave can set RFLAGS.TF;
//! * in fast mode the stub leaves the arithmetic flags undefined where a leaf does not set them, and RAX where it is no leaf;
//! * #BP does not exist, as no debugger can opt a thread in: INT3 is #UD, as on a processor;
//! * KSS, CET and AEX-Notify do not exist, and ECREATE refuses them;
//! * the SSA frame in use must stay mapped while a thread is inside: an exit that finds it gone ends the process;
//! * a signal that hits a thread between the patched stub and the emulation counts as one outside.

mod attributes;
mod bases;
mod context;
mod dispatch;
mod enclave;
mod enter;
mod entry;
mod epcm;
mod keys;
mod leaf;
mod page_table;
mod registry;
mod signal;
mod ssa;
mod stub;
mod tcs;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use enclave::EmulatedEnclave;
pub use keys::CPUSVN;
pub use stub::STUB;

use super::{Capabilities, Enclave, InterruptHandler, Platform, PlatformError};
use crate::arch::{Report, Secs, TargetInfo};

/// The largest enclave, log2 of bytes.
const MAX_SIZE_LOG2: u8 = 38;

/// Ranges up to this many bytes are brought up to date page by page.
const SMALL_RANGE: u64 = 1 << 21;

/// How the platform behaves.
#[derive(Debug)]
pub struct Options {
    /// The secret that stands for a processor's fuses.
    pub secret: [u8; 16],
    /// SGX2: pages can be added and changed after initialisation.
    pub edmm: bool,
    /// EDECCSSA is there.
    pub edeccssa: bool,
    /// ENCLU traps instead of being patched.
    pub strict: bool,
    /// Offset in the enclave of the padded ENCLU stub; without it, fast mode is strict.
    pub stub_offset: Option<u64>,
    /// Cycles spent at each entry, as the price of the entry and the exit on a processor with SGX.
    pub transition_cycles: u64,
    /// Enclaves may have the PROVISIONKEY attribute.
    pub provision: bool,
    /// EENTER sets the trap flag: SIGTRAP after each instruction inside, for tests of re-entrancy.
    pub single_step: AtomicBool,
    /// Goes into every report's key; new with every platform, as with every start of a machine.
    pub keyid: [u8; 32],
}

impl Options {
    /// As a current processor, fast mode, with this secret.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self {
            secret,
            edmm: true,
            edeccssa: true,
            strict: false,
            stub_offset: None,
            transition_cycles: 0,
            provision: false,
            single_step: AtomicBool::new(false),
            keyid: [0x17; 32],
        }
    }
}

/// How often the wall was crossed, since an enclave was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    /// EENTER.
    pub eenter: u64,
    /// EEXIT.
    pub eexit: u64,
    /// Asynchronous exits.
    pub aex: u64,
    /// ERESUME.
    pub eresume: u64,
}

/// The emulated platform.
#[derive(Debug)]
pub struct Emulated {
    options: Arc<Options>,
}

impl Emulated {
    /// A platform in this process. Takes over the signals of exceptions (SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP, SIGSYS).
    ///
    /// # Errors
    /// The processor or the kernel lacks what the emulation needs.
    pub fn new(options: Options) -> Result<Self, PlatformError> {
        if !bases::available() {
            return Err(PlatformError::Missing {
                platform: "emulated",
                reason: "the processor or the kernel lacks FSGSBASE (Linux 5.9 or later)".into(),
            });
        }
        signal::install()?;
        Ok(Self { options: Arc::new(options) })
    }

    /// The options, of which [`Options::single_step`] can be changed.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// As [`Platform::create`], as the concrete type.
    ///
    /// # Errors
    /// As there.
    pub fn create_emulated(&self, secs: &Secs) -> Result<Arc<EmulatedEnclave>, PlatformError> {
        let enclave = Arc::new(EmulatedEnclave::create(Arc::clone(&self.options), secs)?);
        registry::add(&enclave)?;
        Ok(enclave)
    }

    /// Whether a report for [`Platform::quoting_target`] was made by an enclave of this installation.
    #[must_use]
    pub fn is_genuine(&self, report: &Report) -> bool {
        keys::quoting_target().is_ok_and(|target| keys::is_genuine(&self.options.secret, &target, report))
    }
}

impl EmulatedEnclave {
    /// How often the wall was crossed.
    #[must_use]
    pub fn transitions(&self) -> Transitions {
        Transitions {
            eenter: self.counters.eenter.load(Ordering::Relaxed),
            eexit: self.counters.eexit.load(Ordering::Relaxed),
            aex: self.counters.aex.load(Ordering::Relaxed),
            eresume: self.counters.eresume.load(Ordering::Relaxed),
        }
    }
}

impl Platform for Emulated {
    fn name(&self) -> &'static str {
        "emulated"
    }

    fn is_emulated(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edmm: self.options.edmm,
            exinfo: true,
            edeccssa: self.options.edeccssa,
            xfrm: attributes::supported_xfrm(),
            max_size_log2: MAX_SIZE_LOG2,
        }
    }

    fn create(&self, secs: &Secs) -> Result<Arc<dyn Enclave>, PlatformError> {
        Ok(self.create_emulated(secs)?)
    }

    fn watch_signal(&self, signal: i32, handler: InterruptHandler) -> Result<(), PlatformError> {
        signal::watch(signal, handler)
    }

    fn quoting_target(&self) -> Result<TargetInfo, PlatformError> {
        keys::quoting_target()
    }

    fn quote(&self, report: &Report) -> Result<Vec<u8>, PlatformError> {
        if !self.is_genuine(report) {
            return Err(PlatformError::Quote(
                "the report was not made by an enclave of this installation for its quoting enclave".into(),
            ));
        }
        keys::quote(&self.options.secret, report)
    }
}
