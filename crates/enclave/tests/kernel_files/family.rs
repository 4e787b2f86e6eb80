//! A process without a family.

pub(crate) mod news {
    pub(crate) fn look() {}
}

pub(crate) mod vfork {
    pub(crate) fn parent() -> Option<u64> {
        None
    }

    pub(crate) fn note_group(_: u64, _: u64, _: u64) -> bool {
        false
    }
}
