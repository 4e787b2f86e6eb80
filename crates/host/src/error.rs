//! Why a program cannot be run in an enclave.

use std::io;
use std::path::PathBuf;

use casemate_enclave_abi::exit::BadExit;
use casemate_sgx::platform::PlatformError;
use casemate_sgx::sign::KeyError;

use crate::image::ImageError;
use crate::plan::PlanError;

/// Why a program was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program's name leads nowhere.
    #[error("{program}: not found in {rootfs}")]
    NotFound {
        /// As named.
        program: String,
        /// The root directory.
        rootfs: PathBuf,
    },
    /// The program is there, but is none.
    #[error("{program}: {problem}")]
    NotExecutable {
        /// As named.
        program: String,
        /// What it is instead.
        problem: &'static str,
    },
    /// The root directory is none.
    #[error("the root directory {rootfs}: {source}")]
    Rootfs {
        /// As named.
        rootfs: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Arguments and environment are too long.
    #[error(
        "arguments and environment of {bytes} bytes are longer than the 16 MiB that an enclave can be told"
    )]
    Arguments {
        /// With all that goes with them.
        bytes: u64,
    },
    /// A string that no program can be given.
    #[error("an argument or an environment variable has a NUL inside")]
    Nul,
    /// More or fewer vCPUs than possible.
    #[error("{vcpus} vCPUs are not possible: an enclave has 1 to {most}")]
    Vcpus {
        /// Asked for.
        vcpus: u64,
        /// Possible.
        most: u64,
    },
    /// EDMM was asked for where there is none.
    #[error("the platform {platform} has no EDMM (pages added on demand)")]
    NoEdmm {
        /// Which.
        platform: &'static str,
    },
    /// The platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Building the enclave.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The development key.
    #[error("the signing key {path}: {source}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// A SIGSTRUCT from a file.
    #[error("{path} is no SIGSTRUCT: {problem}")]
    Sigstruct {
        /// Its file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A file of ours.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A call of the host's kernel.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The enclave kernel gave up.
    #[error("the enclave kernel: {0}")]
    Kernel(String),
    /// The enclave left for a reason that there is not.
    #[error(transparent)]
    Exit(#[from] BadExit),
    /// The enclave broke the rules between it and the host.
    #[error("vCPU {vcpu}: {problem}")]
    Enclave {
        /// On which vCPU.
        vcpu: u64,
        /// What it did.
        problem: String,
    },
}

/// What `casemate run` exits with for failures of its own, as container engines do.
const OWN_FAILURE: u8 = 125;
/// The program cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
const NOT_FOUND: u8 = 127;

impl RunError {
    /// The exit code: 127 where there is no such program, 126 where it cannot be executed, 125 for everything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => NOT_FOUND,
            Self::NotExecutable { .. } => NOT_EXECUTABLE,
            _ => OWN_FAILURE,
        }
    }

    pub(crate) fn system(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { what, source: source.into() }
    }

    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { what, path: path.into(), source: source.into() }
    }
}
