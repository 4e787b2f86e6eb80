//! A vCPU: a TCS and the host thread that enters by it, again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use casemate_enclave_abi::elrange;
use casemate_enclave_abi::{Control, Event, Exit, ExitStatus, RingError};
use casemate_sgx::arch::Vector;
use casemate_sgx::platform::{EnterLeaf, Exception, Exit as Leave, Registers};

use crate::clock::ClockPage;
use crate::error::RunError;
use crate::ops::Service;
use crate::preempt::Preemption;
use crate::raw::entry::enter;
use crate::stats::Counters;
use crate::window::SharedWindow;
use crate::workers::Workers;

/// What all vCPUs of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) window: SharedWindow,
    pub(crate) service: Arc<Service>,
    pub(crate) clock: ClockPage,
    pub(crate) preemption: Preemption,
    pub(crate) counters: Arc<Counters>,
    pub(crate) workers: Arc<Workers>,
    /// The other vCPUs have been started.
    started: AtomicBool,
    outcome: Sender<Result<ExitStatus, RunError>>,
}

impl Shared {
    pub(crate) fn new(
        window: SharedWindow,
        service: Arc<Service>,
        clock: ClockPage,
        workers: Arc<Workers>,
        counters: Arc<Counters>,
        outcome: Sender<Result<ExitStatus, RunError>>,
    ) -> Self {
        let (preemption, started) = (Preemption::default(), AtomicBool::new(false));
        Self { window, service, clock, preemption, counters, workers, started, outcome }
    }
}

/// Starts the thread of a vCPU. It never ends before the process does, unless the program has.
///
/// # Errors
/// The kernel has no thread for it, or the window has no such vCPU.
pub(crate) fn start(shared: &Arc<Shared>, index: u64) -> Result<(), RunError> {
    let vcpu = Vcpu::new(Arc::clone(shared), index)?;
    let thread = move || {
        let ending = Ending { shared: Arc::clone(&vcpu.shared), index };
        let result = vcpu.run();
        // Nobody listens after the first outcome.
        let _ = ending.shared.outcome.send(result);
    };
    std::thread::Builder::new()
        .name(format!("vcpu{index}"))
        .spawn(thread)
        .map_err(|source| RunError::system("a thread for a vCPU", source))?;
    Ok(())
}

/// Says so when a vCPU's thread ends in a panic, where that does not end the process.
struct Ending {
    shared: Arc<Shared>,
    index: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = RunError::Enclave { vcpu: self.index, problem: "its host thread panicked".into() };
            let _ = self.shared.outcome.send(Err(error));
        }
    }
}

/// One vCPU, on its thread.
#[derive(Debug)]
struct Vcpu {
    index: u64,
    tcs: u64,
    shared: Arc<Shared>,
    control: Control<'static>,
}

impl Vcpu {
    fn new(shared: Arc<Shared>, index: u64) -> Result<Self, RunError> {
        let window = shared.window.window();
        let control = || Control::new(window.region(shared.window.layout().vcpu(index)?.control)?);
        let control = control().ok_or_else(|| RunError::Enclave {
            vcpu: index,
            problem: "the window has no such vCPU".into(),
        })?;
        let tcs = shared.service.enclave.base().saturating_add(elrange::vcpu_block(index));
        let tcs = tcs.saturating_add(elrange::vcpu::TCS);
        Ok(Self { index, tcs, shared, control })
    }

    /// Runs the vCPU until the program ends or something goes wrong.
    fn run(mut self) -> Result<ExitStatus, RunError> {
        self.shared.preemption.register(self.control);
        self.shared.workers.enter();
        loop {
            match self.stay()? {
                Exit::Serve => {
                    self.shared.workers.serve(self.index).map_err(|error| self.ring(error))?;
                }
                Exit::Park { deadline_ns, wake } => {
                    self.shared.counters.parks.add();
                    self.shared.workers.leave();
                    self.park(wake, deadline_ns);
                    self.shared.workers.enter();
                }
                Exit::Ready => self.start_others()?,
                Exit::Exit(status) => {
                    self.shared.service.net.settle();
                    return Ok(status);
                }
                Exit::Fatal { message_len } => return Err(self.last_words(message_len)),
                Exit::Handled => return Err(self.wrong("it left by Handled without an exception")),
            }
            self.shared.clock.refresh();
        }
    }

    /// Enters, and returns when the enclave wants something. Exceptions meanwhile are the enclave's to handle: it is
    /// entered on top of the interrupted frame, and resumed.
    fn stay(&mut self) -> Result<Exit, RunError> {
        let window = self.shared.window;
        let mut leaf = EnterLeaf::Enter;
        let mut registers =
            Registers { rdi: window.address(), rsi: window.layout().total(), ..Registers::default() };
        let mut handling: Option<Exception> = None;
        let mut refused = 0;
        loop {
            self.control.inside.store(1, Ordering::Relaxed);
            let left = enter(&*self.shared.service.enclave, self.tcs, leaf, registers);
            self.control.inside.store(0, Ordering::Relaxed);
            self.shared.counters.enters.add();
            match left? {
                Leave::Exited(Registers { rdi, rsi, rdx, .. }) => {
                    refused = 0;
                    match Exit::from_registers([rdi, rsi, rdx])? {
                        // After a preemption, too, whose entry was made where the signal arrived.
                        Exit::Handled => {
                            handling = None;
                            (leaf, registers) = (EnterLeaf::Resume, Registers::default());
                        }
                        Exit::Fatal { message_len } => return Err(self.last_words(message_len)),
                        exit => match handling {
                            None => return Ok(exit),
                            Some(exception) => {
                                let problem = format!(
                                    "it left by {exit:?} instead of handling {}",
                                    describe(exception)
                                );
                                return Err(self.wrong(problem));
                            }
                        },
                    }
                }
                Leave::Exception(exception) => {
                    self.shared.counters.exceptions.add();
                    if exception.leaf == EnterLeaf::Enter {
                        // No frame was free for a preemption, which came while an exception was handled: go on with what it
                        // interrupted. A refusal that means something repeats at once.
                        refused += 1;
                        if exception.vector != Vector::GP.0 || refused > 3 {
                            return Err(self.wrong(format!("it cannot be entered: {}", describe(exception))));
                        }
                        (leaf, registers) = (EnterLeaf::Resume, Registers::default());
                        continue;
                    }
                    if let Some(first) = handling {
                        let problem = format!("{} while it handled {}", describe(exception), describe(first));
                        return Err(self.wrong(problem));
                    }
                    handling = Some(exception);
                    leaf = EnterLeaf::Enter;
                    registers = Registers { rdi: Event::Exception.into(), ..Registers::default() };
                }
            }
        }
    }

    /// Sleeps, or waits for the events of sockets, where nobody else does.
    fn park(&self, wake: u64, deadline_ns: u64) {
        let service = &self.shared.service;
        if !(service.net.used() && service.net.park(self.index, wake, deadline_ns)) {
            service.parking.park(self.index, wake, deadline_ns);
        }
    }

    /// The enclave is set up: gives it its other vCPUs.
    fn start_others(&self) -> Result<(), RunError> {
        if self.shared.started.swap(true, Ordering::Relaxed) {
            return Err(self.wrong("it said twice that it is ready"));
        }
        for index in 1..self.shared.window.layout().vcpus() {
            start(&self.shared, index)?;
        }
        Ok(())
    }

    /// What the enclave kernel left to say.
    fn last_words(&self, length: u64) -> RunError {
        let window = self.shared.window;
        let bytes = window.bytes(window.layout().panic(), length);
        let text = String::from_utf8_lossy(&bytes);
        // It goes to a terminal, and the enclave is not to be trusted.
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        RunError::Kernel(text.chars().map(printable).collect())
    }

    fn ring(&self, error: RingError) -> RunError {
        self.wrong(error.to_string())
    }

    fn wrong(&self, problem: impl Into<String>) -> RunError {
        RunError::Enclave { vcpu: self.index, problem: problem.into() }
    }
}

/// An exception for people. Only a hint, as all that the host knows of the enclave.
fn describe(exception: Exception) -> String {
    let names = BTreeMap::from([
        (Vector::DE.0, "#DE"),
        (Vector::DB.0, "#DB"),
        (Vector::BP.0, "#BP"),
        (Vector::UD.0, "#UD"),
        (Vector::GP.0, "#GP"),
        (Vector::PF.0, "#PF"),
        (Vector::MF.0, "#MF"),
        (Vector::AC.0, "#AC"),
        (Vector::XM.0, "#XM"),
    ]);
    let Exception { vector, error_code, address, .. } = exception;
    let name = names.get(&vector).map_or_else(|| format!("exception {vector}"), |name| (*name).to_owned());
    format!("{name} (error code {error_code:#x}, address {address:#x})")
}
