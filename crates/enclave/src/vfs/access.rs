//! Permission by mode bits, as `generic_permission` of fs/namei.c has it.

/// Read permission, as access(2) asks for it.
pub const READ: u32 = 4;
/// Write permission.
pub const WRITE: u32 = 2;
/// Permission to execute, or to go through a directory.
pub const EXECUTE: u32 = 1;

/// Whether someone with these ids has all permissions of `wanted` ([`READ`], [`WRITE`], [`EXECUTE`]) on a file. User 0
/// has every permission but to execute a file that nobody may execute.
#[must_use]
pub const fn allowed(mode: u32, owner: (u32, u32), user: u32, group: u32, wanted: u32) -> bool {
    let wanted = wanted & 7;
    if user == 0 {
        let directory = mode & super::flags::mode::TYPE == super::flags::mode::DIRECTORY;
        return wanted & EXECUTE == 0 || directory || mode & 0o111 != 0;
    }
    let bits = if user == owner.0 {
        mode >> 6
    } else if group == owner.1 {
        mode >> 3
    } else {
        mode
    };
    wanted & !bits & 7 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_fits_decides() {
        assert!(allowed(0o100_400, (7, 8), 7, 1, READ));
        assert!(!allowed(0o100_044, (7, 8), 7, 8, READ));
        assert!(allowed(0o100_040, (7, 8), 1, 8, READ));
        assert!(!allowed(0o100_706, (7, 8), 1, 8, READ));
        assert!(allowed(0o100_005, (7, 8), 1, 1, READ | EXECUTE));
        assert!(!allowed(0o100_005, (7, 8), 1, 1, WRITE));
    }

    #[test]
    fn root_executes_what_somebody_may_execute() {
        assert!(allowed(0o100_000, (7, 8), 0, 0, READ | WRITE));
        assert!(!allowed(0o100_666, (7, 8), 0, 0, EXECUTE));
        assert!(allowed(0o100_001, (7, 8), 0, 0, EXECUTE));
        assert!(allowed(0o040_000, (7, 8), 0, 0, EXECUTE));
    }
}
