//! The signer's key.

use std::fmt;
use std::num::NonZeroU32;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::zeroize::Zeroize;
use crypto_bigint::{Limb, NonZero, Odd, U1536, U3072};
use crypto_primes::hazmat::SmallFactorsSieve;
use crypto_primes::{Flavor, is_prime};
use sha2::{Digest as _, Sha256};

use super::{KeyError, rsa, verify};
use crate::arch::Sigstruct;

/// Bits of a prime.
const PRIME_BITS: NonZeroU32 = NonZeroU32::new(1536).unwrap();

/// The divisor that is the public exponent.
const THREE: NonZero<Limb> = NonZero::<Limb>::new_unwrap(Limb(3));

/// An RSA key of 3072 bits with exponent 3. Computations with the secret parts take the same time whatever
/// their value; the parts are wiped when the key goes away.
pub struct SigningKey {
    modulus: NonZero<U3072>,
    p: Odd<U1536>,
    q: Odd<U1536>,
    /// 1/q modulo p.
    q_inverse: U1536,
}

impl SigningKey {
    /// A new key. Takes a second or so.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_primes(&random_prime()?, &random_prime()?)
    }

    /// The key of these two primes.
    ///
    /// # Errors
    /// They are not odd, not different, do not make 3072 bits, or do not go with the exponent.
    pub(super) fn from_primes(p: &U1536, q: &U1536) -> Result<Self, KeyError> {
        let modulus: U3072 = p.concatenating_mul(q);
        if modulus.bit_width_vartime() != U3072::BITS {
            return Err(KeyError::Length(modulus.bit_width_vartime()));
        }
        for prime in [p, q] {
            // Else 3 has no inverse modulo the prime less one.
            if prime.rem_limb(THREE) != Limb(2) {
                return Err(KeyError::Inconsistent("exponent"));
            }
        }
        let odd = |prime: &U1536| {
            Option::<Odd<U1536>>::from(Odd::new(*prime)).ok_or(KeyError::Inconsistent("prime"))
        };
        let (p, q) = (odd(p)?, odd(q)?);
        let reduced = q.as_ref().rem(p.as_nz_ref());
        let q_inverse =
            Option::<U1536>::from(reduced.invert_odd_mod(&p)).ok_or(KeyError::Inconsistent("prime"))?;
        let modulus = modulus.to_nz_vartime().ok_or(KeyError::Inconsistent("modulus"))?;
        Ok(Self { modulus, p, q, q_inverse })
    }

    /// Signs what `sigstruct` says: fills modulus, exponent, signature, q1 and q2 in.
    ///
    /// # Errors
    /// The result does not verify: the key's factors are no primes, or the machine computes wrongly.
    pub fn sign(&self, sigstruct: &Sigstruct) -> Result<Sigstruct, KeyError> {
        let mut signed = sigstruct.clone();
        signed.modulus = bytes(&self.modulus);
        signed.exponent = 3;
        let padded = rsa::padded(&verify::digest(&signed));
        let signature = self.cube_root(&padded);
        let (q1, q2) = rsa::quotients(&signature, &self.modulus);
        // A wrong result would give a factor away.
        if rsa::cube(&signature, &self.modulus, &q1, &q2) != Some(padded) {
            return Err(KeyError::Fault);
        }
        (signed.signature, signed.q1, signed.q2) = (bytes(&signature), bytes(&q1), bytes(&q2));
        Ok(signed)
    }

    /// MRSIGNER of what this key signs.
    #[must_use]
    pub fn mrsigner(&self) -> [u8; 32] {
        Sha256::digest(bytes(&self.modulus)).into()
    }

    /// The number whose cube is `value` modulo the modulus, by way of the two primes (RFC 8017, 5.1.2).
    fn cube_root(&self, value: &U3072) -> U3072 {
        let root = |prime: &Odd<U1536>| {
            let params = FixedMontyParams::new(*prime);
            let value = value.rem(prime.as_nz_ref());
            FixedMontyForm::new(&value, &params).pow(&inverse_of_three(prime)).retrieve()
        };
        let (at_p, at_q) = (root(&self.p), root(&self.q));
        let params = FixedMontyParams::new(self.p);
        let at_q_mod_p = at_q.rem(self.p.as_nz_ref());
        let difference = FixedMontyForm::new(&at_p, &params).sub(&FixedMontyForm::new(&at_q_mod_p, &params));
        let factor = difference.mul(&FixedMontyForm::new(&self.q_inverse, &params)).retrieve();
        let multiple: U3072 = factor.concatenating_mul(self.q.as_ref());
        // Below p · q, so it does not wrap.
        multiple.wrapping_add(&at_q.resize())
    }

    /// The modulus.
    pub(super) fn modulus(&self) -> &U3072 {
        &self.modulus
    }

    /// The primes.
    pub(super) fn primes(&self) -> [&U1536; 2] {
        [&self.p, &self.q]
    }

    /// 1/q modulo p.
    pub(super) fn q_inverse(&self) -> &U1536 {
        &self.q_inverse
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.p.zeroize();
        self.q.zeroize();
        self.q_inverse.zeroize();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// 1/3 modulo `prime - 1`, where `prime` is 2 modulo 3: with `prime - 1 = 3k + 1`, it is `2k + 1`.
pub(super) fn inverse_of_three(prime: &U1536) -> U1536 {
    let (third, _) = prime.wrapping_sub(&U1536::from_u8(2)).div_rem_limb(THREE);
    third.wrapping_add(&third).wrapping_add(&U1536::ONE)
}

/// A prime of 1536 bits that goes with exponent 3, from the system's random numbers.
fn random_prime() -> Result<U1536, KeyError> {
    loop {
        let mut random = [0; 192];
        getrandom::fill(&mut random)?;
        // Two top bits in both primes make 3072 bits of the product.
        random[0] |= 0xc0;
        random[191] |= 1;
        let start = U1536::from_be_slice(&random);
        random.zeroize();
        let Ok(mut sieve) = SmallFactorsSieve::new(start, PRIME_BITS, false) else { continue };
        let fits =
            |candidate: &U1536| candidate.rem_limb(THREE) == Limb(2) && is_prime(Flavor::Any, candidate);
        if let Some(prime) = sieve.find(fits) {
            return Ok(prime);
        }
    }
}

/// Little-endian, as SIGSTRUCT has its numbers.
fn bytes(number: &U3072) -> [u8; rsa::BYTES] {
    let mut bytes = [0; rsa::BYTES];
    bytes.copy_from_slice(number.to_le_bytes().as_ref());
    bytes
}
