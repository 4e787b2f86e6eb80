//! Clients that know what every answer has to be.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Redis,
    Memcached,
    Http,
}

/// How many files the web servers have.
pub(crate) const FILES: u64 = 8;

/// How long an answer may take; longer counts as a hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers that look random, the same in every run (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below a limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Bytes that a seed stands for, of any kind and length.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed.wrapping_add(1));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The content of a web server's file: empty, small, and up to some MiB.
pub(crate) fn file(number: u64) -> Vec<u8> {
    const LENGTHS: [usize; 8] = [0, 1, 612, 4096, 16_384, 100_000, 1_000_003, 4_194_304];
    bytes(number, LENGTHS[usize::try_from(number % FILES).unwrap_or(0)])
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    protocol: Protocol,
    numbers: Numbers,
    id: u64,
}

pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)
        .context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Client {
    pub(crate) fn new(protocol: Protocol, port: u16, id: u64) -> Result<Self> {
        Ok(Self { stream: BufReader::new(connect(port)?), protocol, numbers: Numbers::new(id), id })
    }

    /// Asks for something and checks every byte of the answer.
    pub(crate) fn round(&mut self) -> Result<()> {
        match self.protocol {
            Protocol::Redis => self.redis(),
            Protocol::Memcached => self.memcached(),
            Protocol::Http => {
                let number = self.numbers.below(FILES);
                // Mostly small ones.
                let mostly = self.numbers.below(8) > 0;
                self.get(if number > 5 && mostly { number - 4 } else { number })
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("cannot send")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).context("no answer")?;
        ensure!(line.ends_with(b"\r\n"), "the answer ends in the middle of a line");
        line.truncate(line.len() - 2);
        String::from_utf8(line).context("an answer that is no text")
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line == wanted, "wrong answer {line:?} instead of {wanted:?}");
        Ok(())
    }

    fn body(&mut self, wanted: &[u8], end: &[u8]) -> Result<()> {
        let mut body = vec![0; wanted.len() + end.len()];
        self.stream.read_exact(&mut body).context("no answer")?;
        let (body, rest) = body.split_at(wanted.len());
        ensure!(body == wanted && rest == end, "wrong bytes in an answer of {}", wanted.len());
        Ok(())
    }

    /// A key of this client alone, and a value for it.
    fn pair(&mut self) -> (String, Vec<u8>) {
        let numbers = &mut self.numbers;
        let key = format!("casemate:{}:{}", self.id, numbers.below(100));
        let longest = if numbers.below(20) == 0 { 60_000 } else { 600 };
        let length = usize::try_from(numbers.below(longest)).unwrap_or(0);
        (key, bytes(numbers.next(), length))
    }

    fn redis(&mut self) -> Result<()> {
        let (key, value) = self.pair();
        let mut set =
            format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len()).into_bytes();
        set.extend_from_slice(&value);
        set.extend_from_slice(b"\r\n");
        self.send(&set)?;
        self.expect("+OK")?;
        self.send(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes())?;
        self.expect(&format!("${}", value.len()))?;
        self.body(&value, b"\r\n")
    }

    fn memcached(&mut self) -> Result<()> {
        let (key, value) = self.pair();
        let mut set = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        set.extend_from_slice(&value);
        set.extend_from_slice(b"\r\n");
        self.send(&set)?;
        self.expect("STORED")?;
        self.send(format!("get {key}\r\n").as_bytes())?;
        self.expect(&format!("VALUE {key} 0 {}", value.len()))?;
        self.body(&value, b"\r\nEND\r\n")
    }

    /// A file of a web server, on a connection that stays open.
    pub(crate) fn get(&mut self, number: u64) -> Result<()> {
        self.send(format!("GET /file{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let status = self.line()?;
        ensure!(status == "HTTP/1.1 200 OK", "wrong answer {status:?}");
        let mut length = None;
        let mut closes = false;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            }
            closes |= line == "connection: close";
        }
        let wanted = file(number);
        if length != Some(wanted.len()) {
            bail!("wrong length {length:?} instead of {}", wanted.len());
        }
        self.body(&wanted, b"")?;
        if closes {
            // The server allows only so many requests a connection.
            let port = self.stream.get_ref().peer_addr()?.port();
            self.stream = BufReader::new(connect(port)?);
        }
        Ok(())
    }
}

/// Half of a request, by a client that then goes away.
pub(crate) fn half_a_request(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Redis => b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100000\r\nnot all of it",
        Protocol::Memcached => b"set half 0 0 100000\r\nnot all of it",
        Protocol::Http => b"GET /file7 HTTP/1.1\r\nHost: local",
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, bytes, file};

    #[test]
    fn the_same_seed_is_the_same_bytes() {
        assert_eq!(bytes(7, 1000), bytes(7, 1000));
        assert_ne!(bytes(7, 1000), bytes(8, 1000));
        assert_eq!(bytes(7, 13).len(), 13);
        assert!((0..FILES).map(|number| file(number).len()).is_sorted());
    }
}
