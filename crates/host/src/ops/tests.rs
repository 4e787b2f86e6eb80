//! Calls with arguments of a hostile enclave.

use std::fs;
use std::sync::Mutex;

use casemate_enclave_abi::{Layout, Stat, check};
use casemate_sgx::arch::{Attributes, SecInfo, Sigstruct};
use casemate_sgx::platform::{EnterLeaf, Exit, Registers, Source};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::window::SharedWindow;

const PAGE: u64 = 4096;
const SIZE: u64 = 1 << 30;

/// An enclave that does all it is asked, and remembers it.
#[derive(Debug, Default)]
struct Obedient {
    asked: Mutex<Vec<(u64, u64)>>,
}

impl Obedient {
    fn pages(&self, offset: u64, length: u64) -> Result<u64, PlatformError> {
        let whole = offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE);
        if !whole || offset.checked_add(length).is_none_or(|end| end > SIZE) {
            return Err(PlatformError::Outside { offset, length, size: SIZE });
        }
        self.asked.lock().unwrap().push((offset, length));
        Ok(length)
    }
}

impl Enclave for Obedient {
    fn base(&self) -> u64 {
        0
    }
    fn size(&self) -> u64 {
        SIZE
    }
    fn add_pages(&self, _: Source<'_>, _: u64, _: &SecInfo, _: bool) -> Result<(), PlatformError> {
        Err(PlatformError::State("initialised already"))
    }
    fn init(&self, _: &Sigstruct) -> Result<(), PlatformError> {
        Err(PlatformError::State("initialised already"))
    }
    fn attributes(&self) -> Attributes {
        Attributes::default()
    }
    fn protect(&self, offset: u64, length: u64, _: Permissions) -> Result<(), PlatformError> {
        self.pages(offset, length).map(|_| ())
    }
    fn restrict_permissions(&self, offset: u64, length: u64, _: Permissions) -> Result<u64, PlatformError> {
        self.pages(offset, length)
    }
    fn modify_types(&self, offset: u64, length: u64, _: PageType) -> Result<u64, PlatformError> {
        self.pages(offset, length)
    }
    fn remove_pages(&self, offset: u64, length: u64) -> Result<u64, PlatformError> {
        self.pages(offset, length)
    }
    unsafe fn enter(&self, _: u64, _: EnterLeaf, _: Registers) -> Result<Exit, PlatformError> {
        Err(PlatformError::State("not one to be entered"))
    }
}

struct Host {
    server: Server,
    window: SharedWindow,
    arena: u64,
    enclave: Arc<Obedient>,
    _rootfs: TempDir,
}

impl Host {
    fn new() -> Self {
        let rootfs = tempfile::tempdir().unwrap();
        fs::write(rootfs.path().join("file"), "0123456789").unwrap();
        let layout = Layout::new(2, 64 * PAGE, PAGE).unwrap().with_sockets(64).unwrap();
        let window = SharedWindow::new(layout).unwrap();
        let enclave = Arc::new(Obedient::default());
        let service = Service {
            window: window.window(),
            arena: layout.arena(),
            files: Files::new(rootfs.path()).unwrap(),
            enclave: Arc::<Obedient>::clone(&enclave),
            parking: Parking::new(window.window(), &layout).unwrap(),
            family: Family::new(&[], None).unwrap(),
            net: Net::new(window.window(), &layout).unwrap(),
            shared_memory: Shared::new(false).unwrap(),
        };
        let arena = layout.arena().offset.0;
        Self { server: Server::new(Arc::new(service)), window, arena, enclave, _rootfs: rootfs }
    }

    fn call(&mut self, op: Op, args: &[u64]) -> Result<u64, Errno> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let response = self.server.serve(Request { id: 7, op: op.into(), args: all });
        assert_eq!((response.id, response.aux), (7, [0; 2]));
        Errno::from_result(response.result).map_or(Ok(response.result), Err)
    }

    /// Puts a path at the start of the arena.
    fn path(&self, path: &str) -> [u64; 2] {
        self.window.window().copy_out(Offset(self.arena), path.as_bytes()).unwrap();
        [self.arena, path.len() as u64]
    }

    fn open(&mut self) -> u64 {
        let [offset, length] = self.path("file");
        self.call(Op::Open, &[offset, length]).unwrap()
    }
}

#[test]
fn an_honest_call_is_served() {
    let mut host = Host::new();
    let handle = host.open();
    let buffer = host.arena + PAGE;
    assert_eq!(host.call(Op::Read, &[handle, buffer, 4, 3]), Ok(4));
    let mut bytes = [0; 4];
    host.window.window().copy_in(Offset(buffer), &mut bytes).unwrap();
    assert_eq!(&bytes, b"3456");
    assert_eq!(host.call(Op::Stat, &[handle, buffer]), Ok(0));
    assert_eq!(Stat::read(host.window.window(), Offset(buffer)).unwrap().size, 10);
    assert_eq!(host.call(Op::Close, &[handle]), Ok(0));
    assert_eq!(host.call(Op::Yield, &[]), Ok(0));
    assert_eq!(host.call(Op::Wake, &[1]), Ok(0));
}

#[test]
fn buffers_outside_the_arena_are_refused() {
    let mut host = Host::new();
    let handle = host.open();
    let end = host.window.layout().total();
    let arena = host.arena;
    for (offset, length) in
        [(0, 8), (arena - 8, 16), (end, 1), (end - 4, 8), (u64::MAX, 1), (u64::MAX - 3, 8), (arena, u64::MAX)]
    {
        for (op, args) in [
            (Op::Read, [handle, offset, length, 0]),
            (Op::ReadDir, [handle, offset, length, 0]),
            (Op::ConsoleRead, [0, offset, length, 0]),
            (Op::ConsoleWrite, [1, offset, length, 0]),
            (Op::Print, [offset, length, 0, 0]),
        ] {
            assert_eq!(host.call(op, &args), Err(Errno::EFAULT), "{op:?} {offset:#x} {length:#x}");
        }
        // A path that long is refused for its length.
        let error = if length > 4095 { Errno::ENAMETOOLONG } else { Errno::EFAULT };
        for op in [Op::Open, Op::StatAt, Op::ReadLink, Op::StatFs] {
            let out = host.arena;
            let args = match op {
                Op::StatFs => [offset, length, out, 0],
                Op::StatAt => [offset, length, 0, out],
                _ => [offset, length, out, 8],
            };
            assert_eq!(host.call(op, &args), Err(error), "{op:?} {offset:#x} {length:#x}");
        }
    }
    for out in [0, arena + 4, end - 8, u64::MAX] {
        assert_eq!(host.call(Op::Stat, &[handle, out]), Err(Errno::EFAULT), "{out:#x}");
        assert_eq!(host.call(Op::Terminal, &[0, TERMINAL_WINDOW_SIZE, out.max(end - 8)]), Err(Errno::EFAULT));
    }
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let mut host = Host::new();
    let [offset, length] = host.path("fi\0e");
    assert_eq!(host.call(Op::Open, &[offset, length]), Err(Errno::EINVAL));
    assert_eq!(host.call(Op::Open, &[offset, 0]), Err(Errno::ENOENT));
    let handle = host.open();
    assert_eq!(host.call(Op::Write, &[handle, offset, 1, 0]), Err(Errno::EBADF));
    assert_eq!(host.call(Op::ConsoleWrite, &[0, offset, 1]), Err(Errno::EBADF));
    assert_eq!(host.call(Op::ConsoleWrite, &[3, offset, 1]), Err(Errno::EBADF));
    assert_eq!(host.call(Op::ConsoleRead, &[1, offset, 1]), Err(Errno::EBADF));
    assert_eq!(host.call(Op::ConsolePoll, &[8, 0]), Err(Errno::EINVAL));
    assert_eq!(host.call(Op::Terminal, &[0, 99, offset]), Err(Errno::EINVAL));
    assert_eq!(host.call(Op::Wake, &[2]), Err(Errno::EINVAL));
    let response = host.server.serve(Request { id: 1, op: 999, args: [0; 6] });
    assert_eq!(response.result, Errno::ENOSYS.to_result());
}

#[test]
fn only_pages_of_heap_and_program_change() {
    let mut host = Host::new();
    for (offset, length) in [
        (elrange::IMAGE, PAGE),
        (elrange::IMAGE - PAGE, 2 * PAGE),
        (elrange::VCPUS, PAGE),
        (elrange::HEAP - PAGE, 2 * PAGE),
        (0, PAGE),
        (elrange::USER, 0),
        (SIZE, PAGE),
        (elrange::USER, SIZE),
        (u64::MAX - PAGE + 1, PAGE),
    ] {
        for (op, argument) in
            [(Op::Protect, 3), (Op::RestrictPermissions, 1), (Op::ModifyTypes, 4), (Op::RemovePages, 0)]
        {
            assert_eq!(host.call(op, &[offset, length, argument]), Err(Errno::EINVAL), "{op:?} {offset:#x}");
        }
    }
    assert_eq!(host.call(Op::Protect, &[elrange::USER, PAGE, 8]), Err(Errno::EINVAL));
    assert_eq!(host.call(Op::ModifyTypes, &[elrange::USER, PAGE, 256]), Err(Errno::EINVAL));
    assert!(host.enclave.asked.lock().unwrap().is_empty());
    assert_eq!(host.call(Op::Protect, &[elrange::USER, PAGE, 7]), Ok(PAGE));
    assert_eq!(host.call(Op::RemovePages, &[elrange::LOWEST, 2 * PAGE]), Ok(2 * PAGE));
    assert_eq!(*host.enclave.asked.lock().unwrap(), [(elrange::USER, PAGE), (elrange::LOWEST, 2 * PAGE)]);
}

/// Numbers that are more often than not at an edge of something.
fn number() -> impl Strategy<Value = u64> {
    let arena = Layout::new(2, 64 * PAGE, PAGE).unwrap().arena();
    prop_oneof![
        0..4_u64,
        any::<u64>(),
        arena.offset.0..arena.offset.0 + arena.len,
        Just(elrange::USER),
        (0..64_u64).prop_map(|shift| 1 << shift),
        (0..70 * PAGE).prop_map(|below| u64::MAX - below),
    ]
}

proptest! {
    #[test]
    fn no_request_breaks_the_host(
        requests in prop::collection::vec((0..60_u64, prop::array::uniform6(number())), 1..40),
    ) {
        let mut host = Host::new();
        for (op, args) in requests {
            // These would read, wait for or print on the console of the test.
            if let Ok(Op::ConsoleRead | Op::ConsoleWrite | Op::ConsolePoll | Op::Print) = Op::try_from(op) {
                continue;
            }
            let response = host.server.serve(Request { id: op, op, args });
            prop_assert_eq!(response.id, op);
            if let Ok(op) = Op::try_from(op) {
                // The enclave ends where an answer cannot be.
                prop_assert!(check(op, &args, response.result).is_ok(), "{:?} {:x?} {:#x}", op, args, response.result);
            }
        }
    }
}

#[test]
fn shared_memory_is_only_where_it_was_asked_for() {
    let mut host = Host::new();
    for op in [Op::SharedCreate, Op::SharedMap, Op::SharedUnmap, Op::SharedProtect, Op::SharedWake] {
        assert_eq!(host.call(op, &[0, 4096, 1, 4096, 3]), Err(Errno::ENOSYS), "{op:?}");
    }
}
