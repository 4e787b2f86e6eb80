//! Checking a quote: is there a genuine enclave of this measurement behind it?
//!
//! The work is done by `dcap-qvl`: certificates up to the root, revocation, TCB info, the quoting enclave's
//! identity, all signatures, all dates. Here stands what it leaves open: which root and which vendor belong
//! together, that no byte of the quote is without meaning, and which states of a platform's patches are good
//! enough.
//!
//! Who has taken over a machine's memory bus can forge quotes of that machine; see `SECURITY.md`. A verifier
//! that must care pins machines, by [`Verified::ppid`] or [`Verified::fmspc`].

mod policy;
mod vendor;

use std::time::{SystemTime, UNIX_EPOCH};

use dcap_qvl::QuoteClaims;
pub use dcap_qvl::TcbStatus;
use dcap_qvl::verify::QuoteVerifier;

use crate::arch::{AttributeFlags, ReportBody};
use crate::quote::{
    ChainError, Collateral, EMULATED_VENDOR_ID, INTEL_VENDOR_ID, Quote, QuoteError, certificates,
};
pub use policy::Policy;
use vendor::EmulatedConfig;

/// What a quote that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the enclave is, and says.
    pub body: ReportBody,
    /// State of the platform's patches.
    pub status: TcbStatus,
    /// Advisories that concern this state.
    pub advisories: Vec<String>,
    /// Which machine: the platform provisioning id.
    pub ppid: Vec<u8>,
    /// Which kind of machine: family, model, stepping and custom SKU.
    pub fmspc: [u8; 6],
}

/// Why a quote does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The bytes are no quote.
    #[error(transparent)]
    Malformed(#[from] QuoteError),
    /// No processor stands behind it.
    #[error("quote of an emulated platform: it proves nothing")]
    Emulated,
    /// A quote of a real platform, where one of an emulated one was wanted.
    #[error("quote of a real platform, want one of an emulated platform")]
    NotEmulated,
    /// Nobody's quoting enclave.
    #[error("quote of the unknown vendor {0:02x?}")]
    Vendor([u8; 16]),
    /// A debugger may read the enclave.
    #[error("quote of a debug enclave: its memory is open to the host")]
    Debug,
    /// The certificates in the quote.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The time to check at is before 1970.
    #[error("the time to verify at is before 1970")]
    Time,
    /// A signature, certificate, revocation list, date or identity does not hold.
    #[error("quote does not hold: {0}")]
    Refused(String),
    /// The platform's patches are not in a state that the policy takes.
    #[error("platform is in state {status}, advisories: {advisories:?}")]
    Status {
        /// The state.
        status: TcbStatus,
        /// What is known of it.
        advisories: Vec<String>,
    },
}

/// Checks a quote at a point in time.
///
/// # Errors
/// It does not hold, or not under this policy.
pub fn verify_quote(
    quote: &[u8],
    collateral: &Collateral,
    now: SystemTime,
    policy: &Policy,
) -> Result<Verified, VerifyError> {
    let parsed = Quote::parse(quote)?;
    match (parsed.header.vendor_id, policy.is_emulated()) {
        (INTEL_VENDOR_ID, false) | (EMULATED_VENDOR_ID, true) => {}
        (EMULATED_VENDOR_ID, false) => return Err(VerifyError::Emulated),
        (INTEL_VENDOR_ID, true) => return Err(VerifyError::NotEmulated),
        (other, _) => return Err(VerifyError::Vendor(other)),
    }
    if parsed.body.attributes.flags.contains(AttributeFlags::DEBUG) && !policy.allows_debug() {
        return Err(VerifyError::Debug);
    }
    let chain = certificates(&parsed.certificates)?;
    // The verifier takes the root from the policy and would not look at the chain's own.
    match chain.as_slice() {
        [_, _, root] if root == policy.root() => {}
        [_, _, _] => return Err(ChainError::Root.into()),
        other => return Err(ChainError::Count(other.len()).into()),
    }

    let now = now.duration_since(UNIX_EPOCH).map_err(|_| VerifyError::Time)?.as_secs();
    let root = policy.root().to_vec();
    let claims = if policy.is_emulated() {
        QuoteVerifier::<EmulatedConfig>::new_with_config(root)
            .allow_debug(policy.allows_debug())
            .verify_with_policy(&vendor::disguised(quote), collateral.inner(), now, &Anything)
    } else {
        QuoteVerifier::new(root).allow_debug(policy.allows_debug()).verify_with_policy(
            quote,
            collateral.inner(),
            now,
            &Anything,
        )
    }
    .map_err(|error| VerifyError::Refused(format!("{error:#}")))?;

    let (status, advisories) = (claims.tcb.status, claims.tcb.advisory_ids);
    if !policy.accepts(status) {
        return Err(VerifyError::Status { status, advisories });
    }
    Ok(Verified {
        body: parsed.body,
        status,
        advisories,
        ppid: claims.platform.pck.ppid,
        fmspc: claims.platform.pck.fmspc,
    })
}

/// No condition of its own: [`verify_quote`] judges what holds.
struct Anything;

impl dcap_qvl::Policy for Anything {
    fn validate(&self, _claims: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}
