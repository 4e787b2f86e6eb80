//! The modes: where in the kernel verdicts are made.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Where verdicts are made, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// At the hooks of the security modules, by BPF LSM: what breaks a rule is refused, its container killed.
    Lsm,
    /// The same by programs that replace the return value of the functions which call the modules; for kernels that
    /// have BPF LSM, but not in the list of active modules.
    FmodRet,
    /// At the end of each system call: what broke a rule is killed before it returns to user space.
    Tracepoint,
}

impl Mode {
    /// All of them, the strongest first.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::FmodRet, Self::Tracepoint];

    /// The name in events, on the command line and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::FmodRet => "fmod_ret",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// Whether what breaks a rule is refused, not only killed.
    #[must_use]
    pub const fn prevents(self) -> bool {
        !matches!(self, Self::Tracepoint)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| format!("no mode is called `{name}`; there are {}", known()))
    }
}
