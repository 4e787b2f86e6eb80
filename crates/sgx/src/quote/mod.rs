//! Quotes: a report that somebody far away can check.
//!
//! A quoting enclave checks a report made for it and signs its body with an attestation key; the platform's
//! certificate (PCK) vouches for that enclave and its key. [`Quote`] is the format (version 3, ECDSA on
//! P-256, certification data of type 5). [`EmulatedQe`] is a quoting enclave in software with a certification
//! authority of its own: the bytes are quotes in every respect, the signatures are real, and what they prove
//! is nothing. [`EMULATED_VENDOR_ID`] marks them, under the signature. Checking is in
//! [`verify`](crate::verify).

mod certificates;
mod chain;
mod collateral;
mod emulated;
mod format;
mod sgx_extension;

pub use collateral::Collateral;
pub use emulated::{EmulatedQe, MintError};
pub use format::{EMULATED_VENDOR_ID, INTEL_VENDOR_ID, Quote, QuoteError, QuoteHeader};
pub use sgx_extension::{EMULATED_CPUSVN, EMULATED_FMSPC, EMULATED_PPID};

pub(crate) use chain::{ChainError, certificates};
pub(crate) use format::{SIGNED_LEN, VENDOR_RANGE};
