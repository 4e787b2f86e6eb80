//! SIGSTRUCTs: what is signed of an enclave, by whom, and which one goes with a run.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_sgx::arch::{Attributes, Sigstruct, Xfrm};
use casemate_sgx::sign::{self, SignDate, SigstructBuilder};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::error::RunError;
use crate::plan::{MISCSELECT, Plan};
use crate::state::State;

const DAY: u64 = 86400;

/// What is signed of a measurement: the attributes of every enclave here. Which of AVX and AVX-512 the enclave may use is left
/// open, because that differs from one processor to the next.
#[must_use]
pub fn builder(mrenclave: [u8; 32], debug: bool, date: SignDate) -> SigstructBuilder {
    let attributes = Plan::attributes(Xfrm::LEGACY.bits(), debug);
    let mut builder = SigstructBuilder::new(mrenclave, attributes, MISCSELECT, date);
    let open = Xfrm::AVX | Xfrm::OPMASK | Xfrm::ZMM_HI256 | Xfrm::HI16_ZMM;
    builder.attribute_mask = Attributes { xfrm: !open.bits(), ..builder.attribute_mask };
    builder
}

/// Today, in UTC.
#[must_use]
pub fn today() -> SignDate {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds / DAY)
}

/// The day that is so many days after 1970-01-01 (proleptic Gregorian calendar, years counted from March).
fn date(days: u64) -> SignDate {
    const ERA: u64 = 146_097;
    let days = days.saturating_add(719_468);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let parts = || SignDate::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?);
    // Beyond the year 9999 there is no date in the structure.
    parts().or_else(|| SignDate::new(9999, 12, 31)).unwrap_or_else(|| unreachable!("it is a day"))
}

/// A SIGSTRUCT from a file.
///
/// # Errors
/// It cannot be read, is no SIGSTRUCT, or its signature does not verify.
pub fn load(path: &Path) -> Result<Sigstruct, RunError> {
    let wrong = |problem: String| RunError::Sigstruct { path: path.to_owned(), problem };
    let bytes = fs::read(path).map_err(|source| RunError::file("read", path, source))?;
    let size = size_of::<Sigstruct>();
    let sigstruct = Sigstruct::read_from_bytes(&bytes)
        .map_err(|_| wrong(format!("it has {} bytes, want {size}", bytes.len())))?;
    sign::verify(&sigstruct).map_err(|error| wrong(error.to_string()))?;
    Ok(sigstruct)
}

/// A SIGSTRUCT as [`load`] reads it.
#[must_use]
pub fn bytes(sigstruct: &Sigstruct) -> &[u8] {
    sigstruct.as_bytes()
}

/// The SIGSTRUCT for a plan by the development key, made or kept from before.
///
/// # Errors
/// The key's.
pub(crate) fn development(state: &State, plan: &Plan, debug: bool) -> Result<Sigstruct, RunError> {
    let mrenclave = plan.measure();
    let wanted = builder(mrenclave, debug, today());
    let key = state.key()?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let name = format!(
        "{}-{}{}.sigstruct",
        hex(&mrenclave),
        hex(key.mrsigner().get(..8).unwrap_or_default()),
        if debug { "-debug" } else { "" }
    );
    if let Some(kept) = state.signature(&name).filter(|kept| fits(kept, &wanted, key.mrsigner())) {
        return Ok(kept);
    }
    let signed =
        wanted.sign(&key).map_err(|source| RunError::Key { path: "the development key".into(), source })?;
    state.keep_signature(&name, &signed);
    Ok(signed)
}

/// Whether a kept signature says what is wanted, whatever its day.
fn fits(kept: &Sigstruct, wanted: &SigstructBuilder, mrsigner: [u8; 32]) -> bool {
    let mut unsigned = wanted.unsigned();
    unsigned.date = kept.date;
    kept.signed_parts() == unsigned.signed_parts()
        && sign::mrsigner(kept) == mrsigner
        && sign::verify(kept).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, year, month, day) in [
            (0, 1970, 1, 1),
            (59, 1970, 3, 1),
            (11_016, 2000, 2, 29),
            (19_782, 2024, 2, 29),
            (20_783, 2026, 11, 26),
            (u64::MAX / DAY, 9999, 12, 31),
        ] {
            assert_eq!(date(days), SignDate::new(year, month, day).unwrap(), "{days}");
        }
    }

    #[test]
    fn files_that_are_no_sigstruct_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sigstruct");
        assert!(load(&path).unwrap_err().to_string().starts_with("cannot read "));
        fs::write(&path, b"short").unwrap();
        assert!(load(&path).unwrap_err().to_string().ends_with("it has 5 bytes, want 1808"));
        fs::write(&path, [0; 1808]).unwrap();
        assert!(matches!(load(&path), Err(RunError::Sigstruct { .. })));
    }
}
