//! Quotes of another vendor than Intel, for a verifier that takes Intel's alone.
//!
//! `dcap-qvl` refuses every other vendor id before it looks at anything else, under whatever root. The id of
//! an emulated quote stands under the quote's signature, and stays there: the verifier is given a copy with
//! Intel's id in its place, and signatures are checked by an algorithm that undoes this, in the one message
//! where it was done.

use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::crypto::RustCryptoCrypto;
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use crate::quote::{EMULATED_VENDOR_ID, INTEL_VENDOR_ID, SIGNED_LEN, VENDOR_RANGE};

/// This quote, with the vendor id `from` replaced by `to`; as it is, if its vendor is another.
fn with_vendor(quote: &[u8], from: &[u8; 16], to: &[u8; 16]) -> Vec<u8> {
    let mut copy = quote.to_vec();
    if let Some(vendor) = copy.get_mut(VENDOR_RANGE)
        && vendor == from
    {
        vendor.copy_from_slice(to);
    }
    copy
}

/// What `dcap-qvl` gets of an emulated quote.
pub(super) fn disguised(quote: &[u8]) -> Vec<u8> {
    with_vendor(quote, &EMULATED_VENDOR_ID, &INTEL_VENDOR_ID)
}

/// The parts of `dcap-qvl`, with signatures of quotes checked over the emulated vendor's id.
pub(super) struct EmulatedConfig;

impl Config for EmulatedConfig {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = EmulatedCrypto;
}

/// RustCrypto's algorithms, but for the above.
pub(super) struct EmulatedCrypto;

impl CryptoProvider for EmulatedCrypto {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &UndisguisedEcdsa
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        RustCryptoCrypto::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        RustCryptoCrypto::sha384(data)
    }
}

/// ECDSA on P-256 with SHA-256.
#[derive(Debug)]
struct UndisguisedEcdsa;

impl SignatureVerificationAlgorithm for UndisguisedEcdsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let ecdsa = RustCryptoCrypto::sig_algo();
        // Header and body of a quote and nothing else: certificates and revocation lists begin with 0x30,
        // collateral with '{', the quoting enclave's report is shorter.
        if message.len() == SIGNED_LEN && message.starts_with(&[3, 0]) {
            let undisguised = with_vendor(message, &INTEL_VENDOR_ID, &EMULATED_VENDOR_ID);
            return ecdsa.verify_signature(key, &undisguised, signature);
        }
        ecdsa.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        RustCryptoCrypto::sig_algo().public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        RustCryptoCrypto::sig_algo().signature_alg_id()
    }
}
