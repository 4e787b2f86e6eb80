//! What files look like to the program: paths, records, texts, and a file system in memory.
//!
//! Everything here is computed from values: nothing calls the host or touches guest memory, so all of it runs and is
//! tested outside an enclave. The kernel's `fs` puts it to use.
//!
//! | module | what it knows |
//! |---|---|
//! | [`path`] | joining, normalising and following paths |
//! | [`flags`] | `O_`, `POLL` and mode bits |
//! | [`access`] | who may do what by mode bits |
//! | [`records`] | `struct stat`, `statx`, `statfs` and directory entries as bytes |
//! | [`termios`] | what a terminal's settings look like |
//! | [`tmpfs`] | a tree of files in memory |
//! | [`procfs`] | the texts of `/proc` |

pub mod access;
pub mod flags;
pub mod path;
pub mod procfs;
pub mod records;
pub mod termios;
pub mod tmpfs;
