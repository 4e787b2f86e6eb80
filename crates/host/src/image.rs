//! The enclave image: an ELF file, taken apart into the pages that go into the enclave.

use casemate_enclave_abi::elrange;
use casemate_enclave_abi::layout::PAGE;
use casemate_sgx::arch::Permissions;
use casemate_sgx::platform::emulated::STUB;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

/// As built by `build.rs` from `crates/enclave`.
static EMBEDDED: &[u8] = include_bytes!(env!("CASEMATE_EMBED_IMAGE"));

/// The symbol of the image's one ENCLU.
const STUB_SYMBOL: &str = "enclu_stub";

/// Why bytes are no enclave image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No ELF file, or one that ends too early.
    #[error("the enclave image is no whole ELF file: {0}")]
    Elf(String),
    /// ELF, but for something else.
    #[error("the enclave image is no static x86-64 program (type {kind}, machine {machine})")]
    Kind {
        /// `e_type`.
        kind: u16,
        /// `e_machine`.
        machine: u16,
    },
    /// A segment that cannot be part of the enclave.
    #[error("the enclave image's segment at {address:#x} {problem}")]
    Segment {
        /// Its address.
        address: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The entry point is not in a segment that can be executed.
    #[error("the enclave image's entry point {0:#x} is not in its code")]
    Entry(u64),
    /// There is no ENCLU stub, or something else stands there.
    #[error("the enclave image has no padded ENCLU at a symbol {STUB_SYMBOL}")]
    Stub,
}

/// Pages with the same permissions.
#[derive(Clone, PartialEq, Eq)]
pub struct Segment {
    /// Address of the first page.
    pub address: u64,
    /// What the pages allow.
    pub permissions: Permissions,
    /// Their contents, whole pages.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, permissions, bytes } = self;
        let letter = |permission, letter| if permissions.contains(permission) { letter } else { '-' };
        let [r, w, x] =
            [(Permissions::R, 'r'), (Permissions::W, 'w'), (Permissions::X, 'x')].map(|(p, l)| letter(p, l));
        write!(f, "{r}{w}{x} {address:#x}..+{:#x}", bytes.len())
    }
}

impl Segment {
    /// The address behind the last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.len())
    }

    /// Bytes, whole pages.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// Whether it has no page; no image has such a segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its bytes from an address on; `None` outside.
    fn from(&self, address: u64) -> Option<&[u8]> {
        self.bytes
            .get(usize::try_from(address.checked_sub(self.address)?).ok()?..)
            .filter(|rest| !rest.is_empty())
    }
}

/// The kernel that runs inside the enclave, ready to be added page by page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    segments: Vec<Segment>,
    entry: u64,
    stub: u64,
}

impl Image {
    /// The image that this program was built with.
    ///
    /// # Errors
    /// It was built with a file that is none.
    pub fn embedded() -> Result<Self, ImageError> {
        Self::parse(EMBEDDED)
    }

    /// Takes an ELF file apart.
    ///
    /// # Errors
    /// What the file is not.
    pub fn parse(file: &[u8]) -> Result<Self, ImageError> {
        let elf_error = |error: elf::ParseError| ImageError::Elf(error.to_string());
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(elf_error)?;
        let header = elf.ehdr;
        if header.e_type != ET_EXEC || header.e_machine != EM_X86_64 {
            return Err(ImageError::Kind { kind: header.e_type, machine: header.e_machine });
        }
        let headers = elf.segments().ok_or_else(|| ImageError::Elf("it has no segments".into()))?;
        let mut segments: Vec<Segment> = Vec::new();
        for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0) {
            let segment = segment(&header, file)?;
            if segments.last().is_some_and(|last| last.end() > segment.address) {
                return Err(ImageError::Segment {
                    address: segment.address,
                    problem: "lies below the end of the one before",
                });
            }
            segments.push(segment);
        }
        let image = Self { segments, entry: header.e_entry, stub: stub(&elf)? };
        if image.code(image.entry).is_none() {
            return Err(ImageError::Entry(image.entry));
        }
        if !image.stub.is_multiple_of(16)
            || !image.code(image.stub).is_some_and(|code| code.starts_with(&STUB))
        {
            return Err(ImageError::Stub);
        }
        Ok(image)
    }

    /// Its segments, by address.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Address of the entry point of every TCS.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// Address of the padded ENCLU, see [`STUB`].
    #[must_use]
    pub const fn stub(&self) -> u64 {
        self.stub
    }

    /// Bytes in all, whole pages.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Whether it has no page; none can be parsed that has not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Code from an address on.
    fn code(&self, address: u64) -> Option<&[u8]> {
        let executable = |segment: &&Segment| segment.permissions.contains(Permissions::X);
        self.segments.iter().filter(executable).find_map(|segment| segment.from(address))
    }
}

fn segment(header: &ProgramHeader, file: &[u8]) -> Result<Segment, ImageError> {
    let address = header.p_vaddr;
    let wrong = |problem| ImageError::Segment { address, problem };
    if !address.is_multiple_of(PAGE) {
        return Err(wrong("does not begin on a page"));
    }
    let end = address.checked_add(header.p_memsz).and_then(|end| end.checked_next_multiple_of(PAGE));
    let end = end.filter(|end| address >= elrange::IMAGE && *end <= elrange::IMAGE_END);
    let end = end.ok_or_else(|| wrong("lies outside the image's range"))?;
    let contents = usize::try_from(header.p_offset)
        .ok()
        .zip(usize::try_from(header.p_filesz).ok())
        .and_then(|(offset, length)| file.get(offset..offset.checked_add(length)?))
        .ok_or_else(|| wrong("is longer than the file"))?;
    if header.p_filesz > header.p_memsz {
        return Err(wrong("has more contents than room"));
    }
    let mut permissions = Permissions::empty();
    for (flag, permission) in [(PF_R, Permissions::R), (PF_W, Permissions::W), (PF_X, Permissions::X)] {
        permissions.set(permission, header.p_flags & flag != 0);
    }
    if !permissions.contains(Permissions::R) || permissions == Permissions::RWX {
        return Err(wrong("cannot be read, or can be written and executed"));
    }
    let mut bytes = contents.to_vec();
    // Bounded by the image's range.
    bytes.resize(usize::try_from(end - address).map_err(|_| wrong("is too long"))?, 0);
    Ok(Segment { address, permissions, bytes })
}

/// Address of the ENCLU stub.
fn stub(elf: &ElfBytes<'_, LittleEndian>) -> Result<u64, ImageError> {
    let table = elf.symbol_table().map_err(|error| ImageError::Elf(error.to_string()))?;
    let (symbols, names) = table.ok_or(ImageError::Stub)?;
    let is_stub = |name: u32| {
        let name = usize::try_from(name).ok().and_then(|index| names.get(index).ok());
        name == Some(STUB_SYMBOL)
    };
    symbols
        .iter()
        .find(|symbol| is_stub(symbol.st_name))
        .map(|symbol| symbol.st_value)
        .ok_or(ImageError::Stub)
}
