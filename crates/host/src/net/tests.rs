//! Connections of a program that is played here, with a client of this process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;

use casemate_enclave_abi::net::CAPACITY;
use casemate_enclave_abi::{StreamError, StreamReader, StreamWriter};

use super::*;
use crate::clock::monotonic_ns;
use crate::window::SharedWindow;

struct Enclave {
    net: Net,
    sockets: Sockets<'static>,
}

type Ends = (StreamReader<'static>, StreamWriter<'static>);

impl Enclave {
    fn new() -> Self {
        let layout = Layout::new(1, 4096, 4096).unwrap().with_sockets(8).unwrap();
        let window = SharedWindow::new(layout).unwrap();
        let sockets = Sockets::new(window.window().region(layout.sockets()).unwrap(), 8).unwrap();
        Self { net: Net::new(window.window(), &layout).unwrap(), sockets }
    }

    /// Parks for a short time; clears what there was to look at.
    fn park(&self) {
        assert!(self.net.park(0, 0, monotonic_ns() + 50_000_000));
        self.sockets.incoming().unwrap().take(|_| {});
        self.sockets.outgoing().unwrap().take(|_| {});
    }

    fn ends(&self, index: u64) -> Ends {
        let reader = StreamReader::new(self.sockets.receive(index).unwrap(), CAPACITY).unwrap();
        let writer = StreamWriter::new(self.sockets.send(index).unwrap(), CAPACITY).unwrap();
        (reader, writer)
    }

    /// A connection under number 1, by a socket that listens under number 0; and its client.
    fn connected(&self) -> (Ends, TcpStream) {
        self.net.socket(0, 2, 1, 0).unwrap();
        let mut address = [0; 16];
        address[0] = 2;
        address[4..8].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        self.net.bind(0, &address).unwrap();
        self.net.listen(0, 8).unwrap();
        assert_eq!(self.net.accept(0, 1), Err(Errno::EAGAIN));
        let name = self.net.name(0, false).unwrap();
        let port = u16::from_be_bytes([name.address()[2], name.address()[3]]);
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        self.park();
        assert_ne!(self.sockets.slot(0).unwrap().incoming.load(Ordering::Relaxed), 0);
        let ends = self.ends(1);
        let message = self.net.accept(0, 1).unwrap();
        self.sockets.slot(1).unwrap().asked.store(1, Ordering::SeqCst);
        assert!(!message.more);
        assert_eq!(message.address()[4..8], Ipv4Addr::LOCALHOST.octets());
        (ends, client)
    }
}

#[test]
fn bytes_come_back_as_they_were_sent() {
    let enclave = Enclave::new();
    let ((mut reader, mut writer), mut client) = enclave.connected();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let expected = sent.clone();
    let mut half = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        half.write_all(&sent).unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let receiver = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    let dirty = enclave.sockets.dirty().unwrap();
    let slot = enclave.sockets.slot(1).unwrap();
    let mut waiting = Vec::new();
    let mut buffer = vec![0; 10_007];
    let mut ended = false;
    while !ended || !waiting.is_empty() {
        match reader.read(&mut buffer) {
            Ok(0) => ended = true,
            Ok(count) => waiting.extend_from_slice(&buffer[..count]),
            Err(StreamError::WouldBlock) => {}
            Err(error) => panic!("{error}"),
        }
        if slot.want_read.load(Ordering::Relaxed) != 0 {
            dirty.set(1);
        }
        match writer.write(&waiting) {
            Ok(count) => drop(waiting.drain(..count)),
            Err(StreamError::WouldBlock) => slot.want_room.store(1, Ordering::SeqCst),
            Err(error) => panic!("{error}"),
        }
        dirty.set(1);
        enclave.park();
    }
    writer.finish();
    // What was not sent yet goes out by itself.
    enclave.net.close(1, false).unwrap();
    while !receiver.is_finished() {
        enclave.park();
    }
    sender.join().unwrap();
    assert!(receiver.join().unwrap() == expected);
    assert_eq!(enclave.net.close(1, false), Err(Errno::EBADF));
}

#[test]
fn a_reset_connection_is_reset() {
    let enclave = Enclave::new();
    let (_ends, mut client) = enclave.connected();
    client.write_all(b"unread").unwrap();
    enclave.park();
    enclave.net.close(1, true).unwrap();
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn what_there_is_not_is_refused() {
    let Enclave { net, .. } = Enclave::new();
    assert_eq!(net.socket(8, 2, 1, 0), Err(Errno::EBADF));
    assert_eq!(net.socket(u64::MAX, 2, 1, 0), Err(Errno::EBADF));
    // AF_UNIX, AF_NETLINK, AF_PACKET; SOCK_RAW.
    for family in [1, 16, 17, u64::MAX] {
        assert_eq!(net.socket(0, family, 1, 0), Err(Errno::EAFNOSUPPORT));
    }
    assert_eq!(net.socket(0, 2, 3, 0), Err(Errno::ESOCKTNOSUPPORT));
    net.socket(0, 2, 1, 0).unwrap();
    assert_eq!(net.socket(0, 2, 1, 0), Err(Errno::EBADF));
    assert_eq!(net.connect(0, b"\x01\0/etc/x"), Err(Errno::EAFNOSUPPORT));
    assert_eq!(net.connect(0, b"\x02"), Err(Errno::EINVAL));
    assert_eq!(net.bind(1, &[2; 16]), Err(Errno::EBADF));
    assert_eq!(net.receive(0, &mut [0; 8], false).unwrap_err(), Errno::ENOTCONN);
}
