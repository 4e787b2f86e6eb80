//! Whom a verifier trusts, and how much it puts up with.

use std::fmt;

use super::TcbStatus;

/// Intel's root certificate, in DER: "Intel SGX Root CA", SHA-256 44a0196b...fab674d3, as
/// `certificates.trustedservices.intel.com` publishes it.
const INTEL_ROOT: &[u8] = include_bytes!("intel-sgx-root-ca.der");

/// Whom a verifier trusts, and how much it puts up with.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    root: Vec<u8>,
    emulated: bool,
    debug: bool,
    statuses: Vec<TcbStatus>,
}

impl Policy {
    /// Intel's root, no emulated platforms, no debug enclaves, platforms that are up to date.
    #[must_use]
    pub fn production() -> Self {
        Self { root: INTEL_ROOT.to_vec(), emulated: false, debug: false, statuses: vec![TcbStatus::UpToDate] }
    }

    /// Emulated platforms under this root (in DER), and nothing else: for tests, and for development without
    /// SGX.
    #[must_use]
    pub fn emulated(root: Vec<u8>) -> Self {
        Self { root, emulated: true, ..Self::production() }
    }

    /// Takes platforms in this state too. `Revoked` is refused all the same.
    #[must_use]
    pub fn accept(mut self, status: TcbStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Takes debug enclaves, whose memory anybody on their host can read.
    #[must_use]
    pub fn accept_debug(mut self) -> Self {
        self.debug = true;
        self
    }

    pub(super) fn root(&self) -> &[u8] {
        &self.root
    }

    pub(super) fn is_emulated(&self) -> bool {
        self.emulated
    }

    pub(super) fn allows_debug(&self) -> bool {
        self.debug
    }

    pub(super) fn accepts(&self, status: TcbStatus) -> bool {
        self.statuses.contains(&status)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("emulated", &self.emulated)
            .field("debug", &self.debug)
            .field("statuses", &self.statuses)
            .finish_non_exhaustive()
    }
}
