//! The channel between two enclaves: a stream of words and bytes, in records, through the host.

use alloc::string::String;
use alloc::vec::Vec;

use casemate_enclave_abi::Op;

use super::secret::{self, CHOICE, Secret, TAG};
use crate::host::{self, Buffer};
use crate::syscall::Errno;

/// Bytes of a record.
const RECORD: usize = 128 * 1024;

/// The longest string that is carried: a file in memory.
const LONGEST: u64 = 128 << 20;

/// One side. 0 is the parent, anything else a child.
#[derive(Debug)]
pub(super) struct Channel {
    child: u64,
}

/// The channel to this enclave's parent.
pub(super) const PARENT: Channel = Channel { child: 0 };

impl Channel {
    /// Starts another enclave: its process id and the channel to it.
    pub(super) fn spawn() -> Result<(u32, Self), Errno> {
        let child = host::call(Op::Spawn, [0; 6])?;
        match u32::try_from(child) {
            // The first process is no child of anybody here.
            Ok(pid) if pid > 1 => Ok((pid, Self { child })),
            _ => Err(Errno::EAGAIN),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> Result<(), Errno> {
        let buffer = Buffer::new(bytes.len().clamp(1, host::TRANSFER))?;
        let mut done = 0;
        while done < bytes.len() {
            let chunk = (bytes.len() - done).min(host::TRANSFER);
            buffer.write(&bytes[done..done + chunk]);
            match host::call(Op::ChannelWrite, [self.child, buffer.offset(), chunk as u64, 0, 0, 0]) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => done += usize::try_from(count).map_err(|_| Errno::EIO)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn read_exact(&self, bytes: &mut [u8]) -> Result<(), Errno> {
        let buffer = Buffer::new(bytes.len().clamp(1, host::TRANSFER))?;
        let mut done = 0;
        while done < bytes.len() {
            let chunk = (bytes.len() - done).min(host::TRANSFER);
            match host::call(Op::ChannelRead, [self.child, buffer.offset(), chunk as u64, 0, 0, 0]) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => {
                    let count = usize::try_from(count).map_err(|_| Errno::EIO)?;
                    buffer.read(&mut bytes[done..done + count]);
                    done += count;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// It, and a channel to nobody in its place.
    pub(super) fn take(&mut self) -> Self {
        core::mem::replace(self, Self { child: 0 })
    }

    /// Passes a file of the host's, in the same order.
    pub(super) fn pass_file(&self, handle: u64) -> Result<(), Errno> {
        host::call(Op::FilePass, [self.child, handle, 0, 0, 0, 0]).map(drop)
    }

    /// Passes a pipe of the host's; they arrive in this order.
    pub(super) fn pass(&self, pipe: u64) -> Result<(), Errno> {
        host::call(Op::ChannelPass, [self.child, pipe, 0, 0, 0, 0]).map(drop)
    }

    /// Passes a socket, likewise.
    pub(super) fn pass_socket(&self, socket: u64) -> Result<(), Errno> {
        host::call(Op::NetPass, [self.child, socket, 0, 0, 0, 0]).map(drop)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.child != 0 {
            // It is only forgotten.
            let _ = host::call(Op::ChannelClose, [self.child, 0, 0, 0, 0, 0]);
        }
    }
}

/// Writes to a channel.
pub(super) struct Writer {
    channel: Channel,
    secret: Option<Secret>,
    record: Vec<u8>,
}

impl Writer {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, secret: None, record: Vec::with_capacity(RECORD + TAG) }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn raw(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(RECORD - self.record.len()));
            self.record.extend_from_slice(first);
            bytes = rest;
            if self.record.len() == RECORD {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Errno> {
        let secret = match &mut self.secret {
            Some(secret) => secret,
            None => {
                let own = secret::choose()?;
                self.channel.write_all(&own)?;
                let mut other = [0; CHOICE];
                self.channel.read_exact(&mut other)?;
                self.secret.insert(Secret::new(own, other)?)
            }
        };
        let length = self.record.len() as u64;
        let tag = secret.seal(&mut self.record)?;
        self.record.extend_from_slice(&tag);
        self.channel.write_all(&length.to_le_bytes())?;
        self.channel.write_all(&self.record)?;
        self.record.clear();
        Ok(())
    }

    pub(super) fn word(&mut self, word: u64) -> Result<(), Errno> {
        self.raw(&word.to_le_bytes())
    }

    pub(super) fn words(&mut self, words: &[u64]) -> Result<(), Errno> {
        words.iter().try_for_each(|word| self.word(*word))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.word(bytes.len() as u64)?;
        self.raw(bytes)
    }

    pub(super) fn strings(&mut self, strings: &[Vec<u8>]) -> Result<(), Errno> {
        self.word(strings.len() as u64)?;
        strings.iter().try_for_each(|string| self.bytes(string))
    }

    /// Sends what is left.
    pub(super) fn finish(&mut self) -> Result<(), Errno> {
        if self.record.is_empty() { Ok(()) } else { self.send() }
    }
}

/// Reads from the channel to the parent.
pub(super) struct Reader {
    secret: Option<Secret>,
    record: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { secret: None, record: Vec::new(), at: 0 }
    }

    fn receive(&mut self) -> Result<(), Errno> {
        let secret = match &mut self.secret {
            Some(secret) => secret,
            None => {
                let mut other = [0; CHOICE];
                PARENT.read_exact(&mut other)?;
                let own = secret::choose()?;
                PARENT.write_all(&own)?;
                self.secret.insert(Secret::new(other, own)?)
            }
        };
        let mut length = [0; 8];
        PARENT.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| Errno::EIO)?;
        if length == 0 || length > RECORD {
            return Err(Errno::EIO);
        }
        self.record.resize(length, 0);
        self.at = 0;
        PARENT.read_exact(&mut self.record)?;
        let mut tag = [0; TAG];
        PARENT.read_exact(&mut tag)?;
        secret.open(&mut self.record, tag)
    }

    pub(super) fn raw(&mut self, mut bytes: &mut [u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            if self.at == self.record.len() {
                self.receive()?;
            }
            let count = bytes.len().min(self.record.len() - self.at);
            let (first, rest) = bytes.split_at_mut(count);
            first.copy_from_slice(&self.record[self.at..self.at + count]);
            self.at += count;
            bytes = rest;
        }
        Ok(())
    }

    pub(super) fn word(&mut self) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        self.raw(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn words<const N: usize>(&mut self) -> Result<[u64; N], Errno> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.word()?;
        }
        Ok(words)
    }

    pub(super) fn length(&mut self) -> Result<usize, Errno> {
        let length = self.word()?;
        if length > LONGEST {
            return Err(Errno::EIO);
        }
        usize::try_from(length).map_err(|_| Errno::EIO)
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Errno> {
        let mut bytes = alloc::vec![0; self.length()?];
        self.raw(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<String, Errno> {
        String::from_utf8(self.bytes()?).map_err(|_| Errno::EIO)
    }

    pub(super) fn strings(&mut self) -> Result<Vec<Vec<u8>>, Errno> {
        (0..self.length()?).map(|_| self.bytes()).collect()
    }

    /// Takes the next file that was passed, which is of this mount.
    pub(super) fn take_file(&self, mount: u64) -> Result<u64, Errno> {
        host::call(Op::FileTake, [mount, 0, 0, 0, 0, 0])
    }

    /// Takes the next pipe that was passed: its handle.
    pub(super) fn take(&self) -> Result<u64, Errno> {
        host::call(Op::ChannelTake, [0; 6])
    }
}
