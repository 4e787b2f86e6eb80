//! The kernel's interface: structures and ioctl numbers of `arch/x86/include/uapi/asm/sgx.h`.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::Reserved;

/// The device of enclaves.
pub const DEVICE: &str = "/dev/sgx_enclave";

/// The device whose file descriptor grants the PROVISIONKEY attribute.
pub const PROVISION_DEVICE: &str = "/dev/sgx_provision";

/// `SGX_PAGE_MEASURE`, in [`AddPages::flags`]: the contents are measured too.
pub const PAGE_MEASURE: u64 = 1;

/// `struct sgx_enclave_create`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Create {
    /// Address of the SECS.
    pub src: u64,
}

/// `struct sgx_enclave_add_pages`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddPages {
    /// Address of the contents.
    pub src: u64,
    /// Offset in the enclave.
    pub offset: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
    /// Address of the SECINFO.
    pub secinfo: u64,
    /// [`PAGE_MEASURE`] or zero.
    pub flags: u64,
    /// Answer: bytes added, a multiple of the page size.
    pub count: u64,
}

/// `struct sgx_enclave_init`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Init {
    /// Address of the SIGSTRUCT.
    pub sigstruct: u64,
}

/// `struct sgx_enclave_provision`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Provision {
    /// File descriptor of [`PROVISION_DEVICE`].
    pub fd: u64,
}

/// `struct sgx_enclave_restrict_permissions`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RestrictPermissions {
    /// Offset in the enclave.
    pub offset: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
    /// What stays allowed: bits of [`Permissions`](super::Permissions).
    pub permissions: u64,
    /// Answer: EMODPR's error code.
    pub result: u64,
    /// Answer: bytes changed, a multiple of the page size.
    pub count: u64,
}

/// `struct sgx_enclave_modify_types`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ModifyTypes {
    /// Offset in the enclave.
    pub offset: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
    /// The new type: a number of [`PageType`](super::PageType).
    pub page_type: u64,
    /// Answer: EMODT's error code.
    pub result: u64,
    /// Answer: bytes changed, a multiple of the page size.
    pub count: u64,
}

/// `struct sgx_enclave_remove_pages`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemovePages {
    /// Offset in the enclave.
    pub offset: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
    /// Answer: bytes removed, a multiple of the page size.
    pub count: u64,
}

/// `struct sgx_enclave_run`: what `__vdso_sgx_enter_enclave` takes and answers.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EnclaveRun {
    /// Address of the TCS.
    pub tcs: u64,
    /// Answer: the ENCLU leaf seen last (EENTER, ERESUME or EEXIT).
    pub function: u32,
    /// Answer: vector of the exception.
    pub exception_vector: u16,
    /// Answer: error code of the exception.
    pub exception_error_code: u16,
    /// Answer: address of the exception.
    pub exception_addr: u64,
    /// Address of the function that is called at each exit, or zero.
    pub user_handler: u64,
    /// The handler's own.
    pub user_data: u64,
    /// Zero.
    pub reserved: Reserved<216>,
}

impl Default for EnclaveRun {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// `SGX_MAGIC`, the ioctls' type byte.
const MAGIC: u64 = 0xa4;
/// `_IOC_WRITE`, shifted (`asm-generic/ioctl.h`).
const WRITE: u64 = 1 << 30;
/// `_IOC_READ | _IOC_WRITE`, shifted.
const READ_WRITE: u64 = 3 << 30;

/// `_IOC` of `asm-generic/ioctl.h` for an argument of type `T`.
const fn number<T>(direction: u64, number: u64) -> u64 {
    direction | (size_of::<T>() as u64) << 16 | MAGIC << 8 | number
}

/// `SGX_IOC_ENCLAVE_CREATE`.
pub const IOC_CREATE: u64 = number::<Create>(WRITE, 0);
/// `SGX_IOC_ENCLAVE_ADD_PAGES`.
pub const IOC_ADD_PAGES: u64 = number::<AddPages>(READ_WRITE, 1);
/// `SGX_IOC_ENCLAVE_INIT`.
pub const IOC_INIT: u64 = number::<Init>(WRITE, 2);
/// `SGX_IOC_ENCLAVE_PROVISION`.
pub const IOC_PROVISION: u64 = number::<Provision>(WRITE, 3);
/// `SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS`.
pub const IOC_RESTRICT_PERMISSIONS: u64 = number::<RestrictPermissions>(READ_WRITE, 5);
/// `SGX_IOC_ENCLAVE_MODIFY_TYPES`.
pub const IOC_MODIFY_TYPES: u64 = number::<ModifyTypes>(READ_WRITE, 6);
/// `SGX_IOC_ENCLAVE_REMOVE_PAGES`.
pub const IOC_REMOVE_PAGES: u64 = number::<RemovePages>(READ_WRITE, 7);

const _: () = assert!(size_of::<EnclaveRun>() == 256);
const _: () = assert!(offset_of!(EnclaveRun, exception_addr) == 16);
const _: () = assert!(offset_of!(EnclaveRun, user_handler) == 24);
const _: () = assert!(offset_of!(EnclaveRun, reserved) == 40);

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C compiler prints them from `asm/sgx.h`.
    #[test]
    fn ioctl_numbers_are_the_kernels() {
        assert_eq!(IOC_CREATE, 0x4008_a400);
        assert_eq!(IOC_ADD_PAGES, 0xc030_a401);
        assert_eq!(IOC_INIT, 0x4008_a402);
        assert_eq!(IOC_PROVISION, 0x4008_a403);
        assert_eq!(IOC_RESTRICT_PERMISSIONS, 0xc028_a405);
        assert_eq!(IOC_MODIFY_TYPES, 0xc028_a406);
        assert_eq!(IOC_REMOVE_PAGES, 0xc018_a407);
    }
}
