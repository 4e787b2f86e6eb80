//! Linux's SGX driver, `/dev/sgx_enclave`, with a real processor below it.
//!
//! It has never run on hardware yet: it follows the kernel's documentation and sources (`Documentation/arch/x86/sgx.rst`,
//! `arch/x86/kernel/cpu/sgx`, `arch/x86/entry/vdso/vsgx.S`), and the conformance suite waits for a machine with SGX.
//!
//! An enclave is a file description of the device's. Its pages are added and changed by `ioctl`, mapped by `mmap` and
//! `mprotect`, and entered by the kernel's `__vdso_sgx_enter_enclave`, which reports exceptions without signals. A thread
//! must resume an enclave on the host thread on which it entered: the enclave leaves with the stack pointer of its entry.

mod aesm;
mod call;
mod cpu;
mod enclave;
mod ioctl;
mod signal;
mod stack;
mod vdso;

use std::fs::{File, OpenOptions};
use std::sync::Arc;

pub use cpu::{CpuSgx, EpcSection};
pub use enclave::DeviceEnclave;

use self::vdso::Vdso;
use super::{Capabilities, Enclave, InterruptHandler, Platform, PlatformError};
use crate::arch::linux::{DEVICE, PROVISION_DEVICE};
use crate::arch::{Report, Secs, TargetInfo};

/// Where AESM, Intel's service that owns the quoting enclave, listens.
pub const AESM_SOCKET: &str = "/var/run/aesmd/aesm.socket";

/// The platform of `/dev/sgx_enclave`.
#[derive(Debug)]
pub struct Device {
    vdso: Vdso,
    capabilities: Capabilities,
}

impl Device {
    /// The device of this machine.
    ///
    /// # Errors
    /// There is no such device, it cannot be opened, or the kernel lacks `__vdso_sgx_enter_enclave`.
    pub fn open() -> Result<Self, PlatformError> {
        open(DEVICE)?;
        let vdso = Vdso::find().ok_or_else(|| missing("the kernel has no __vdso_sgx_enter_enclave"))?;
        let cpu = CpuSgx::probe().ok_or_else(|| missing("the processor has no SGX"))?;
        let capabilities = Capabilities {
            edmm: cpu.sgx2 && has_edmm(),
            exinfo: cpu.exinfo,
            edeccssa: cpu.edeccssa,
            xfrm: cpu.xfrm,
            max_size_log2: cpu.max_size_log2,
        };
        Ok(Self { vdso, capabilities })
    }
}

fn missing(reason: &str) -> PlatformError {
    PlatformError::Missing { platform: "device", reason: reason.into() }
}

/// Opens one of the driver's devices to read and write.
fn open(path: &'static str) -> Result<File, PlatformError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| missing(&format!("{path}: {error}")))
}

/// Opens the device that grants PROVISIONKEY.
fn open_provision() -> Result<File, PlatformError> {
    open(PROVISION_DEVICE)
}

/// Whether the kernel has the `ioctl`s of EDMM: from 6.0 on.
pub(crate) fn has_edmm() -> bool {
    let release = rustix::system::uname();
    let major =
        release.release().to_str().ok().and_then(|release| release.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 6)
}

/// Whether the kernel has `__vdso_sgx_enter_enclave`.
pub(crate) fn has_vdso() -> bool {
    Vdso::find().is_some()
}

impl Platform for Device {
    fn name(&self) -> &'static str {
        "device"
    }

    fn is_emulated(&self) -> bool {
        false
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn create(&self, secs: &Secs) -> Result<Arc<dyn Enclave>, PlatformError> {
        Ok(Arc::new(DeviceEnclave::create(self.vdso, secs, self.capabilities.max_size_log2)?))
    }

    fn watch_signal(&self, signal: i32, handler: InterruptHandler) -> Result<(), PlatformError> {
        signal::watch(self.vdso.enclu, signal, handler)
    }

    fn quoting_target(&self) -> Result<TargetInfo, PlatformError> {
        aesm::quoting_target()
    }

    fn quote(&self, report: &Report) -> Result<Vec<u8>, PlatformError> {
        aesm::quote(report)
    }
}
