//! Quotes: a real one of Intel's, emulated ones, and everything in between.

#![cfg(feature = "quote")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use casemate_sgx::arch::{AttributeFlags, Attributes, ReportBody, Xfrm};
use casemate_sgx::quote::{
    Collateral, EMULATED_CPUSVN, EMULATED_FMSPC, EMULATED_VENDOR_ID, EmulatedQe, INTEL_VENDOR_ID, Quote,
    QuoteError,
};
use casemate_sgx::verify::{Policy, TcbStatus, Verified, VerifyError, verify_quote};
use proptest::prelude::*;

const INTEL_QUOTE: &[u8] = include_bytes!("data/intel-quote.bin");
const INTEL_COLLATERAL: &str = include_str!("data/intel-collateral.json");

/// 2025-07-01, when all of the collateral was good.
const INTEL_TIME: u64 = 1_751_328_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn intel_policy() -> Policy {
    // The state of the machine that made the quote.
    Policy::production().accept(TcbStatus::ConfigurationAndSWHardeningNeeded)
}

fn verify_intel(quote: &[u8]) -> Result<Verified, VerifyError> {
    verify_quote(quote, &Collateral::from_json(INTEL_COLLATERAL).unwrap(), at(INTEL_TIME), &intel_policy())
}

#[test]
fn intel_quote_holds() {
    let verified = verify_intel(INTEL_QUOTE).unwrap();
    let quote = Quote::parse(INTEL_QUOTE).unwrap();
    assert_eq!(verified.body, quote.body);
    assert_eq!(verified.status, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(verified.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert_eq!(quote.header.vendor_id, INTEL_VENDOR_ID);
    assert_eq!(quote.encode().unwrap(), INTEL_QUOTE);
}

#[test]
fn intel_quote_needs_its_state_and_time_and_root() {
    let collateral = Collateral::from_json(INTEL_COLLATERAL).unwrap();
    let verify = |time, policy: &Policy| verify_quote(INTEL_QUOTE, &collateral, time, policy).unwrap_err();
    assert!(matches!(
        verify(at(INTEL_TIME), &Policy::production()),
        VerifyError::Status { status: TcbStatus::ConfigurationAndSWHardeningNeeded, .. }
    ));
    let year = 365 * 24 * 60 * 60;
    assert!(matches!(verify(at(INTEL_TIME + year), &intel_policy()), VerifyError::Refused(_)));
    assert!(matches!(verify(at(INTEL_TIME - year), &intel_policy()), VerifyError::Refused(_)));
    assert!(matches!(verify(UNIX_EPOCH - Duration::from_secs(1), &intel_policy()), VerifyError::Time));
    let root = EmulatedQe::new(b"test").unwrap().root_certificate().unwrap();
    assert!(matches!(verify(at(INTEL_TIME), &Policy::emulated(root)), VerifyError::NotEmulated));
}

/// No byte of a quote is without meaning. Every one in release; in the dev profile a stride, and the first of
/// each field.
#[test]
fn intel_quote_with_a_flipped_bit_does_not_hold() {
    let fields =
        [0, 2, 4, 8, 10, 12, 28, 48, 112, 176, 368, 432, 436, 500, 564, 948, 1012, 1014, 1046, 1048, 1052];
    let last = INTEL_QUOTE.len() - 1;
    let stride = if cfg!(debug_assertions) { 41 } else { 1 };
    for offset in fields.into_iter().chain([last]).chain((0..=last).step_by(stride)) {
        let mut quote = INTEL_QUOTE.to_vec();
        quote[offset] ^= 1 << (offset % 8);
        assert!(verify_intel(&quote).is_err(), "bit {} of byte {offset}", offset % 8);
    }
}

#[test]
fn nothing_can_be_appended_or_cut_off() {
    let mut longer = INTEL_QUOTE.to_vec();
    longer.push(0);
    assert!(matches!(
        verify_intel(&longer),
        Err(VerifyError::Malformed(QuoteError::Length { part: "signature", .. }))
    ));
    for length in (0..INTEL_QUOTE.len()).step_by(7) {
        assert!(
            matches!(verify_intel(&INTEL_QUOTE[..length]), Err(VerifyError::Malformed(_))),
            "{length} bytes"
        );
    }
}

#[test]
fn collateral_survives_json() {
    let collateral = Collateral::from_json(INTEL_COLLATERAL).unwrap();
    assert_eq!(Collateral::from_json(&collateral.to_json().unwrap()).unwrap(), collateral);
    assert!(Collateral::from_json("{}").is_err());
}

/// 2026-11-25.
const NOW: u64 = 1_795_600_000;

fn body() -> ReportBody {
    ReportBody {
        cpusvn: EMULATED_CPUSVN,
        attributes: Attributes::new(AttributeFlags::INIT | AttributeFlags::MODE64BIT, Xfrm::LEGACY),
        mrenclave: [0x11; 32],
        mrsigner: [0x22; 32],
        isvprodid: 3,
        isvsvn: 4,
        reportdata: [0x33; 64],
        ..ReportBody::default()
    }
}

struct Emulated {
    quote: Vec<u8>,
    collateral: Collateral,
    policy: Policy,
}

impl Emulated {
    fn new(secret: &[u8], body: &ReportBody) -> Self {
        let qe = EmulatedQe::new(secret).unwrap();
        Self {
            quote: qe.quote(body).unwrap(),
            collateral: qe.collateral(at(NOW)).unwrap(),
            policy: Policy::emulated(qe.root_certificate().unwrap()),
        }
    }

    fn verify(&self, quote: &[u8]) -> Result<Verified, VerifyError> {
        verify_quote(quote, &self.collateral, at(NOW + 60), &self.policy)
    }
}

#[test]
fn emulated_quote_holds_under_its_own_root_only() {
    let emulated = Emulated::new(b"one installation", &body());
    let verified = emulated.verify(&emulated.quote).unwrap();
    assert_eq!(verified.body, body());
    assert_eq!((verified.status, verified.fmspc), (TcbStatus::UpToDate, EMULATED_FMSPC));

    let production = verify_quote(&emulated.quote, &emulated.collateral, at(NOW), &Policy::production());
    let error = production.unwrap_err();
    assert!(matches!(error, VerifyError::Emulated));
    assert!(error.to_string().starts_with("quote of an emulated platform"));

    let other = Emulated::new(b"another installation", &body());
    assert!(matches!(other.verify(&emulated.quote), Err(VerifyError::Chain(_))));
    let mixed = verify_quote(&emulated.quote, &other.collateral, at(NOW), &emulated.policy);
    assert!(matches!(mixed, Err(VerifyError::Refused(_))));
}

#[test]
fn emulated_quote_is_the_same_for_every_process() {
    let (one, two) = (Emulated::new(b"secret", &body()), Emulated::new(b"secret", &body()));
    assert_eq!((one.quote, one.collateral, one.policy), (two.quote, two.collateral, two.policy));
}

/// The mark is under the signature: whoever takes it off has no quote any more.
#[test]
fn emulated_quote_cannot_be_passed_off_as_real() {
    let emulated = Emulated::new(b"secret", &body());
    let mut disguised = emulated.quote.clone();
    assert_eq!(disguised[12..28], EMULATED_VENDOR_ID);
    disguised[12..28].copy_from_slice(&INTEL_VENDOR_ID);
    assert!(matches!(emulated.verify(&disguised), Err(VerifyError::NotEmulated)));
    let production = |quote: &[u8]| verify_quote(quote, &emulated.collateral, at(NOW), &Policy::production());
    assert!(matches!(production(&disguised), Err(VerifyError::Chain(_))));
    // Nor with Intel's root in the place of its own.
    let mut grafted = Quote::parse(&disguised).unwrap();
    let intel = Quote::parse(INTEL_QUOTE).unwrap();
    grafted.certificates = intel.certificates;
    assert!(matches!(production(&grafted.encode().unwrap()), Err(VerifyError::Refused(_))));
    // The plain verifier, which knows nothing of us, agrees.
    let json = emulated.collateral.to_json().unwrap();
    let plain: dcap_qvl::QuoteCollateralV3 = serde_json::from_str(&json).unwrap();
    let root = EmulatedQe::new(b"secret").unwrap().root_certificate().unwrap();
    let verifier = dcap_qvl::verify::QuoteVerifier::new(root);
    assert!(verifier.verify(&emulated.quote, &plain, NOW).unwrap_err().to_string().contains("vendor"));
    let error = verifier.verify(&disguised, &plain, NOW).unwrap_err();
    assert!(error.to_string().contains("ISV enclave report signature"), "{error:#}");
}

#[test]
fn emulated_quote_with_a_flipped_bit_does_not_hold() {
    let emulated = Emulated::new(b"secret", &body());
    let stride = if cfg!(debug_assertions) { 97 } else { 5 };
    for offset in (0..48).step_by(4).chain((48..emulated.quote.len()).step_by(stride)) {
        let mut quote = emulated.quote.clone();
        quote[offset] ^= 1 << (offset % 8);
        assert!(emulated.verify(&quote).is_err(), "byte {offset}");
    }
}

#[test]
fn debug_enclaves_must_be_wanted() {
    let mut debug = body();
    debug.attributes.flags |= AttributeFlags::DEBUG;
    let mut emulated = Emulated::new(b"secret", &debug);
    assert!(matches!(emulated.verify(&emulated.quote), Err(VerifyError::Debug)));
    emulated.policy = emulated.policy.accept_debug();
    emulated.verify(&emulated.quote).unwrap();
}

#[test]
fn collateral_runs_out() {
    let emulated = Emulated::new(b"secret", &body());
    let day = 24 * 60 * 60;
    let verify = |time| verify_quote(&emulated.quote, &emulated.collateral, at(time), &emulated.policy);
    verify(NOW + 29 * day).unwrap();
    assert!(matches!(verify(NOW + 31 * day), Err(VerifyError::Refused(_))));
    assert!(matches!(verify(NOW - day), Err(VerifyError::Refused(_))));
    assert!(EmulatedQe::new(b"secret").unwrap().collateral(UNIX_EPOCH - Duration::from_secs(1)).is_err());
}

#[test]
fn quoting_enclave_is_its_own_target() {
    let emulated = Emulated::new(b"secret", &body());
    let quote = Quote::parse(&emulated.quote).unwrap();
    let target = EmulatedQe::target_info();
    assert_eq!(
        (target.measurement, target.attributes),
        (quote.qe_report.mrenclave, quote.qe_report.attributes)
    );
}

#[test]
fn other_vendors_and_kinds_are_named() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut quote = INTEL_QUOTE.to_vec();
        change(&mut quote);
        verify_intel(&quote).unwrap_err()
    };
    assert!(matches!(refused(|quote| quote[12..28].fill(7)), VerifyError::Vendor([7, ..])));
    assert!(matches!(refused(|quote| quote[0] = 4), VerifyError::Malformed(QuoteError::Version(4))));
    assert!(matches!(refused(|quote| quote[2] = 3), VerifyError::Malformed(QuoteError::KeyType(3))));
    assert!(matches!(refused(|quote| quote[4] = 0x81), VerifyError::Malformed(QuoteError::TeeType(0x81))));
    assert!(matches!(
        refused(|quote| quote[1046] = 3),
        VerifyError::Malformed(QuoteError::CertificationType(3))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_are_no_quote(bytes in proptest::collection::vec(any::<u8>(), 0..2000), header: bool) {
        let mut bytes = bytes;
        if header && bytes.len() > 436 {
            bytes[..48].copy_from_slice(&INTEL_QUOTE[..48]);
            let rest = u32::try_from(bytes.len() - 436).unwrap();
            bytes[432..436].copy_from_slice(&rest.to_le_bytes());
        }
        match Quote::parse(&bytes) {
            Ok(quote) => prop_assert_eq!(quote.encode().unwrap(), bytes),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn spliced_quotes_do_not_hold(
        start in 0..INTEL_QUOTE.len(),
        junk in proptest::collection::vec(any::<u8>(), 1..80),
    ) {
        let mut quote = INTEL_QUOTE.to_vec();
        let end = (start + junk.len()).min(quote.len());
        quote.splice(start..end, junk.iter().copied());
        prop_assume!(quote != INTEL_QUOTE);
        prop_assert!(verify_intel(&quote).is_err());
    }
}
