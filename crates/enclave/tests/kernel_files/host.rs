//! The host: a root directory of its own, and a console in memory.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use casemate_enclave_abi::op::{
    GROUP_GETPGID, GROUP_GETPPID, GROUP_GETSID, GROUP_SETSID, POLL_STDERR, POLL_STDIN, POLL_STDOUT,
};
use casemate_enclave_abi::stat::FileTime;
use casemate_enclave_abi::{
    Arena, AtomicU64, Block, DirEntry, Errno, Offset, Op, Region, Stat, StatFs, Window, check,
};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};

const SIZE: usize = 4 << 20;

pub(crate) const TRANSFER: usize = 256 * 1024;

static WINDOW: LazyLock<Window<'static>> = LazyLock::new(|| {
    let words: Vec<AtomicU64> = (0..SIZE / 8).map(|_| AtomicU64::new(0)).collect();
    Window::new(words.leak())
});
static ARENA: LazyLock<Mutex<Arena>> =
    LazyLock::new(|| Mutex::new(Arena::new(Offset(0), SIZE as u64).expect("an arena")));

/// What the console has and has been told.
#[derive(Default)]
pub(crate) struct Console {
    pub(crate) input: Vec<u8>,
    pub(crate) end: bool,
    pub(crate) output: [Vec<u8>; 2],
    pub(crate) broken: bool,
}

pub(crate) static CONSOLE: Mutex<Console> =
    Mutex::new(Console { input: Vec::new(), end: false, output: [Vec::new(), Vec::new()], broken: false });

/// How many calls there were.
pub(crate) static HANDLES: Mutex<Vec<Option<OwnedFd>>> = Mutex::new(Vec::new());

pub(crate) struct Buffer {
    block: Option<Block>,
}

impl Buffer {
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        let block = ARENA.lock().unwrap().alloc(length as u64).ok_or(Errno::ENOMEM)?;
        Ok(Self { block: Some(block) })
    }

    pub(crate) fn with(bytes: &[u8]) -> Result<Self, Errno> {
        let buffer = Self::new(bytes.len())?;
        buffer.write(bytes);
        Ok(buffer)
    }

    fn region(&self) -> Region {
        self.block.as_ref().unwrap().region()
    }

    pub(crate) fn offset(&self) -> u64 {
        self.region().offset.0
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        WINDOW.copy_out(self.region().offset, bytes).unwrap();
    }

    pub(crate) fn read(&self, bytes: &mut [u8]) {
        WINDOW.copy_in(self.region().offset, bytes).unwrap();
    }

    pub(crate) fn window(&self) -> Window<'static> {
        WINDOW.region(self.region()).unwrap()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        ARENA.lock().unwrap().free(self.block.take().unwrap());
    }
}

/// The root directory: made anew in each run.
pub(crate) static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kernel_files-{}", std::process::id()));
    for directory in ["usr/bin", "usr/lib", "tmp/old/deep", "var", "run", "etc", "many", "dev"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(root.join("usr/bin/hello"), vec![b'h'; 700_000]).unwrap();
    fs::write(root.join("usr/lib/libx.so"), "libx").unwrap();
    fs::write(root.join("tmp/old/file"), "old").unwrap();
    let x = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.join("usr/bin/hello"), x).unwrap();
    for (link, target) in [
        ("bin", "usr/bin"),
        ("link", "/usr/bin"),
        ("var/run", "/run"),
        ("etc/mtab", "../proc/self/mounts"),
        ("loop", "loop"),
        ("dangling", "nowhere"),
        ("usr/totmp", "../tmp"),
    ] {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    for number in 0..600 {
        fs::write(root.join(format!("many/a-file-with-a-long-name-{number:04}")), "").unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), Mode::from_raw_mode(0o644)).unwrap();
    root
});

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::new(u16::try_from(error.raw_os_error()).unwrap()).unwrap()
}

fn bytes(offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    WINDOW.copy_in(Offset(offset), &mut bytes).unwrap();
    bytes
}

fn open(path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let root = rustix::fs::open(&*ROOT, OFlags::PATH, Mode::empty()).unwrap();
    let path = std::ffi::CString::new(path).unwrap();
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, &path, flags | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(errno)
}

fn record(stat: &rustix::fs::Stat) -> Stat {
    let time = |seconds, nanoseconds| FileTime { seconds, nanoseconds };
    Stat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        mode: stat.st_mode.into(),
        nlink: stat.st_nlink,
        uid: stat.st_uid.into(),
        gid: stat.st_gid.into(),
        rdev: stat.st_rdev,
        size: stat.st_size.unsigned_abs(),
        blksize: stat.st_blksize.unsigned_abs(),
        blocks: stat.st_blocks.unsigned_abs(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn handle(number: u64) -> Result<OwnedFd, Errno> {
    let handles = HANDLES.lock().unwrap();
    let fd = handles.get(usize::try_from(number).unwrap()).and_then(Option::as_ref).ok_or(Errno::EBADF)?;
    Ok(fd.try_clone().unwrap())
}

fn read_directory(args: [u64; 6]) -> Result<u64, Errno> {
    let fd = handle(args[0])?;
    let again =
        rustix::fs::openat(&fd, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(errno)?;
    let mut packed = vec![0; usize::try_from(args[2]).unwrap()];
    let mut at = 0;
    let skip = usize::try_from(args[3]).unwrap();
    for (cookie, entry) in (1..).zip(Dir::read_from(again).map_err(errno)?).skip(skip) {
        let entry = entry.map_err(errno)?;
        let kind = if entry.file_type() == rustix::fs::FileType::Directory { 4 } else { 8 };
        let entry = DirEntry { ino: entry.ino(), cookie, kind, name: entry.file_name().to_bytes() };
        match entry.pack(&mut packed[at..]) {
            Some(length) => at += length,
            None => break,
        }
    }
    WINDOW.copy_out(Offset(args[1]), &packed[..at]).unwrap();
    Ok(at as u64)
}

fn console(op: Op, args: [u64; 6]) -> Result<u64, Errno> {
    let mut console = CONSOLE.lock().unwrap();
    match op {
        Op::ConsoleRead => {
            let count = console.input.len().min(usize::try_from(args[2]).unwrap());
            let part: Vec<u8> = console.input.drain(..count).collect();
            WINDOW.copy_out(Offset(args[1]), &part).unwrap();
            Ok(count as u64)
        }
        Op::ConsoleWrite => {
            if console.broken {
                return Err(Errno::EPIPE);
            }
            // In small pieces, as a pipe that is nearly full does.
            let length = args[2].min(100_000);
            let stream = usize::try_from(args[0] - 1).unwrap();
            console.output[stream].extend(bytes(args[1], length));
            Ok(length)
        }
        Op::ConsolePoll => {
            let readable = !console.input.is_empty() || console.end;
            let ready = if readable { POLL_STDIN } else { 0 } | POLL_STDOUT | POLL_STDERR;
            drop(console);
            if ready & args[0] == 0 {
                std::thread::sleep(std::time::Duration::from_nanos(args[1].min(1_000_000)));
            }
            Ok(ready & args[0])
        }
        _ => Err(Errno::ENOTTY),
    }
}

fn serve(op: Op, args: [u64; 6]) -> Result<u64, Errno> {
    match op {
        Op::Open => {
            let flags = OFlags::from_bits_retain(u32::try_from(args[2]).unwrap());
            assert!(
                !flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC),
                "{flags:?}"
            );
            let fd = open(&bytes(args[0], args[1]), flags)?;
            let mut handles = HANDLES.lock().unwrap();
            handles.push(Some(fd));
            Ok(handles.len() as u64 - 1)
        }
        Op::Close => {
            let closed = HANDLES.lock().unwrap()[usize::try_from(args[0]).unwrap()].take();
            closed.map(|_| 0).ok_or(Errno::EBADF)
        }
        Op::Read => {
            let mut part = vec![0; usize::try_from(args[2]).unwrap()];
            let count = rustix::io::pread(handle(args[0])?, &mut part, args[3]).map_err(errno)?;
            WINDOW.copy_out(Offset(args[1]), &part[..count]).unwrap();
            Ok(count as u64)
        }
        Op::Stat => {
            let stat = rustix::fs::fstat(handle(args[0])?).map_err(errno)?;
            record(&stat).write(*WINDOW, Offset(args[1])).unwrap();
            Ok(0)
        }
        Op::StatAt => {
            let flags = if args[2] == 1 { OFlags::PATH | OFlags::NOFOLLOW } else { OFlags::PATH };
            let fd = open(&bytes(args[0], args[1]), flags)?;
            record(&rustix::fs::fstat(fd).map_err(errno)?).write(*WINDOW, Offset(args[3])).unwrap();
            Ok(0)
        }
        Op::ReadLink => {
            let fd = open(&bytes(args[0], args[1]), OFlags::PATH | OFlags::NOFOLLOW)?;
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd).map_err(errno)?.st_mode);
            if kind != rustix::fs::FileType::Symlink {
                return Err(Errno::EINVAL);
            }
            let target = rustix::fs::readlinkat(fd.as_fd(), "", Vec::new()).map_err(errno)?;
            WINDOW.copy_out(Offset(args[2]), target.to_bytes()).unwrap();
            Ok(target.to_bytes().len() as u64)
        }
        Op::ReadDir => read_directory(args),
        Op::Group => match args {
            [GROUP_GETPPID, ..] => Ok(77),
            [GROUP_GETSID | GROUP_GETPGID, 0, ..] => Ok(crate::process::PID.into()),
            [GROUP_SETSID, ..] => Err(Errno::EPERM),
            _ => Err(Errno::ESRCH),
        },
        // No pipes here, only the console.
        Op::PollPipes if args[1] == 0 => console(Op::ConsolePoll, [args[2], args[3], 0, 0, 0, 0]),
        Op::StatFs => {
            open(&bytes(args[0], args[1]), OFlags::PATH)?;
            let stat = StatFs { kind: 0xef53, bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() };
            stat.write(*WINDOW, Offset(args[2])).unwrap();
            Ok(0)
        }
        op => console(op, args),
    }
}

pub(crate) fn call(op: Op, args: [u64; 6]) -> Result<u64, Errno> {
    let result = match serve(op, args) {
        Ok(value) => value,
        Err(errno) => errno.to_result(),
    };
    check(op, &args, result).expect("this host is honest")
}
