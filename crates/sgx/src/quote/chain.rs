//! The certificates in a quote: PEM in one spelling only.

use der::pem::{self, LineEnding};

/// Label of a certificate in PEM.
const LABEL: &str = "CERTIFICATE";

/// What is wrong with the certificates in a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not PEM, not certificates, or bytes between or behind them.
    #[error("the certificates are not plain PEM")]
    Pem,
    /// Not from leaf to root.
    #[error("the chain has {0} certificates, want 3: platform, authority, root")]
    Count(usize),
    /// A chain that ends at another root than the trusted one.
    #[error("the chain ends at another root than the trusted one")]
    Root,
}

/// The certificates in this PEM, as DER.
///
/// What is decoded is encoded again and must give the same bytes: a certificate has one spelling, and nothing
/// stands between or behind. No byte of a quote is then without meaning, so none can be changed unseen. Both
/// line endings are fine, the last one may be missing, and a terminating zero may follow, as Intel's quoting
/// enclave writes it.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, ChainError> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let text = str::from_utf8(text).map_err(|_| ChainError::Pem)?;
    let mut found = Vec::new();
    let mut rest = text;
    const END: &str = "-----END CERTIFICATE-----";
    while let Some(end) = rest.find(END) {
        let (one, after) = rest.split_at(end.saturating_add(END.len()));
        let (label, der) = pem::decode_vec(one.trim_start().as_bytes()).map_err(|_| ChainError::Pem)?;
        if label != LABEL {
            return Err(ChainError::Pem);
        }
        found.push(der);
        rest = after;
    }
    let spelled = [(LineEnding::LF, "\n"), (LineEnding::CRLF, "\r\n")].into_iter().any(|(ending, last)| {
        let again = encode(&found, ending).unwrap_or_default();
        text == again || again.strip_suffix(last) == Some(text)
    });
    if spelled { Ok(found) } else { Err(ChainError::Pem) }
}

/// Certificates in PEM, each ending with a line's end.
pub(super) fn encode(certificates: &[Vec<u8>], ending: LineEnding) -> Result<String, pem::Error> {
    certificates.iter().map(|der| pem::encode_string(LABEL, ending, der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(ending: LineEnding) -> (Vec<Vec<u8>>, String) {
        let all = vec![vec![1; 100], vec![2; 47], vec![3; 48]];
        let text = encode(&all, ending).unwrap();
        (all, text)
    }

    #[test]
    fn one_spelling() {
        for ending in [LineEnding::LF, LineEnding::CRLF] {
            let (all, text) = chain(ending);
            for good in [
                text.clone(),
                text.trim_end().to_owned(),
                format!("{text}\0"),
                format!("{}\0", text.trim_end()),
            ] {
                assert_eq!(certificates(good.as_bytes()).as_ref(), Ok(&all), "{good:?}");
            }
            for bad in [
                format!("{text}\n"),
                format!(" {text}"),
                format!("{text}\0\0"),
                text.replacen('=', "", 1),
                format!("{text}x"),
            ] {
                assert_eq!(certificates(bad.as_bytes()), Err(ChainError::Pem), "{bad:?}");
            }
        }
        assert_eq!(certificates(b""), Ok(Vec::new()));
    }

    #[test]
    fn every_bit_shows() {
        let (all, text) = chain(LineEnding::LF);
        for offset in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone().into_bytes();
                changed[offset] ^= 1 << bit;
                assert_ne!(certificates(&changed).as_ref(), Ok(&all), "bit {bit} of byte {offset}");
            }
        }
    }
}
