//! What a verifier needs besides the quote.

use dcap_qvl::QuoteCollateralV3;

/// What a verifier needs besides the quote and a root: revocation lists, the state of the platform's patches
/// (TCB info), the identity of the quoting enclave, each signed. It comes from Intel's or anybody's caching
/// service; nothing in it is trusted for where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collateral(QuoteCollateralV3);

impl Collateral {
    /// From JSON in the form of `dcap-qvl` (fields of `quote3_collateral_t`, binary ones in hexadecimal).
    ///
    /// # Errors
    /// It is not JSON of that form.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<QuoteCollateralV3>(json).map(Self::from)
    }

    /// To JSON in the same form.
    ///
    /// # Errors
    /// None.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.0)
    }

    pub(crate) fn inner(&self) -> &QuoteCollateralV3 {
        &self.0
    }
}

impl From<QuoteCollateralV3> for Collateral {
    /// The platform's certificates are taken from the quote, never from here.
    fn from(mut inner: QuoteCollateralV3) -> Self {
        inner.pck_certificate_chain = None;
        Self(inner)
    }
}
