//! The same things computed by other people's code: Fortanix's `sgxs` and `sgx-isa`.

use std::convert::Infallible;
use std::io::Cursor;

use casemate_sgx::arch::{
    self, AttributeFlags, Attributes, EEXTEND_SIZE, ErrorCode, KeyName, KeyRequest, Leaf, Miscselect,
    PAGE_SIZE, PageInfo, PageType, Permissions, Report, SecInfo, SecInfoFlags, Secs, Sigstruct, TargetInfo,
    Tcs, Xfrm,
};
use casemate_sgx::measure::Measurement;
use casemate_sgx::sign::{SignDate, SigningKey, SigstructBuilder, verify};
use num_bigint::BigUint;
use pkcs1::RsaPrivateKeyRef;
use pkcs1::der::{Decode as _, SecretDocument};
use proptest::prelude::*;
use sgxs::crypto::{SgxHashOps, SgxRsaOps};
use sgxs::sgxs::{CanonicalSgxsWriter, MeasECreate, MeasuredData, PageChunk, SecinfoTruncated};
use sgxs::sigstruct::{EnclaveHash, Signer};
use sha2::{Digest as _, Sha256};
use zerocopy::{FromBytes, IntoBytes};

const KEY: &str = include_str!("data/signing-key.pkcs1.pem");

/// SHA-256 for `sgxs`.
struct Hasher(Sha256);

impl SgxHashOps for Hasher {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn update(&mut self, data: &[u8]) {
        sha2::Digest::update(&mut self.0, data);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// RSA by the book for `sgxs`: one exponentiation, no shortcuts.
struct PlainRsa {
    modulus: BigUint,
    private_exponent: BigUint,
}

impl PlainRsa {
    fn new(pem: &str) -> Self {
        let (_, document) = SecretDocument::from_pem(pem).unwrap();
        let key = RsaPrivateKeyRef::from_der(document.as_bytes()).unwrap();
        Self {
            modulus: BigUint::from_bytes_be(key.modulus.as_bytes()),
            private_exponent: BigUint::from_bytes_be(key.private_exponent.as_bytes()),
        }
    }

    fn padded(hash: &[u8]) -> BigUint {
        let prefix =
            [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
        let mut encoded = vec![0, 1];
        encoded.resize(384 - 1 - prefix.len() - hash.len(), 0xff);
        encoded.push(0);
        encoded.extend(prefix);
        encoded.extend(hash);
        BigUint::from_bytes_be(&encoded)
    }
}

impl SgxRsaOps for PlainRsa {
    type Error = Infallible;

    fn len(&self) -> usize {
        3072
    }

    fn sign_sha256_pkcs1v1_5_with_q1_q2<H: AsRef<[u8]>>(
        &self,
        hash: H,
    ) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>), Infallible> {
        let signature = Self::padded(hash.as_ref()).modpow(&self.private_exponent, &self.modulus);
        let q1 = &signature * &signature / &self.modulus;
        let q2 = (&signature * &signature * &signature - &q1 * &signature * &self.modulus) / &self.modulus;
        Ok((signature.to_bytes_le(), q1.to_bytes_le(), q2.to_bytes_le()))
    }

    fn verify_sha256_pkcs1v1_5<S: AsRef<[u8]>, H: AsRef<[u8]>>(
        &self,
        sig: S,
        hash: H,
    ) -> Result<(), Infallible> {
        let signed = BigUint::from_bytes_le(sig.as_ref()).modpow(&BigUint::from(3_u8), &self.modulus);
        assert_eq!(signed, Self::padded(hash.as_ref()));
        Ok(())
    }

    fn e(&self) -> Vec<u8> {
        vec![3]
    }

    fn n(&self) -> Vec<u8> {
        self.modulus.to_bytes_le()
    }
}

/// A page of an enclave that is being built.
#[derive(Clone, Debug)]
struct Page {
    /// Pages left out before it.
    gap: u64,
    page_type: PageType,
    permissions: Permissions,
    state: SecInfoFlags,
    /// Which of its sixteen parts are measured.
    measured: u16,
    fill: u8,
}

impl Page {
    fn contents(&self) -> [u8; PAGE_SIZE] {
        let mut contents = [self.fill; PAGE_SIZE];
        for (byte, i) in contents.iter_mut().zip(0_u32..) {
            *byte = byte.wrapping_mul(3).wrapping_add((i % 251).to_le_bytes()[0]);
        }
        contents
    }

    fn secinfo(&self) -> SecInfo {
        SecInfo::new(self.page_type, self.permissions).with(self.state)
    }
}

fn page() -> impl Strategy<Value = Page> {
    let kind = prop_oneof![
        1 => Just((PageType::Tcs, 0_u8)),
        4 => (Just(PageType::Reg), 0..8_u8),
        1 => (Just(PageType::Trim), 0..8_u8),
    ];
    let measured = prop_oneof![Just(0), Just(u16::MAX), any::<u16>()];
    (0..4_u64, kind, 0..8_u64, measured, any::<u8>()).prop_map(
        |(gap, (page_type, permissions), state, measured, fill)| Page {
            gap,
            page_type,
            permissions: Permissions::from_bits_retain(permissions),
            state: SecInfoFlags::from_bits_retain(state << 3),
            measured,
            fill,
        },
    )
}

fn ours(ssa_frame_size: u32, size: u64, pages: &[Page]) -> [u8; 32] {
    let mut measurement = Measurement::create(ssa_frame_size, size);
    let mut offset = 0;
    for page in pages {
        offset += page.gap * 4096;
        measurement.add(offset, &page.secinfo());
        let contents = page.contents();
        if page.measured == u16::MAX {
            measurement.extend_page(offset, &contents);
        } else {
            let (chunks, _) = contents.as_chunks::<EEXTEND_SIZE>();
            for (chunk, i) in chunks.iter().zip(0_u64..) {
                if page.measured >> i & 1 != 0 {
                    measurement.extend(offset + i * 256, chunk);
                }
            }
        }
        offset += 4096;
    }
    measurement.finish()
}

fn theirs(ssa_frame_size: u32, size: u64, pages: &[Page]) -> EnclaveHash {
    let mut stream = Vec::new();
    let create = MeasECreate { ssaframesize: ssa_frame_size, size };
    let mut writer = CanonicalSgxsWriter::new(&mut stream, create, true).unwrap();
    for page in pages {
        writer.skip_pages(usize::try_from(page.gap).unwrap());
        let contents = page.contents();
        let mut reader = Cursor::new(&contents[..]);
        let chunks = std::array::from_fn(|i| {
            if page.measured >> i & 1 != 0 { PageChunk::IncludedMeasured } else { PageChunk::Included }
        });
        let bits = page.secinfo().flags.bits();
        let secinfo = SecinfoTruncated { flags: sgx_isa::SecinfoFlags::from_bits(bits).unwrap() };
        writer.write_page(MeasuredData::from((&mut reader, chunks)), None, secinfo).unwrap();
    }
    EnclaveHash::from_stream::<_, Hasher>(&mut stream.as_slice()).unwrap()
}

#[test]
fn empty_enclave() {
    assert_eq!(ours(1, 4096, &[]), theirs(1, 4096, &[]).hash());
    assert_eq!(ours(u32::MAX, 1 << 47, &[]), theirs(u32::MAX, 1 << 47, &[]).hash());
}

#[test]
fn many_unmeasured_pages() {
    let heap = Page {
        gap: 0,
        page_type: PageType::Reg,
        permissions: Permissions::RW,
        state: SecInfoFlags::empty(),
        measured: 0,
        fill: 0,
    };
    let pages = vec![heap; 1000];
    assert_eq!(ours(2, 1 << 30, &pages), theirs(2, 1 << 30, &pages).hash());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mrenclave(ssa_frame_size: u32, size: u64, pages in proptest::collection::vec(page(), 0..8)) {
        prop_assert_eq!(ours(ssa_frame_size, size, &pages), theirs(ssa_frame_size, size, &pages).hash());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn sigstruct(
        mrenclave: [u8; 32],
        flags in 0..0x100_u64,
        flags_mask: u64,
        xfrm: u64,
        xfrm_mask: u64,
        exinfo: bool,
        misc_mask: u32,
        product: (u16, u16, u32),
        extended: [u8; 16],
        day in (2015..2100_u16, 1..=12_u8, 1..=28_u8),
    ) {
        // Those that sgx-isa knows.
        let flags = AttributeFlags::from_bits_retain(flags & 0xf7);
        let miscselect = if exinfo { Miscselect::EXINFO } else { Miscselect::empty() };
        let (isvprodid, isvsvn, swdefined) = product;
        let date = SignDate::new(day.0, day.1, day.2).unwrap();
        let mask_flags = AttributeFlags::from_bits_retain(flags_mask);
        let body = SigstructBuilder {
            attribute_mask: Attributes { flags: mask_flags, xfrm: xfrm_mask },
            miscselect_mask: misc_mask,
            isvprodid,
            isvsvn,
            swdefined,
            isvextprodid: extended,
            ..SigstructBuilder::new(mrenclave, Attributes { flags, xfrm }, miscselect, date)
        };
        let ours = body.sign(&SigningKey::from_pem(KEY).unwrap()).unwrap();

        let mut signer = Signer::new(EnclaveHash::new(mrenclave));
        signer
            .date(day.0, day.1, day.2)
            .swdefined(swdefined)
            .isvextprodid(extended)
            .isvprodid(isvprodid)
            .isvsvn(isvsvn)
            .miscselect(sgx_isa::Miscselect::from_bits(miscselect.bits()).unwrap(), misc_mask)
            .attributes_flags(sgx_isa::AttributesFlags::from_bits(flags.bits()).unwrap(), flags_mask)
            .attributes_xfrm(xfrm, xfrm_mask);
        let rsa = PlainRsa::new(KEY);
        let theirs = signer.sign::<_, Hasher>(&rsa).unwrap();

        prop_assert_eq!(ours.as_bytes(), theirs.as_ref());
        // And each takes the other's.
        verify(&Sigstruct::read_from_bytes(theirs.as_ref()).unwrap()).unwrap();
        let ours = sgx_isa::Sigstruct::try_copy_from(ours.as_bytes()).unwrap();
        sgxs::sigstruct::verify::<_, Hasher>(&ours, &rsa).unwrap();
    }
}

/// Bytes of which no eight in a row come again.
fn distinct(length: usize) -> Vec<u8> {
    let blocks = (0_u64..).map(|i| Sha256::digest(i.to_le_bytes()));
    blocks.flatten().take(length).collect()
}

/// Reads a structure by both libraries from the same bytes, and compares the fields named.
macro_rules! same_fields {
    ($ours:ty, $theirs:ty, $($our_field:ident $(. $inner:ident)? = $their_field:ident),* $(,)?) => {{
        let bytes = distinct(size_of::<$ours>());
        let ours = <$ours>::read_from_bytes(&bytes).unwrap();
        let theirs = <$theirs>::try_copy_from(&bytes).expect("same length");
        $(assert_eq!(
            raw(&ours.$our_field $(. $inner)?),
            raw(&theirs.$their_field),
            stringify!($our_field $($inner)?)
        );)*
    }};
}

/// The bytes of a field, whatever its type is called.
fn raw<T: Field>(field: &T) -> Vec<u8> {
    field.raw()
}

trait Field {
    fn raw(&self) -> Vec<u8>;
}

macro_rules! fields {
    ($($type:ty = $value:ident => $bytes:expr),* $(,)?) => {
        $(impl Field for $type {
            fn raw(&self) -> Vec<u8> {
                let $value = self;
                $bytes.to_vec()
            }
        })*
    };
}

fields! {
    u8 = value => [*value],
    u16 = value => value.to_le_bytes(),
    u32 = value => value.to_le_bytes(),
    u64 = value => value.to_le_bytes(),
    [u64; 2] = value => value.as_bytes(),
    Attributes = value => value.as_bytes(),
    Miscselect = value => value.as_bytes(),
    arch::KeyPolicy = value => value.as_bytes(),
    arch::TcsFlags = value => value.as_bytes(),
    SecInfoFlags = value => value.as_bytes(),
    sgx_isa::Attributes = value => [value.flags.bits(), value.xfrm].as_bytes(),
    sgx_isa::Miscselect = value => value.bits().to_le_bytes(),
    sgx_isa::Keypolicy = value => value.bits().to_le_bytes(),
    sgx_isa::TcsFlags = value => value.bits().to_le_bytes(),
    sgx_isa::SecinfoFlags = value => value.bits().to_le_bytes(),
}

impl<const N: usize> Field for arch::Reserved<N> {
    fn raw(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl<const N: usize> Field for [u8; N] {
    fn raw(&self) -> Vec<u8> {
        self.to_vec()
    }
}

#[test]
fn layouts() {
    same_fields!(
        Secs,
        sgx_isa::Secs,
        size = size,
        baseaddr = baseaddr,
        ssaframesize = ssaframesize,
        miscselect = miscselect,
        attributes = attributes,
        mrenclave = mrenclave,
        mrsigner = mrsigner,
        isvprodid = isvprodid,
        isvsvn = isvsvn,
    );
    same_fields!(
        Tcs,
        sgx_isa::Tcs,
        stage = _reserved1,
        flags = flags,
        ossa = ossa,
        cssa = cssa,
        nssa = nssa,
        oentry = oentry,
        aep = _reserved2,
        ofsbase = ofsbasgx,
        ogsbase = ogsbasgx,
        fslimit = fslimit,
        gslimit = gslimit,
    );
    same_fields!(SecInfo, sgx_isa::Secinfo, flags = flags, reserved = _reserved1);
    same_fields!(
        PageInfo,
        sgx_isa::Pageinfo,
        linaddr = linaddr,
        srcpge = srcpge,
        secinfo = secinfo,
        secs = secs,
    );
    same_fields!(
        TargetInfo,
        sgx_isa::Targetinfo,
        measurement = measurement,
        attributes = attributes,
        miscselect = miscselect,
    );
    same_fields!(
        KeyRequest,
        sgx_isa::Keyrequest,
        keyname = keyname,
        keypolicy = keypolicy,
        isvsvn = isvsvn,
        cpusvn = cpusvn,
        attributemask = attributemask,
        keyid = keyid,
        miscmask = miscmask,
    );
    same_fields!(
        Report,
        sgx_isa::Report,
        body.cpusvn = cpusvn,
        body.miscselect = miscselect,
        body.cet_attributes = cet_attributes,
        body.isvextprodid = isvextnprodid,
        body.attributes = attributes,
        body.mrenclave = mrenclave,
        body.mrsigner = mrsigner,
        body.configid = configid,
        body.isvprodid = isvprodid,
        body.isvsvn = isvsvn,
        body.configsvn = configsvn,
        body.isvfamilyid = isvfamilyid,
        body.reportdata = reportdata,
        keyid = keyid,
        mac = mac,
    );
}

/// Where the processor demands an alignment. Reports and SIGSTRUCTs are without: files and quotes hold them
/// at any place.
#[test]
fn alignments() {
    assert_eq!(align_of::<Secs>(), align_of::<sgx_isa::Secs>());
    assert_eq!(align_of::<Tcs>(), align_of::<sgx_isa::Tcs>());
    assert_eq!(align_of::<SecInfo>(), align_of::<sgx_isa::Secinfo>());
    assert_eq!(align_of::<PageInfo>(), align_of::<sgx_isa::Pageinfo>());
    assert_eq!(align_of::<TargetInfo>(), align_of::<sgx_isa::Targetinfo>());
    assert_eq!(align_of::<KeyRequest>(), align_of::<sgx_isa::Keyrequest>());
}

#[test]
fn sigstruct_layout() {
    // sgx-isa aligns it to a page, as EINIT wants it in memory; ours is what a file holds.
    let bytes = distinct(size_of::<Sigstruct>());
    let ours = Sigstruct::read_from_bytes(&bytes).unwrap();
    let theirs = sgx_isa::Sigstruct::try_copy_from(&bytes).unwrap();
    assert_eq!(ours.signed_parts(), theirs.signature_data());
    macro_rules! same {
        ($($field:ident),* $(,)?) => {
            $(assert_eq!(raw(&ours.$field), raw(&theirs.$field), stringify!($field));)*
        };
    }
    same!(
        header,
        vendor,
        date,
        header2,
        swdefined,
        modulus,
        exponent,
        signature,
        miscselect,
        miscmask,
        cet_attributes,
        cet_attributes_mask,
        isvfamilyid,
        attributes,
        attributemask,
        enclavehash,
        isvextprodid,
        isvprodid,
        isvsvn,
        q1,
        q2,
    );
    assert_eq!(arch::SIGSTRUCT_HEADER1, sgx_isa::SIGSTRUCT_HEADER1);
    assert_eq!(arch::SIGSTRUCT_HEADER2, sgx_isa::SIGSTRUCT_HEADER2);
}

#[test]
fn numbers() {
    for raw in 0..0x200 {
        // sgx-isa calls some of them otherwise and lacks the newest; what both have is at the same place.
        if let Ok(theirs) = sgx_isa::Enclu::try_from(raw) {
            assert_eq!(Leaf::from_raw(raw).unwrap().name(), format!("{theirs:?}").to_uppercase());
        }
        if let Ok(theirs) = sgx_isa::ErrorCode::try_from(raw)
            && theirs != sgx_isa::ErrorCode::Success
            && raw != 28
        {
            let ours = ErrorCode::from_raw(raw).unwrap();
            let name = format!("{theirs:?}").to_uppercase();
            let renamed = matches!(ours, ErrorCode::EpcPageConflict);
            assert!(
                renamed || ours.name().replace('_', "") == format!("SGX{name}"),
                "{raw}: {ours} and {name}"
            );
            assert_eq!(ours.raw(), raw);
        }
        let key = u16::try_from(raw).unwrap();
        assert_eq!(
            KeyName::from_raw(key).map(KeyName::raw),
            sgx_isa::Keyname::try_from(key).ok().map(|_| key)
        );
        if let Ok(byte) = u8::try_from(raw) {
            assert_eq!(
                PageType::from_raw(byte).map(PageType::raw),
                sgx_isa::PageType::try_from(byte).ok().map(|_| byte)
            );
        }
    }
    assert_eq!(Leaf::from_raw(9), Some(Leaf::Edeccssa));
    let known = sgx_isa::AttributesFlags::all().bits();
    assert_eq!((AttributeFlags::all() - AttributeFlags::AEXNOTIFY).bits(), known);
    assert_eq!(Xfrm::LEGACY.bits(), 3);
}
