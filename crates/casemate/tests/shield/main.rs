//! `casemate run`: real programs inside an emulated enclave say what they say natively, and end as they end natively.

mod alone;
mod command;
mod files;
mod options;
mod processes;
mod programs;
mod shared;
mod shared_sockets;
mod sockets;
mod threads;
