//! SIGSTRUCT as a signer and a verifier see it.

use casemate_sgx::arch::{AttributeFlags, Attributes, ErrorCode, Miscselect, Sigstruct, Xfrm};
use casemate_sgx::sign::{
    KeyError, SignDate, SignatureError, SigningKey, SigstructBuilder, mrsigner, verify,
};
use pkcs1::RsaPrivateKeyRef;
use pkcs1::der::asn1::UintRef;
use pkcs1::der::pem::LineEnding;
use pkcs1::der::{Decode as _, SecretDocument};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

const PKCS8: &str = include_str!("data/signing-key.pkcs8.pem");
const PKCS1: &str = include_str!("data/signing-key.pkcs1.pem");

fn body() -> SigstructBuilder {
    let attributes = Attributes::new(AttributeFlags::MODE64BIT, Xfrm::LEGACY);
    let date = SignDate::new(2026, 1, 31).unwrap();
    SigstructBuilder {
        isvprodid: 7,
        isvsvn: 9,
        swdefined: 0x1234_5678,
        ..SigstructBuilder::new([0xa5; 32], attributes, Miscselect::EXINFO, date)
    }
}

#[test]
fn signed_verifies_and_names_its_signer() {
    let key = SigningKey::from_pem(PKCS8).unwrap();
    let signed = body().sign(&key).unwrap();
    verify(&signed).unwrap();
    assert_eq!(mrsigner(&signed), key.mrsigner());
    assert_eq!((signed.date, signed.isvprodid, signed.isvsvn), (0x2026_0131, 7, 9));
    // Nothing random goes in: a build can be reproduced.
    assert_eq!(body().sign(&key).unwrap(), signed);
}

#[test]
fn key_survives_both_formats() {
    let key = SigningKey::from_pem(PKCS8).unwrap();
    // openssl may order the primes either way and uses another private exponent, so compare by meaning.
    for pem in [key.to_pkcs8_pem().unwrap().as_str(), key.to_pkcs1_pem().unwrap().as_str(), PKCS1] {
        let again = SigningKey::from_pem(pem).unwrap();
        assert_eq!(again.mrsigner(), key.mrsigner());
        assert_eq!(body().sign(&again).unwrap(), body().sign(&key).unwrap());
    }
}

#[test]
fn new_key_signs() {
    let key = SigningKey::generate().unwrap();
    verify(&body().sign(&key).unwrap()).unwrap();
    assert_ne!(key.mrsigner(), SigningKey::from_pem(PKCS8).unwrap().mrsigner());
}

#[test]
fn bad_keys_are_refused_by_name() {
    let refused = |pem: &str| SigningKey::from_pem(pem).unwrap_err();
    assert!(matches!(refused(""), KeyError::Pem(_)));
    assert!(
        matches!(refused(&PKCS8.replace("PRIVATE KEY", "CERTIFICATE")), KeyError::Label(label) if label == "CERTIFICATE")
    );
    assert!(matches!(refused(&PKCS8.replace("PRIVATE KEY", "RSA PRIVATE KEY")), KeyError::Pem(_)));
    assert!(matches!(refused(include_str!("data/key-2048.pem")), KeyError::Length(2048)));
    assert!(matches!(refused(include_str!("data/key-65537.pem")), KeyError::Exponent));
    assert!(matches!(refused(include_str!("data/key-p256.pem")), KeyError::Algorithm(_)));
}

/// A key whose numbers are each fine and do not belong together.
#[test]
fn patched_up_keys_are_refused() {
    let (_, document) = SecretDocument::from_pem(PKCS1).unwrap();
    let whole = RsaPrivateKeyRef::from_der(document.as_bytes()).unwrap();
    let refused = |key: RsaPrivateKeyRef<'_>| {
        let pem =
            SecretDocument::encode_msg(&key).unwrap().to_pem("RSA PRIVATE KEY", LineEnding::LF).unwrap();
        SigningKey::from_pem(&pem).unwrap_err()
    };
    assert!(matches!(
        refused(RsaPrivateKeyRef { prime2: whole.prime1, ..whole.clone() }),
        KeyError::Inconsistent("prime")
    ));
    let mut modulus = whole.modulus.as_bytes().to_vec();
    modulus[383] ^= 2;
    let modulus = UintRef::new(&modulus).unwrap();
    assert!(matches!(
        refused(RsaPrivateKeyRef { modulus, ..whole.clone() }),
        KeyError::Inconsistent("modulus")
    ));
    let even = UintRef::new(&[0xfe; 192]).unwrap();
    assert!(refused(RsaPrivateKeyRef { prime1: even, ..whole.clone() }).to_string().contains("does not fit"));
    let three = UintRef::new(&[3]).unwrap();
    assert!(matches!(refused(RsaPrivateKeyRef { prime1: three, ..whole.clone() }), KeyError::Length(_)));
    let huge = UintRef::new(&[0xff; 193]).unwrap();
    assert!(matches!(refused(RsaPrivateKeyRef { prime1: huge, ..whole }), KeyError::Inconsistent("prime")));
}

#[test]
fn every_byte_counts() {
    let signed = body().sign(&SigningKey::from_pem(PKCS8).unwrap()).unwrap();
    for offset in 0..size_of::<Sigstruct>() {
        for bit in [1, 0x80] {
            let mut changed = signed.clone();
            changed.as_mut_bytes()[offset] ^= bit;
            let error = verify(&changed).expect_err(&format!("bit {bit:#x} of byte {offset}"));
            let structure =
                matches!(offset, 0..20 | 24..40 | 44..128 | 512..516 | 910..912 | 992..1008 | 1028..1040);
            let code = if structure { ErrorCode::InvalidSigStruct } else { ErrorCode::InvalidSignature };
            assert_eq!(error.code(), code, "byte {offset}: {error}");
        }
    }
}

#[test]
fn errors_name_the_value() {
    let signed = body().sign(&SigningKey::from_pem(PKCS8).unwrap()).unwrap();
    let refused = |change: fn(&mut Sigstruct)| {
        let mut changed = signed.clone();
        change(&mut changed);
        verify(&changed).unwrap_err()
    };
    assert_eq!(refused(|s| s.vendor = 0x1022), SignatureError::Vendor(0x1022));
    assert_eq!(refused(|s| s.exponent = 65537), SignatureError::Exponent(65537));
    assert_eq!(refused(|s| s.reserved3.0[15] = 1), SignatureError::Reserved(992));
    assert_eq!(refused(|s| s.header[0] = 7), SignatureError::Header);
    assert_eq!(refused(|s| s.q1[0] ^= 1), SignatureError::Quotient);
    assert_eq!(refused(|s| s.enclavehash[0] ^= 1), SignatureError::Signature);
    // A signature must be below the modulus, or it has equals.
    assert_eq!(refused(|s| s.signature = s.modulus), SignatureError::Quotient);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_verify(
        bytes in proptest::collection::vec(any::<u8>(), size_of::<Sigstruct>()),
        plausible: bool,
    ) {
        let mut sigstruct = Sigstruct::read_from_bytes(&bytes).unwrap();
        if plausible {
            let template = body().unsigned();
            sigstruct = Sigstruct {
                modulus: sigstruct.modulus,
                signature: sigstruct.signature,
                q1: sigstruct.q1,
                q2: sigstruct.q2,
                ..template
            };
        }
        prop_assert!(verify(&sigstruct).is_err());
    }

    #[test]
    fn arbitrary_text_is_no_key(
        text in "\\PC*",
        splice in 0..2000_usize,
        junk in "[A-Za-z0-9+/=\n -]{0,40}",
    ) {
        let _ = SigningKey::from_pem(&text);
        let at = splice.min(PKCS8.len());
        let mut spliced = PKCS8.to_owned();
        spliced.replace_range(at..(at + junk.len()).min(PKCS8.len()), &junk);
        if let Ok(key) = SigningKey::from_pem(&spliced) {
            // Only what does not matter changed.
            prop_assert_eq!(key.mrsigner(), SigningKey::from_pem(PKCS8).unwrap().mrsigner());
        }
    }
}
