//! The host calls as data: arguments, which errors each may give, what bounds its result.
//!
//! Offsets in arguments are from the window's start and name arena blocks of the enclave; handles are numbers that the
//! host chose in answer to [`Op::Open`]. The enclave checks each result by [`check`]; the host checks each argument.

use core::fmt;

use crate::errno::Errno;

/// As position argument of [`Op::Read`] and [`Op::Write`]: wherever the handle stands, and move it.
pub const CURRENT_POSITION: u64 = u64::MAX;

/// As position argument of [`Op::Write`]: at the end, wherever that is by then (O_APPEND).
pub const END_OF_FILE: u64 = u64::MAX - 1;

/// Kinds of [`Op::Change`]: permissions; owner and group; times of access and modification.
pub const CHANGE_MODE: u64 = 1;
/// See [`CHANGE_MODE`].
pub const CHANGE_OWNER: u64 = 2;
/// See [`CHANGE_MODE`].
pub const CHANGE_TIMES: u64 = 3;
/// In place of an id or of nanoseconds in [`Op::Change`]: leave it.
pub const LEAVE: u64 = u64::MAX;

/// Whose a lock of [`Op::Lock`] is: the process's (F_SETLK).
pub const LOCK_PROCESS: u64 = 0;
/// Whose a lock of [`Op::Lock`] is: the open file's (F_OFD_SETLK).
pub const LOCK_OPEN_FILE: u64 = 1;
/// Kind of lock in [`Op::Lock`]: shared (F_RDLCK).
pub const LOCK_SHARED: u64 = 0;
/// Kind of lock in [`Op::Lock`]: exclusive (F_WRLCK).
pub const LOCK_EXCLUSIVE: u64 = 1;
/// Kind of lock in [`Op::Lock`]: none (F_UNLCK).
pub const LOCK_NONE: u64 = 2;

/// As timeout argument of [`Op::ConsolePoll`]: as long as it takes.
pub const NO_TIMEOUT: u64 = u64::MAX;

/// The largest handle: Linux counts file descriptors in an `int`.
pub const MAX_HANDLE: u64 = 0x7fff_ffff;

/// Standard input in the stream mask of [`Op::ConsolePoll`]; standard output and error follow as 2 and 4.
pub const POLL_STDIN: u64 = 1;
/// Standard output in the stream mask of [`Op::ConsolePoll`].
pub const POLL_STDOUT: u64 = 2;
/// Standard error in the stream mask of [`Op::ConsolePoll`].
pub const POLL_STDERR: u64 = 4;

/// Request kind of [`Op::Terminal`]: the window's size, as two words, rows and columns.
pub const TERMINAL_WINDOW_SIZE: u64 = 1;

/// Kinds of [`Op::Group`]: getpgid(2), setpgid(2), getsid(2), setsid(2), getppid(2).
pub const GROUP_GETPGID: u64 = 1;
/// See [`GROUP_GETPGID`].
pub const GROUP_SETPGID: u64 = 2;
/// See [`GROUP_GETPGID`].
pub const GROUP_GETSID: u64 = 3;
/// See [`GROUP_GETPGID`].
pub const GROUP_SETSID: u64 = 4;
/// See [`GROUP_GETPGID`].
pub const GROUP_GETPPID: u64 = 5;

/// The most records of [`Op::PollPipes`].
pub const MAX_POLLED: u64 = 1024;

/// As socket argument of [`Op::NetLook`]: all of them.
pub const NET_ALL: u64 = u64::MAX;

/// What a result that is no error may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultBound {
    /// Always 0.
    Zero,
    /// At most what the argument of this index says, as lengths are.
    AtMostArg(usize),
    /// Whole pages, at most what the argument of this index says.
    PagesAtMostArg(usize),
    /// A position in a file: at most the largest (`loff_t`).
    Position,
    /// No bit but those of the argument of this index.
    BitsOfArg(usize),
    /// A handle: at most [`MAX_HANDLE`]. Only a number to give back to the host: if it gives the same twice, that is
    /// its own loss.
    Handle,
}

/// One row of the table of host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpInfo {
    /// Which call.
    pub op: Op,
    /// Its name, for traces and documents.
    pub name: &'static str,
    /// What each argument means. Arguments behind these are 0.
    pub args: &'static [&'static str],
    /// What its result may be.
    pub bound: ResultBound,
    /// Which errors it may give; any other becomes `EPERM`.
    pub errnos: &'static [Errno],
}

macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident = $number:literal, $name:literal, [$($arg:literal),*], $bound:expr, $errnos:expr;)*) => {
        /// A host call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum Op {
            $($(#[$doc])* $op = $number,)*
        }

        impl Op {
            /// All host calls, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$op),*];

            /// Its row in the table.
            #[must_use]
            pub const fn info(self) -> &'static OpInfo {
                match self {
                    $(Self::$op => {
                        &OpInfo { op: Self::$op, name: $name, args: &[$($arg),*], bound: $bound, errnos: $errnos }
                    })*
                }
            }
        }

        impl From<Op> for u64 {
            fn from(op: Op) -> Self {
                match op {
                    $(Op::$op => $number,)*
                }
            }
        }

        impl TryFrom<u64> for Op {
            type Error = UnknownOp;

            fn try_from(number: u64) -> Result<Self, UnknownOp> {
                match number {
                    $($number => Ok(Self::$op),)*
                    _ => Err(UnknownOp(number)),
                }
            }
        }
    };
}

/// What path look-up can give (path_resolution(7)).
const PATH: &[Errno] = &[
    Errno::EPERM,
    Errno::ENOENT,
    Errno::EINTR,
    Errno::EIO,
    Errno::ENXIO,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EBUSY,
    Errno::EEXIST,
    Errno::EXDEV,
    Errno::ENODEV,
    Errno::ENOTDIR,
    Errno::EISDIR,
    Errno::EINVAL,
    Errno::ENFILE,
    Errno::EMFILE,
    Errno::ETXTBSY,
    Errno::EFBIG,
    Errno::ENOSPC,
    Errno::EROFS,
    Errno::ENAMETOOLONG,
    Errno::ENOSYS,
    Errno::ELOOP,
    Errno::EOVERFLOW,
    Errno::EOPNOTSUPP,
    Errno::EDQUOT,
];

/// What reading a file can give.
const READ: &[Errno] = &[
    Errno::EINTR,
    Errno::EIO,
    Errno::ENXIO,
    Errno::EBADF,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EISDIR,
    Errno::EINVAL,
    Errno::ESPIPE,
    Errno::EOVERFLOW,
];

/// What reading and writing pipes, and pairs of sockets, can give.
const PIPE: &[Errno] = &[
    Errno::EINTR,
    Errno::EIO,
    Errno::EBADF,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EINVAL,
    Errno::EPIPE,
    Errno::EMSGSIZE,
    Errno::EOPNOTSUPP,
    Errno::ENOBUFS,
    Errno::ECONNRESET,
    Errno::ENOTCONN,
    Errno::ECONNREFUSED,
];

/// What reading a directory can give.
const READ_DIR: &[Errno] = &[
    Errno::ENOENT,
    Errno::EINTR,
    Errno::EIO,
    Errno::EBADF,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::ENOTDIR,
    Errno::EINVAL,
    Errno::EOVERFLOW,
];

/// What writing a file can give.
const WRITE: &[Errno] = &[
    Errno::EPERM,
    Errno::EINTR,
    Errno::EIO,
    Errno::ENXIO,
    Errno::EBADF,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EINVAL,
    Errno::EFBIG,
    Errno::ENOSPC,
    Errno::ESPIPE,
    Errno::EROFS,
    Errno::EPIPE,
    Errno::EDQUOT,
];

/// What changes of names can give, beyond those of look-up.
const NAMES: &[Errno] = &[
    Errno::EPERM,
    Errno::ENOENT,
    Errno::EINTR,
    Errno::EIO,
    Errno::EBADF,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EBUSY,
    Errno::EEXIST,
    Errno::EXDEV,
    Errno::ENODEV,
    Errno::ENOTDIR,
    Errno::EISDIR,
    Errno::EINVAL,
    Errno::EMLINK,
    Errno::ENOSPC,
    Errno::EROFS,
    Errno::ENAMETOOLONG,
    Errno::ENOTEMPTY,
    Errno::ELOOP,
    Errno::EOPNOTSUPP,
    Errno::EDQUOT,
];

/// What fallocate(2) can give.
const ALLOCATE: &[Errno] = &[
    Errno::EPERM,
    Errno::EINTR,
    Errno::EIO,
    Errno::EBADF,
    Errno::ENODEV,
    Errno::EINVAL,
    Errno::ETXTBSY,
    Errno::EFBIG,
    Errno::ENOSPC,
    Errno::ESPIPE,
    Errno::EROFS,
    Errno::ENOSYS,
    Errno::EOPNOTSUPP,
    Errno::EDQUOT,
];

/// What locks can give.
const LOCK: &[Errno] = &[
    Errno::EINTR,
    Errno::EIO,
    Errno::EBADF,
    Errno::EAGAIN,
    Errno::EACCES,
    Errno::EINVAL,
    Errno::EDEADLK,
    Errno::ENOLCK,
    Errno::EOVERFLOW,
];

/// What the EDMM ioctls can give (`arch/x86/kernel/cpu/sgx/ioctl.c`).
const EDMM: &[Errno] = &[
    Errno::EINTR,
    Errno::EIO,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EFAULT,
    Errno::EBUSY,
    Errno::ENODEV,
    Errno::EINVAL,
    Errno::ENOTTY,
    Errno::EPERM,
];

/// What calls about shared memory can give.
const SHARED: &[Errno] = &[
    Errno::EBADF,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EFAULT,
    Errno::EINVAL,
    Errno::ENFILE,
    Errno::EMFILE,
    Errno::ENOSYS,
];

/// What calls about sockets can give (`Documentation`: ip(7), tcp(7), udp(7), socket(7)).
const NET: &[Errno] = &[
    Errno::EPERM,
    Errno::ENOENT,
    Errno::EINTR,
    Errno::EIO,
    Errno::EBADF,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EFAULT,
    Errno::EEXIST,
    Errno::ENODEV,
    Errno::ENOTDIR,
    Errno::EINVAL,
    Errno::ENFILE,
    Errno::EMFILE,
    Errno::EPIPE,
    Errno::ENAMETOOLONG,
    Errno::ELOOP,
    Errno::EPROTO,
    Errno::ENOTSOCK,
    Errno::EDESTADDRREQ,
    Errno::EMSGSIZE,
    Errno::EPROTOTYPE,
    Errno::ENOPROTOOPT,
    Errno::EPROTONOSUPPORT,
    Errno::ESOCKTNOSUPPORT,
    Errno::EOPNOTSUPP,
    Errno::EPFNOSUPPORT,
    Errno::EAFNOSUPPORT,
    Errno::EADDRINUSE,
    Errno::EADDRNOTAVAIL,
    Errno::ENETDOWN,
    Errno::ENETUNREACH,
    Errno::ENETRESET,
    Errno::ECONNABORTED,
    Errno::ECONNRESET,
    Errno::ENOBUFS,
    Errno::EISCONN,
    Errno::ENOTCONN,
    Errno::ESHUTDOWN,
    Errno::ETIMEDOUT,
    Errno::ECONNREFUSED,
    Errno::EHOSTDOWN,
    Errno::EHOSTUNREACH,
    Errno::EALREADY,
    Errno::EINPROGRESS,
];

ops! {
    /// Opens a file: path offset, path length, open flags of Linux, mode, mount. Gives a handle.
    ///
    /// Mount 0 is the root directory, whose paths are absolute and which is read only; others are the start-up block's,
    /// with paths that start below them (`.` is the mount itself), without `.`, `..` and symbolic links.
    Open = 1, "open", ["path", "path length", "flags", "mode", "mount"], ResultBound::Handle, PATH;
    /// Closes a handle.
    Close = 2, "close", ["handle"], ResultBound::Zero,
        &[Errno::EBADF, Errno::EINTR, Errno::EIO, Errno::ENOSPC, Errno::EDQUOT];
    /// Reads from a handle: handle, offset, length, position or [`CURRENT_POSITION`]. Gives bytes read.
    Read = 3, "read", ["handle", "buffer", "length", "position"], ResultBound::AtMostArg(2), READ;
    /// Writes to a handle: handle, offset, length, position, [`CURRENT_POSITION`] or [`END_OF_FILE`]. Gives bytes written.
    Write = 4, "write", ["handle", "buffer", "length", "position"], ResultBound::AtMostArg(2), WRITE;
    /// The [`crate::Stat`] of a handle: handle, where to put it.
    Stat = 5, "stat", ["handle", "out"], ResultBound::Zero,
        &[Errno::EBADF, Errno::EIO, Errno::ENOMEM, Errno::EOVERFLOW];
    /// The [`crate::Stat`] of a path: path offset, path length, 1 to stay at a symbolic link, where to put it, mount.
    StatAt = 6, "stat_at", ["path", "path length", "no follow", "out", "mount"], ResultBound::Zero, PATH;
    /// The target of a symbolic link: path offset, path length, offset, length, mount. Gives bytes of the
    /// target.
    ReadLink = 7, "read_link", ["path", "path length", "buffer", "length", "mount"], ResultBound::AtMostArg(3), PATH;
    /// Entries of a directory in the format of [`crate::dir`]: handle, offset, length, cookie to go on from (0 at
    /// first). Gives bytes, 0 at the end.
    ReadDir = 8, "read_dir", ["handle", "buffer", "length", "cookie"], ResultBound::AtMostArg(2), READ_DIR;
    /// The [`crate::StatFs`] of a path: path offset, path length, where to put it, mount.
    StatFs = 9, "stat_fs", ["path", "path length", "out", "mount"], ResultBound::Zero, PATH;
    /// Makes a directory: path offset, path length, mode, mount.
    MakeDirectory = 64, "make_directory", ["path", "path length", "mode", "mount"], ResultBound::Zero, NAMES;
    /// Removes a name: path offset, path length, 1 for a directory, mount.
    Remove = 65, "remove", ["path", "path length", "directory", "mount"], ResultBound::Zero, NAMES;
    /// Makes a symbolic link: target offset, target length, path offset, path length, mount.
    SymbolicLink = 66, "symbolic_link", ["target", "target length", "path", "path length", "mount"],
        ResultBound::Zero, NAMES;
    /// Moves a name within a mount: old path offset and length, new path offset and length, flags of renameat2, mount.
    Rename = 67, "rename", ["old path", "old length", "new path", "new length", "flags", "mount"],
        ResultBound::Zero, NAMES;
    /// Gives a file another name in its mount: old path offset and length, new path offset and length, mount.
    Link = 68, "link", ["old path", "old length", "new path", "new length", "mount"], ResultBound::Zero, NAMES;
    /// Changes what is known of a file: handle, kind ([`CHANGE_MODE`] and so on), then the mode; user and group; or seconds
    /// and nanoseconds of the time of access and of modification. [`LEAVE`] leaves a part.
    Change = 69, "change", ["handle", "kind", "first", "second", "third", "fourth"], ResultBound::Zero, NAMES;
    /// Cuts or grows a file: handle, size.
    Truncate = 70, "truncate", ["handle", "size"], ResultBound::Zero, WRITE;
    /// Passes an open file of a mount to a child: child, handle.
    FilePass = 76, "file_pass", ["child", "handle"], ResultBound::Zero, WRITE;
    /// Takes the next file that the parent has passed: mount that it is of. Gives a handle.
    FileTake = 77, "file_take", ["mount"], ResultBound::Handle, READ;
    /// Where a handle stands, which processes that it was passed between share: handle, offset, whence of lseek(2).
    Seek = 78, "seek", ["handle", "offset", "whence"], ResultBound::Position,
        &[Errno::EBADF, Errno::EINVAL, Errno::ENXIO, Errno::EOVERFLOW, Errno::ESPIPE];
    /// Puts a file on its disk: handle, 1 for no more than its contents (fdatasync(2)).
    Sync = 71, "sync", ["handle", "data only"], ResultBound::Zero, WRITE;
    /// fallocate(2): handle, mode, offset, length.
    Allocate = 72, "allocate", ["handle", "mode", "offset", "length"], ResultBound::Zero, ALLOCATE;
    /// Takes or gives back a record lock, without waiting: handle, whose ([`LOCK_PROCESS`] and so on), kind
    /// ([`LOCK_SHARED`] and so on), start, length (0: to the end).
    Lock = 73, "lock", ["handle", "whose", "kind", "start", "length"], ResultBound::Zero, LOCK;
    /// The lock that is in the way of one as in [`Op::Lock`]: handle, whose, kind, start, length, where to put four words:
    /// kind ([`LOCK_NONE`]: nothing is in the way), start, length, process.
    TestLock = 74, "test_lock", ["handle", "whose", "kind", "start", "length", "out"], ResultBound::Zero, LOCK;
    /// flock(2) without waiting: handle, kind.
    LockWhole = 75, "lock_whole", ["handle", "kind"], ResultBound::Zero, LOCK;
    /// Reads standard input: stream (always 0), offset, length. Gives bytes read, 0 at the end.
    ConsoleRead = 16, "console_read", ["stream", "buffer", "length"], ResultBound::AtMostArg(2), READ;
    /// Writes standard output or error: stream (1 or 2), offset, length. Gives bytes written.
    ConsoleWrite = 17, "console_write", ["stream", "buffer", "length"], ResultBound::AtMostArg(2), WRITE;
    /// Waits until a stream is ready: mask of [`POLL_STDIN`], [`POLL_STDOUT`] and [`POLL_STDERR`], timeout in ns or
    /// [`NO_TIMEOUT`]. Gives the mask of those ready, 0 when the time is over.
    ConsolePoll = 18, "console_poll", ["streams", "timeout ns"], ResultBound::BitsOfArg(0),
        &[Errno::EINTR, Errno::EIO, Errno::ENOMEM, Errno::EINVAL];
    /// Asks about the terminal: stream (0 to 2), kind ([`TERMINAL_WINDOW_SIZE`]), where to put the answer.
    Terminal = 19, "terminal", ["stream", "kind", "out"], ResultBound::Zero,
        &[Errno::EBADF, Errno::EIO, Errno::EINVAL, Errno::ENOTTY];
    /// Puts a trace line of the enclave kernel on the host's standard error: offset, length. Gives bytes written.
    Print = 20, "print", ["buffer", "length"], ResultBound::AtMostArg(1), WRITE;
    /// `mprotect` of enclave pages, outside: offset in the enclave, length, `PROT_` bits. Gives bytes done.
    Protect = 32, "protect", ["enclave offset", "length", "protection"], ResultBound::PagesAtMostArg(1), EDMM;
    /// `SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS`: offset in the enclave, length, SECINFO R, W, X bits. Gives bytes done.
    RestrictPermissions = 33, "restrict_permissions", ["enclave offset", "length", "permissions"],
        ResultBound::PagesAtMostArg(1), EDMM;
    /// `SGX_IOC_ENCLAVE_MODIFY_TYPES`: offset in the enclave, length, SECINFO page type. Gives bytes done.
    ModifyTypes = 34, "modify_types", ["enclave offset", "length", "page type"], ResultBound::PagesAtMostArg(1), EDMM;
    /// `SGX_IOC_ENCLAVE_REMOVE_PAGES`: offset in the enclave, length. Gives bytes done.
    RemovePages = 35, "remove_pages", ["enclave offset", "length"], ResultBound::PagesAtMostArg(1), EDMM;
    /// Starts another enclave in a process of its own, a child of this one. Gives its process id, which names it as child
    /// below.
    Spawn = 96, "spawn", [], ResultBound::Handle, &[Errno::EAGAIN, Errno::ENOMEM, Errno::ENOSYS, Errno::EIO];
    /// Writes to the channel to a child: child (0: to the parent), offset, length. Gives bytes written.
    ChannelWrite = 97, "channel_write", ["child", "buffer", "length"], ResultBound::AtMostArg(2), WRITE;
    /// Reads from the channel to a child: child (0: to the parent), offset, length. Gives bytes read, 0 when the other side
    /// is gone.
    ChannelRead = 98, "channel_read", ["child", "buffer", "length"], ResultBound::AtMostArg(2), READ;
    /// Passes a pipe to a child: child, handle of [`Op::Pipe`].
    ChannelPass = 99, "channel_pass", ["child", "handle"], ResultBound::Zero, WRITE;
    /// Takes the next pipe that the parent has passed. Gives a handle of pipes.
    ChannelTake = 100, "channel_take", [], ResultBound::Handle, READ;
    /// Forgets the channel to a child.
    ChannelClose = 101, "channel_close", ["child"], ResultBound::Zero, &[Errno::EBADF];
    /// Looks for a child that has changed: process id, 0, or -1 or below, as waitpid(2) has them; its options; where to put
    /// the status, a word. Gives the child's process id, or 0. Does not block.
    WaitChild = 102, "wait_child", ["pid", "options", "out"], ResultBound::Handle, &[Errno::ECHILD, Errno::EINVAL];
    /// Sends a signal to processes of this family: process id, or a number below 1 as kill(2) has it; signal.
    Kill = 103, "kill", ["pid", "signal"], ResultBound::Zero, &[Errno::EINVAL, Errno::EPERM, Errno::ESRCH];
    /// Asks or sets what a process belongs to: one of the `GROUP_` kinds, process id (0: this one), process group.
    Group = 104, "group", ["kind", "pid", "group"], ResultBound::Handle,
        &[Errno::EPERM, Errno::ESRCH, Errno::EACCES, Errno::EINVAL];
    /// Makes a pipe of the host's, to be shared with other enclaves: where to put the handles to read and to write, two
    /// words; 0. Or, with a type of sockets in place of the 0, a pair of Unix sockets.
    Pipe = 105, "pipe", ["out", "type"], ResultBound::Zero, &[Errno::EMFILE, Errno::ENFILE, Errno::EIO, Errno::EINVAL];
    /// Reads from a pipe without waiting: handle, offset, length, 1 to leave there what is read (sockets only). Gives bytes
    /// read, 0 at the end.
    PipeRead = 106, "pipe_read", ["handle", "buffer", "length", "peek"], ResultBound::AtMostArg(2), PIPE;
    /// Writes to a pipe without waiting: handle, offset, length. Gives bytes written.
    PipeWrite = 107, "pipe_write", ["handle", "buffer", "length"], ResultBound::AtMostArg(2), PIPE;
    /// Closes a handle of a pipe.
    PipeClose = 108, "pipe_close", ["handle"], ResultBound::Zero, &[Errno::EBADF];
    /// Waits until a pipe or the console is ready, or the host has a signal for the program: records of two words (handle,
    /// `POLL` bits wanted, which become those that are there), how many, mask of console streams, timeout in ns. Gives the
    /// mask of console streams that are ready.
    PollPipes = 109, "poll_pipes", ["records", "count", "streams", "timeout ns"], ResultBound::BitsOfArg(2),
        &[Errno::EINTR, Errno::EIO, Errno::ENOMEM, Errno::EINVAL];
    /// shutdown(2) of one of a pair of sockets: handle, how.
    PipeShutdown = 110, "pipe_shutdown", ["handle", "how"], ResultBound::Zero, PIPE;
    /// Makes a segment of memory that enclaves share ([`crate::shared`]): its length, whole pages. Gives a handle, of those of
    /// pipes: it is passed and closed as they are.
    SharedCreate = 112, "shared_create", ["length"], ResultBound::Handle, SHARED;
    /// Maps a part of a segment: handle, offset in it, place (an address less [`crate::shared::SHARED`]), length, `PROT_` bits.
    SharedMap = 113, "shared_map", ["handle", "offset", "place", "length", "protection"], ResultBound::Zero, SHARED;
    /// Takes mappings of segments away: place, length.
    SharedUnmap = 114, "shared_unmap", ["place", "length"], ResultBound::Zero, SHARED;
    /// `mprotect` of mapped segments: place, length, `PROT_` bits.
    SharedProtect = 115, "shared_protect", ["place", "length", "protection"], ResultBound::Zero, SHARED;
    /// Has a thread of the host's wait at a futex word while it has a value: place, value, bit set, the wait's word, the word
    /// that counts answers. Does not wait itself.
    SharedWait = 116, "shared_wait", ["place", "value", "bits", "word", "answers"], ResultBound::Zero, SHARED;
    /// Wakes who waits at a futex word, in all enclaves: place, how many at most, bit set. Gives how many.
    SharedWake = 117, "shared_wake", ["place", "count", "bits"], ResultBound::AtMostArg(1), SHARED;
    /// Wakes the host thread of another vCPU, whose wake word was changed before: its index.
    Wake = 48, "wake", ["vcpu"], ResultBound::Zero, &[Errno::EINVAL];
    /// Lets the host run something else on this processor.
    Yield = 49, "yield", [], ResultBound::Zero, &[];
    /// Makes a socket: the number that it is to have ([`crate::net`]), family, type, protocol.
    NetSocket = 128, "net_socket", ["socket", "family", "type", "protocol"], ResultBound::Zero, NET;
    /// Binds a socket: socket, address, its length.
    NetBind = 129, "net_bind", ["socket", "address", "address length"], ResultBound::Zero, NET;
    /// Lets a socket take connections: socket, backlog.
    NetListen = 130, "net_listen", ["socket", "backlog"], ResultBound::Zero, NET;
    /// Takes a connection, if there is one: listening socket, the number that the new one is to have, where to put the
    /// [`crate::net::Message`].
    NetAccept = 131, "net_accept", ["socket", "new socket", "out"], ResultBound::Zero, NET;
    /// Connects a socket, or begins to (`EINPROGRESS`): socket, address, its length.
    NetConnect = 132, "net_connect", ["socket", "address", "address length"], ResultBound::Zero, NET;
    /// The address of a socket (0) or of its peer (1): socket, which, where to put the [`crate::net::Message`].
    NetName = 133, "net_name", ["socket", "peer", "out"], ResultBound::Zero, NET;
    /// Sets an option: socket, level, option, value, its length.
    NetSetOption = 134, "net_set_option", ["socket", "level", "option", "value", "length"], ResultBound::Zero, NET;
    /// The value of an option: socket, level, option, where to put it, how long it may be. Gives its length.
    NetGetOption = 135, "net_get_option", ["socket", "level", "option", "out", "length"],
        ResultBound::AtMostArg(4), NET;
    /// Sends a datagram: socket, buffer, length, address, its length (0: the peer's). Gives bytes sent.
    NetSend = 136, "net_send", ["socket", "buffer", "length", "address", "address length"],
        ResultBound::AtMostArg(2), NET;
    /// Takes a datagram, if there is one: socket, buffer, length, where to put the [`crate::net::Message`], 1 to leave it
    /// there. Gives bytes in the buffer.
    NetReceive = 137, "net_receive", ["socket", "buffer", "length", "out", "peek"], ResultBound::AtMostArg(2), NET;
    /// Closes a socket: socket, 1 to reset its connection. What was sent before still goes out.
    NetClose = 138, "net_close", ["socket", "reset"], ResultBound::Zero, NET;
    /// shutdown(2) of a socket without streams: socket, how.
    NetShutdown = 139, "net_shutdown", ["socket", "how"], ResultBound::Zero, NET;
    /// Passes a socket to a child, which then has it too: child, socket. What the enclave has written is sent before.
    NetPass = 144, "net_pass", ["child", "socket"], ResultBound::Zero, NET;
    /// Takes the next socket that the parent has passed: the number that it is to have, what it is (`ROLE_` in
    /// [`crate::net`]).
    NetTake = 145, "net_take", ["socket", "role"], ResultBound::Zero, NET;
    /// With synchronous calls: moves the bytes of a socket now, or, for [`NET_ALL`], looks once at what is ready.
    NetLook = 140, "net_look", ["socket"], ResultBound::Zero, NET;
}

impl Op {
    /// Whether serving it with these arguments can take as long as somebody else likes, or very long. Such a call is
    /// always made by an exit: it must not hold a worker.
    #[must_use]
    pub const fn may_wait(self, args: &[u64; 6]) -> bool {
        let [_, console_timeout, _, pipes_timeout, ..] = *args;
        match self {
            Self::ConsolePoll => console_timeout != 0,
            Self::PollPipes => pipes_timeout != 0,
            Self::ConsoleRead | Self::ConsoleWrite | Self::Print | Self::Sync => true,
            Self::Spawn | Self::ChannelWrite | Self::ChannelRead | Self::ChannelPass | Self::ChannelTake => {
                true
            }
            _ => false,
        }
    }
}

/// A number that names no host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownOp(pub u64);

impl fmt::Display for UnknownOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no host call has the number {}", self.0)
    }
}

impl core::error::Error for UnknownOp {}

/// A result that an honest host cannot give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hostile {
    /// The call.
    pub op: Op,
    /// What it was asked.
    pub args: [u64; 6],
    /// What the host answered.
    pub result: u64,
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, args, result } = self;
        write!(f, "the host answered {} {args:x?} with {result:#x}, which cannot be", op.info().name)
    }
}

impl core::error::Error for Hostile {}

/// Checks the answer to a host call whose arguments were `args` (the enclave's own copy of them).
///
/// A result is returned if it is within the bound of the call. An error number is returned if the call may give it, and
/// as `EPERM` if not.
///
/// # Errors
/// [`Hostile`]: neither an error number nor within the bound.
pub fn check(op: Op, args: &[u64; 6], result: u64) -> Result<Result<u64, Errno>, Hostile> {
    let info = op.info();
    if let Some(errno) = Errno::from_result(result) {
        return Ok(Err(errno.filter(info.errnos)));
    }
    let arg = |index: usize| args.get(index).copied().unwrap_or(0);
    let possible = match info.bound {
        ResultBound::Zero => result == 0,
        ResultBound::Position => i64::try_from(result).is_ok(),
        ResultBound::AtMostArg(index) => result <= arg(index),
        ResultBound::PagesAtMostArg(index) => {
            result <= arg(index) && result.is_multiple_of(crate::layout::PAGE)
        }
        ResultBound::BitsOfArg(index) => result & !arg(index) == 0,
        ResultBound::Handle => result <= MAX_HANDLE,
    };
    if possible { Ok(Ok(result)) } else { Err(Hostile { op, args: *args, result }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        for &op in Op::ALL {
            let info = op.info();
            assert_eq!((info.op, Op::try_from(u64::from(op))), (op, Ok(op)));
            assert!(info.args.len() <= 6);
            if let ResultBound::AtMostArg(index)
            | ResultBound::PagesAtMostArg(index)
            | ResultBound::BitsOfArg(index) = info.bound
            {
                assert!(index < info.args.len(), "{}", info.name);
            }
        }
        let known = (0..1000).filter_map(|number| Op::try_from(number).ok()).count();
        assert_eq!(known, Op::ALL.len());
    }

    #[test]
    fn results_are_bounded() {
        let read = [7, 4096, 100, CURRENT_POSITION, 0, 0];
        assert_eq!(check(Op::Read, &read, 100), Ok(Ok(100)));
        assert_eq!(check(Op::Read, &read, Errno::EIO.to_result()), Ok(Err(Errno::EIO)));
        assert_eq!(check(Op::Read, &read, Errno::EPIPE.to_result()), Ok(Err(Errno::EPERM)));
        assert_eq!(check(Op::Read, &read, 512_u64.wrapping_neg()), Ok(Err(Errno::EPERM)));
        assert_eq!(check(Op::Read, &read, 101), Err(Hostile { op: Op::Read, args: read, result: 101 }));
        assert!(check(Op::Read, &read, 4096_u64.wrapping_neg()).is_err());
        assert!(check(Op::Close, &[7, 0, 0, 0, 0, 0], 1).is_err());
        assert!(check(Op::Open, &[0; 6], 1 << 31).is_err());
        let remove = [0, 3 * 4096, 0, 0, 0, 0];
        assert_eq!(check(Op::RemovePages, &remove, 8192), Ok(Ok(8192)));
        assert!(check(Op::RemovePages, &remove, 8193).is_err());
        assert!(check(Op::RemovePages, &remove, 4 * 4096).is_err());
        assert!(check(Op::ConsolePoll, &[POLL_STDIN, 0, 0, 0, 0, 0], POLL_STDOUT).is_err());
    }
}
