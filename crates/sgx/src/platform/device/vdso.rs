//! Finding `__vdso_sgx_enter_enclave`: the dynamic symbols of the kernel's vDSO, read with every offset checked.

use std::ptr;

/// Where the function is, and the ENCLU in it at which a signal finds an interrupted enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vdso {
    pub(super) enter: u64,
    pub(super) enclu: u64,
}

/// A function in an image, by offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Function {
    offset: u64,
    size: u64,
}

/// Bytes of the ELF header, of a program header, of an entry of the dynamic section and of a symbol (`elf.h`).
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const DYNAMIC: u64 = 16;
const SYMBOL: u64 = 24;

/// `PT_LOAD`, `PT_DYNAMIC`; `DT_STRTAB`, `DT_SYMTAB`, `DT_STRSZ`; `STT_FUNC`.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const STT_FUNC: u8 = 2;

/// A larger vDSO is not believed.
const MAX_IMAGE: u64 = 1 << 20;

impl Vdso {
    /// That of this process.
    pub(super) fn find() -> Option<Self> {
        let (base, image) = mapped()?;
        let function = function(image, b"__vdso_sgx_enter_enclave")?;
        let code = slice(image, function.offset, function.size)?;
        let enclu = code.windows(3).position(|window| window == [0x0f, 0x01, 0xd7])?;
        let enter = base.checked_add(function.offset)?;
        Some(Self { enter, enclu: enter.checked_add(u64::try_from(enclu).ok()?)? })
    }
}

/// The vDSO of this process, and its address.
fn mapped() -> Option<(u64, &'static [u8])> {
    // SAFETY: reads a number from the auxiliary vector.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if base == 0 {
        return None;
    }
    let start: *const u8 = ptr::with_exposed_provenance(usize::try_from(base).ok()?);
    // SAFETY: the kernel maps the vDSO there, a page at least, readable and for as long as the process lives.
    let page = unsafe { std::slice::from_raw_parts(start, 4096) };
    let length = segments(page)?.map(|segment| segment.offset.saturating_add(segment.size)).max()?;
    if length > MAX_IMAGE {
        return None;
    }
    // SAFETY: the kernel maps all of the image's loaded segments in one piece.
    Some((base, unsafe { std::slice::from_raw_parts(start, usize::try_from(length).ok()?) }))
}

fn slice(image: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    image.get(start..end)
}

fn u16_at(image: &[u8], offset: u64) -> Option<u16> {
    Some(u16::from_le_bytes(slice(image, offset, 2)?.try_into().ok()?))
}

fn u32_at(image: &[u8], offset: u64) -> Option<u32> {
    Some(u32::from_le_bytes(slice(image, offset, 4)?.try_into().ok()?))
}

fn u64_at(image: &[u8], offset: u64) -> Option<u64> {
    Some(u64::from_le_bytes(slice(image, offset, 8)?.try_into().ok()?))
}

/// A program header.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// The program headers that lie in these bytes.
fn segments(image: &[u8]) -> Option<impl Iterator<Item = Segment> + '_> {
    // ELFCLASS64, ELFDATA2LSB
    if slice(image, 0, HEADER)?.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = u64_at(image, 32)?;
    let count = u16_at(image, 56)?;
    let segment = move |index: u16| {
        let at = table.checked_add(u64::from(index) * PROGRAM_HEADER)?;
        Some(Segment {
            kind: u32_at(image, at)?,
            offset: u64_at(image, at.checked_add(8)?)?,
            address: u64_at(image, at.checked_add(16)?)?,
            size: u64_at(image, at.checked_add(32)?)?,
        })
    };
    Some((0..count).map_while(segment))
}

/// The dynamic symbol of a function.
fn function(image: &[u8], name: &[u8]) -> Option<Function> {
    let load = segments(image)?.find(|segment| segment.kind == PT_LOAD)?;
    // Where an address of the link lies in the image.
    let offset = |address: u64| address.checked_sub(load.address)?.checked_add(load.offset);
    let dynamic = segments(image)?.find(|segment| segment.kind == PT_DYNAMIC)?;
    let entry = |tag: u64| {
        let entries = (dynamic.offset..).step_by(16).take(usize::try_from(dynamic.size / DYNAMIC).ok()?);
        let mut entries =
            entries.map_while(|at| Some((u64_at(image, at)?, u64_at(image, at.checked_add(8)?)?)));
        entries.find_map(|(found, value)| (found == tag).then_some(value))
    };
    let strings = slice(image, offset(entry(DT_STRTAB)?)?, entry(DT_STRSZ)?)?;
    let strings_at = offset(entry(DT_STRTAB)?)?;
    let mut at = offset(entry(DT_SYMTAB)?)?;
    // The section headers, which alone tell the number of symbols, need not be mapped: the table ends at the strings, or
    // with the image.
    loop {
        let end = at.checked_add(SYMBOL)?;
        if at < strings_at && end > strings_at {
            return None;
        }
        let info = slice(image, at.checked_add(4)?, 1)?[0];
        let section = u16_at(image, at.checked_add(6)?)?;
        let start = usize::try_from(u32_at(image, at)?).ok()?;
        let found = strings.get(start..).and_then(|rest| rest.split(|byte| *byte == 0).next());
        if info & 0xf == STT_FUNC && section != 0 && found == Some(name) {
            let value = u64_at(image, at.checked_add(8)?)?;
            return Some(Function { offset: offset(value)?, size: u64_at(image, at.checked_add(16)?)? });
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_function_of_this_kernels_vdso_is_found() {
        let (_, image) = mapped().expect("a vDSO");
        let clock = function(image, b"__vdso_clock_gettime").expect("the function");
        assert!(clock.size > 0);
        assert!(slice(image, clock.offset, clock.size).is_some());
        let other = function(image, b"__vdso_gettimeofday").expect("the function");
        assert_ne!(clock, other);
        assert_eq!(function(image, b"__vdso_no_such_function"), None);
        assert_eq!(function(image, b""), None);
    }

    #[test]
    fn the_function_found_is_the_one_that_tells_the_time() {
        type Clock = extern "C" fn(i32, *mut libc::timespec) -> i32;
        let (base, image) = mapped().expect("a vDSO");
        let found = function(image, b"__vdso_clock_gettime").expect("the function");
        let address = usize::try_from(base + found.offset).unwrap();
        let pointer: *const () = ptr::with_exposed_provenance(address);
        // SAFETY: the symbol names a function of this type (vdso(7)).
        let clock: Clock = unsafe { std::mem::transmute(pointer) };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(clock(libc::CLOCK_REALTIME, &raw mut time), 0);
        assert!(time.tv_sec > 1_700_000_000);
    }

    proptest! {
        #[test]
        fn nothing_in_an_image_makes_it_read_beyond(changes in prop::collection::vec((0usize..0x800, any::<u8>()), 1..20)) {
            let (_, image) = mapped().expect("a vDSO");
            let mut image = image.to_vec();
            for (at, byte) in changes {
                if let Some(place) = image.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = function(&image, b"__vdso_clock_gettime");
            let _ = segments(&image).map(Iterator::count);
        }

        #[test]
        fn nor_does_what_is_no_image(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut image = bytes;
            let _ = function(&image, b"name");
            image.splice(0..0, *b"\x7fELF\x02\x01");
            let _ = function(&image, b"name");
        }
    }
}
