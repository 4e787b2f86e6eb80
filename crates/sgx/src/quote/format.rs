//! The bytes of a quote.

use std::mem::offset_of;
use std::ops::Range;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::arch::ReportBody;

/// Vendor id of Intel's quoting enclaves (`sgx_quote_3.h`, the QE's vendor GUID).
pub const INTEL_VENDOR_ID: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// Vendor id in the quotes of [`EmulatedQe`](super::EmulatedQe), readable in a dump. Whoever sees it knows
/// that no processor stands behind the quote; verification for production refuses it by name.
pub const EMULATED_VENDOR_ID: [u8; 16] = *b"CasemateEmulated";

/// [`QuoteHeader::attestation_key_type`] of ECDSA on P-256 with SHA-256.
const ECDSA_P256: u16 = 2;

/// How much of a quote the attestation key signs: header and report body.
pub(crate) const SIGNED_LEN: usize = size_of::<Signed>();

/// Where the vendor id is.
pub(crate) const VENDOR_RANGE: Range<usize> = {
    let start = offset_of!(QuoteHeader, vendor_id);
    start..start + 16
};

/// Certification data that is a chain of PCK certificates in PEM.
const PCK_CHAIN: u16 = 5;

/// Header of a quote of version 3 (`sgx_quote_3.h`, `sgx_quote_header_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QuoteHeader {
    /// 3.
    pub version: u16,
    /// 2: ECDSA on P-256.
    pub attestation_key_type: u16,
    /// 0: SGX (reserved in version 3).
    pub tee_type: u32,
    /// Security version of the quoting enclave.
    pub qe_svn: u16,
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// Whose quoting enclave.
    pub vendor_id: [u8; 16],
    /// The quoting enclave's own; Intel's puts the platform's id here.
    pub user_data: [u8; 20],
}

/// What is signed, and how much comes after it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Signed {
    header: QuoteHeader,
    body: ReportBody,
}

/// The part of the signature section that has a fixed length (`sgx_ecdsa_sig_data_t`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Signatures {
    signature: [u8; 64],
    attestation_key: [u8; 64],
    qe_report: ReportBody,
    qe_report_signature: [u8; 64],
}

/// A quote, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// What kind of quote.
    pub header: QuoteHeader,
    /// What the enclave is and says.
    pub body: ReportBody,
    /// Signature of header and body by the attestation key: r and s.
    pub signature: [u8; 64],
    /// The attestation key: x and y.
    pub attestation_key: [u8; 64],
    /// What the quoting enclave is; its report data holds the digest of attestation key and `auth_data`.
    pub qe_report: ReportBody,
    /// Signature of `qe_report` by the platform's certificate: r and s.
    pub qe_report_signature: [u8; 64],
    /// The quoting enclave's own.
    pub auth_data: Vec<u8>,
    /// The platform's certificates in PEM, from leaf to root.
    pub certificates: Vec<u8>,
}

/// Bytes that are no quote of the kind known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The bytes end in the middle.
    #[error("quote of {length} bytes ends inside its {part}")]
    Truncated {
        /// How many there are.
        length: usize,
        /// In the middle of what.
        part: &'static str,
    },
    /// A length in the quote and the bytes that are there differ.
    #[error("quote says that its {part} has {stated} bytes, there are {found}")]
    Length {
        /// Of what.
        part: &'static str,
        /// What the quote says.
        stated: usize,
        /// What is there.
        found: usize,
    },
    /// A version that is not known here.
    #[error("quote has version {0}, want 3")]
    Version(u16),
    /// An attestation key that is not known here.
    #[error("quote has an attestation key of type {0}, want 2 (ECDSA on P-256)")]
    KeyType(u16),
    /// Not SGX.
    #[error("quote is of TEE type {0:#x}, want 0 (SGX)")]
    TeeType(u32),
    /// Certificates in a form that is not known here.
    #[error("quote has certification data of type {0}, want 5 (certificate chain)")]
    CertificationType(u16),
}

impl Quote {
    /// Takes a quote apart. Nothing may be left over: what no field holds, no signature covers.
    ///
    /// # Errors
    /// It is not of version 3 with ECDSA on P-256 and a certificate chain, or its lengths do not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        let mut reader = Reader { rest: bytes, length: bytes.len() };
        let Signed { header, body } = reader.take("header and report body")?;
        if header.version != 3 {
            return Err(QuoteError::Version(header.version));
        }
        if header.attestation_key_type != ECDSA_P256 {
            return Err(QuoteError::KeyType(header.attestation_key_type));
        }
        if header.tee_type != 0 {
            return Err(QuoteError::TeeType(header.tee_type));
        }
        let stated = usize_from(u32::from_le_bytes(reader.take("signature length")?));
        reader.rest_is("signature", stated)?;
        let signatures: Signatures = reader.take("signatures")?;
        let auth_len = usize::from(u16::from_le_bytes(reader.take("authentication data")?));
        let auth_data = reader.bytes(auth_len, "authentication data")?.to_vec();
        let kind = u16::from_le_bytes(reader.take("certification data")?);
        if kind != PCK_CHAIN {
            return Err(QuoteError::CertificationType(kind));
        }
        let stated = usize_from(u32::from_le_bytes(reader.take("certification data")?));
        reader.rest_is("certification data", stated)?;
        Ok(Self {
            header,
            body,
            signature: signatures.signature,
            attestation_key: signatures.attestation_key,
            qe_report: signatures.qe_report,
            qe_report_signature: signatures.qe_report_signature,
            auth_data,
            certificates: reader.rest.to_vec(),
        })
    }

    /// Puts the quote together.
    ///
    /// # Errors
    /// Authentication data or certificates are longer than their length fields can say.
    pub fn encode(&self) -> Result<Vec<u8>, QuoteError> {
        let too_long = |part, found| QuoteError::Length { part, stated: usize::MAX, found };
        let auth_len = u16::try_from(self.auth_data.len())
            .map_err(|_| too_long("authentication data", self.auth_data.len()))?;
        let certificates_len = u32::try_from(self.certificates.len())
            .map_err(|_| too_long("certification data", self.certificates.len()))?;

        let signatures = Signatures {
            signature: self.signature,
            attestation_key: self.attestation_key,
            qe_report: self.qe_report,
            qe_report_signature: self.qe_report_signature,
        };
        let mut section = signatures.as_bytes().to_vec();
        section.extend(auth_len.to_le_bytes());
        section.extend(&self.auth_data);
        section.extend(PCK_CHAIN.to_le_bytes());
        section.extend(certificates_len.to_le_bytes());
        section.extend(&self.certificates);

        let section_len = u32::try_from(section.len()).map_err(|_| too_long("signature", section.len()))?;
        let mut bytes = self.signed().to_vec();
        bytes.extend(section_len.to_le_bytes());
        bytes.extend(section);
        Ok(bytes)
    }

    /// What the attestation key signs.
    #[must_use]
    pub fn signed(&self) -> [u8; 432] {
        zerocopy::transmute!(Signed { header: self.header, body: self.body })
    }
}

impl QuoteHeader {
    /// A header for quotes of the quoting enclave of this vendor; versions and user data zero.
    #[must_use]
    pub fn new(vendor_id: [u8; 16]) -> Self {
        Self { version: 3, attestation_key_type: ECDSA_P256, vendor_id, ..Self::new_zeroed() }
    }
}

/// Takes fields from the front.
struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], QuoteError> {
        let truncated = QuoteError::Truncated { length: self.length, part };
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn take<T: FromBytes>(&mut self, part: &'static str) -> Result<T, QuoteError> {
        let (value, rest) = T::read_from_prefix(self.rest)
            .map_err(|_| QuoteError::Truncated { length: self.length, part })?;
        self.rest = rest;
        Ok(value)
    }

    fn rest_is(&self, part: &'static str, stated: usize) -> Result<(), QuoteError> {
        let found = self.rest.len();
        if found == stated { Ok(()) } else { Err(QuoteError::Length { part, stated, found }) }
    }
}

/// A length in the quote; where it does not fit the machine, no bytes can match it either.
fn usize_from(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

const _: () = assert!(size_of::<QuoteHeader>() == 48);
const _: () = assert!(size_of::<Signed>() == 432);
const _: () = assert!(size_of::<Signatures>() == 576);
const _: () = assert!(VENDOR_RANGE.start == 12);
