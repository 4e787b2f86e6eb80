//! The program.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use casemate_enclave::mm::Usage;
use casemate_enclave_abi::StartBlock;
use spin::Mutex;

use crate::fs::Files;
use crate::sched::Thread;

pub(crate) struct Space;

impl Space {
    pub(crate) fn usage(&self) -> Usage {
        Usage { committed: 1 << 20, reserved: 2 << 20 }
    }

    pub(crate) fn maps(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str("00400000-00401000 r-xp 00000000 00:00 0 \n")
    }
}

#[derive(Default)]
pub(crate) struct Image {
    pub(crate) path: String,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
    pub(crate) auxv: Vec<(u64, u64)>,
}

pub(crate) struct Process {
    pub(crate) start: StartBlock,
    pub(crate) space: Mutex<Space>,
    pub(crate) files: Mutex<Files>,
    pub(crate) threads: Mutex<BTreeMap<u32, Arc<Thread>>>,
    pub(crate) image: Mutex<Image>,
}

pub(crate) const PID: u32 = 4242;

static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    let start = StartBlock {
        vcpus: 4,
        heap_size: 64 << 20,
        uid: 1000,
        gid: 1000,
        euid: 1000,
        egid: 1000,
        pid: PID.into(),
        ppid: 77,
        umask: 0o022,
        ..StartBlock::default()
    };
    let image = Image {
        path: "/link/hello".into(),
        arguments: vec![b"hello".to_vec(), b"world".to_vec()],
        environment: vec![b"A=b".to_vec()],
        auxv: vec![(6, 4096)],
    };
    Process {
        files: Mutex::new(Files::new(&start, "/".into())),
        start,
        space: Mutex::new(Space),
        threads: Mutex::default(),
        image: Mutex::new(image),
    }
});

pub(crate) fn process() -> &'static Process {
    &PROCESS
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        PID
    }

    pub(crate) fn thread(&self, id: u32) -> Option<Arc<Thread>> {
        self.threads.lock().get(&id).cloned()
    }
}
