//! Calls about sockets.

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::net::{MAX_ADDRESS, MESSAGE_BYTES, Message};
use casemate_enclave_abi::op::Op;

use super::{Server, Service, count};

/// The longest value of an option.
const MAX_VALUE: u64 = 1024;

impl Server {
    /// A call about sockets.
    pub(super) fn net_call(&mut self, op: Op, args: [u64; 6]) -> Result<u64, Errno> {
        let [a, b, c, d, e, _] = args;
        let service = std::sync::Arc::clone(&self.service);
        let net = &service.net;
        match op {
            Op::NetSocket => net.socket(a, b, c, d)?,
            Op::NetBind => net.bind(a, &service.address(b, c)?)?,
            Op::NetListen => net.listen(a, b)?,
            Op::NetAccept => {
                let out = service.out(c, MESSAGE_BYTES)?;
                let message = net.accept(a, b)?;
                service.put(out.0, &message)?;
            }
            Op::NetConnect => net.connect(a, &service.address(b, c)?)?,
            Op::NetName => service.put(c, &net.name(a, b != 0)?)?,
            Op::NetSetOption if e > MAX_VALUE => return Err(Errno::EINVAL),
            Op::NetSetOption => net.set_option(a, b, c, &service.bytes(d, e)?)?,
            Op::NetGetOption => {
                return self.fill(d, e.min(MAX_VALUE), |value| net.option(a, b, c, value));
            }
            Op::NetSend => {
                let address = service.address(d, e)?;
                return net.send(a, &service.bytes(b, c)?, &address).and_then(count);
            }
            Op::NetReceive => {
                let out = service.out(d, MESSAGE_BYTES)?;
                return self.fill(b, c, |buffer| {
                    let (length, message) = net.receive(a, buffer, e != 0)?;
                    service.put(out.0, &message)?;
                    Ok(length)
                });
            }
            Op::NetClose => net.close(a, b != 0)?,
            Op::NetShutdown => net.shutdown(a, b)?,
            Op::NetPass => service.family.pass_descriptor(a, &net.to_pass(b)?)?,
            Op::NetTake => net.take(a, b, service.family.take_descriptor()?)?,
            Op::NetLook => net.look(a)?,
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }
}

impl Service {
    /// A socket's address.
    fn address(&self, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
        match usize::try_from(length) {
            Ok(length) if length <= MAX_ADDRESS => {}
            _ => return Err(Errno::EINVAL),
        }
        if length == 0 { Ok(Vec::new()) } else { self.bytes(offset, length) }
    }

    /// Writes a message to the arena.
    fn put(&self, offset: u64, message: &Message) -> Result<(), Errno> {
        let out = self.out(offset, MESSAGE_BYTES)?;
        message.write(self.window, out).map_err(|_| Errno::EFAULT)
    }
}
