//! `/proc/self/maps`, as `show_map_vma` of fs/proc/task_mmu.c prints it.

use alloc::string::String;
use core::fmt::{self, Write};

use super::prot::Prot;
use super::set::Mapping;
use super::vma::{Kind, VmaFlags};

/// Where names begin: `25 + sizeof(void *) * 6 - 1` columns, then one space (`show_vma_header_prefix`).
const NAME_COLUMN: usize = 25 + 8 * 6 - 1;

/// Writes the line of one mapping, with its newline. The device and inode of a file are not known here and printed as
/// those of no file.
pub(crate) fn write_line(mapping: &Mapping, out: &mut impl Write) -> fmt::Result {
    let Mapping { range, vma } = mapping;
    let letter = |prot, letter| if vma.prot.contains(prot) { letter } else { '-' };
    let shared = if vma.flags.contains(VmaFlags::SHARED) { 's' } else { 'p' };
    let offset = match &vma.kind {
        Kind::File { offset, .. } | Kind::Outside { offset, .. } => *offset,
        _ => 0,
    };
    let mut line = String::new();
    write!(
        line,
        "{:08x}-{:08x} {}{}{}{shared} {offset:08x} 00:00 0 ",
        range.start(),
        range.end(),
        letter(Prot::R, 'r'),
        letter(Prot::W, 'w'),
        letter(Prot::X, 'x'),
    )?;
    let name = match &vma.kind {
        Kind::File { name, .. } => name,
        Kind::Heap => "[heap]",
        Kind::Stack => "[stack]",
        Kind::Island => "[anon:casemate island]",
        Kind::Vdso => "[vdso]",
        Kind::Outside { .. } => "/dev/zero (deleted)",
        Kind::Anonymous if vma.flags.contains(VmaFlags::SHARED) => "/dev/zero (deleted)",
        Kind::Anonymous | Kind::Reserved => "",
    };
    if !name.is_empty() {
        write!(line, "{:pad$} ", "", pad = NAME_COLUMN.saturating_sub(line.len()))?;
    }
    out.write_str(&line)?;
    // A newline in a path is escaped as `mangle_path` of fs/seq_file.c does it.
    for part in name.split_inclusive('\n') {
        match part.strip_suffix('\n') {
            Some(part) => write!(out, "{part}\\012")?,
            None => out.write_str(part)?,
        }
    }
    out.write_char('\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::range::Range;
    use crate::mm::vma::Vma;

    fn line(start: u64, end: u64, vma: Vma) -> String {
        let mut out = String::new();
        write_line(&Mapping { range: Range::new(start, end).unwrap(), vma }, &mut out).unwrap();
        out
    }

    #[test]
    fn as_linux_prints_it() {
        let file = Kind::File { name: "/usr/bin/cat".into(), offset: 0x2000 };
        let vma = Vma { prot: Prot::RX, kind: file, flags: VmaFlags::empty() };
        assert_eq!(
            line(0x5581_f4e0_6000, 0x5581_f4e0_a000, vma),
            "5581f4e06000-5581f4e0a000 r-xp 00002000 00:00 0                          /usr/bin/cat\n"
        );
        let vma = Vma { prot: Prot::RW, kind: Kind::Anonymous, flags: VmaFlags::empty() };
        assert_eq!(line(0x1000, 0x2000, vma), "00001000-00002000 rw-p 00000000 00:00 0 \n");
        let vma = Vma { prot: Prot::RW, kind: Kind::Stack, flags: VmaFlags::STACK };
        assert_eq!(
            line(0x7ffd_8c5d_5000, 0x7ffd_8c5f_7000, vma),
            "7ffd8c5d5000-7ffd8c5f7000 rw-p 00000000 00:00 0                          [stack]\n"
        );
    }

    #[test]
    fn as_the_kernel_below_us_prints_it() {
        // Anonymous mappings, heap and stack have no device and inode there either, so whole lines can be compared.
        extern crate std;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut compared = 0;
        for expected in maps.lines() {
            let mut words = expected.split_ascii_whitespace();
            let (start, end) = words.next().unwrap().split_once('-').unwrap();
            let perms = words.next().unwrap();
            let kind = match (words.nth(2).unwrap(), words.next()) {
                ("0", None) => Kind::Anonymous,
                ("0", Some("[heap]")) => Kind::Heap,
                ("0", Some("[stack]")) => Kind::Stack,
                ("0", Some("[vdso]")) => Kind::Vdso,
                _ => continue,
            };
            let mut prot = Prot::NONE;
            for (letter, bit) in [('r', Prot::R), ('w', Prot::W), ('x', Prot::X)] {
                prot.set(bit, perms.contains(letter));
            }
            let flags = if perms.ends_with('s') { VmaFlags::SHARED } else { VmaFlags::empty() };
            let address = |hex| u64::from_str_radix(hex, 16).unwrap();
            let ours = line(address(start), address(end), Vma { prot, kind, flags });
            assert_eq!(ours.strip_suffix('\n').unwrap(), expected);
            compared += 1;
        }
        assert!(compared >= 3, "only {compared} lines to compare with");
    }

    #[test]
    fn newlines_in_names_make_no_lines() {
        let kind = Kind::File { name: "/a\nb\n".into(), offset: 0 };
        let text = line(0x1000, 0x2000, Vma { prot: Prot::R, kind, flags: VmaFlags::SHARED });
        assert!(text.ends_with(" /a\\012b\\012\n"));
        assert!(text.starts_with("00001000-00002000 r--s "));
    }
}
