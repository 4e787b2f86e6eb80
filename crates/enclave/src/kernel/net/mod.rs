//! Sockets.
//!
//! | module | what it has |
//! |---|---|
//! | here | the numbers by which host and enclave name sockets, and news from the host |
//! | `inet` | sockets of IPv4 and IPv6, held by the host |
//! | `options` | options that are the enclave's own: time limits, kind and family |
//! | `local` | Unix sockets, which never leave the enclave |
//!
//! What the host says about readiness is a hint, and so is all it writes: bytes from the network are the network's anyway.

mod inet;
mod local;
mod options;

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::poll;
use casemate_enclave_abi::net::{Marks, Slot, Sockets};
use casemate_enclave_abi::start::FLAG_SYNC_CALLS;
use casemate_enclave_abi::{Errno, Layout, Op, Window};
use spin::{Mutex, Once};

pub(crate) use inet::{Shared as InetShared, open as open_inet, take as take_inet};
pub(crate) use local::{open as open_local, pair, take as take_local};

use crate::fs::wait::WaitQueue;
use crate::host;
use crate::process::process;

/// Families of addresses.
pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

/// Kinds of sockets.
pub(crate) const STREAM: u32 = 1;
pub(crate) const DATAGRAM: u32 = 2;
pub(crate) const SEQPACKET: u32 = 5;

/// The region of sockets, and who is told of news.
struct Net {
    sockets: Sockets<'static>,
    incoming: Marks<'static>,
    outgoing: Marks<'static>,
    dirty: Marks<'static>,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    /// By number.
    queues: Vec<Option<Arc<WaitQueue>>>,
    free: Vec<u64>,
}

static NET: Once<Net> = Once::new();

/// Takes the region of sockets into use. `None` where it is not where the layout has it.
pub(crate) fn init(window: Window<'static>, layout: &Layout) -> Option<()> {
    let sockets = Sockets::new(window.region(layout.sockets())?, layout.socket_count())?;
    if sockets.count() > 0 {
        let (incoming, outgoing) = (sockets.incoming()?, sockets.outgoing()?);
        let (dirty, numbers) = (sockets.dirty()?, Mutex::default());
        NET.call_once(|| Net { sockets, incoming, outgoing, dirty, numbers });
    }
    Some(())
}

fn net() -> Result<&'static Net, Errno> {
    NET.get().ok_or(Errno::EAFNOSUPPORT)
}

/// Whether the program has had sockets of the host's.
pub(crate) fn used() -> bool {
    NET.get().is_some_and(|net| !net.numbers.lock().queues.is_empty())
}

/// Tells whoever waits for sockets of which the host says that there is something new.
pub(crate) fn drain() {
    let Some(net) = NET.get() else { return };
    if net.incoming.any() {
        net.incoming.take(|number| {
            net.tell(number, poll::IN | poll::RDNORM | poll::RDHUP | poll::ERR | poll::HUP);
        });
    }
    if net.outgoing.any() {
        net.outgoing.take(|number| net.tell(number, poll::OUT | poll::WRNORM | poll::ERR | poll::HUP));
    }
}

/// Where calls are synchronous: leaves, so that the host does now to a socket, or with [`casemate_enclave_abi::op::NET_ALL`] to all, what it would do
/// in its own time.
pub(crate) fn look_outside(number: u64) {
    if process().start.flags & FLAG_SYNC_CALLS != 0 && used() {
        // A socket that the host does not have, it cannot look at.
        let _ = host::call(Op::NetLook, [number, 0, 0, 0, 0, 0]);
        drain();
    }
}

impl Net {
    fn tell(&self, number: u64, events: u32) {
        let queue = {
            let numbers = self.numbers.lock();
            usize::try_from(number).ok().and_then(|number| numbers.queues.get(number)?.clone())
        };
        if let Some(queue) = queue {
            queue.wake_for(events);
        }
    }
}

/// Has the host look at the streams of a socket the next time that it looks at any.
fn mark(number: u64) {
    if let Some(net) = NET.get() {
        net.dirty.set(number);
    }
}

/// The number of a socket, while that lives.
struct Number {
    number: u64,
    /// The host has a socket of this number.
    held: bool,
    /// What is woken at news of it.
    queue: Arc<WaitQueue>,
    slot: Slot<'static>,
}

impl Number {
    /// A free one.
    ///
    /// # Errors
    /// ENFILE: there is none.
    fn new() -> Result<Self, Errno> {
        let net = net()?;
        let queue = Arc::new(WaitQueue::default());
        let mut numbers = net.numbers.lock();
        let number = match numbers.free.pop() {
            Some(number) => number,
            None => {
                let number = numbers.queues.len() as u64;
                if number >= net.sockets.count() {
                    return Err(Errno::ENFILE);
                }
                numbers.queues.push(None);
                number
            }
        };
        let slot = net.sockets.slot(number).ok_or(Errno::ENFILE)?;
        let place = usize::try_from(number).map_err(|_| Errno::ENFILE)?;
        numbers.queues[place] = Some(Arc::clone(&queue));
        Ok(Self { number, held: false, queue, slot })
    }

    /// Has the host close it. `reset`: without what is still to be sent.
    fn close(&mut self, reset: bool) {
        if core::mem::take(&mut self.held) {
            // What the host makes of it is its own time.
            let _ = host::call(Op::NetClose, [self.number, reset.into(), 0, 0, 0, 0]);
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.close(false);
        if let Some(net) = NET.get() {
            let mut numbers = net.numbers.lock();
            if let Some(place) =
                usize::try_from(self.number).ok().and_then(|number| numbers.queues.get_mut(number))
            {
                *place = None;
            }
            numbers.free.push(self.number);
        }
    }
}
