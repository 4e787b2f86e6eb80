//! The program's processes: each in an enclave of its own.
//!
//! | module | what it has |
//! |---|---|
//! | `halt` | stopping the other threads, at safe points |
//! | `exec` | execve(2) in place |
//! | `fork` | fork(2): another enclave, which gets a copy of everything |
//! | `vfork` | vfork(2): a child on its parent's thread and memory until it executes a program, in another enclave |
//! | `export`, `import` | what goes to that other enclave, and what becomes of it there |
//! | `channel`, `secret` | how it goes there, and how that is kept from the host |
//! | `children`, `news` | waiting for children, and signals from outside |
//!
//! Process ids, process groups and exit statuses are the host's: it could lie about them, as about everything that only
//! concerns when a program runs.

mod channel;
pub(crate) mod children;
pub(crate) mod exec;
mod export;
pub(crate) mod fork;
pub(crate) mod halt;
pub(crate) mod import;
pub(crate) mod news;
mod secret;
pub(crate) mod vfork;
