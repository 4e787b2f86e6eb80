//! What EINIT checks of a SIGSTRUCT by itself.

use crypto_bigint::U3072;
use sha2::{Digest as _, Sha256};

use super::SignatureError;
use super::rsa;
use crate::arch::{SIGSTRUCT_HEADER1, SIGSTRUCT_HEADER2, Sigstruct, VENDOR_INTEL, VENDOR_OTHER};

/// MRSIGNER: digest of the signer's modulus, in the byte order of the structure.
#[must_use]
pub fn mrsigner(sigstruct: &Sigstruct) -> [u8; 32] {
    Sha256::digest(sigstruct.modulus).into()
}

/// Digest of what is signed.
pub(super) fn digest(sigstruct: &Sigstruct) -> [u8; 32] {
    let (first, second) = sigstruct.signed_parts();
    Sha256::new_with_prefix(first).chain_update(second).finalize().into()
}

/// Checks the structure's constants and its signature as EINIT does (SDM vol. 3D, EINIT, "Operation").
///
/// Who signed is for the caller to judge, by [`mrsigner`]; and so is whether the enclave is the one that was
/// signed.
///
/// # Errors
/// The first thing that is wrong. [`SignatureError::code`] is EINIT's answer.
pub fn verify(sigstruct: &Sigstruct) -> Result<(), SignatureError> {
    if sigstruct.header != SIGSTRUCT_HEADER1 || sigstruct.header2 != SIGSTRUCT_HEADER2 {
        return Err(SignatureError::Header);
    }
    if !matches!(sigstruct.vendor, VENDOR_OTHER | VENDOR_INTEL) {
        return Err(SignatureError::Vendor(sigstruct.vendor));
    }
    if sigstruct.exponent != 3 {
        return Err(SignatureError::Exponent(sigstruct.exponent));
    }
    if let Some(offset) = sigstruct.reserved_in_use() {
        return Err(SignatureError::Reserved(offset));
    }
    let [modulus, signature, q1, q2] =
        [&sigstruct.modulus, &sigstruct.signature, &sigstruct.q1, &sigstruct.q2]
            .map(|field| U3072::from_le_slice(field));
    let signed = rsa::cube(&signature, &modulus, &q1, &q2).ok_or(SignatureError::Quotient)?;
    if signed == rsa::padded(&digest(sigstruct)) { Ok(()) } else { Err(SignatureError::Signature) }
}
