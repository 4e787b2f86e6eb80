//! A running enclave under test, and what tests ask of it.

use std::sync::Arc;

use casemate_sgx::arch::{
    ErrorCode, Exinfo, Gprsgx, Leaf, Permissions, SecInfo, SecInfoFlags, SsaFrame, Vector,
};
use casemate_sgx::platform::{Enclave, EnterLeaf, Exception, Exit, Platform, PlatformError, Registers};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::image::{self, Kind, Op};
use super::pattern::Pattern;
use super::shape::{self, CODE, DATA, PAGE, Shape};

/// Offsets in the data pages of operands for ENCLU.
const SECINFO: u64 = DATA + 0x1000;

/// An initialised enclave, mapped as its pages were added.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) enclave: Arc<dyn Enclave>,
}

/// The record of an entry: what `Op::Entry` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) rax: u64,
    pub(crate) rbx: u64,
    pub(crate) rcx: u64,
    pub(crate) rsp: u64,
    pub(crate) rbp: u64,
    pub(crate) rflags: u64,
    pub(crate) fsbase: u64,
    pub(crate) gsbase: u64,
}

impl Machine {
    pub(crate) fn new(platform: &dyn Platform) -> Self {
        Self::with(platform, &Shape::new(platform)).expect("an enclave")
    }

    pub(crate) fn with(platform: &dyn Platform, shape: &Shape) -> Result<Self, PlatformError> {
        let enclave = shape.load(platform)?;
        enclave.init(&shape.sign())?;
        shape.map(&*enclave)?;
        Ok(Self { enclave })
    }

    /// The address of an offset.
    pub(crate) fn at(&self, offset: u64) -> u64 {
        self.enclave.base() + offset
    }

    pub(crate) fn enter(&self, thread: u64, leaf: EnterLeaf, registers: Registers) -> Exit {
        // SAFETY: the program of `image` keeps the convention, and touches of this process what the tests give it.
        let exit = unsafe { self.enclave.enter(self.at(shape::tcs(thread)), leaf, registers) };
        exit.expect("a platform that works")
    }

    /// EENTER with an operation and its arguments.
    pub(crate) fn call(&self, thread: u64, op: Op, arguments: [u64; 4]) -> Exit {
        let [rsi, rdx, r8, r9] = arguments;
        self.enter(thread, EnterLeaf::Enter, Registers { rdi: op as u64, rsi, rdx, r8, r9 })
    }

    /// As [`Self::call`], where the enclave must come out by EEXIT.
    pub(crate) fn run(&self, thread: u64, op: Op, arguments: [u64; 4]) -> Registers {
        exited(self.call(thread, op, arguments))
    }

    /// As [`Self::call`], where an exception must end the stay.
    pub(crate) fn fault(&self, thread: u64, op: Op, arguments: [u64; 4]) -> Exception {
        excepted(self.call(thread, op, arguments))
    }

    pub(crate) fn resume(&self, thread: u64) -> Exit {
        self.enter(thread, EnterLeaf::Resume, Registers::default())
    }

    pub(crate) fn put(&self, offset: u64, value: u64) {
        self.run(0, Op::Put, [self.at(offset), value, 0, 0]);
    }

    pub(crate) fn get(&self, offset: u64) -> u64 {
        self.run(0, Op::Get, [self.at(offset), 0, 0, 0]).rdx
    }

    pub(crate) fn entry(&self, thread: u64) -> Entry {
        let mut entry = Entry::default();
        self.run(thread, Op::Entry, [address(&raw mut entry), 0, 0, 0]);
        entry
    }

    /// Bytes of the enclave, read by the enclave.
    pub(crate) fn read(&self, thread: u64, offset: u64, bytes: &mut [u8]) {
        let length = bytes.len() as u64;
        self.run(thread, Op::Copy, [self.at(offset), address(bytes.as_mut_ptr()), length, 0]);
    }

    /// Bytes of the enclave, written by the enclave.
    pub(crate) fn write(&self, thread: u64, offset: u64, bytes: &[u8]) {
        let length = bytes.len() as u64;
        self.run(thread, Op::Copy, [address(bytes.as_ptr().cast_mut()), self.at(offset), length, 0]);
    }

    /// A structure of the enclave.
    pub(crate) fn read_as<T: FromBytes>(&self, offset: u64) -> T {
        let mut bytes = vec![0; size_of::<T>()];
        self.read(0, offset, &mut bytes);
        T::read_from_bytes(&bytes).expect("its size")
    }

    /// A thread's state frame, read at the level above it.
    pub(crate) fn frame(&self, thread: u64, level: u64) -> Frame {
        let mut bytes = vec![0; 4096];
        self.read(thread, shape::frame(thread, level), &mut bytes);
        Frame { bytes }
    }

    pub(crate) fn set_frame(&self, thread: u64, level: u64, frame: &Frame) {
        self.write(thread, shape::frame(thread, level), &frame.bytes);
    }

    /// Has the thread go on behind the instruction under test.
    pub(crate) fn skip(&self, thread: u64) {
        let mut frame = self.frame(thread, 0);
        frame.set_gprsgx(&Gprsgx { rip: self.at(CODE) + image::after(), ..frame.gprsgx() });
        self.set_frame(thread, 0, &frame);
    }

    /// The address of an instruction under test.
    pub(crate) fn rip(&self, kind: Kind) -> u64 {
        self.at(CODE) + image::kind(kind)
    }

    pub(crate) fn pattern(&self, thread: u64, pattern: &Pattern, kind: Kind) -> Exit {
        self.call(thread, Op::Pattern, [pattern.address(), kind as u64, 0, 0])
    }

    /// What an instruction under test left.
    pub(crate) fn outcome(&self, thread: u64) -> Pattern {
        let mut bytes = vec![0; 4096];
        self.read(thread, shape::own(thread), &mut bytes);
        Pattern::from_gs_page(&bytes)
    }

    /// ENCLU by the stub: what it leaves in EAX, and whether ZF is set.
    pub(crate) fn enclu(&self, leaf: Leaf, operands: [u64; 3]) -> Result<Answer, Exception> {
        let [rbx, rcx, rdx] = operands;
        match self.call(0, Op::Enclu, [leaf.raw().into(), rbx, rcx, rdx]) {
            Exit::Exited(registers) => Ok(Answer { rax: registers.rsi, rflags: registers.rdx }),
            Exit::Exception(exception) => Err(exception),
        }
    }

    /// ENCLU with a SECINFO: EACCEPT, EMODPE, EACCEPTCOPY.
    pub(crate) fn with_secinfo(
        &self,
        leaf: Leaf,
        info: &SecInfo,
        offset: u64,
        rdx: u64,
    ) -> Result<Answer, Exception> {
        self.write(0, SECINFO, info.as_bytes());
        self.enclu(leaf, [self.at(SECINFO), self.at(offset), rdx])
    }

    /// EACCEPT of one page.
    pub(crate) fn accept(&self, info: &SecInfo, offset: u64) -> Result<(), ErrorCode> {
        self.with_secinfo(Leaf::Eaccept, info, offset, 0).expect("no fault").code()
    }

    /// EACCEPT of a page that EAUG adds.
    pub(crate) fn accept_new(&self, offset: u64) {
        let info = SecInfo::reg(Permissions::RW).with(SecInfoFlags::PENDING);
        assert_eq!(self.accept(&info, offset), Ok(()), "page {offset:#x}");
    }

    /// Removes pages of the enclave in the three steps that it takes.
    pub(crate) fn remove(&self, offset: u64) {
        let trim = SecInfo::new(casemate_sgx::arch::PageType::Trim, Permissions::empty());
        assert_eq!(
            self.enclave.modify_types(offset, PAGE, casemate_sgx::arch::PageType::Trim).unwrap(),
            PAGE
        );
        assert_eq!(self.accept(&trim.with(SecInfoFlags::MODIFIED), offset), Ok(()));
        assert_eq!(self.enclave.remove_pages(offset, PAGE).unwrap(), PAGE);
    }
}

/// What ENCLU left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) rax: u64,
    pub(crate) rflags: u64,
}

impl Answer {
    /// The error code; ZF must say the same.
    pub(crate) fn code(self) -> Result<(), ErrorCode> {
        let zero = self.rflags & 1 << 6 != 0;
        let raw = u32::try_from(self.rax).expect("an error code in EAX");
        assert_eq!(zero, raw != 0, "ZF goes with the error code {raw}");
        if raw == 0 { Ok(()) } else { Err(ErrorCode::from_raw(raw).expect("a known error code")) }
    }
}

/// A state frame of one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
}

impl Frame {
    fn layout() -> SsaFrame {
        SsaFrame::new(1).expect("a page")
    }

    pub(crate) fn gprsgx(&self) -> Gprsgx {
        Gprsgx::read_from_bytes(&self.bytes[Self::layout().gprsgx()..]).expect("its size")
    }

    pub(crate) fn set_gprsgx(&mut self, gprsgx: &Gprsgx) {
        self.bytes[Self::layout().gprsgx()..].copy_from_slice(gprsgx.as_bytes());
    }

    pub(crate) fn exinfo(&self) -> Exinfo {
        Exinfo::read_from_bytes(&self.bytes[Self::layout().exinfo()..][..16]).expect("its size")
    }
}

pub(crate) fn exited(exit: Exit) -> Registers {
    match exit {
        Exit::Exited(registers) => registers,
        Exit::Exception(exception) => panic!("an exception instead of EEXIT: {exception:x?}"),
    }
}

pub(crate) fn excepted(exit: Exit) -> Exception {
    match exit {
        Exit::Exception(exception) => exception,
        Exit::Exited(registers) => panic!("EEXIT instead of an exception: {registers:x?}"),
    }
}

/// What a fault inside looks like from outside.
pub(crate) fn inside(vector: Vector, error_code: u16, address: u64) -> Exception {
    Exception { leaf: EnterLeaf::Resume, vector: vector.0, error_code, address }
}

/// What a fault of the entering instruction looks like.
pub(crate) fn refused(vector: Vector) -> Exception {
    Exception { leaf: EnterLeaf::Enter, vector: vector.0, error_code: 0, address: 0 }
}

/// An address to hand in.
pub(crate) fn address<T>(pointer: *mut T) -> u64 {
    u64::try_from(pointer.expose_provenance()).expect("64-bit")
}
