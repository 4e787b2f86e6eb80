//! SIGSTRUCT: signing an enclave, and checking a signature as EINIT does.
//!
//! [`SigningKey`] is an RSA key of 3072 bits with exponent 3, the only kind there is. [`SigstructBuilder`]
//! says what is signed; [`verify`] is what the processor checks of the structure itself, without the enclave
//! that it belongs to.

mod builder;
mod error;
mod key;
mod pem;
mod rsa;
mod verify;

pub use builder::{SignDate, SigstructBuilder};
pub use error::{KeyError, SignatureError};
pub use key::SigningKey;
pub use verify::{mrsigner, verify};
