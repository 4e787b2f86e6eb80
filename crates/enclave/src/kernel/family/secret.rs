//! What keeps the channel between two enclaves from the host: records under ChaCha20-Poly1305, with a key that only enclaves of
//! this measurement on this machine can have.
//!
//! The key is the processor's: EGETKEY derives it from MRENCLAVE and from a number of which each side has chosen half. Who can
//! open a record is therefore a casemate enclave on this machine, and what it opens was said to it and to nobody else: the host
//! can stop a process from being made, but can neither read it, nor change it, nor make it twice. Not to be told from the
//! sibling is another casemate enclave that the host has started with a program of its own; programs are not measured yet.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

use crate::arch::{cpu, leaves};
use crate::syscall::Errno;

/// Bytes that each side chooses.
pub(super) const CHOICE: usize = 15;

/// Bytes behind a record that prove it.
pub(super) const TAG: usize = 16;

/// One side's key, and how many records there were.
pub(super) struct Secret {
    cipher: ChaCha20Poly1305,
    records: u64,
}

/// A choice. The processor's random numbers, or none: the host must not know it before.
pub(super) fn choose() -> Result<[u8; CHOICE], Errno> {
    let mut choice = [0; CHOICE];
    for part in choice.chunks_mut(8) {
        let random = cpu::random().ok_or(Errno::EAGAIN)?.to_le_bytes();
        part.copy_from_slice(&random[..part.len()]);
    }
    Ok(choice)
}

impl Secret {
    /// The key that belongs to the choices of parent and child.
    pub(super) fn new(parent: [u8; CHOICE], child: [u8; CHOICE]) -> Result<Self, Errno> {
        let mut id = [0; 32];
        id[..CHOICE].copy_from_slice(&parent);
        id[CHOICE..2 * CHOICE].copy_from_slice(&child);
        let mut key = [0; 32];
        for (half, number) in key.chunks_exact_mut(16).zip(1..) {
            id[31] = number;
            half.copy_from_slice(&leaves::seal_key(id).ok_or(Errno::EIO)?);
        }
        Ok(Self { cipher: ChaCha20Poly1305::new(&key.into()), records: 0 })
    }

    fn next(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.records.to_le_bytes());
        self.records += 1;
        nonce
    }

    /// Encrypts a record.
    pub(super) fn seal(&mut self, record: &mut [u8]) -> Result<[u8; TAG], Errno> {
        let nonce = self.next();
        let tag = self.cipher.encrypt_inout_detached(&nonce.into(), &[], record.into());
        tag.map(Into::into).map_err(|_| Errno::EIO)
    }

    /// Decrypts the next record. EIO where the host has touched it.
    pub(super) fn open(&mut self, record: &mut [u8], tag: [u8; TAG]) -> Result<(), Errno> {
        let nonce = self.next();
        let opened = self.cipher.decrypt_inout_detached(&nonce.into(), &[], record.into(), &tag.into());
        opened.map_err(|_| Errno::EIO)
    }
}
