//! Sizes of memory as people write them.

use std::fmt;
use std::str::FromStr;

/// Bytes, written `64M`, `1G` or as a plain number; the units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Letters of the units and how many bits each shifts.
const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// Text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size: write a number of bytes, or one with K, M, G or T behind it, such as 512M")]
pub struct BadSize(String);

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        let unit = |last: char| UNITS.into_iter().find(|(letter, _)| letter.eq_ignore_ascii_case(&last));
        let shift = text.chars().next_back().and_then(unit);
        let (digits, shift) = match shift {
            // The letter is one byte.
            Some((_, shift)) => (text.get(..text.len().saturating_sub(1)).unwrap_or(text), shift),
            None => (text, 0),
        };
        // `parse` would take a sign.
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, shift): &(char, u32)| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match UNITS.into_iter().find(fits) {
            Some((letter, shift)) => write!(f, "{}{letter}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64M", 64 << 20), ("1g", 1 << 30), ("3K", 3072), ("2T", 2 << 40)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "1.5G",
            "1GB",
            "1 G",
            "0x10",
            "18446744073709551616",
            "18014398509481984K",
            "1é",
        ] {
            assert_eq!(text.parse::<Size>(), Err(BadSize(text.to_owned())), "{text}");
        }
        assert_eq!(Size(1 << 30).to_string(), "1G");
        assert_eq!(Size(1536 << 20).to_string(), "1536M");
        assert_eq!(Size(1000).to_string(), "1000 bytes");
        assert_eq!(Size(0).to_string(), "0 bytes");
    }
}
