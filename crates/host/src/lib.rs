//! The untrusted side of the shield: it builds an enclave, gives it threads, and serves its calls.
//!
//! [`run`] does all of it. In the order of a run:
//!
//! * [`Image`]: the kernel that runs inside, embedded in this crate by its build script. [`Plan`]: which of its pages go where,
//!   with which measurement. [`signing`] and [`State`]: the signature that goes with it.
//! * `platform`: the processor, or an emulation that protects nothing.
//! * `window`, `start`, `clock`, `cpuid`: the shared memory and what the enclave finds in it.
//! * `vcpu`: the threads that enter; `park`: where they sleep; `preempt`: time slices.
//! * `ops`: the calls of the enclave, on `files` (under one root directory, read only, and of the `mount`s) and on the `console`.
//!
//! The enclave may be hostile, too: whatever it asks is checked, here and not there.

mod clock;
mod console;
mod cpuid;
mod error;
mod family;
mod files;
mod image;
mod mount;
mod net;
mod news;
mod ops;
mod park;
mod plan;
mod platform;
mod preempt;
mod program;
mod raw;
mod readdir;
mod run;
mod shared;
pub mod signing;
mod size;
mod start;
mod state;
mod stats;
mod vcpu;
mod window;
mod workers;

pub use casemate_enclave_abi::{ExitStatus, MAX_VCPUS};
pub use error::RunError;
pub use family::{BadLink, Link};
pub use image::{Image, ImageError, Segment};
pub use mount::{BadMount, Mount, mount_point};
pub use plan::{MIN_HEAP, MISCSELECT, Plan, PlanError};
pub use platform::{PlatformChoice, UnknownPlatform};
pub use program::DEFAULT_PATH;
pub use run::{Finished, RunOptions, end, run};
pub use size::{BadSize, Size};
pub use state::State;
pub use stats::Stats;
