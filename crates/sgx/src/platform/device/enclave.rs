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
use crate::platform::memory::Reserved;
use crate::platform::{Enclave, EnterLeaf, Exit, PlatformError, Registers, Source, check_range, whole_pages};

const PAGE: u64 = PAGE_SIZE as u64;

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
    base: u64,
    size: u64,
    /// The part of ELRANGE that can be mapped.
    range: Reserved,
    attributes: Attributes,
    initialised: AtomicBool,
}

impl DeviceEnclave {
    pub(super) fn create(vdso: Vdso, secs: &Secs, max_size_log2: u8) -> Result<Self, PlatformError> {
        let (base, size) = (secs.baseaddr, secs.size);
        check_range(secs, max_size_log2)?;
        let file = super::open(DEVICE)?;
        let range = Reserved::at(base, size)?;
        let mut argument = Create { src: address(secs) };
        ioctl::once(&file, IOC_CREATE, &mut argument).map_err(system("SGX_IOC_ENCLAVE_CREATE"))?;
        if secs.attributes.flags.contains(AttributeFlags::PROVISIONKEY) {
            let provision = super::open_provision()?;
            let fd = u64::try_from(provision.as_raw_fd())
                .map_err(|_| PlatformError::State("without a provisioning device"))?;
            ioctl::once(&file, IOC_PROVISION, &mut Provision { fd })
                .map_err(system("SGX_IOC_ENCLAVE_PROVISION"))?;
        }
        let (attributes, initialised) = (secs.attributes, AtomicBool::new(false));
        Ok(Self { file, vdso, base, size, range, attributes, initialised })
    }

    fn check(&self, offset: u64, length: u64) -> Result<(), PlatformError> {
        whole_pages(offset, length, self.size).map(|_| ())
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
        self.base
    }

    fn size(&self) -> u64 {
        self.size
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
        self.range.map_device(&self.file)?;
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
        // Of an ELRANGE from address 0 on, the first pages are nobody's.
        let start = (self.base + offset).max(self.range.start());
        let length = (self.base + offset + length).saturating_sub(start);
        self.range.protect(start, length, permissions)
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
