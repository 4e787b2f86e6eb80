//! Loading a program: execve(2) into an empty address space, and what mmap(2) of code has in common with it.

mod code;
pub(crate) mod islands;

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use casemate_enclave::elf::{self, Elf, Segment, stack};
use casemate_enclave::mm::{Kind, MapFlags, Prot};

use crate::arch::{cpu, layout};
use crate::fs::{self, OpenFile};
use crate::process::{Image, process};
use crate::syscall::Errno;
use crate::{user, vdso};

pub(crate) use code::{module_of, rewrite};

/// Bytes of the first thread's stack, as far as it can grow.
const STACK: u64 = 8 << 20;

/// How deep `#!` lines may lead (`fs/exec.c`).
const MAX_INTERPRETERS: usize = 5;

/// Auxiliary vector types (`include/uapi/linux/auxvec.h`).
mod at {
    pub(super) const PHDR: u64 = 3;
    pub(super) const PHENT: u64 = 4;
    pub(super) const PHNUM: u64 = 5;
    pub(super) const PAGESZ: u64 = 6;
    pub(super) const BASE: u64 = 7;
    pub(super) const FLAGS: u64 = 8;
    pub(super) const ENTRY: u64 = 9;
    pub(super) const UID: u64 = 11;
    pub(super) const EUID: u64 = 12;
    pub(super) const GID: u64 = 13;
    pub(super) const EGID: u64 = 14;
    pub(super) const HWCAP: u64 = 16;
    pub(super) const CLKTCK: u64 = 17;
    pub(super) const SECURE: u64 = 23;
    pub(super) const HWCAP2: u64 = 26;
    pub(super) const SYSINFO_EHDR: u64 = 33;
    pub(super) const MINSIGSTKSZ: u64 = 51;
}

/// Where a loaded program begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
}

/// Why a program cannot be executed, for people: the file and what is wrong with it.
#[derive(Debug)]
pub(crate) struct LoadError {
    pub(crate) errno: Errno,
    path: String,
    reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot execute {}: {}", self.path, self.reason)
    }
}

impl LoadError {
    fn new(errno: Errno, path: &str, reason: impl fmt::Display) -> Self {
        Self { errno, path: path.to_owned(), reason: alloc::format!("{reason}") }
    }
}

/// Reads exactly `length` bytes of a file.
fn read_exact(file: &OpenFile, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = alloc::vec![0; length];
    let mut done = 0;
    while done < length {
        match file.read_at(offset + done as u64, &mut bytes[done..])? {
            0 => return Err(Errno::ENOEXEC),
            count => done += count,
        }
    }
    Ok(bytes)
}

/// The ELF headers of a file.
fn headers(file: &OpenFile, size: u64) -> Result<Elf, String> {
    let text = |error: elf::ElfError| alloc::format!("{error}");
    let first_length = elf::EHDR_LEN.min(usize::try_from(size).unwrap_or(elf::EHDR_LEN));
    let first = read_exact(file, 0, first_length).map_err(|e| alloc::format!("{e}"))?;
    let length = Elf::headers_len(&first).map_err(text)?;
    let bytes = read_exact(file, 0, length).map_err(|_| String::from("the file is too short"))?;
    elf::parse(&bytes, size).map_err(text)
}

/// Opens a program.
fn open(path: &str) -> Result<Arc<OpenFile>, LoadError> {
    fs::open_program(path).map_err(|errno| LoadError::new(errno, path, errno))
}

/// Parses a program's headers.
fn parse(path: &str, file: &OpenFile) -> Result<Elf, LoadError> {
    let size = file.stat().map_err(|errno| LoadError::new(errno, path, errno))?.size;
    headers(file, size).map_err(|reason| LoadError::new(Errno::ENOEXEC, path, reason))
}

fn prot_of(segment: &Segment) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::R, segment.read);
    prot.set(Prot::W, segment.write);
    prot.set(Prot::X, segment.execute);
    prot
}

/// What a file is mapped as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The program: low, so that the break has room above it. Everything else is mapped from the top down.
    Program,
    Interpreter,
}

/// Maps a file's segments. Returns what to add to the addresses in the file.
fn map_elf(file: &Arc<OpenFile>, elf: &Elf, role: Role) -> Result<u64, Errno> {
    let span = elf.span();
    let start = span.address & !0xfff;
    let length = span.address + span.len - start;
    let fixed = elf.kind == elf::Kind::Fixed;
    let bias = {
        let mut space = process().space.lock();
        let flags = MapFlags { fixed_noreplace: fixed, noreserve: true, ..MapFlags::default() };
        let low = if role == Role::Program { Some(layout::USER) } else { None };
        let hint = if fixed { Some(start) } else { low };
        let align = elf.alignment.max(4096);
        // Room for the alignment, of which the rest is given back.
        let room = if fixed { length } else { length + align - 4096 };
        let got = space.map(hint, room, Prot::empty(), flags, Kind::Reserved).map_err(user::errno)?;
        let base = if fixed { got } else { got.next_multiple_of(align) };
        base.wrapping_sub(start)
    };
    if role == Role::Program {
        // Before islands take the place.
        let brk = span.address.wrapping_add(span.len).wrapping_add(bias).next_multiple_of(4096);
        process().space.lock().set_brk_start(brk);
    }
    for segment in &elf.segments {
        map_segment(file, elf, segment, bias)?;
    }
    Ok(bias)
}

fn map_segment(file: &Arc<OpenFile>, elf: &Elf, segment: &Segment, bias: u64) -> Result<(), Errno> {
    let address = segment.address.wrapping_add(bias);
    let page = address & !0xfff;
    let skip = address - page;
    let end = address + segment.mem_size;
    let file_end = address + segment.file.len;
    let whole = (end - page).next_multiple_of(4096);
    let file_whole = (file_end - page).next_multiple_of(4096).min(whole);
    let name: Arc<str> = Arc::from(file.path());
    if segment.file.len > 0 {
        let kind = Kind::File { name, offset: segment.file.offset - skip };
        let flags = MapFlags { fixed: true, populate: true, ..MapFlags::default() };
        process().space.lock().map(Some(page), file_whole, Prot::RW, flags, kind).map_err(user::errno)?;
        // What lies in the file beside the segment, on its first and last page, is mapped too, as under Linux; behind the
        // file's part of a segment with more memory there are zeros.
        let bytes = if segment.mem_size > segment.file.len { file_end - page } else { file_whole };
        fill(file, segment.file.offset - skip, page, bytes)?;
    }
    if whole > file_whole || segment.file.len == 0 {
        let (from, length) =
            if segment.file.len == 0 { (page, whole) } else { (page + file_whole, whole - file_whole) };
        let flags = MapFlags { fixed: true, ..MapFlags::default() };
        process()
            .space
            .lock()
            .map(Some(from), length, Prot::RW, flags, Kind::Anonymous)
            .map_err(user::errno)?;
    }
    if segment.execute {
        rewrite(file, elf, page, file_whole, bias)?;
    }
    let prot = prot_of(segment);
    if prot != Prot::RW {
        process().space.lock().protect(page, whole, prot).map_err(user::errno)?;
    }
    Ok(())
}

/// Copies a part of a file into committed, writable program memory. What the file does not have stays zero.
pub(crate) fn fill(file: &OpenFile, offset: u64, address: u64, length: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < length {
        let chunk =
            usize::try_from((length - done).min(crate::host::TRANSFER as u64)).map_err(|_| Errno::EINVAL)?;
        match file.read_at_user(offset + done, address + done, chunk)? {
            0 => break,
            count => done += count as u64,
        }
    }
    Ok(())
}

/// A program that can be loaded: everything that can be wrong with its files has been looked at.
pub(crate) struct Prepared {
    path: String,
    file: Arc<OpenFile>,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    elf: Elf,
    interpreter: Option<(Arc<OpenFile>, Elf)>,
}

/// Bytes that arguments and environment may take, with their pointers, as under Linux a quarter of the stack.
const MOST_STRINGS: usize = (STACK / 4) as usize;

/// Looks at the program at `path`, and at its interpreters.
///
/// # Errors
/// Those of execve(2) before anything has changed.
pub(crate) fn prepare(
    path: &str,
    arguments: &[Vec<u8>],
    environment: &[Vec<u8>],
) -> Result<Prepared, LoadError> {
    // A link to the program that runs would lead nowhere once that is replaced, and elsewhere in another process.
    let followed = path.starts_with("/proc/").then(|| fs::without_links(path));
    let path = followed.as_deref().unwrap_or(path);
    let Resolved { path, file, arguments } = resolve_scripts(path, arguments)?;
    let strings = arguments.iter().chain(environment).map(|string| string.len() + 9).sum::<usize>();
    if strings > MOST_STRINGS {
        return Err(LoadError::new(Errno::E2BIG, &path, "its arguments and environment are too long"));
    }
    let elf = parse(&path, &file)?;
    let interpreter = elf.interpreter.map(|range| open_interpreter(&path, &file, range)).transpose()?;
    Ok(Prepared { path, file, arguments, environment: environment.to_vec(), elf, interpreter })
}

/// Opens the interpreter that a program names, and parses its headers.
fn open_interpreter(
    path: &str,
    file: &OpenFile,
    range: elf::FileRange,
) -> Result<(Arc<OpenFile>, Elf), LoadError> {
    let failed = |errno: Errno| LoadError::new(errno, path, errno);
    let length = usize::try_from(range.len).map_err(|_| failed(Errno::ENOEXEC))?;
    let bytes = read_exact(file, range.offset, length).map_err(failed)?;
    let name = Elf::interpreter_path(&bytes).map_err(|error| LoadError::new(Errno::ENOEXEC, path, error))?;
    let name = core::str::from_utf8(name)
        .map_err(|_| LoadError::new(Errno::ENOEXEC, path, "its interpreter's path is not text"))?;
    open(name).and_then(|file| parse(name, &file).map(|elf| (file, elf))).map_err(|error| {
        LoadError::new(error.errno, path, format_args!("its interpreter {name}: {}", error.reason))
    })
}

/// Loads the program at `path` into the address space, which is empty.
///
/// # Errors
/// Those of execve(2).
pub(crate) fn load(path: &str, arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> Result<Entry, LoadError> {
    prepare(path, arguments, environment)?.map()
}

impl Prepared {
    /// The path of what is executed in the end.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its arguments and its environment.
    pub(crate) fn strings(&self) -> (&[Vec<u8>], &[Vec<u8>]) {
        (&self.arguments, &self.environment)
    }

    /// Maps it into the address space, which is empty.
    ///
    /// # Errors
    /// There is no memory, or a file has changed meanwhile.
    pub(crate) fn map(self) -> Result<Entry, LoadError> {
        let Self { path, file, arguments, environment, elf, interpreter } = self;
        let failed = |errno: Errno| LoadError::new(errno, &path, errno);
        let bias = map_elf(&file, &elf, Role::Program).map_err(failed)?;
        let mut start = elf.entry.wrapping_add(bias);
        let mut interpreter_base = 0;
        if let Some((file, interpreter)) = interpreter {
            let bias = map_elf(&file, &interpreter, Role::Interpreter).map_err(failed)?;
            start = interpreter.entry.wrapping_add(bias);
            interpreter_base = (interpreter.span().address & !0xfff).wrapping_add(bias);
        }
        let vdso = vdso::map().map_err(failed)?;
        let auxv = auxv(&elf, bias, interpreter_base, vdso);
        let rsp = build_stack(&path, &arguments, &environment, &auxv)?;
        let path = if path.starts_with('/') { path } else { file.path().to_owned() };
        *process().image.lock() = Image { path, arguments, environment, auxv };
        Ok(Entry { rip: start, rsp })
    }
}

/// What is executed in the end.
struct Resolved {
    path: String,
    file: Arc<OpenFile>,
    arguments: Vec<Vec<u8>>,
}

/// Follows `#!` lines to the program that interprets them.
fn resolve_scripts(path: &str, arguments: &[Vec<u8>]) -> Result<Resolved, LoadError> {
    let mut path = path.to_owned();
    let mut arguments = arguments.to_vec();
    for _ in 0..MAX_INTERPRETERS {
        let file = open(&path)?;
        let mut first = [0; elf::SHEBANG_LEN];
        let count = file.read_at(0, &mut first).map_err(|errno| LoadError::new(errno, &path, errno))?;
        let Some((interpreter, argument)) = elf::shebang(&first[..count]) else {
            return Ok(Resolved { path, file, arguments });
        };
        let mut replaced = alloc::vec![interpreter.to_vec()];
        replaced.extend(argument.map(<[u8]>::to_vec));
        replaced.push(path.clone().into_bytes());
        replaced.extend(arguments.drain(..).skip(1));
        arguments = replaced;
        path = String::from_utf8(interpreter.to_vec())
            .map_err(|_| LoadError::new(Errno::ENOEXEC, &path, "its interpreter's path is not text"))?;
    }
    Err(LoadError::new(Errno::ELOOP, &path, "scripts that interpret scripts go too deep"))
}

fn auxv(program: &Elf, bias: u64, interpreter: u64, vdso: u64) -> Vec<(u64, u64)> {
    let start = &process().start;
    let features = crate::cpuid::cpuid(1, 0);
    let mut auxv = alloc::vec![
        (at::SYSINFO_EHDR, vdso),
        (at::MINSIGSTKSZ, 4096),
        (at::HWCAP, u64::from(features.edx)),
        (at::PAGESZ, 4096),
        (at::CLKTCK, 100),
        (at::PHENT, 56),
        (at::PHNUM, u64::from(program.header_count)),
        (at::BASE, interpreter),
        (at::FLAGS, 0),
        (at::ENTRY, program.entry.wrapping_add(bias)),
        (at::UID, start.uid),
        (at::EUID, start.euid),
        (at::GID, start.gid),
        (at::EGID, start.egid),
        (at::SECURE, 0),
        // FSGSBASE can be used from user space.
        (at::HWCAP2, 2),
    ];
    if let Some(headers) = program.headers_address {
        auxv.push((at::PHDR, headers.wrapping_add(bias)));
    }
    auxv
}

fn build_stack(
    path: &str,
    arguments: &[Vec<u8>],
    environment: &[Vec<u8>],
    auxv: &[(u64, u64)],
) -> Result<u64, LoadError> {
    let failed = |errno: Errno| LoadError::new(errno, path, errno);
    let flags = MapFlags { stack: true, noreserve: true, ..MapFlags::default() };
    let low = process()
        .space
        .lock()
        .map(None, STACK, Prot::RW, flags, Kind::Stack)
        .map_err(|error| failed(user::errno(error)))?;
    let mut random = [0; 16];
    for word in random.chunks_exact_mut(8) {
        word.copy_from_slice(&cpu::random().unwrap_or_else(cpu::time_stamp).to_le_bytes());
    }
    let argv: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let envp: Vec<&[u8]> = environment.iter().map(Vec::as_slice).collect();
    let start = stack::Start { argv: &argv, envp: &envp, auxv, execfn: path.as_bytes(), random };
    let room = usize::try_from(STACK / 4).map_err(|_| failed(Errno::E2BIG))?;
    let image =
        stack::build(&start, low + STACK, room).map_err(|error| LoadError::new(Errno::E2BIG, path, error))?;
    user::write(low + STACK - image.bytes.len() as u64, &image.bytes).map_err(failed)?;
    Ok(image.rsp)
}
