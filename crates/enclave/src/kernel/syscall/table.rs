//! The table of system calls. Everything that is said about a call anywhere comes from here.

use super::Support::{Full, Partial, Refused};
use crate::family::{children, exec};

use super::{Call, file, futex, identity, interval, memory, net, process, signal, system, thread, time};

/// Numbers below this can be in the table (`arch/x86/entry/syscalls/syscall_64.tbl` ends in the 460s).
const LIMIT: usize = 512;

macro_rules! calls {
    ($($number:literal $name:ident($arguments:literal) $support:ident $note:literal => $run:path;)*) => {
        const ROWS: &[(usize, Call)] = &[
            $(($number, Call {
                name: stringify!($name),
                arguments: $arguments,
                support: $support,
                note: $note,
                run: $run,
            }),)*
        ];
    };
}

calls! {
    9 mmap(6) Partial "files are copied in; shared ones are written back at msync, munmap, fsync, reads and at the end, and two of them do not see each other before; shared between processes only with --shared-memory host, those of no file and of files in memory" => memory::mmap;
    10 mprotect(3) Full "" => memory::mprotect;
    11 munmap(2) Full "" => memory::munmap;
    12 brk(1) Full "" => memory::brk;
    25 mremap(5) Full "" => memory::mremap;
    26 msync(3) Full "" => memory::msync;
    27 mincore(3) Partial "everything mapped counts as resident" => memory::mincore;
    28 madvise(3) Partial "MADV_DONTNEED and MADV_FREE act; other advice is taken and changes nothing" => memory::madvise;
    29 shmget(3) Partial "segments are known to this process only; children share what is attached with --shared-memory host" => super::shared_memory::shmget;
    30 shmat(3) Partial "a segment has one address: attached again, it is there again" => super::shared_memory::shmat;
    31 shmctl(3) Partial "no lists of all segments; owners stay" => super::shared_memory::shmctl;
    64 semget(3) Refused "processes share no memory; those of POSIX work between threads" => file::refused::not_there;
    65 semop(3) Refused "processes share no memory; those of POSIX work between threads" => file::refused::not_there;
    66 semctl(4) Refused "processes share no memory; those of POSIX work between threads" => file::refused::not_there;
    67 shmdt(1) Full "" => super::shared_memory::shmdt;
    220 semtimedop(4) Refused "processes share no memory; those of POSIX work between threads" => file::refused::not_there;

    13 rt_sigaction(4) Full "" => signal::rt_sigaction;
    14 rt_sigprocmask(4) Full "" => signal::rt_sigprocmask;
    15 rt_sigreturn(0) Full "" => signal::rt_sigreturn;
    62 kill(2) Partial "within the family of processes; others are not sent what faults raise" => signal::kill;
    127 rt_sigpending(2) Full "" => signal::rt_sigpending;
    130 rt_sigsuspend(2) Full "" => signal::rt_sigsuspend;
    131 sigaltstack(2) Full "" => signal::sigaltstack;
    200 tkill(2) Full "" => signal::tkill;
    234 tgkill(3) Full "" => signal::tgkill;

    34 pause(0) Full "" => signal::pause;
    36 getitimer(2) Partial "CPU time is the time that the program has run" => interval::getitimer;
    37 alarm(1) Full "" => interval::alarm;
    38 setitimer(3) Partial "CPU time is the time that the program has run" => interval::setitimer;
    128 rt_sigtimedwait(4) Full "" => signal::rt_sigtimedwait;
    129 rt_sigqueueinfo(3) Partial "only to this process" => signal::rt_sigqueueinfo;
    222 timer_create(3) Partial "CPU time is the time that the program has run" => interval::timer_create;
    223 timer_settime(4) Full "" => interval::timer_settime;
    224 timer_gettime(2) Full "" => interval::timer_gettime;
    225 timer_getoverrun(1) Full "" => interval::timer_getoverrun;
    226 timer_delete(1) Full "" => interval::timer_delete;
    282 signalfd(3) Full "" => file::special::signalfd;
    283 timerfd_create(2) Partial "a change of the clock cancels nothing" => file::special::timerfd_create;
    286 timerfd_settime(4) Partial "a change of the clock cancels nothing" => file::special::timerfd_settime;
    287 timerfd_gettime(2) Full "" => file::special::timerfd_gettime;
    289 signalfd4(4) Full "" => file::special::signalfd4;
    297 rt_tgsigqueueinfo(4) Partial "only to this process" => signal::rt_tgsigqueueinfo;

    24 sched_yield(0) Full "" => thread::sched_yield;
    39 getpid(0) Full "" => thread::getpid;
    56 clone(5) Partial "threads and processes; no namespaces, no process descriptors, no shared descriptors" => thread::clone;
    60 exit(1) Full "" => thread::exit;
    157 prctl(5) Partial "names, dumpable, no_new_privs, parent-death signal, capability queries" => process::prctl;
    158 arch_prctl(2) Partial "FS base only" => thread::arch_prctl;
    186 gettid(0) Full "" => thread::gettid;
    202 futex(6) Partial "no FUTEX_FD, no FUTEX_WAIT_REQUEUE_PI; all threads have the same priority; between processes (--shared-memory host) no PI" => futex::futex;
    218 set_tid_address(1) Full "" => thread::set_tid_address;
    231 exit_group(1) Full "" => process::exit_group;
    273 set_robust_list(2) Full "" => thread::set_robust_list;
    274 get_robust_list(3) Full "" => thread::get_robust_list;
    435 clone3(2) Partial "as clone" => thread::clone3;
    449 futex_waitv(5) Partial "not for words that processes share" => futex::waitv;

    35 nanosleep(2) Full "" => time::nanosleep;
    96 gettimeofday(2) Full "" => time::gettimeofday;
    201 time(1) Full "" => time::time;
    228 clock_gettime(2) Partial "CPU clocks show the time that the program has run" => time::clock_gettime;
    229 clock_getres(2) Full "" => time::clock_getres;
    230 clock_nanosleep(4) Full "" => time::clock_nanosleep;

    57 fork(0) Partial "a new enclave; shared memory becomes two copies" => process::fork;
    58 vfork(0) Full "" => process::vfork;
    59 execve(3) Full "" => exec::execve;
    61 wait4(4) Partial "no resource usage" => children::wait4;
    247 waitid(5) Partial "no resource usage, no process descriptors" => children::waitid;
    322 execveat(5) Partial "AT_EMPTY_PATH needs a path that still leads to the file" => exec::execveat;

    0 read(3) Full "" => file::io::read;
    1 write(3) Full "" => file::io::write;
    2 open(3) Partial "the root directory is read only" => file::open::open;
    3 close(1) Full "" => file::open::close;
    4 stat(2) Full "" => file::stat::stat;
    5 fstat(2) Full "" => file::stat::fstat;
    6 lstat(2) Full "" => file::stat::lstat;
    7 poll(3) Full "" => file::poll::poll;
    8 lseek(3) Partial "no holes are found" => file::io::lseek;
    16 ioctl(3) Partial "FIOASYNC is taken and sends nothing; terminal settings stay inside; FIONREAD of the console is 0 or 1" => file::descriptor::ioctl;
    17 pread64(4) Full "" => file::io::pread64;
    18 pwrite64(4) Full "" => file::io::pwrite64;
    19 readv(3) Full "" => file::io::readv;
    20 writev(3) Full "" => file::io::writev;
    21 access(2) Partial "supplementary groups do not count" => file::stat::access;
    22 pipe(1) Partial "no packets" => file::descriptor::pipe_old;
    23 select(5) Full "" => file::poll::select;
    32 dup(1) Full "" => file::descriptor::dup;
    33 dup2(2) Full "" => file::descriptor::dup2;
    40 sendfile(4) Partial "a copy" => file::transfer::sendfile;
    72 fcntl(3) Partial "deadlocks of waiting locks are not found; pipes hold 64 KiB at most; no leases, no signals" => file::descriptor::fcntl;
    73 flock(2) Full "" => file::lock::flock;
    74 fsync(1) Full "" => file::descriptor::fsync;
    75 fdatasync(1) Full "" => file::descriptor::fdatasync;
    76 truncate(2) Partial "the root directory is read only" => file::names::truncate;
    77 ftruncate(2) Full "" => file::names::ftruncate;
    78 getdents(3) Full "" => file::directory::getdents;
    79 getcwd(2) Full "" => file::directory::getcwd;
    80 chdir(1) Partial "permission to search is not asked for" => file::directory::chdir;
    81 fchdir(1) Partial "permission to search is not asked for" => file::directory::fchdir;
    82 rename(2) Partial "the root directory is read only" => file::names::rename;
    83 mkdir(2) Partial "the root directory is read only" => file::names::mkdir;
    84 rmdir(1) Partial "the root directory is read only" => file::names::rmdir;
    85 creat(2) Partial "the root directory is read only" => file::open::creat;
    86 link(2) Partial "the root directory is read only" => file::names::link;
    87 unlink(1) Partial "the root directory is read only" => file::names::unlink;
    88 symlink(2) Partial "the root directory is read only" => file::names::symlink;
    89 readlink(3) Full "" => file::stat::readlink;
    90 chmod(2) Partial "the root directory is read only" => file::names::chmod;
    91 fchmod(2) Partial "the root directory is read only" => file::names::fchmod;
    92 chown(3) Partial "in memory by anybody; the root directory is read only" => file::names::chown;
    93 fchown(3) Partial "in memory by anybody; the root directory is read only" => file::names::fchown;
    94 lchown(3) Partial "in memory by anybody; the root directory is read only" => file::names::lchown;
    95 umask(1) Full "" => file::descriptor::umask;
    132 utime(2) Partial "the root directory is read only" => file::names::utime;
    133 mknod(3) Refused "no devices and no named pipes are made" => file::refused::not_permitted;
    137 statfs(2) Full "" => file::stat::statfs;
    138 fstatfs(2) Full "" => file::stat::fstatfs;
    161 chroot(1) Refused "the mounts are fixed" => file::refused::not_permitted;
    155 pivot_root(2) Refused "the mounts are fixed" => file::refused::not_permitted;
    162 sync(0) Full "" => file::descriptor::sync;
    165 mount(5) Refused "the mounts are fixed" => file::refused::not_permitted;
    166 umount2(2) Refused "the mounts are fixed" => file::refused::not_permitted;
    187 readahead(3) Full "" => file::transfer::readahead;
    188 setxattr(5) Refused "no file system here has attributes" => file::refused::no_attributes;
    189 lsetxattr(5) Refused "no file system here has attributes" => file::refused::no_attributes_of_link;
    190 fsetxattr(5) Refused "no file system here has attributes" => file::refused::no_attributes_of_file;
    191 getxattr(4) Refused "no file system here has attributes" => file::refused::no_attributes;
    192 lgetxattr(4) Refused "no file system here has attributes" => file::refused::no_attributes_of_link;
    193 fgetxattr(4) Refused "no file system here has attributes" => file::refused::no_attributes_of_file;
    194 listxattr(3) Refused "no file system here has attributes" => file::refused::no_attributes;
    195 llistxattr(3) Refused "no file system here has attributes" => file::refused::no_attributes_of_link;
    196 flistxattr(3) Refused "no file system here has attributes" => file::refused::no_attributes_of_file;
    197 removexattr(2) Refused "no file system here has attributes" => file::refused::no_attributes;
    198 lremovexattr(2) Refused "no file system here has attributes" => file::refused::no_attributes_of_link;
    199 fremovexattr(2) Refused "no file system here has attributes" => file::refused::no_attributes_of_file;
    213 epoll_create(1) Full "" => file::epoll::create;
    217 getdents64(3) Full "" => file::directory::getdents64;
    221 fadvise64(4) Partial "checked, and changes nothing" => file::transfer::fadvise64;
    232 epoll_wait(4) Full "" => file::epoll::wait;
    233 epoll_ctl(4) Partial "instances in instances one level deep; EPOLLEXCLUSIVE wakes everybody" => file::epoll::control;
    235 utimes(2) Partial "the root directory is read only" => file::names::utimes;
    253 inotify_init(0) Partial "only of what this program does; watches are on paths" => file::special::inotify_init;
    254 inotify_add_watch(3) Partial "only of what this program does; watches are on paths" => file::special::inotify_add_watch;
    255 inotify_rm_watch(2) Full "" => file::special::inotify_rm_watch;
    257 openat(4) Partial "the root directory is read only" => file::open::openat;
    258 mkdirat(3) Partial "the root directory is read only" => file::names::mkdirat;
    259 mknodat(4) Refused "no devices and no named pipes are made" => file::refused::not_permitted;
    260 fchownat(5) Partial "in memory by anybody; the root directory is read only" => file::names::fchownat;
    261 futimesat(3) Partial "the root directory is read only" => file::names::futimesat;
    262 newfstatat(4) Full "" => file::stat::newfstatat;
    263 unlinkat(3) Partial "the root directory is read only" => file::names::unlinkat;
    264 renameat(4) Partial "the root directory is read only" => file::names::renameat;
    265 linkat(5) Partial "not from a descriptor alone; the root directory is read only" => file::names::linkat;
    266 symlinkat(3) Partial "the root directory is read only" => file::names::symlinkat;
    267 readlinkat(4) Full "" => file::stat::readlinkat;
    268 fchmodat(3) Partial "the root directory is read only" => file::names::fchmodat;
    269 faccessat(3) Partial "supplementary groups do not count" => file::stat::faccessat;
    270 pselect6(6) Full "" => file::poll::pselect6;
    271 ppoll(5) Full "" => file::poll::ppoll;
    275 splice(6) Partial "a copy; waits for room where bytes have been taken already" => file::transfer::splice;
    276 tee(4) Refused "programs then copy" => file::refused::not_possible;
    277 sync_file_range(4) Full "" => file::transfer::sync_file_range;
    278 vmsplice(4) Partial "a copy" => file::transfer::vmsplice;
    280 utimensat(4) Partial "the root directory is read only" => file::names::utimensat;
    281 epoll_pwait(6) Full "" => file::epoll::pwait;
    284 eventfd(1) Full "" => file::descriptor::eventfd;
    285 fallocate(4) Partial "in memory nothing is set aside" => file::names::fallocate;
    290 eventfd2(2) Full "" => file::descriptor::eventfd2;
    291 epoll_create1(1) Full "" => file::epoll::create1;
    292 dup3(3) Full "" => file::descriptor::dup3;
    293 pipe2(2) Partial "no packets" => file::descriptor::pipe2;
    294 inotify_init1(1) Partial "only of what this program does; watches are on paths" => file::special::inotify_init1;
    295 preadv(5) Full "" => file::io::preadv;
    296 pwritev(5) Full "" => file::io::pwritev;
    300 fanotify_init(2) Refused "files of the host cannot be watched" => file::refused::not_there;
    306 syncfs(1) Full "" => file::descriptor::syncfs;
    316 renameat2(5) Partial "in memory only; no whiteouts" => file::names::renameat2;
    319 memfd_create(2) Partial "no huge pages" => file::open::memfd_create;
    326 copy_file_range(6) Partial "a copy" => file::transfer::copy_file_range;
    327 preadv2(6) Partial "no RWF_NOWAIT, no RWF_APPEND" => file::io::preadv2;
    328 pwritev2(6) Partial "no RWF_NOWAIT, no RWF_APPEND" => file::io::pwritev2;
    332 statx(5) Partial "no birth time, no attributes" => file::stat::statx;
    428 open_tree(3) Refused "the mounts are fixed" => file::refused::not_permitted;
    429 move_mount(5) Refused "the mounts are fixed" => file::refused::not_permitted;
    430 fsopen(2) Refused "the mounts are fixed" => file::refused::not_permitted;
    436 close_range(3) Full "" => file::open::close_range;
    437 openat2(4) Partial "no RESOLVE flags" => file::open::openat2;
    439 faccessat2(4) Partial "supplementary groups do not count" => file::stat::faccessat2;
    441 epoll_pwait2(6) Full "" => file::epoll::pwait2;
    452 fchmodat2(4) Partial "the root directory is read only" => file::names::fchmodat2;

    41 socket(3) Partial "IPv4, IPv6, Unix; no raw and netlink sockets" => net::socket;
    42 connect(3) Partial "Unix sockets of this enclave only" => net::connect;
    43 accept(3) Full "" => net::accept;
    44 sendto(6) Partial "no urgent data" => net::sendto;
    45 recvfrom(6) Partial "no urgent data, no error queue" => net::recvfrom;
    46 sendmsg(3) Partial "descriptors only to Unix sockets of this enclave; no other control data" => net::sendmsg;
    47 recvmsg(3) Partial "descriptors are the only control data" => net::recvmsg;
    48 shutdown(2) Full "" => net::shutdown;
    49 bind(3) Partial "Unix sockets are seen in this enclave only" => net::bind;
    50 listen(2) Full "" => net::listen;
    51 getsockname(3) Full "" => net::getsockname;
    52 getpeername(3) Full "" => net::getpeername;
    53 socketpair(4) Full "" => net::socketpair;
    54 setsockopt(5) Partial "plain numbers and times of sockets, TCP, IP and IPv6; others are ENOPROTOOPT" => net::setsockopt;
    55 getsockopt(5) Partial "plain numbers and times of sockets, TCP, IP and IPv6; others are ENOPROTOOPT" => net::getsockopt;
    288 accept4(4) Full "" => net::accept4;
    299 recvmmsg(5) Partial "as recvmsg" => net::recvmmsg;
    307 sendmmsg(4) Partial "as sendmsg" => net::sendmmsg;

    102 getuid(0) Full "" => identity::getuid;
    104 getgid(0) Full "" => identity::getgid;
    105 setuid(1) Partial "to the same ids only" => identity::setuid;
    106 setgid(1) Partial "to the same ids only" => identity::setgid;
    107 geteuid(0) Full "" => identity::geteuid;
    108 getegid(0) Full "" => identity::getegid;
    109 setpgid(2) Full "" => identity::setpgid;
    110 getppid(0) Full "" => identity::getppid;
    111 getpgrp(0) Full "" => identity::getpgrp;
    112 setsid(0) Full "" => identity::setsid;
    113 setreuid(2) Partial "to the same ids only" => identity::setreuid;
    114 setregid(2) Partial "to the same ids only" => identity::setregid;
    115 getgroups(2) Partial "the effective group only" => identity::getgroups;
    116 setgroups(2) Partial "to the same groups only" => identity::setgroups;
    117 setresuid(3) Partial "to the same ids only" => identity::setresuid;
    118 getresuid(3) Full "" => identity::getresuid;
    119 setresgid(3) Partial "to the same ids only" => identity::setresgid;
    120 getresgid(3) Full "" => identity::getresgid;
    121 getpgid(1) Full "" => identity::getpgid;
    122 setfsuid(1) Partial "changes nothing" => identity::setfsuid;
    123 setfsgid(1) Partial "changes nothing" => identity::setfsgid;
    124 getsid(1) Full "" => identity::getsid;
    125 capget(2) Partial "no capabilities" => identity::capget;
    126 capset(2) Partial "no capabilities" => identity::capset;

    63 uname(1) Full "" => system::uname;
    97 getrlimit(2) Partial "only that of descriptors counts" => system::getrlimit;
    98 getrusage(2) Partial "running time and memory only" => system::getrusage;
    99 sysinfo(1) Partial "no load averages" => system::sysinfo;
    100 times(1) Partial "all time is user time" => system::times;
    103 syslog(3) Refused "the kernel's log is the host's" => file::refused::not_permitted;
    135 personality(1) Partial "PER_LINUX only" => system::personality;
    139 sysfs(3) Refused "obsolete" => file::refused::not_there;
    140 getpriority(2) Full "" => system::getpriority;
    141 setpriority(3) Partial "changes nothing" => system::setpriority;
    142 sched_setparam(2) Partial "SCHED_OTHER only" => system::sched_setparam;
    143 sched_getparam(2) Full "" => system::sched_getparam;
    144 sched_setscheduler(3) Partial "SCHED_OTHER and its like; changes nothing" => system::sched_setscheduler;
    145 sched_getscheduler(1) Full "" => system::sched_getscheduler;
    146 sched_get_priority_max(1) Full "" => system::sched_get_priority_max;
    147 sched_get_priority_min(1) Full "" => system::sched_get_priority_min;
    148 sched_rr_get_interval(2) Full "" => system::sched_rr_get_interval;
    149 mlock(2) Partial "checked, and changes nothing" => system::mlock;
    150 munlock(2) Partial "checked, and changes nothing" => system::mlock;
    151 mlockall(1) Partial "checked, and changes nothing" => system::mlockall;
    152 munlockall(0) Partial "changes nothing" => system::munlockall;
    160 setrlimit(2) Partial "only that of descriptors counts" => system::setrlimit;
    170 sethostname(2) Refused "the name is fixed" => file::refused::not_permitted;
    203 sched_setaffinity(3) Partial "checked, and changes nothing" => system::sched_setaffinity;
    204 sched_getaffinity(3) Full "" => system::sched_getaffinity;
    251 ioprio_set(3) Partial "changes nothing" => system::ioprio_set;
    252 ioprio_get(2) Full "" => system::ioprio_get;
    302 prlimit64(4) Partial "only that of descriptors counts" => system::prlimit64;
    309 getcpu(2) Full "" => system::getcpu;
    318 getrandom(3) Full "" => system::getrandom;
    324 membarrier(2) Partial "MEMBARRIER_CMD_QUERY: no commands" => system::membarrier;
    325 mlock2(3) Partial "checked, and changes nothing" => system::mlock2;
    334 rseq(4) Refused "guest threads change vCPUs without telling" => file::refused::not_there;
}

/// By number.
pub(crate) static CALLS: [Option<&Call>; LIMIT] = {
    let mut calls = [const { None }; LIMIT];
    let mut row = 0;
    while row < ROWS.len() {
        let (number, call) = &ROWS[row];
        assert!(calls[*number].is_none(), "a number is in the table twice");
        calls[*number] = Some(call);
        row += 1;
    }
    calls
};
