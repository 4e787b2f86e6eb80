//! What is signed.

use super::{KeyError, SigningKey};
use crate::arch::{
    AttributeFlags, Attributes, Miscselect, SIGSTRUCT_HEADER1, SIGSTRUCT_HEADER2, Sigstruct, VENDOR_OTHER,
};

/// Day of a signature, in the form of SIGSTRUCT.DATE: the digits of yyyymmdd, four bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignDate(u32);

impl SignDate {
    /// This day; `None` if there is none such.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            _ => return None,
        };
        if year > 9999 || !(1..=days).contains(&day) {
            return None;
        }
        let digits = (u32::from(year) * 100 + u32::from(month)) * 100 + u32::from(day);
        let bcd =
            (0..8).fold((digits, 0), |(rest, bcd), place| (rest / 10, bcd | (rest % 10) << (4 * place)));
        Some(Self(bcd.1))
    }

    /// As the structure has it.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

/// What a SIGSTRUCT says of an enclave. Masks say where the enclave must be as written; elsewhere it may
/// differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigstructBuilder {
    /// MRENCLAVE.
    pub mrenclave: [u8; 32],
    /// Attributes.
    pub attributes: Attributes,
    /// Where they must be so.
    pub attribute_mask: Attributes,
    /// MISCSELECT.
    pub miscselect: Miscselect,
    /// Where it must be so.
    pub miscselect_mask: u32,
    /// Product number.
    pub isvprodid: u16,
    /// Security version.
    pub isvsvn: u16,
    /// Family of the product; needs KSS.
    pub isvfamilyid: [u8; 16],
    /// Extended product number; needs KSS.
    pub isvextprodid: [u8; 16],
    /// Day of the signature.
    pub date: SignDate,
    /// Who signs: [`VENDOR_OTHER`] or [`VENDOR_INTEL`](crate::arch::VENDOR_INTEL).
    pub vendor: u32,
    /// The signer's own use.
    pub swdefined: u32,
}

impl SigstructBuilder {
    /// An enclave of this measurement with exactly these attributes and this MISCSELECT; product and version
    /// zero.
    #[must_use]
    pub fn new(mrenclave: [u8; 32], attributes: Attributes, miscselect: Miscselect, date: SignDate) -> Self {
        Self {
            mrenclave,
            attributes,
            attribute_mask: Attributes { flags: AttributeFlags::from_bits_retain(!0), xfrm: !0 },
            miscselect,
            miscselect_mask: !0,
            isvprodid: 0,
            isvsvn: 0,
            isvfamilyid: [0; 16],
            isvextprodid: [0; 16],
            date,
            vendor: VENDOR_OTHER,
            swdefined: 0,
        }
    }

    /// The structure without key and signature.
    #[must_use]
    pub fn unsigned(&self) -> Sigstruct {
        Sigstruct {
            header: SIGSTRUCT_HEADER1,
            vendor: self.vendor,
            date: self.date.raw(),
            header2: SIGSTRUCT_HEADER2,
            swdefined: self.swdefined,
            exponent: 3,
            miscselect: self.miscselect,
            miscmask: self.miscselect_mask,
            isvfamilyid: self.isvfamilyid,
            attributes: self.attributes,
            attributemask: self.attribute_mask,
            enclavehash: self.mrenclave,
            isvextprodid: self.isvextprodid,
            isvprodid: self.isvprodid,
            isvsvn: self.isvsvn,
            ..Sigstruct::default()
        }
    }

    /// The structure, signed.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn sign(&self, key: &SigningKey) -> Result<Sigstruct, KeyError> {
        key.sign(&self.unsigned())
    }
}

#[cfg(test)]
mod tests {
    use super::SignDate;

    #[test]
    fn date_is_digits() {
        assert_eq!(SignDate::new(2026, 11, 30).map(SignDate::raw), Some(0x2026_1130));
        assert_eq!(SignDate::new(2024, 2, 29).map(SignDate::raw), Some(0x2024_0229));
        for (year, month, day) in
            [(2026, 2, 29), (2026, 0, 1), (2026, 13, 1), (2026, 4, 31), (2026, 1, 0), (10000, 1, 1)]
        {
            assert_eq!(SignDate::new(year, month, day), None, "{year}-{month}-{day}");
        }
    }
}
