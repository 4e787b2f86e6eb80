//! Who the program is, and what the machine is.

use crate::calls::*;
use crate::process::PID;
use crate::syscall::{Errno, identity as id, system};

#[test]
fn ids_stay() {
    let _alone = alone();
    assert_eq!(call(id::getuid, []), Ok(1000));
    assert_eq!(call(id::getppid, []), Ok(77));
    assert_eq!(call(id::setuid, [1000]), Ok(0));
    assert_eq!(call(id::setuid, [0]), Err(Errno::EPERM));
    assert_eq!(call(id::setresuid, [u64::MAX, 1000, u64::MAX]), Ok(0));
    assert_eq!(call(id::setresuid, [u64::MAX, 0, u64::MAX]), Err(Errno::EPERM));
    assert_eq!(call(id::getsid, [0]), Ok(PID.into()));
    assert_eq!(call(id::getpgid, [1]), Err(Errno::ESRCH));
    assert_eq!(call(id::setsid, []), Err(Errno::EPERM));
    let mut groups = [0_u32; 4];
    assert_eq!(call(id::getgroups, [4, at_mut(&mut groups)]), Ok(1));
    assert_eq!(groups[0], 1000);
    let (mut header, mut sets) = ([0_u32; 2], [7_u32; 6]);
    assert_eq!(call(id::capget, [at_mut(&mut header), 0]), Ok(0));
    assert_eq!(header[0], 0x2008_0522);
    assert_eq!(call(id::capget, [at_mut(&mut header), at_mut(&mut sets)]), Ok(0));
    assert_eq!(sets, [0; 6]);
    sets[0] = 1;
    assert_eq!(call(id::capset, [at(&header), at(&sets)]), Err(Errno::EPERM));
}

#[test]
fn the_machine() {
    let _alone = alone();
    let mut names = [0_u8; 390];
    assert_eq!(call(system::uname, [at_mut(&mut names)]), Ok(0));
    assert!(
        names.starts_with(b"Linux\0")
            && names[130..].starts_with(b"6.1.0\0")
            && names[260..].starts_with(b"x86_64\0")
    );
    let mut mask = [0_u64; 2];
    assert_eq!(call(system::sched_getaffinity, [0, 16, at_mut(&mut mask)]), Ok(8));
    assert_eq!(mask[0], 0xf);
    assert_eq!(call(system::sched_getaffinity, [0, 7, at_mut(&mut mask)]), Err(Errno::EINVAL));
    assert_eq!(call(system::sched_getaffinity, [5, 8, at_mut(&mut mask)]), Err(Errno::ESRCH));
    assert_eq!(call(system::sched_setaffinity, [0, 8, at(&0x10_u64)]), Err(Errno::EINVAL));
    let mut words = [0_u64; 14];
    assert_eq!(call(system::sysinfo, [at_mut(&mut words)]), Ok(0));
    assert_eq!((words[4], words[5], words[13]), (64 << 20, 63 << 20, 1));
    let mut random = [0_u8; 10_000];
    assert_eq!(call(system::getrandom, [at_mut(&mut random), 10_000, 0]), Ok(10_000));
    assert!(random[9_900..].iter().any(|byte| *byte != 0));
    assert_eq!(call(system::getrandom, [at_mut(&mut random), 1, 6]), Err(Errno::EINVAL));
    assert_eq!(call(system::getrandom, [0, 1, 0]), Err(Errno::EFAULT));
    assert_eq!(call(system::getrlimit, [16, 0]), Err(Errno::EINVAL));
    assert_eq!(call(system::getpriority, [0, 0]), Ok(20));
    assert_eq!(call(system::membarrier, [0, 0]), Ok(0));
}
