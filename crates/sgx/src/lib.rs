//! SGX as the manual defines it, and the machines that run enclaves.
//!
//! * [`arch`]: structures and numbers of the processor and of Linux's driver. The only part without std.
//! * [`measure`]: MRENCLAVE. [`sign`]: SIGSTRUCT, made and checked.
//! * [`quote`]: what a remote verifier is sent, with a quoting enclave in software. [`verify`]: what that
//!   verifier does.
//! * [`platform`]: Linux's driver, and an emulator that follows the manual and protects nothing.
//!
//! Sources are the Intel SDM, volume 3D, and the kernel's `arch/x86/include/uapi/asm/sgx.h`; each item names
//! its own.

#![cfg_attr(not(feature = "std"), no_std)]

pub mod arch;
#[cfg(feature = "std")]
pub mod doctor;
#[cfg(feature = "std")]
pub mod measure;
#[cfg(feature = "std")]
pub mod platform;
#[cfg(feature = "quote")]
pub mod quote;
#[cfg(feature = "std")]
pub mod sign;
#[cfg(feature = "quote")]
pub mod verify;
