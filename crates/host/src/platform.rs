//! Which platform a run is on.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use casemate_sgx::platform::Platform;
use casemate_sgx::platform::device::Device;
use casemate_sgx::platform::emulated::{Emulated, Options};

use crate::error::RunError;
use crate::preempt;
use crate::raw::signal;
use crate::run::RunOptions;
use crate::state::State;

/// A platform by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformChoice {
    /// The processor where it has SGX, else the emulation.
    #[default]
    Auto,
    /// The processor, by `/dev/sgx_enclave`.
    Device,
    /// The emulation, which protects nothing.
    Emulated,
}

/// A name that is no platform's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no platform is called {0:?}: there are auto, device and emulated")]
pub struct UnknownPlatform(String);

impl FromStr for PlatformChoice {
    type Err = UnknownPlatform;

    fn from_str(name: &str) -> Result<Self, UnknownPlatform> {
        match name {
            "auto" => Ok(Self::Auto),
            "device" => Ok(Self::Device),
            "emulated" => Ok(Self::Emulated),
            _ => Err(UnknownPlatform(name.to_owned())),
        }
    }
}

/// What of a run's options concerns the platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlatformOptions {
    edmm: bool,
    strict: bool,
    transition_cycles: u64,
    single_step: bool,
    stub: u64,
}

impl PlatformOptions {
    /// Of a run of an image whose ENCLU stub is at this offset.
    pub(crate) fn new(options: &RunOptions, stub: u64) -> Self {
        let RunOptions { edmm, strict, transition_cycles, single_step, .. } = *options;
        Self { edmm: edmm.unwrap_or(true), strict, transition_cycles, single_step, stub }
    }
}

impl PlatformChoice {
    /// The platform.
    ///
    /// # Errors
    /// This machine does not have it.
    pub(crate) fn open(
        self,
        state: &State,
        options: &PlatformOptions,
    ) -> Result<Arc<dyn Platform>, RunError> {
        match self {
            Self::Device => Ok(Arc::new(Device::open()?)),
            Self::Emulated => emulated(state, options),
            Self::Auto => match Device::open() {
                Ok(device) => Ok(Arc::new(device)),
                Err(_) => emulated(state, options),
            },
        }
    }
}

fn emulated(state: &State, options: &PlatformOptions) -> Result<Arc<dyn Platform>, RunError> {
    let mut emulated = Options::new(state.secret()?);
    emulated.edmm = options.edmm;
    emulated.strict = options.strict;
    emulated.transition_cycles = options.transition_cycles;
    emulated.stub_offset = Some(options.stub);
    let failed = |error| RunError::system("random numbers", std::io::Error::other::<getrandom::Error>(error));
    getrandom::fill(&mut emulated.keyid).map_err(failed)?;
    emulated.single_step = AtomicBool::new(options.single_step);
    let platform = Emulated::new(emulated)?;
    if options.single_step {
        platform.watch_signal(signal::trap(), preempt::on_signal)?;
    }
    Ok(Arc::new(platform))
}
