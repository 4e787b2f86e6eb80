//! When the kernel cannot go on: tell the host, and never come back.

use core::fmt::Write as _;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::host;

/// A message of bounded length, without allocation.
struct Message {
    bytes: [u8; 512],
    length: usize,
}

impl core::fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}

/// A vCPU has panicked: what the kernel holds may be half made, and no vCPU goes on.
static DEAD: AtomicBool = AtomicBool::new(false);

/// Ends this vCPU's stay where another one has panicked.
pub(crate) fn stop_if_dead() {
    if DEAD.load(Ordering::SeqCst) {
        host::fatal(b"")
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    DEAD.store(true, Ordering::SeqCst);
    let mut message = Message { bytes: [0; 512], length: 0 };
    // Writing to a `Message` cannot fail.
    let _ = write!(message, "{info}");
    host::fatal(&message.bytes[..message.length])
}
