//! An enclave of the driver's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::vdso::Vdso;
use super::{call, ioctl};
use crate::arch::linux::{
    AddPages, Create, DEVICE, IOC_CREATE, IOC_INIT, IOC_MODIFY_TYPES, IOC_PROVISION, IOC_REMOVE_PAGES,
    IOC_RESTRICT_PERMISSIONS, Init, ModifyTypes, PAGE_MEASURE, Provision, RemovePages, RestrictPermissions,
};
use crate::arch::{AttributeFlags, Attributes, PAGE_SIZE, PageType, Permissions, SecInfo, Secs, Sigstruct};
use crate::platform::{Enclave, EnterLeaf, Exit, PlatformError, Registers, Source};

const PAGE: u64 = PAGE_SIZE as u64;

/// What the kernel maps for nobody (`vm.mmap_min_addr`). An ELRANGE that begins at 0 begins, for mappings, here.
const LOWEST_ADDRESS: u64 = 0x10000;

/// Pages copied at a time.
const STAGED: usize = 256;

/// A page to copy from: the kernel wants the source aligned, and in memory that could be executed, as a file's on a
/// `noexec` mount could not (`sgx_encl_add_page`).
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

/// An enclave behind a file description of `/dev/sgx_enclave`.
#[derive(Debug)]
pub struct DeviceEnclave {
    file: File,
    vdso: Vdso,
    range: Range,
    attributes: Attributes,
    initialised: AtomicBool,
}

impl DeviceEnclave {
    pub(super) fn create(vdso: Vdso, secs: &Secs, max_size_log2: u8) -> Result<Self, PlatformError> {
        let (base, size) = (secs.baseaddr, secs.size);
        let refuse = |reason| PlatformError::Range { base, size, reason };
        if !size.is_power_of_two() || size < 2 * PAGE {
            return Err(refuse("the size is not a power of two of at least two pages"));
        }
        if base % size != 0 {
            return Err(refuse("the base is not aligned to the size"));
        }
        if size.ilog2() > u32::from(max_size_log2) {
            return Err(refuse("it is larger than the processor takes"));
        }
        let file = super::open(DEVICE)?;
        let range = Range::reserve(base, size)?;
        let mut argument = Create { src: address(secs) };
        ioctl::once(&file, IOC_CREATE, &mut argument).map_err(system("SGX_IOC_ENCLAVE_CREATE"))?;
        if secs.attributes.flags.contains(AttributeFlags::PROVISIONKEY) {
            let provision = super::open_provision()?;
            let fd = u64::try_from(provision.as_raw_fd())
                .map_err(|_| PlatformError::State("without a provisioning device"))?;
            ioctl::once(&file, IOC_PROVISION, &mut Provision { fd })
                .map_err(system("SGX_IOC_ENCLAVE_PROVISION"))?;
        }
        Ok(Self { file, vdso, range, attributes: secs.attributes, initialised: AtomicBool::new(false) })
    }

    fn check(&self, offset: u64, length: u64) -> Result<(), PlatformError> {
        let size = self.range.size;
        let inside = offset.checked_add(length).is_some_and(|end| end <= size);
        if inside && length > 0 && offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) {
            return Ok(());
        }
        Err(PlatformError::Outside { offset, length, size })
    }

    fn add(
        &self,
        pages: &[Page],
        length: u64,
        offset: u64,
        kind: &SecInfo,
        flags: u64,
    ) -> Result<(), PlatformError> {
        let mut argument =
            AddPages { src: address(pages), offset, length, secinfo: address(kind), flags, count: 0 };
        ioctl::add_pages(&self.file, &mut argument).map_err(system("SGX_IOC_ENCLAVE_ADD_PAGES"))
    }

    /// For EDMM's calls.
    fn check_running(&self, offset: u64, length: u64) -> Result<(), PlatformError> {
        self.check(offset, length)?;
        if self.initialised.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(PlatformError::State("not initialised yet"))
        }
    }
}

/// The answer fields of EDMM's calls.
macro_rules! ranged {
    ($($name:ty),*) => {
        $(impl ioctl::Ranged for $name {
            fn length(&self) -> u64 {
                self.length
            }

            fn count(&self) -> u64 {
                self.count
            }

            fn advance(&mut self, done: u64) {
                self.offset += done;
                self.length -= done;
                self.count = 0;
            }
        })*
    };
}

ranged!(RestrictPermissions, ModifyTypes, RemovePages);

impl Enclave for DeviceEnclave {
    fn base(&self) -> u64 {
        self.range.base
    }

    fn size(&self) -> u64 {
        self.range.size
    }

    fn add_pages(
        &self,
        source: Source<'_>,
        offset: u64,
        kind: &SecInfo,
        measure: bool,
    ) -> Result<(), PlatformError> {
        self.check(offset, source.len())?;
        if self.initialised.load(Ordering::Acquire) {
            return Err(PlatformError::State("initialised already"));
        }
        let flags = if measure { PAGE_MEASURE } else { 0 };
        let pages = usize::try_from(source.len() / PAGE).unwrap_or(usize::MAX).min(STAGED);
        let mut staging = vec![Page([0; PAGE_SIZE]); pages];
        let step = pages as u64 * PAGE;
        let mut done = 0;
        while done < source.len() {
            let length = step.min(source.len() - done);
            if let Source::Bytes(bytes) = source {
                let rest = usize::try_from(done).ok().and_then(|done| bytes.get(done..)).unwrap_or_default();
                let (chunks, _) = rest.as_chunks::<PAGE_SIZE>();
                for (page, chunk) in staging.iter_mut().zip(chunks) {
                    page.0 = *chunk;
                }
            }
            self.add(&staging, length, offset + done, kind, flags)?;
            done += length;
        }
        Ok(())
    }

    fn init(&self, sigstruct: &Sigstruct) -> Result<(), PlatformError> {
        let mut argument = Init { sigstruct: address(sigstruct) };
        ioctl::once(&self.file, IOC_INIT, &mut argument)
            .map_err(|error| PlatformError::Einit(format!("SGX_IOC_ENCLAVE_INIT: {error}")))?;
        self.range.map(&self.file)?;
        self.initialised.store(true, Ordering::Release);
        Ok(())
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = self.attributes;
        attributes.flags.set(AttributeFlags::INIT, self.initialised.load(Ordering::Acquire));
        attributes
    }

    fn protect(&self, offset: u64, length: u64, permissions: Permissions) -> Result<(), PlatformError> {
        self.check_running(offset, length)?;
        let result = self.range.protect(offset, length, permissions);
        result.map_err(system("mprotect of an enclave"))
    }

    fn restrict_permissions(
        &self,
        offset: u64,
        length: u64,
        permissions: Permissions,
    ) -> Result<u64, PlatformError> {
        self.check_running(offset, length)?;
        let permissions = permissions.bits().into();
        let mut argument = RestrictPermissions { offset, length, permissions, result: 0, count: 0 };
        ioctl::partial(&self.file, IOC_RESTRICT_PERMISSIONS, &mut argument)
            .map_err(system("SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS"))
    }

    fn modify_types(&self, offset: u64, length: u64, page_type: PageType) -> Result<u64, PlatformError> {
        self.check_running(offset, length)?;
        let page_type = page_type.raw().into();
        let mut argument = ModifyTypes { offset, length, page_type, result: 0, count: 0 };
        ioctl::partial(&self.file, IOC_MODIFY_TYPES, &mut argument)
            .map_err(system("SGX_IOC_ENCLAVE_MODIFY_TYPES"))
    }

    fn remove_pages(&self, offset: u64, length: u64) -> Result<u64, PlatformError> {
        self.check_running(offset, length)?;
        let mut argument = RemovePages { offset, length, count: 0 };
        ioctl::partial(&self.file, IOC_REMOVE_PAGES, &mut argument)
            .map_err(system("SGX_IOC_ENCLAVE_REMOVE_PAGES"))
    }

    unsafe fn enter(&self, tcs: u64, leaf: EnterLeaf, registers: Registers) -> Result<Exit, PlatformError> {
        // SAFETY: the vDSO's function, and the caller's promise.
        unsafe { call::enter(self.vdso.enter, tcs, leaf, registers) }
    }
}

fn address<T: ?Sized>(value: &T) -> u64 {
    ptr::from_ref(value).cast::<()>().expose_provenance() as u64
}

fn system(what: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |source| PlatformError::System { what, source }
}

/// The addresses of an enclave, reserved at first, mapped from the device later, given back at the end.
#[derive(Debug)]
struct Range {
    base: u64,
    size: u64,
    start: u64,
}

impl Range {
    fn reserve(base: u64, size: u64) -> Result<Self, PlatformError> {
        let range = Self { base, size, start: base.max(LOWEST_ADDRESS) };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        let refuse = |reason| PlatformError::Range { base, size, reason };
        let length =
            base.checked_add(size).and_then(|end| end.checked_sub(range.start)).filter(|length| *length > 0);
        let length = length
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(refuse("it wraps, or lies too low"))?;
        // SAFETY: with MAP_FIXED_NOREPLACE a new mapping replaces nothing.
        let got = unsafe { libc::mmap(pointer(range.start), length, libc::PROT_NONE, flags, -1, 0) };
        if got == pointer(range.start) {
            return Ok(range);
        }
        if got != libc::MAP_FAILED {
            // SAFETY: the mapping that was just made, elsewhere, by a kernel that does not know the flag.
            unsafe { libc::munmap(got, length) };
        }
        std::mem::forget(range);
        Err(refuse("addresses there are in use, or the kernel does not give them"))
    }

    fn length(&self) -> usize {
        usize::try_from(self.base + self.size - self.start).unwrap_or(usize::MAX)
    }

    /// Maps all of it from the device, without access yet: from then on `mprotect` sets what is allowed.
    fn map(&self, file: &File) -> Result<(), PlatformError> {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let fd = file.as_raw_fd();
        // SAFETY: replaces this object's own reservation, to which nothing refers.
        let got = unsafe { libc::mmap(pointer(self.start), self.length(), libc::PROT_NONE, flags, fd, 0) };
        if got == libc::MAP_FAILED { Err(PlatformError::last("mmap of an enclave")) } else { Ok(()) }
    }

    fn protect(&self, offset: u64, length: u64, permissions: Permissions) -> io::Result<()> {
        let mut prot = libc::PROT_NONE;
        for (permission, bit) in [
            (Permissions::R, libc::PROT_READ),
            (Permissions::W, libc::PROT_WRITE),
            (Permissions::X, libc::PROT_EXEC),
        ] {
            if permissions.contains(permission) {
                prot |= bit;
            }
        }
        let start = (self.base + offset).max(self.start);
        let length =
            usize::try_from((self.base + offset + length).saturating_sub(start)).unwrap_or(usize::MAX);
        // SAFETY: inside this object's range (checked by the caller), to which nothing refers.
        match unsafe { libc::mprotect(pointer(start), length, prot) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: the range is this object's, and nothing refers into it any more.
        unsafe { libc::munmap(pointer(self.start), self.length()) };
    }
}

fn pointer(address: u64) -> *mut libc::c_void {
    // On x86-64 every `u64` is a `usize`.
    ptr::with_exposed_provenance_mut(usize::try_from(address).expect("64-bit"))
}
