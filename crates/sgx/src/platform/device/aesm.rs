//! AESM, Intel's service that owns the quoting enclave: three of its messages, over its socket.
//!
//! A request is a length (four bytes, little-endian) and a protobuf message; so is the answer; one request a connection.
//! Field numbers are those of `psw/ae/aesm_service/source/core/ipc/messages.proto` in Intel's linux-sgx.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::AESM_SOCKET;
use crate::arch::{Report, TargetInfo};
use crate::platform::PlatformError;

/// `Request.initQuoteExReq`, `getQuoteSizeExReq`, `getQuoteExReq`, and their answers in `Response`.
const INIT_QUOTE_EX: u32 = 15;
const GET_QUOTE_SIZE_EX: u32 = 16;
const GET_QUOTE_EX: u32 = 17;

/// How long AESM itself may take, and how long it is waited for.
const TIMEOUT_US: u64 = 30_000_000;
const TIMEOUT: Duration = Duration::from_secs(40);

/// A longer answer is not believed.
const MAX_ANSWER: u32 = 1 << 20;

/// MRSIGNER of Intel's quoting enclave, which signs ECDSA quotes.
const QE_MRSIGNER: [u8; 32] = [
    0x8c, 0x4f, 0x57, 0x75, 0xd7, 0x96, 0x50, 0x3e, 0x96, 0x13, 0x7f, 0x77, 0xc6, 0x8a, 0x82, 0x9a, 0x00,
    0x56, 0xac, 0x8d, 0xed, 0x70, 0x14, 0x0b, 0x08, 0x1b, 0x09, 0x44, 0x90, 0xc5, 0x7b, 0xff,
];

/// `sgx_att_key_id_t` of that enclave's key (`sgx_quote.h`): length of MRSIGNER at 4, MRSIGNER at 6, product 1 at 54,
/// algorithm 2 (ECDSA on P-256) at 154.
fn key_id() -> [u8; 256] {
    let mut id = [0; 256];
    id[4] = 32;
    id[6..38].copy_from_slice(&QE_MRSIGNER);
    id[54] = 1;
    id[154] = 2;
    id
}

fn refuse(problem: &str) -> PlatformError {
    PlatformError::Quote(format!("AESM: {problem}"))
}

/// The target that reports must be made for.
pub(super) fn quoting_target() -> Result<TargetInfo, PlatformError> {
    let mut request = Message::default();
    request.bytes(1, &key_id());
    // b_pub_key_id, buf_size: the digest of the attestation key too.
    request.number(3, 1);
    request.number(4, 32);
    request.number(9, TIMEOUT_US);
    let answer = ask(INIT_QUOTE_EX, &request)?;
    let target = field(&answer, 2).and_then(Value::bytes).ok_or_else(|| refuse("it names no target"))?;
    TargetInfo::read_from_bytes(target).map_err(|_| refuse("its target is not 512 bytes long"))
}

/// A quote of this report.
pub(super) fn quote(report: &Report) -> Result<Vec<u8>, PlatformError> {
    let mut request = Message::default();
    request.bytes(1, &key_id());
    request.number(9, TIMEOUT_US);
    let answer = ask(GET_QUOTE_SIZE_EX, &request)?;
    let size = field(&answer, 2).and_then(Value::number).ok_or_else(|| refuse("it names no size"))?;
    if size > u64::from(MAX_ANSWER) / 2 {
        return Err(refuse("its quote is too long"));
    }
    let mut request = Message::default();
    request.bytes(1, report.as_bytes());
    request.bytes(2, &key_id());
    request.number(4, size);
    request.number(9, TIMEOUT_US);
    let answer = ask(GET_QUOTE_EX, &request)?;
    let quote = field(&answer, 2).and_then(Value::bytes).ok_or_else(|| refuse("it gives no quote"))?;
    Ok(quote.to_vec())
}

/// Sends a request by its number, and returns the answer of the same number, if it says that it succeeded.
fn ask(number: u32, request: &Message) -> Result<Vec<u8>, PlatformError> {
    let stream =
        UnixStream::connect(AESM_SOCKET).map_err(|error| refuse(&format!("{AESM_SOCKET}: {error}")))?;
    let failed = |error: io::Error| refuse(&error.to_string());
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    let answer = exchange(stream, number, request).map_err(failed)?;
    unwrap(&answer, number)
}

fn exchange(mut stream: impl Read + Write, number: u32, request: &Message) -> io::Result<Vec<u8>> {
    let mut envelope = Message::default();
    envelope.bytes(number, &request.0);
    let length = u32::try_from(envelope.0.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(&envelope.0)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_ANSWER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
    }
    let mut answer = Vec::new();
    stream.take(length.into()).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an answer that says that it succeeded.
fn unwrap(answer: &[u8], number: u32) -> Result<Vec<u8>, PlatformError> {
    let body =
        field(answer, number).and_then(Value::bytes).ok_or_else(|| refuse("it answers something else"))?;
    match field(body, 1).and_then(Value::number) {
        Some(0) => Ok(body.to_vec()),
        Some(code) => Err(refuse(&format!("error {code}"))),
        None => Err(refuse("its answer has no error code")),
    }
}

/// A protobuf message that is being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A field of wire type 0.
    fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    /// A field of wire type 2.
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Bytes(_) => None,
        }
    }

    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The last field of this number in a message, as protobuf counts; `None` also where the message is broken.
fn field(message: &[u8], number: u32) -> Option<Value<'_>> {
    let mut rest = message;
    let mut found = None;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Number(take_varint(&mut rest)?),
            1 => Value::Bytes(rest.split_off(..8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                Value::Bytes(rest.split_off(..length)?)
            }
            5 => Value::Bytes(rest.split_off(..4)?),
            _ => return None,
        };
        if tag >> 3 == u64::from(number) {
            found = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A socket that answers what it is told.
    struct Fake {
        answer: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for &mut Fake {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    impl Write for &mut Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn numbers_and_bytes_are_written_as_protobuf_has_them() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.number(15, 0);
        message.bytes(16, &[]);
        // The examples of protobuf's own encoding guide, and a tag of two bytes.
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing\x78\x00\x82\x01\x00");
    }

    #[test]
    fn a_request_is_length_and_message_and_so_is_its_answer() {
        let mut body = Message::default();
        body.number(1, 0);
        body.bytes(2, b"quote");
        let mut answer = Message::default();
        answer.bytes(GET_QUOTE_EX, &body.0);
        let mut framed = u32::try_from(answer.0.len()).unwrap().to_le_bytes().to_vec();
        framed.extend(&answer.0);
        let mut fake = Fake { answer: io::Cursor::new(framed), sent: Vec::new() };
        let mut request = Message::default();
        request.number(9, 1);
        let got = exchange(&mut fake, GET_QUOTE_EX, &request).unwrap();
        assert_eq!(fake.sent, b"\x05\0\0\0\x8a\x01\x02\x48\x01");
        let body = unwrap(&got, GET_QUOTE_EX).unwrap();
        assert_eq!(field(&body, 2), Some(Value::Bytes(b"quote")));
        unwrap(&got, INIT_QUOTE_EX).unwrap_err();
    }

    #[test]
    fn errors_of_the_service_are_errors() {
        let mut body = Message::default();
        body.number(1, 12);
        let mut answer = Message::default();
        answer.bytes(GET_QUOTE_EX, &body.0);
        let error = unwrap(&answer.0, GET_QUOTE_EX).unwrap_err();
        assert_eq!(error.to_string(), "no quote: AESM: error 12");
        let mut fake = Fake { answer: io::Cursor::new(u32::MAX.to_le_bytes().to_vec()), sent: Vec::new() };
        exchange(&mut fake, 15, &Message::default()).unwrap_err();
    }

    #[test]
    fn the_key_is_named_as_gramine_and_intel_name_it() {
        let id = key_id();
        assert_eq!(id[4..6], [32, 0]);
        assert_eq!(id[54..58], [1, 0, 0, 0]);
        assert_eq!(id[154..158], [2, 0, 0, 0]);
        assert_eq!(
            id.iter().filter(|byte| **byte != 0).count(),
            3 + QE_MRSIGNER.iter().filter(|b| **b != 0).count()
        );
    }

    proptest! {
        #[test]
        fn no_answer_is_too_broken(bytes in prop::collection::vec(any::<u8>(), 0..200), number in 0u32..20) {
            let _ = field(&bytes, number);
            let _ = unwrap(&bytes, number);
        }

        #[test]
        fn what_is_written_is_read(number in 1u32..1000, value: u64, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut message = Message::default();
            message.bytes(number + 1, &bytes);
            message.number(number, value);
            prop_assert_eq!(field(&message.0, number), Some(Value::Number(value)));
            prop_assert_eq!(field(&message.0, number + 1), Some(Value::Bytes(&bytes)));
            prop_assert_eq!(field(&message.0, number + 2), None);
        }
    }
}
