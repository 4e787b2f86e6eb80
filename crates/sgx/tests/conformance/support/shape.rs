//! What an enclave under test looks like, and how it is built and signed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use casemate_sgx::arch::{
    AttributeFlags, Attributes, Miscselect, PAGE_SIZE, Permissions, SecInfo, Secs, Sigstruct, Tcs, TcsFlags,
    Xfrm,
};
use casemate_sgx::measure::Measurement;
use casemate_sgx::platform::{Enclave, Platform, PlatformError, Source};
use casemate_sgx::sign::{SignDate, SigningKey, SigstructBuilder};
use zerocopy::IntoBytes as _;

use super::image;

/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;
/// Offset of the program.
pub(crate) const CODE: u64 = 0x10000;
/// Offset of four pages to read and write.
pub(crate) const DATA: u64 = 0xa0000;
/// Offset of a page to read.
pub(crate) const READ_ONLY: u64 = 0xa8000;
/// Offset of sixteen pages that are not added.
pub(crate) const DYNAMIC: u64 = 0xb0000;
/// Offset of the heap, where there is one; it is not measured.
pub(crate) const HEAP: u64 = 0x10_0000;

/// Offset of a thread's TCS.
pub(crate) const fn tcs(thread: u64) -> u64 {
    thread * PAGE
}

/// Offset of a thread's own pages: GS, state frames, stacks.
pub(crate) const fn own(thread: u64) -> u64 {
    0x20000 + thread * 0x10000
}

/// Offset of a thread's state frame.
pub(crate) const fn frame(thread: u64, level: u64) -> u64 {
    own(thread) + PAGE * (1 + level)
}

/// Two signers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Signer {
    One,
    Other,
}

impl Signer {
    pub(crate) fn key(self) -> SigningKey {
        let pem = match self {
            Self::One => include_str!("../key.pem"),
            Self::Other => include_str!("../other.pem"),
        };
        SigningKey::from_pem(pem).expect("a key")
    }
}

/// An enclave that could be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) size: u64,
    pub(crate) threads: u64,
    pub(crate) nssa: u32,
    pub(crate) heap: u64,
    pub(crate) attributes: AttributeFlags,
    pub(crate) xfrm: u64,
    pub(crate) miscselect: Miscselect,
    pub(crate) isvprodid: u16,
    pub(crate) isvsvn: u16,
    pub(crate) signer: Signer,
    /// Lies at the start of the read-only page; makes measurements differ.
    pub(crate) marker: u64,
}

impl Shape {
    /// Two threads with three state frames each, everything that the platform has.
    pub(crate) fn new(platform: &dyn Platform) -> Self {
        let wanted = Xfrm::LEGACY | Xfrm::AVX | Xfrm::OPMASK | Xfrm::ZMM_HI256 | Xfrm::HI16_ZMM;
        Self {
            size: 0x10_0000,
            threads: 2,
            nssa: 3,
            heap: 0,
            attributes: AttributeFlags::MODE64BIT,
            xfrm: platform.capabilities().xfrm & wanted.bits(),
            miscselect: Miscselect::EXINFO,
            isvprodid: 3,
            isvsvn: 5,
            signer: Signer::One,
            marker: 0,
        }
    }

    pub(crate) fn secs(&self) -> Secs {
        Secs {
            size: self.size,
            baseaddr: next_base(self.size),
            ssaframesize: 1,
            miscselect: self.miscselect,
            attributes: Attributes { flags: self.attributes, xfrm: self.xfrm },
            ..Secs::default()
        }
    }

    /// A thread's TCS.
    pub(crate) fn tcs(&self, thread: u64) -> Tcs {
        Tcs {
            flags: TcsFlags::empty(),
            ossa: frame(thread, 0),
            nssa: self.nssa,
            oentry: CODE,
            ofsbase: DATA + 0x3000,
            ogsbase: own(thread),
            fslimit: 0xfff,
            gslimit: 0xfff,
            ..Tcs::default()
        }
    }

    /// The pages, in the order in which they are added: offset, contents, kind, whether measured.
    fn pages(&self) -> Vec<(u64, Contents, SecInfo, bool)> {
        let mut pages = Vec::new();
        for thread in 0..self.threads {
            pages.push((
                tcs(thread),
                Contents::Bytes(self.tcs(thread).as_bytes().to_vec()),
                SecInfo::tcs(),
                true,
            ));
        }
        pages.push((CODE, Contents::Bytes(image::code().to_vec()), SecInfo::reg(Permissions::RX), true));
        for thread in 0..self.threads {
            pages.push((own(thread), Contents::Zeros(8 * PAGE), SecInfo::reg(Permissions::RW), true));
        }
        pages.push((DATA, Contents::Zeros(4 * PAGE), SecInfo::reg(Permissions::RW), true));
        let mut read_only = vec![0; PAGE_SIZE];
        read_only[..8].copy_from_slice(&self.marker.to_le_bytes());
        pages.push((READ_ONLY, Contents::Bytes(read_only), SecInfo::reg(Permissions::R), true));
        if self.heap > 0 {
            pages.push((HEAP, Contents::Zeros(self.heap), SecInfo::reg(Permissions::RW), false));
        }
        pages
    }

    pub(crate) fn measurement(&self) -> [u8; 32] {
        let mut measurement = Measurement::create(1, self.size);
        for (offset, contents, kind, measured) in self.pages() {
            let bytes = contents.bytes();
            let (pages, _) = bytes.as_chunks::<PAGE_SIZE>();
            for (page, at) in pages.iter().zip((offset..).step_by(PAGE_SIZE)) {
                measurement.add(at, &kind);
                if measured {
                    measurement.extend_page(at, page);
                }
            }
        }
        measurement.finish()
    }

    pub(crate) fn builder(&self) -> SigstructBuilder {
        let attributes = Attributes { flags: self.attributes, xfrm: self.xfrm };
        let date = SignDate::new(2026, 11, 25).expect("a day");
        let mut builder = SigstructBuilder::new(self.measurement(), attributes, self.miscselect, date);
        // EINIT compares before it sets INIT.
        builder.isvprodid = self.isvprodid;
        builder.isvsvn = self.isvsvn;
        builder
    }

    /// The signature; the same shape is signed once.
    pub(crate) fn sign(&self) -> Sigstruct {
        static SIGNED: Mutex<Option<HashMap<String, Sigstruct>>> = Mutex::new(None);
        let mut signed = SIGNED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = signed.get_or_insert_default();
        let key = format!("{self:?}");
        known
            .entry(key)
            .or_insert_with(|| self.builder().sign(&self.signer.key()).expect("a signature"))
            .clone()
    }

    /// ECREATE and EADD.
    pub(crate) fn load(&self, platform: &dyn Platform) -> Result<Arc<dyn Enclave>, PlatformError> {
        let enclave = platform.create(&self.secs())?;
        self.add_to(&*enclave)?;
        Ok(enclave)
    }

    /// EADD of every page.
    pub(crate) fn add_to(&self, enclave: &dyn Enclave) -> Result<(), PlatformError> {
        for (offset, contents, kind, measured) in self.pages() {
            enclave.add_pages(contents.source(), offset, &kind, measured)?;
        }
        Ok(())
    }

    /// What the host maps, as the pages were added; the pages that are not added with every right.
    pub(crate) fn map(&self, enclave: &dyn Enclave) -> Result<(), PlatformError> {
        for (offset, contents, kind, _) in self.pages() {
            // The processor alone accesses a TCS, by a mapping to read and write (`sgx_encl_may_map`).
            let permissions = if kind == SecInfo::tcs() { Permissions::RW } else { kind.permissions() };
            enclave.protect(offset, contents.source().len(), permissions)?;
        }
        if enclave.size() > DYNAMIC {
            enclave.protect(DYNAMIC, 16 * PAGE, Permissions::RWX)?;
        }
        Ok(())
    }
}

/// Contents of added pages.
enum Contents {
    Bytes(Vec<u8>),
    Zeros(u64),
}

impl Contents {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Bytes(bytes) => Source::Bytes(bytes),
            Self::Zeros(length) => Source::Zeros(*length),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Zeros(length) => vec![0; usize::try_from(*length).expect("64-bit")],
        }
    }
}

/// An aligned range that no other enclave of this process has.
fn next_base(size: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x20_0000_0000);
    let step = |next: u64| Some(next.next_multiple_of(size) + size);
    let next = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).expect("a step");
    next.next_multiple_of(size)
}
