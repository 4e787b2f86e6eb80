//! Options of sockets that a program inside may set or ask for: plain numbers and times, nothing that attaches programs,
//! marks packets or names devices of the host.

use casemate_enclave_abi::errno::Errno;

const SOCKET: &[i32] = &[
    libc::SO_REUSEADDR,
    libc::SO_REUSEPORT,
    libc::SO_KEEPALIVE,
    libc::SO_RCVBUF,
    libc::SO_SNDBUF,
    libc::SO_LINGER,
    libc::SO_BROADCAST,
    libc::SO_OOBINLINE,
    libc::SO_DONTROUTE,
    libc::SO_PRIORITY,
    libc::SO_INCOMING_CPU,
];

/// Only to ask for.
const SOCKET_READ: &[i32] =
    &[libc::SO_ERROR, libc::SO_TYPE, libc::SO_DOMAIN, libc::SO_PROTOCOL, libc::SO_ACCEPTCONN];

const TCP: &[i32] = &[
    libc::TCP_NODELAY,
    libc::TCP_CORK,
    libc::TCP_KEEPIDLE,
    libc::TCP_KEEPINTVL,
    libc::TCP_KEEPCNT,
    libc::TCP_DEFER_ACCEPT,
    libc::TCP_FASTOPEN,
    libc::TCP_USER_TIMEOUT,
    libc::TCP_QUICKACK,
    libc::TCP_MAXSEG,
    libc::TCP_SYNCNT,
    libc::TCP_LINGER2,
    libc::TCP_WINDOW_CLAMP,
    libc::TCP_NOTSENT_LOWAT,
];

const TCP_READ: &[i32] = &[libc::TCP_INFO, libc::TCP_CONGESTION];

const IP: &[i32] = &[
    libc::IP_TOS,
    libc::IP_TTL,
    libc::IP_MTU_DISCOVER,
    libc::IP_FREEBIND,
    libc::IP_BIND_ADDRESS_NO_PORT,
    libc::IP_RECVERR,
    libc::IP_MULTICAST_TTL,
    libc::IP_MULTICAST_LOOP,
    libc::IP_MULTICAST_IF,
    libc::IP_ADD_MEMBERSHIP,
    libc::IP_DROP_MEMBERSHIP,
];

const IPV6: &[i32] = &[
    libc::IPV6_V6ONLY,
    libc::IPV6_UNICAST_HOPS,
    libc::IPV6_TCLASS,
    libc::IPV6_RECVERR,
    libc::IPV6_MTU_DISCOVER,
    libc::IPV6_MULTICAST_HOPS,
    libc::IPV6_MULTICAST_LOOP,
    libc::IPV6_MULTICAST_IF,
    libc::IPV6_ADD_MEMBERSHIP,
    libc::IPV6_DROP_MEMBERSHIP,
];

/// Options of a level that can be set, and that can only be asked for.
fn of(level: i32) -> (&'static [i32], &'static [i32]) {
    match level {
        libc::SOL_SOCKET => (SOCKET, SOCKET_READ),
        libc::IPPROTO_TCP => (TCP, TCP_READ),
        libc::IPPROTO_IP => (IP, &[]),
        libc::IPPROTO_IPV6 => (IPV6, &[]),
        _ => (&[], &[]),
    }
}

fn numbers(level: u64, option: u64) -> Result<(i32, i32), Errno> {
    let numbers = (i32::try_from(level), i32::try_from(option));
    if let (Ok(level), Ok(option)) = numbers { Ok((level, option)) } else { Err(Errno::ENOPROTOOPT) }
}

/// An option that may be set.
pub(super) fn settable(level: u64, option: u64) -> Result<(i32, i32), Errno> {
    let (level, option) = numbers(level, option)?;
    if of(level).0.contains(&option) { Ok((level, option)) } else { Err(Errno::ENOPROTOOPT) }
}

/// An option that may be asked for.
pub(super) fn readable(level: u64, option: u64) -> Result<(i32, i32), Errno> {
    let (level, option) = numbers(level, option)?;
    let (both, read) = of(level);
    if both.contains(&option) || read.contains(&option) {
        Ok((level, option))
    } else {
        Err(Errno::ENOPROTOOPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed() {
        let number = |number: i32| u64::try_from(number).unwrap();
        assert!(settable(number(libc::SOL_SOCKET), number(libc::SO_REUSEADDR)).is_ok());
        assert!(settable(number(libc::SOL_SOCKET), number(libc::SO_ERROR)).is_err());
        assert!(readable(number(libc::SOL_SOCKET), number(libc::SO_ERROR)).is_ok());
        for option in [libc::SO_ATTACH_FILTER, libc::SO_ATTACH_BPF, libc::SO_MARK, libc::SO_BINDTODEVICE] {
            assert_eq!(settable(number(libc::SOL_SOCKET), number(option)), Err(Errno::ENOPROTOOPT));
        }
        assert_eq!(settable(u64::MAX, 1), Err(Errno::ENOPROTOOPT));
    }
}
