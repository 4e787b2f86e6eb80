//! What is wrong with a key or a signature.

use pkcs8::der::Error as DerError;

use crate::arch::ErrorCode;

/// A signing key cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no PEM, or what it holds is no key.
    #[error("no private key in PEM: {0}")]
    Pem(#[from] DerError),
    /// Another thing than a key, or an encrypted one.
    #[error("PEM holds \"{0}\", want \"PRIVATE KEY\" or \"RSA PRIVATE KEY\"")]
    Label(String),
    /// A key of another algorithm.
    #[error("key is of algorithm {0}, want RSA")]
    Algorithm(pkcs8::ObjectIdentifier),
    /// Another length than SGX knows.
    #[error("key has {0} bits, want 3072")]
    Length(u32),
    /// Another exponent than SGX knows.
    #[error("key has an exponent other than 3")]
    Exponent,
    /// The key's numbers do not belong together.
    #[error("the key's {0} does not fit its other numbers")]
    Inconsistent(&'static str),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// What was computed does not verify: a broken key or a broken machine. Nothing was given out.
    #[error("the signature just made does not verify")]
    Fault,
}

/// Why EINIT refuses a SIGSTRUCT by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A constant of the header is wrong.
    #[error("header is not that of a SIGSTRUCT")]
    Header,
    /// Neither Intel nor anybody else.
    #[error("vendor is {0:#x}, want 0 or 0x8086")]
    Vendor(u32),
    /// Another exponent than SGX knows.
    #[error("exponent is {0}, want 3")]
    Exponent(u32),
    /// A field that must be zero is not.
    #[error("reserved bytes at offset {0} are not zero")]
    Reserved(usize),
    /// q1 or q2 are not the quotients.
    #[error("q1 or q2 is not the quotient that belongs to signature and modulus")]
    Quotient,
    /// Somebody else's signature, or something else was signed.
    #[error("signature does not verify")]
    Signature,
}

impl SignatureError {
    /// What EINIT answers (SDM vol. 3D, EINIT, "Operation").
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Header | Self::Vendor(_) | Self::Exponent(_) | Self::Reserved(_) => {
                ErrorCode::InvalidSigStruct
            }
            Self::Quotient | Self::Signature => ErrorCode::InvalidSignature,
        }
    }
}
