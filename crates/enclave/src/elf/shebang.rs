//! The `#!` line of a script, read as Linux's fs/binfmt_script.c reads it.

/// So many bytes of a file are looked at (`BINPRM_BUF_SIZE`).
pub const SHEBANG_LEN: usize = 256;

/// The interpreter that a script names, and its one optional argument.
///
/// Looks at the first [`SHEBANG_LEN`] bytes only. `None` if the file is no script, names no interpreter, or names one
/// that may have been cut off. Follows `load_script` step by step, oddities included: a space before the end of a file
/// without a line end makes an empty argument.
#[must_use]
pub fn shebang(file: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let head = Head(file.get(..SHEBANG_LEN).unwrap_or(file));
    if !head.0.starts_with(b"#!") {
        return None;
    }
    // As strnchr, the search for the end of the line stops at a zero byte.
    let line_end =
        head.0.iter().position(|&byte| byte == b'\n' || byte == 0).filter(|&end| head.at(end) == b'\n');
    let mut end = match line_end {
        Some(end) => end,
        None => {
            let first = head.find(2, LAST, |byte| !is_space(byte))?;
            head.find(first, LAST, is_terminator)?;
            LAST
        }
    };
    while end > 2 && is_space(head.at(end.saturating_sub(1))) {
        end = end.saturating_sub(1);
    }
    let name = head.find(2, end, |byte| !is_space(byte)).filter(|&name| name != end)?;
    let separator = head.find(name, end, is_terminator);
    let argument = separator
        .filter(|&separator| head.at(separator) != 0)
        .and_then(|separator| head.find(separator, end, |byte| !is_space(byte)));
    let name_end = separator.unwrap_or(end);
    let interpreter = head.string(name, name_end);
    // Linux looks for a program without a name then, and finds none.
    (!interpreter.is_empty()).then(|| (interpreter, argument.map(|argument| head.string(argument, end))))
}

/// Index of the buffer's last byte.
const LAST: usize = SHEBANG_LEN - 1;

/// The kernel's buffer: the beginning of the file, zero behind a shorter one.
struct Head<'a>(&'a [u8]);

impl<'a> Head<'a> {
    fn at(&self, index: usize) -> u8 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// The first index of `first..=last` whose byte is wanted.
    fn find(&self, first: usize, last: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
        (first..=last).find(|&index| wanted(self.at(index)))
    }

    /// The bytes from `start` to the first zero byte, or to `end`.
    fn string(&self, start: usize, end: usize) -> &'a [u8] {
        let end = end.min(self.0.len());
        self.0.get(start..end).unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_terminator(byte: u8) -> bool {
    is_space(byte) || byte == 0
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::shebang;

    fn padded(prefix: &[u8], fill: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![fill; len];
        bytes[..prefix.len()].copy_from_slice(prefix);
        bytes
    }

    #[test]
    fn plain_lines() {
        assert_eq!(shebang(b"#!/bin/sh\necho"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(
            shebang(b"#! /usr/bin/env  python3 -u \t\n"),
            Some((&b"/usr/bin/env"[..], Some(&b"python3 -u"[..])))
        );
        assert_eq!(shebang(b"#!/bin/sh"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(shebang(b"#!\t/bin/sh\t\n"), Some((&b"/bin/sh"[..], None)));
    }

    #[test]
    fn no_script() {
        for bytes in [
            &b""[..],
            b"#",
            b"#!",
            b"#!\n",
            b"#!  \t\n/bin/sh",
            b"# !/bin/sh\n",
            b"\x7fELF",
            b"#!\0/bin/sh\n",
        ] {
            assert_eq!(shebang(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn long_lines() {
        // A path that runs into the end of the buffer may be cut off; an argument may be, as Linux lets it.
        assert_eq!(shebang(&padded(b"#!/", b'a', 300)), None);
        let long = padded(b"#!/bin/sh ", b'x', 300);
        let (interpreter, argument) = shebang(&long).expect("a script");
        assert_eq!(interpreter, b"/bin/sh");
        assert_eq!(argument.map(<[u8]>::len), Some(255 - 10));
        assert_eq!(shebang(&padded(b"#!", b' ', 300)), None);
    }

    #[test]
    fn zero_bytes_end_the_line() {
        assert_eq!(shebang(b"#!/bin/sh\0junk\n"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(shebang(b"#!/bin/sh a\0b\n"), Some((&b"/bin/sh"[..], Some(&b"a"[..]))));
        assert_eq!(shebang(b"#!/bin/sh "), Some((&b"/bin/sh"[..], Some(&b""[..]))));
    }
}
