//! What the processor and the kernel read and write: plain data, exactly laid out.
//!
//! Layouts follow the Intel SDM, volume 3D, chapter 37 "Enclave access control and data structures", and, in
//! [`linux`], the kernel's `asm/sgx.h`. Nothing here allocates or needs std; the enclave's kernel uses it as
//! the host does. Every structure is plain bytes (`zerocopy`), so that reading one from the other side of the
//! wall is a copy followed by checks, never a cast.

mod attributes;
mod code;
mod exception;
mod key;
pub mod linux;
mod page;
mod report;
mod reserved;
mod secs;
mod sigstruct;
mod ssa;
mod tcs;

pub use attributes::{AttributeFlags, Attributes, Miscselect, Xfrm};
pub use code::{ErrorCode, Leaf};
pub use exception::{Exinfo, ExitInfo, ExitType, PageFaultCode, Vector};
pub use key::{KeyName, KeyPolicy, KeyRequest};
pub use page::{PageInfo, PageType, Permissions, SecInfo, SecInfoFlags};
pub use report::{Report, ReportBody, TargetInfo};
pub use reserved::Reserved;
pub use secs::Secs;
pub use sigstruct::{SIGSTRUCT_HEADER1, SIGSTRUCT_HEADER2, Sigstruct, VENDOR_INTEL, VENDOR_OTHER};
pub use ssa::{Gprsgx, SsaFrame, XSAVE_HEADER_END};
pub use tcs::{Tcs, TcsFlags};

/// Bytes in an enclave page; the EPC knows no other size.
pub const PAGE_SIZE: usize = 4096;

/// Bytes that one EEXTEND measures (SDM vol. 3D, EEXTEND).
pub const EEXTEND_SIZE: usize = 256;
