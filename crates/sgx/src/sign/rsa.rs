//! The arithmetic: cubes modulo a number of 3072 bits, and what is cubed.

use crypto_bigint::{Limb, NonZero, U3072, U6144};

/// Bytes in a number.
pub(super) const BYTES: usize = 384;

/// DER of a DigestInfo with SHA-256, up to the digest (RFC 8017, 9.2, note 1).
const SHA256_PREFIX: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];

/// EMSA-PKCS1-v1_5 of a SHA-256 digest (RFC 8017, 9.2).
pub(super) fn padded(digest: &[u8; 32]) -> U3072 {
    const PREFIX: usize = BYTES - 32 - SHA256_PREFIX.len();
    let mut encoded = [0xff; BYTES];
    encoded[..2].copy_from_slice(&[0, 1]);
    encoded[PREFIX - 1] = 0;
    encoded[PREFIX..BYTES - 32].copy_from_slice(&SHA256_PREFIX);
    encoded[BYTES - 32..].copy_from_slice(digest);
    U3072::from_be_slice(&encoded)
}

/// `a · b - quotient · modulus`, if that lies in `0..modulus`: if, that is, the quotient is right.
fn remainder(a: &U3072, b: &U3072, quotient: &U3072, modulus: &U3072) -> Option<U3072> {
    let (low, high) = a.widening_mul(b);
    let (minus_low, minus_high) = quotient.widening_mul(modulus);
    let (low, borrow) = low.borrowing_sub(&minus_low, Limb::ZERO);
    let (high, borrow) = high.borrowing_sub(&minus_high, borrow);
    (borrow == Limb::ZERO && high == U3072::ZERO && low < *modulus).then_some(low)
}

/// `signature³` modulo `modulus` with the help of the two quotients, which are checked on the way. The
/// processor is spared divisions, and so is this.
pub(super) fn cube(signature: &U3072, modulus: &U3072, q1: &U3072, q2: &U3072) -> Option<U3072> {
    if signature >= modulus {
        return None;
    }
    let square = remainder(signature, signature, q1, modulus)?;
    remainder(&square, signature, q2, modulus)
}

/// q1 and q2 of a signature (SDM vol. 3D, ch. 37). Both numbers are public.
pub(super) fn quotients(signature: &U3072, modulus: &NonZero<U3072>) -> (U3072, U3072) {
    let divide = |a: &U3072| {
        let product: U6144 = a.concatenating_mul(signature);
        product.div_rem_vartime(modulus)
    };
    let (q1, square) = divide(signature);
    let (q2, _) = divide(&square);
    // The signature is below the modulus, so both quotients are.
    (q1.resize(), q2.resize())
}
