//! The processor.

#[path = "../../src/kernel/arch/frame.rs"]
pub(crate) mod frame;

pub(crate) mod cpu {
    /// Not random; different each time.
    pub(crate) fn random() -> Option<u64> {
        static NEXT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(1);
        let next = NEXT.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        Some(next.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

pub(crate) mod vcpu {
    pub(crate) struct Vcpu;

    impl Vcpu {
        pub(crate) fn index() -> usize {
            0
        }
    }
}
