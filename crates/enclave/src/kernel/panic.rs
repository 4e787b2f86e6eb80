//! When the kernel cannot go on: tell the host, and never come back.

use core::fmt::Write as _;
use core::panic::PanicInfo;

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

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut message = Message { bytes: [0; 512], length: 0 };
    // Writing to a `Message` cannot fail.
    let _ = write!(message, "{info}");
    host::fatal(&message.bytes[..message.length])
}
