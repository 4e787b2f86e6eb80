//! The command under test, and how what it says and how it ends are compared.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Where servers are found.
pub(crate) const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
pub(crate) const PYTHON: &str = "/usr/bin/python3";

pub(crate) const CASEMATE: &str = env!("CARGO_BIN_EXE_casemate");

/// `casemate`.
pub(crate) fn casemate() -> Command {
    Command::new(CASEMATE)
}

/// `casemate run` of a program on the emulated platform, without input.
pub(crate) fn shielded<S: AsRef<OsStr>>(options: &[&str], program: &[S]) -> Command {
    let mut command = casemate();
    command.args(["run", "--platform", "emulated"]).args(options).arg("--").args(program);
    command.current_dir("/").stdin(Stdio::null());
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code or signal. Natively there may be a core file besides; that is the machine's setting.
pub(crate) fn end(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    (status.code(), status.signal())
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("its number").port()
}

/// A server that is ended when the test is over.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
