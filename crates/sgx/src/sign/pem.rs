//! The key in files: PKCS #8 and PKCS #1, in PEM.

use crypto_bigint::zeroize::Zeroizing;
use crypto_bigint::{Limb, NonZero, U1536, U3072};
use pkcs1::{RsaPrivateKey, RsaPrivateKeyRef};
use pkcs8::der::asn1::{AnyRef, OctetStringRef, UintRef};
use pkcs8::der::pem::LineEnding;
use pkcs8::der::{Decode as _, SecretDocument};
use pkcs8::spki::AlgorithmIdentifier;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};

use super::key::inverse_of_three;
use super::{KeyError, SigningKey};

/// rsaEncryption (RFC 8017, appendix C).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

const PKCS8: &str = "PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";

impl SigningKey {
    /// The key in this PEM: PKCS #8 or PKCS #1, not encrypted.
    ///
    /// # Errors
    /// It holds no RSA key of 3072 bits with exponent 3, or one whose numbers do not belong together.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, document) = SecretDocument::from_pem(pem)?;
        match label {
            PKCS8 => {
                let info = PrivateKeyInfoRef::from_der(document.as_bytes())?;
                if info.algorithm.oid != RSA {
                    return Err(KeyError::Algorithm(info.algorithm.oid));
                }
                Self::from_pkcs1(info.private_key.as_bytes())
            }
            PKCS1 => Self::from_pkcs1(document.as_bytes()),
            other => Err(KeyError::Label(other.to_owned())),
        }
    }

    /// The key in PKCS #8, in PEM: what `openssl genpkey` writes.
    ///
    /// # Errors
    /// None that a whole key gives.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let inner = self.to_pkcs1()?;
        let info = PrivateKeyInfoRef::new(
            AlgorithmIdentifier { oid: RSA, parameters: Some(AnyRef::NULL) },
            OctetStringRef::new(inner.as_bytes())?,
        );
        Ok(SecretDocument::encode_msg(&info)?.to_pem(PKCS8, LineEnding::LF)?)
    }

    /// The key in PKCS #1, in PEM: what `openssl genrsa -traditional` writes.
    ///
    /// # Errors
    /// None that a whole key gives.
    pub fn to_pkcs1_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        Ok(self.to_pkcs1()?.to_pem(PKCS1, LineEnding::LF)?)
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPrivateKeyRef::from_der(der)?;
        let modulus = key.modulus.as_bytes();
        if modulus.len() != U3072::BYTES {
            let bits = u32::try_from(modulus.len()).ok().and_then(|bytes| bytes.checked_mul(8));
            return Err(KeyError::Length(bits.unwrap_or(u32::MAX)));
        }
        if key.public_exponent.as_bytes() != [3] {
            return Err(KeyError::Exponent);
        }
        let prime = |number: UintRef<'_>| {
            let mut padded = Zeroizing::new([0; U1536::BYTES]);
            let start =
                padded.len().checked_sub(number.as_bytes().len()).ok_or(KeyError::Inconsistent("prime"))?;
            padded[start..].copy_from_slice(number.as_bytes());
            Ok::<_, KeyError>(U1536::from_be_slice(padded.as_slice()))
        };
        let signing = Self::from_primes(&prime(key.prime1)?, &prime(key.prime2)?)?;
        if *signing.modulus() != U3072::from_be_slice(modulus) {
            return Err(KeyError::Inconsistent("modulus"));
        }
        Ok(signing)
    }

    fn to_pkcs1(&self) -> Result<SecretDocument, KeyError> {
        let [p, q] = self.primes();
        let wide = |number: &U3072| Zeroizing::new(number.to_be_bytes().as_ref().to_vec());
        let narrow = |number: &U1536| Zeroizing::new(number.to_be_bytes().as_ref().to_vec());
        let modulus = wide(self.modulus());
        let private_exponent = wide(&private_exponent(p, q));
        let [prime1, prime2] = [p, q].map(narrow);
        let [exponent1, exponent2] = [p, q].map(|prime| narrow(&inverse_of_three(prime)));
        let coefficient = narrow(self.q_inverse());
        let key = RsaPrivateKey {
            modulus: UintRef::new(&modulus)?,
            public_exponent: UintRef::new(&[3])?,
            private_exponent: UintRef::new(&private_exponent)?,
            prime1: UintRef::new(&prime1)?,
            prime2: UintRef::new(&prime2)?,
            exponent1: UintRef::new(&exponent1)?,
            exponent2: UintRef::new(&exponent2)?,
            coefficient: UintRef::new(&coefficient)?,
            other_prime_infos: None,
        };
        Ok(SecretDocument::encode_msg(&key)?)
    }
}

/// 1/3 modulo (p - 1)(q - 1). Both primes are 2 modulo 3, so that product is 3k + 1 and the inverse 2k + 1.
fn private_exponent(p: &U1536, q: &U1536) -> U3072 {
    const THREE: NonZero<Limb> = NonZero::<Limb>::new_unwrap(Limb(3));
    let [p, q] = [p, q].map(|prime| prime.wrapping_sub(&U1536::ONE));
    let totient: U3072 = p.concatenating_mul(&q);
    let (third, _) = totient.wrapping_sub(&U3072::ONE).div_rem_limb(THREE);
    third.wrapping_add(&third).wrapping_add(&U3072::ONE)
}
