//! The configuration file: policy, mode, scope and exceptions.

mod pattern;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use crate::invariant::Invariant;
use crate::mode::Mode;
use crate::names::Identity;

pub use pattern::{LabelPattern, Pattern};

/// What the administrator decides. The default enforces every invariant on every container of a known runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What happens on a violation.
    pub policy: Policy,
    /// Where verdicts are made; `None`: at the strongest place that works on this kernel.
    pub mode: Option<Mode>,
    /// What containers may not do although it breaks no invariant, because known exploits start with it. Prevention
    /// modes only.
    pub deny: Vec<Precondition>,
    /// Whether any namespace change at all is a violation.
    pub strict: bool,
    /// What is watched besides the containers of known runtimes.
    pub scope: Scope,
    /// Containers that may do what an invariant forbids.
    pub exceptions: Vec<Exception>,
}

/// What happens on a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The container is killed.
    #[default]
    Enforce,
    /// The violation is reported.
    Audit,
}

/// What known exploits start with and most containers never need. The order is the kernel side's (`enum denial` of
/// bpf/types.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precondition {
    /// New user namespaces: two thirds of the public kernelCTF exploits need one.
    Userns,
    /// bpf(2).
    Bpf,
    /// Sockets of the kernel's crypto interface (CVE-2026-31431).
    AfAlg,
    /// Sockets of RxRPC (CVE-2026-43500).
    AfRxrpc,
    /// Packet sockets (CVE-2017-7308, CVE-2020-14386).
    AfPacket,
    /// io_uring.
    IoUring,
    /// Modules that the kernel loads because a container asks for a protocol or file system.
    ModuleRequest,
}

impl Precondition {
    const ALL: [(Self, &str); 7] = [
        (Self::Userns, "a user namespace"),
        (Self::Bpf, "bpf(2)"),
        (Self::AfAlg, "an AF_ALG socket"),
        (Self::AfRxrpc, "an AF_RXRPC socket"),
        (Self::AfPacket, "an AF_PACKET socket"),
        (Self::IoUring, "io_uring"),
        (Self::ModuleRequest, "a kernel module on demand"),
    ];

    /// The kernel side's number, as a bit.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// What the kernel side's number stands for.
    pub(crate) fn words(number: u32) -> &'static str {
        let at = usize::try_from(number).ok();
        at.and_then(|at| Self::ALL.get(at)).map_or("something unknown", |(_, words)| words)
    }
}

/// What is watched besides the containers of known runtimes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Pid namespaces that no known runtime made.
    pub sandboxes: Sandboxes,
}

/// What happens to a sandbox of no known runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandboxes {
    /// It is treated as a container.
    Enforce,
    /// Its violations are reported.
    #[default]
    Audit,
    /// It is not watched.
    Ignore,
}

/// Containers that may do what some invariants forbid. All patterns that are given must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Matches the container's name.
    pub name: Option<Pattern>,
    /// Matches the image, as it was asked for.
    pub image: Option<Pattern>,
    /// Matches one of the labels. Podman keeps its labels in a database that is not read: give the container an
    /// annotation instead (`podman run --annotation team=sre`), which counts as a label here.
    pub label: Option<LabelPattern>,
    /// The invariants that do not hold for such a container; never empty.
    pub invariants: Vec<Invariant>,
    /// Why; never empty.
    pub reason: String,
}

/// Why a configuration file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}; check the path given to --config", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The file says something that is not understood.
    #[error("{}:{line}:{column}: {}{message}", file.display(), in_key(key))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The key that is wrong, with its table; empty where there is none.
        key: String,
        /// What is wrong, and what to write instead.
        message: String,
    },
}

/// The file as it is written; positions are kept for what is checked after parsing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    policy: Policy,
    mode: Option<Mode>,
    #[serde(default)]
    deny: Vec<Precondition>,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    scope: Scope,
    #[serde(default, rename = "exception")]
    exceptions: Vec<Spanned<RawException>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawException {
    name: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    label: Option<Spanned<String>>,
    invariants: Option<Spanned<Vec<Spanned<String>>>>,
    reason: Option<Spanned<String>>,
}

/// What is wrong, and at which byte of the file.
struct Fault {
    offset: usize,
    message: String,
}

impl Config {
    /// Reads the configuration in `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a valid configuration.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|error| ConfigError::Read { file: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// Reads the configuration `text`; `file` is what errors call it.
    ///
    /// # Errors
    /// If `text` is not a valid configuration.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        from_text(text).map_err(|fault| fault.locate(text, file))
    }

    /// The invariants that do not hold for `container`, each once.
    pub fn exempt(&self, container: &Identity) -> Vec<Invariant> {
        let matching = || self.exceptions.iter().filter(|exception| exception.matches(container));
        let exempt = |invariant: &Invariant| matching().any(|found| found.invariants.contains(invariant));
        Invariant::ALL.iter().copied().filter(exempt).collect()
    }
}

fn from_text(text: &str) -> Result<Config, Fault> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| Fault {
        offset: error.span().map_or(0, |span| span.start),
        message: error.message().to_owned(),
    })?;
    let exceptions = raw.exceptions.into_iter().map(Exception::from_raw).collect::<Result<_, _>>()?;
    Ok(Config {
        policy: raw.policy,
        mode: raw.mode,
        deny: raw.deny,
        strict: raw.strict,
        scope: raw.scope,
        exceptions,
    })
}

impl Exception {
    fn from_raw(raw: Spanned<RawException>) -> Result<Self, Fault> {
        let offset = raw.span().start;
        let raw = raw.into_inner();
        let fault = |offset, message: &str| Fault { offset, message: message.to_owned() };
        if raw.name.is_none() && raw.image.is_none() && raw.label.is_none() {
            return Err(fault(offset, "this exception is for no container; add `name`, `image` or `label`"));
        }
        let invariants = raw.invariants.filter(|list| !list.get_ref().is_empty()).ok_or_else(|| {
            let message = format!("this exception is from no invariant; add `invariants`, some of {}", all());
            Fault { offset, message }
        })?;
        let reason = raw.reason.map(Spanned::into_inner).filter(|reason| !reason.trim().is_empty());
        let reason =
            reason.ok_or_else(|| fault(offset, "this exception has no `reason`; say why it is safe"))?;
        Ok(Self {
            name: raw.name.as_ref().map(parse).transpose()?,
            image: raw.image.as_ref().map(parse).transpose()?,
            label: raw.label.as_ref().map(parse).transpose()?,
            invariants: invariants.into_inner().into_iter().map(invariant).collect::<Result<_, _>>()?,
            reason,
        })
    }

    /// Whether `container` is one that this exception is for. What is not known of a container matches nothing.
    pub fn matches(&self, container: &Identity) -> bool {
        let matches = |pattern: &Option<Pattern>, text: &Option<String>| {
            pattern.as_ref().is_none_or(|pattern| text.as_ref().is_some_and(|text| pattern.matches(text)))
        };
        matches(&self.name, &container.name)
            && matches(&self.image, &container.image)
            && self.label.as_ref().is_none_or(|label| label.matches(&container.labels))
    }
}

fn parse<T: FromStr<Err = &'static str>>(text: &Spanned<String>) -> Result<T, Fault> {
    let offset = text.span().start;
    text.get_ref().parse().map_err(|message: &str| Fault { offset, message: message.to_owned() })
}

fn invariant(name: Spanned<String>) -> Result<Invariant, Fault> {
    let offset = name.span().start;
    let name = name.into_inner();
    name.parse()
        .map_err(|_| Fault { offset, message: format!("{name:?} is not an invariant; use one of {}", all()) })
}

fn all() -> String {
    Invariant::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault {
    fn locate(self, text: &str, file: &Path) -> ConfigError {
        let before = text.get(..self.offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let key = key_at(text, self.offset);
        ConfigError::Invalid {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key,
            message: self.message,
        }
    }
}

/// The dotted key in whose line, or in whose value of several lines, byte `offset` lies.
fn key_at(text: &str, offset: usize) -> String {
    let end = text.get(offset..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| offset + at);
    let mut key = None;
    for line in text.get(..end).unwrap_or(text).lines().rev().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').filter(|_| is_header(line)) {
            let table = table.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            return key.map_or_else(|| table.to_owned(), |key| format!("{table}.{key}"));
        }
        if key.is_none() {
            key = line.split_once('=').map(|(key, _)| key.trim().to_owned()).filter(|key| is_key(key));
        }
    }
    key.unwrap_or_default()
}

/// Whether `line` opens a table; a line of an array's value may start with a bracket too.
fn is_header(line: &str) -> bool {
    line.trim_start_matches('[').split_once(']').is_some_and(|(name, _)| is_key(name.trim()))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn in_key(key: &str) -> impl fmt::Display {
    if key.is_empty() { String::new() } else { format!("in `{key}`: ") }
}

#[cfg(test)]
mod tests;
