//! A quoting enclave in software, and the authorities that vouch for it.

use std::fmt;
use std::time::{Duration, SystemTime};

use der::pem::LineEnding;
use der::{DateTime, Encode as _};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use x509_cert::certificate::Certificate;
use zerocopy::IntoBytes as _;

use super::certificates::{Role, certificate, crl};
use super::format::{EMULATED_VENDOR_ID, Quote, QuoteError, QuoteHeader};
use super::sgx_extension::{EMULATED_CPUSVN, EMULATED_FMSPC, PCE_SVN};
use super::{Collateral, chain};
use crate::arch::{AttributeFlags, Attributes, Miscselect, ReportBody, TargetInfo, Xfrm};

/// Product number and security version of the emulated quoting enclave.
const QE_PRODUCT: u16 = 1;
const QE_SVN: u16 = 1;

/// MRENCLAVE and MRSIGNER of the emulated quoting enclave: text, so that nobody takes them for digests.
const QE_MRENCLAVE: [u8; 32] = *b"casemate emulated quoting enclav";
const QE_MRSIGNER: [u8; 32] = *b"casemate emulated quoting signer";

/// How long collateral is good.
const COLLATERAL_PERIOD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A quote or its collateral cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// A certificate or revocation list cannot be made.
    #[error("no certificate: {0}")]
    Certificate(#[from] x509_cert::builder::Error),
    /// A name or a time cannot be written in DER.
    #[error("not expressible in DER: {0}")]
    Der(#[from] der::Error),
    /// PEM cannot be written.
    #[error("not expressible in PEM: {0}")]
    Pem(#[from] der::pem::Error),
    /// The quote does not fit its length fields.
    #[error(transparent)]
    Quote(#[from] QuoteError),
}

/// A quoting enclave in software, with its platform's certificate and the authorities above it. All of its
/// keys follow from one secret, so that every process of an installation has the same root.
pub struct EmulatedQe {
    attestation: SigningKey,
    platform: SigningKey,
    platform_ca: SigningKey,
    root: SigningKey,
    tcb_signing: SigningKey,
    platform_certificate: Certificate,
    platform_ca_certificate: Certificate,
    root_certificate: Certificate,
    tcb_signing_certificate: Certificate,
}

impl EmulatedQe {
    /// The quoting enclave of the installation with this secret.
    ///
    /// # Errors
    /// None that depends on the secret.
    pub fn new(secret: &[u8]) -> Result<Self, MintError> {
        let key = |name| derive(secret, name);
        let (attestation, platform, platform_ca) = (key("attestation"), key("platform"), key("platform CA"));
        let (root, tcb_signing) = (key("root"), key("TCB signing"));
        Ok(Self {
            platform_certificate: certificate(Role::Platform, &platform, &platform_ca)?,
            platform_ca_certificate: certificate(Role::PlatformCa, &platform_ca, &root)?,
            root_certificate: certificate(Role::Root, &root, &root)?,
            tcb_signing_certificate: certificate(Role::TcbSigning, &tcb_signing, &root)?,
            attestation,
            platform,
            platform_ca,
            root,
            tcb_signing,
        })
    }

    /// The target of the reports that this enclave takes.
    #[must_use]
    pub fn target_info() -> TargetInfo {
        TargetInfo::of(&identity())
    }

    /// The root certificate, in DER: what a verifier must be told to trust, and must not be told in
    /// production.
    ///
    /// # Errors
    /// None that depends on the secret.
    pub fn root_certificate(&self) -> Result<Vec<u8>, MintError> {
        Ok(self.root_certificate.to_der()?)
    }

    /// A quote of this report body. The caller has checked the report's MAC.
    ///
    /// # Errors
    /// None that depends on the body.
    pub fn quote(&self, body: &ReportBody) -> Result<Vec<u8>, MintError> {
        // Intel's is 32 bytes too; verifiers insist.
        let auth_data: [u8; 32] = *b"casemate emulated quote, no TEE!";
        let point = self.attestation.verifying_key().to_sec1_point(false);
        let mut attestation_key = [0; 64];
        // SEC 1: one byte that says "uncompressed", x, y.
        attestation_key.copy_from_slice(&point.as_bytes()[1..]);

        let mut qe_report = identity();
        let bound = Sha256::new_with_prefix(attestation_key).chain_update(auth_data).finalize();
        qe_report.reportdata[..32].copy_from_slice(&bound);

        let certificates =
            pem(&[&self.platform_certificate, &self.platform_ca_certificate, &self.root_certificate])?;
        let header = QuoteHeader {
            qe_svn: QE_SVN,
            pce_svn: u16::from(PCE_SVN),
            ..QuoteHeader::new(EMULATED_VENDOR_ID)
        };
        let mut quote = Quote {
            header,
            body: *body,
            signature: [0; 64],
            attestation_key,
            qe_report,
            qe_report_signature: sign(&self.platform, qe_report.as_bytes()),
            auth_data: auth_data.to_vec(),
            certificates: certificates.into_bytes(),
        };
        quote.signature = sign(&self.attestation, &quote.signed());
        Ok(quote.encode()?)
    }

    /// The collateral to check this installation's quotes with, good for thirty days from `now`.
    ///
    /// # Errors
    /// The time is before 1970 or after 9999.
    pub fn collateral(&self, now: SystemTime) -> Result<Collateral, MintError> {
        let issued = DateTime::from_system_time(now)?;
        let next = DateTime::from_unix_duration(issued.unix_duration().saturating_add(COLLATERAL_PERIOD))?;
        let components = EMULATED_CPUSVN.map(|svn| json!({ "svn": svn }));
        let tcb_info = json!({
            "id": "SGX",
            "version": 3,
            "issueDate": issued.to_string(),
            "nextUpdate": next.to_string(),
            "fmspc": hex(&EMULATED_FMSPC),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 1,
            "tcbLevels": [{
                "tcb": { "sgxtcbcomponents": components, "pcesvn": PCE_SVN },
                "tcbDate": issued.to_string(),
                "tcbStatus": "UpToDate",
            }],
        })
        .to_string();
        let qe = identity();
        let qe_identity = json!({
            "id": "QE",
            "version": 2,
            "issueDate": issued.to_string(),
            "nextUpdate": next.to_string(),
            "tcbEvaluationDataNumber": 1,
            "miscselect": hex(qe.miscselect.as_bytes()),
            "miscselectMask": hex(&[0xff; 4]),
            "attributes": hex(qe.attributes.as_bytes()),
            "attributesMask": hex(&[0xff; 16]),
            "mrsigner": hex(&qe.mrsigner),
            "isvprodid": qe.isvprodid,
            "tcbLevels": [{
                "tcb": { "isvsvn": QE_SVN },
                "tcbDate": issued.to_string(),
                "tcbStatus": "UpToDate",
            }],
        })
        .to_string();
        let signer_chain = pem(&[&self.tcb_signing_certificate, &self.root_certificate])?;
        Ok(Collateral::from(dcap_qvl::QuoteCollateralV3 {
            pck_crl_issuer_chain: pem(&[&self.platform_ca_certificate, &self.root_certificate])?,
            root_ca_crl: crl(&self.root_certificate, &self.root, issued, COLLATERAL_PERIOD)?,
            pck_crl: crl(&self.platform_ca_certificate, &self.platform_ca, issued, COLLATERAL_PERIOD)?,
            tcb_info_issuer_chain: signer_chain.clone(),
            tcb_info_signature: sign(&self.tcb_signing, tcb_info.as_bytes()).to_vec(),
            tcb_info,
            qe_identity_issuer_chain: signer_chain,
            qe_identity_signature: sign(&self.tcb_signing, qe_identity.as_bytes()).to_vec(),
            qe_identity,
            pck_certificate_chain: None,
        }))
    }
}

impl fmt::Debug for EmulatedQe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatedQe").finish_non_exhaustive()
    }
}

/// What the emulated quoting enclave is.
fn identity() -> ReportBody {
    ReportBody {
        cpusvn: EMULATED_CPUSVN,
        miscselect: Miscselect::empty(),
        attributes: Attributes::new(AttributeFlags::INIT | AttributeFlags::MODE64BIT, Xfrm::LEGACY),
        mrenclave: QE_MRENCLAVE,
        mrsigner: QE_MRSIGNER,
        isvprodid: QE_PRODUCT,
        isvsvn: QE_SVN,
        ..ReportBody::default()
    }
}

/// The key of this name under the installation's secret.
fn derive(secret: &[u8], name: &str) -> SigningKey {
    let mut scalar = Sha256::new_with_prefix(b"casemate emulated quoting: ")
        .chain_update(name)
        .chain_update([0])
        .chain_update(secret)
        .finalize();
    loop {
        // A digest is no scalar of the curve once in 2^32 times.
        match SigningKey::from_slice(&scalar) {
            Ok(key) => return key,
            Err(_) => scalar = Sha256::digest(scalar),
        }
    }
}

/// ECDSA with SHA-256: r and s.
fn sign(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    let signature: Signature = key.sign(message);
    signature.to_bytes().into()
}

/// Certificates in PEM.
fn pem(certificates: &[&Certificate]) -> Result<String, MintError> {
    let der: Vec<_> =
        certificates.iter().map(|certificate| certificate.to_der()).collect::<Result<_, _>>()?;
    Ok(chain::encode(&der, LineEnding::LF)?)
}

/// Hexadecimal, as Intel's JSON has it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
