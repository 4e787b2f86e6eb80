//! The program: its memory, files, ids and threads.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use casemate_enclave_abi::{ExitStatus, StartBlock};
use spin::{Mutex, Once};

use crate::fs::{Files, mapped};
use crate::host;
use crate::memory::EnclavePages;
use crate::sched::Thread;
use crate::signal::Actions;
use crate::{shared, syscall};

/// The program's address space.
pub(crate) type AddressSpace = casemate_enclave::mm::AddressSpace<EnclavePages>;

/// Everything that the threads of a program share.
pub(crate) struct Process {
    /// What the host said at start.
    pub(crate) start: StartBlock,
    pub(crate) space: Mutex<AddressSpace>,
    pub(crate) files: Mutex<Files>,
    pub(crate) actions: Mutex<Actions>,
    /// By thread id.
    pub(crate) threads: Mutex<BTreeMap<u32, Arc<Thread>>>,
    /// Path of the running program, its arguments and its environment, as `/proc/self` shows them.
    pub(crate) image: Mutex<Image>,
    id: AtomicU32,
    next_thread_id: AtomicU32,
}

/// What the last execve loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) path: String,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
    /// The auxiliary vector, as `/proc/self/auxv` shows it.
    pub(crate) auxv: Vec<(u64, u64)>,
}

static PROCESS: Once<Process> = Once::new();

/// The program. There is one in an enclave.
pub(crate) fn process() -> &'static Process {
    PROCESS.get().expect("a program")
}

/// Makes the program, at boot.
pub(crate) fn init(start: StartBlock, space: AddressSpace, files: Files) {
    let pid = u32::try_from(start.pid).unwrap_or(1);
    PROCESS.call_once(|| Process {
        start,
        space: Mutex::new(space),
        files: Mutex::new(files),
        actions: Mutex::new(Actions::default()),
        threads: Mutex::new(BTreeMap::new()),
        image: Mutex::new(Image::default()),
        id: AtomicU32::new(pid),
        next_thread_id: AtomicU32::new(pid),
    });
}

impl Process {
    /// Its id, as getpid(2) says; the id of its first thread.
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Sets its id: while a child of vfork(2) runs in its place.
    pub(crate) fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// An id for a new thread.
    pub(crate) fn new_thread_id(&self) -> u32 {
        self.next_thread_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The thread of this id.
    pub(crate) fn thread(&self, id: u32) -> Option<Arc<Thread>> {
        self.threads.lock().get(&id).cloned()
    }

    /// Makes a thread known by another id.
    pub(crate) fn rename_thread(&self, thread: &Arc<Thread>, id: u32) {
        let mut threads = self.threads.lock();
        if let Some(thread) = threads.remove(&thread.id()) {
            thread.set_id(id);
            threads.insert(id, thread);
        }
    }

    /// What others see of the end: files, and locks in memory that is shared with them.
    fn leave(&self) {
        mapped::flush_all();
        if shared::enabled() {
            let threads: Vec<_> = self.threads.lock().values().cloned().collect();
            threads.iter().for_each(|thread| syscall::futexes_end(thread));
        }
    }

    /// Ends the program by exit_group(2).
    pub(crate) fn exit(&self, code: u8) -> ! {
        self.leave();
        syscall::print_counters();
        host::exit(ExitStatus::Code(code))
    }

    /// Ends the program by a signal.
    pub(crate) fn kill(&self, signal: u8) -> ! {
        self.leave();
        syscall::print_counters();
        host::exit(ExitStatus::Signal(signal))
    }
}
