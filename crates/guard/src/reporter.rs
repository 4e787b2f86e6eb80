//! Names and output, on a thread of their own: a slow terminal or a slow runtime delays no kill.

use std::collections::HashMap;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::bpf::EventRecord;
use crate::config::Config;
use crate::error::Error;
use crate::event::{self, Body, Event, kind};
use crate::load::pinned_map;
use crate::names::{Identity, Runtime, identify};

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Human,
    /// A JSON object a line.
    Json,
}

enum Message {
    Record(EventRecord),
    Event(Event),
}

/// Sends to the thread; dropping it ends the thread when all is written.
pub(crate) struct Reporter {
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    pub(crate) fn start(
        config: Config,
        format: Format,
        output: impl Write + Send + 'static,
    ) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel();
        let writer =
            Writer { config, format, output, names: HashMap::new(), exemptions: pinned_map("exemptions")? };
        let thread = thread::Builder::new()
            .name("reporter".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| Error::System { action: "start the reporter thread", source })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    pub(crate) fn record(&self, record: EventRecord) {
        self.send(Message::Record(record));
    }

    pub(crate) fn event(&self, event: Event) {
        self.send(Message::Event(event));
    }

    pub(crate) fn warn(&self, message: String) {
        self.event(Event::now(Body::Warning { message }));
    }

    fn send(&self, message: Message) {
        if let Some(sender) = &self.sender {
            // The thread ends early only when the output is closed: there is nobody left to tell.
            let _ = sender.send(message);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the agent is ending anyway.
            let _ = thread.join();
        }
    }
}

struct Writer<W> {
    config: Config,
    format: Format,
    output: W,
    names: HashMap<u64, Identity>,
    exemptions: MapHandle,
}

impl<W: Write> Writer<W> {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            let event = match message {
                Message::Event(event) => Some(event),
                Message::Record(record) => self.translate(&record),
            };
            if event.is_some_and(|e| self.write(&e).is_err()) {
                return;
            }
        }
    }

    fn translate(&mut self, record: &EventRecord) -> Option<Event> {
        if record.kind == kind::UNTAGGED {
            let message = format!(
                "process {} could not be tagged at its fork: it was looked up by a sweep",
                record.pid
            );
            return Some(Event::now(Body::Warning { message }));
        }
        let identity = self.identity(record);
        if record.kind == kind::GONE {
            self.names.remove(&record.cid);
        }
        Some(Event::at(event::wall_clock(record.time_ns), event::body(record, identity)?))
    }

    /// Known since birth, mostly. A container that its runtime has not written down yet is asked for again.
    fn identity(&mut self, record: &EventRecord) -> Identity {
        if let Some(known) = self.names.get(&record.cid)
            && known.name.is_some()
        {
            return known.clone();
        }
        let found = i32::try_from(record.pid).map_or_else(|_| Identity::new("", Runtime::Unknown), identify);
        let known = self.names.get(&record.cid);
        if let Some(known) = known
            && found.name.is_none()
        {
            return known.clone();
        }
        self.exempt(record.cid, &found);
        self.names.insert(record.cid, found.clone());
        found
    }

    fn exempt(&self, cid: u64, identity: &Identity) {
        let mask = self.config.exempt(identity).iter().fold(0, |mask, i| mask | i.bit());
        if mask != 0 {
            // Failing here leaves the container enforced: closed, and the violation that follows is reported.
            let _ = self.exemptions.update(&cid.to_ne_bytes(), &mask.to_ne_bytes(), MapFlags::ANY);
        }
    }

    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        match self.format {
            Format::Human => writeln!(self.output, "{event}")?,
            Format::Json => {
                serde_json::to_writer(&mut self.output, event)?;
                self.output.write_all(b"\n")?;
            }
        }
        self.output.flush()
    }
}
