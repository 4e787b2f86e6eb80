//! What of SGX this machine has, and what to do about the rest. Data only: `casemate doctor` prints it.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::arch::linux::{DEVICE, PROVISION_DEVICE};
use crate::platform::device::{self, AESM_SOCKET, CpuSgx};

/// `include/uapi/linux/prctl.h`.
const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;

/// The platforms that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformKind {
    /// A processor with SGX, by Linux's driver.
    Device,
    /// The emulator, which protects nothing.
    Emulated,
}

impl PlatformKind {
    /// Its name, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Emulated => "emulated",
        }
    }
}

/// For which platform something is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it the platform does not work.
    Required(PlatformKind),
    /// Without it something of the platform's is missing; the note says what.
    Useful(PlatformKind),
}

/// One thing that is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgxFinding {
    /// What.
    pub feature: &'static str,
    /// Whether it is there.
    pub present: bool,
    /// For what it is needed.
    pub need: Need,
    /// Details where it is there; what it means and what to do where it is not.
    pub note: String,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgxReport {
    /// One after the other, in the order in which they are to be put right.
    pub findings: Vec<SgxFinding>,
    /// What CPUID says, where the processor has SGX.
    pub cpu: Option<CpuSgx>,
    /// The platform that `auto` takes: the device where it works, else the emulator; `None` where neither works.
    pub auto: Option<PlatformKind>,
}

impl SgxReport {
    /// Looks at this machine. Changes nothing.
    #[must_use]
    pub fn probe() -> Self {
        Self::judge(&Facts::probe())
    }

    /// Whether a platform has everything that it requires.
    #[must_use]
    pub fn works(&self, platform: PlatformKind) -> bool {
        self.findings.iter().all(|finding| finding.present || finding.need != Need::Required(platform))
    }

    fn judge(facts: &Facts) -> Self {
        let mut report = Self { findings: findings(facts), cpu: facts.cpu.clone(), auto: None };
        report.auto = [PlatformKind::Device, PlatformKind::Emulated]
            .into_iter()
            .find(|platform| report.works(*platform));
        report
    }
}

/// What was found out.
#[derive(Clone, Debug)]
struct Facts {
    cpu: Option<CpuSgx>,
    device: Opened,
    provision: Opened,
    aesm: bool,
    edmm: bool,
    vdso: bool,
    fsgsbase: bool,
    user_dispatch: bool,
}

/// What opening a device gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    Yes,
    Absent,
    Failed(io::ErrorKind),
}

impl Facts {
    fn probe() -> Self {
        Self {
            cpu: CpuSgx::probe(),
            device: open(DEVICE),
            provision: open(PROVISION_DEVICE),
            aesm: Path::new(AESM_SOCKET).exists(),
            edmm: device::has_edmm(),
            vdso: device::has_vdso(),
            fsgsbase: fsgsbase(),
            user_dispatch: user_dispatch(),
        }
    }
}

fn open(path: &str) -> Opened {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Opened::Yes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Opened::Absent,
        Err(error) => Opened::Failed(error.kind()),
    }
}

/// Whether user space may use `wrfsbase` (`AT_HWCAP2`, `HWCAP2_FSGSBASE`).
fn fsgsbase() -> bool {
    // SAFETY: reads a number from the auxiliary vector.
    let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    capabilities & 1 << 1 != 0
}

/// Whether the kernel knows Syscall User Dispatch: a mode that does not exist is EINVAL either way, but switching off what
/// is off succeeds only where it is known.
fn user_dispatch() -> bool {
    // On a thread of its own: one that uses it keeps it.
    let thread = std::thread::spawn(|| {
        // SAFETY: PR_SYS_DISPATCH_OFF, with no other argument; changes nothing but this thread, which ends.
        unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, 0_u64, 0_u64, 0_u64, 0_u64) == 0 }
    });
    thread.join().unwrap_or(false)
}

fn findings(facts: &Facts) -> Vec<SgxFinding> {
    use Need::{Required, Useful};
    use PlatformKind::{Device, Emulated};

    let finding = |feature, present, need, yes: String, no: &str| SgxFinding {
        feature,
        present,
        need,
        note: if present { yes } else { no.to_owned() },
    };
    let cpu = facts.cpu.as_ref();
    let has = |test: fn(&CpuSgx) -> bool| cpu.is_some_and(test);
    let epc: u64 =
        cpu.map_or(0, |cpu| cpu.epc.iter().map(|section| section.size).fold(0, u64::saturating_add));
    vec![
        finding(
            "processor",
            has(|cpu| cpu.sgx1),
            Required(Device),
            format!("SGX1, enclaves up to 2^{} bytes", cpu.map_or(0, |cpu| cpu.max_size_log2)),
            "no SGX (CPUID.7.0:EBX bit 2): use a server with SGX, switch it on in the firmware, or have the hypervisor pass it on",
        ),
        finding(
            "protected memory",
            epc > 0,
            Required(Device),
            format!("{} MiB in {} sections", epc >> 20, cpu.map_or(0, |cpu| cpu.epc.len())),
            "no EPC section (CPUID.12H): give SGX memory (PRMRR) in the firmware",
        ),
        finding(
            "device",
            facts.device == Opened::Yes,
            Required(Device),
            DEVICE.to_owned(),
            &device_note(facts.device),
        ),
        finding(
            "vDSO function",
            facts.vdso,
            Required(Device),
            "__vdso_sgx_enter_enclave".to_owned(),
            "the kernel has no __vdso_sgx_enter_enclave: Linux 5.11 or later with CONFIG_X86_SGX",
        ),
        finding(
            "SGX2",
            has(|cpu| cpu.sgx2),
            Required(Device),
            "pages can be added and changed in a running enclave".to_owned(),
            "the processor cannot change a running enclave (CPUID.12H.0:EAX bit 1): Ice Lake server or later",
        ),
        finding(
            "EDMM",
            facts.edmm,
            Required(Device),
            "the kernel has its calls".to_owned(),
            "the kernel cannot change a running enclave: Linux 6.0 or later",
        ),
        finding(
            "EXINFO",
            has(|cpu| cpu.exinfo),
            Required(Device),
            "enclaves learn the address of a page fault".to_owned(),
            "the processor tells enclaves nothing of page faults (CPUID.12H.0:EBX bit 0)",
        ),
        finding(
            "EDECCSSA",
            has(|cpu| cpu.edeccssa),
            Useful(Device),
            "cheap return from a handler inside".to_owned(),
            "preemption inside takes an exit and an entry more: a microcode update can bring EDECCSSA",
        ),
        finding(
            "AESM",
            facts.aesm,
            Useful(Device),
            AESM_SOCKET.to_owned(),
            "no quotes for remote verifiers: install and start Intel's sgx-aesm-service with sgx-dcap plugins",
        ),
        finding(
            "provisioning device",
            facts.provision == Opened::Yes,
            Useful(Device),
            PROVISION_DEVICE.to_owned(),
            "no enclave here can have PROVISIONKEY; only quoting enclaves need it (group sgx_prv)",
        ),
        finding(
            "FSGSBASE",
            facts.fsgsbase,
            Required(Emulated),
            "FS and GS change without a system call".to_owned(),
            "the emulator needs it: Linux 5.9 or later on a processor with FSGSBASE, and no `nofsgsbase` at boot",
        ),
        finding(
            "Syscall User Dispatch",
            facts.user_dispatch,
            Required(Emulated),
            "a system call inside an emulated enclave is caught".to_owned(),
            "the emulator needs it: Linux 5.11 or later",
        ),
    ]
}

fn device_note(opened: Opened) -> String {
    match opened {
        Opened::Yes => String::new(),
        Opened::Absent => format!(
            "there is no {DEVICE}: Linux 5.11 or later with CONFIG_X86_SGX, on a processor with flexible launch control; in a container, pass the device on"
        ),
        Opened::Failed(io::ErrorKind::PermissionDenied) => format!(
            "{DEVICE} is there, but this user may not open it: add the user to the group that owns it"
        ),
        Opened::Failed(kind) => format!("{DEVICE} is there, but does not open: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::device::EpcSection;

    fn all() -> Facts {
        let epc = vec![EpcSection { start: 1 << 32, size: 64 << 20 }];
        Facts {
            cpu: Some(CpuSgx {
                sgx1: true,
                sgx2: true,
                edeccssa: true,
                exinfo: true,
                xfrm: 0xe7,
                max_size_log2: 56,
                epc,
            }),
            device: Opened::Yes,
            provision: Opened::Yes,
            aesm: true,
            edmm: true,
            vdso: true,
            fsgsbase: true,
            user_dispatch: true,
        }
    }

    #[test]
    fn the_device_is_taken_where_it_works() {
        let report = SgxReport::judge(&all());
        assert_eq!(report.auto, Some(PlatformKind::Device));
        assert!(report.findings.iter().all(|finding| finding.present && !finding.note.is_empty()));
        let memory = report.findings.iter().find(|finding| finding.feature == "protected memory").unwrap();
        assert_eq!(memory.note, "64 MiB in 1 sections");
    }

    #[test]
    fn every_requirement_counts_and_says_what_to_do() {
        let lacks: [fn(&mut Facts); 7] = [
            |facts| facts.cpu = None,
            |facts| facts.cpu.as_mut().unwrap().sgx2 = false,
            |facts| facts.cpu.as_mut().unwrap().epc.clear(),
            |facts| facts.device = Opened::Absent,
            |facts| facts.device = Opened::Failed(io::ErrorKind::PermissionDenied),
            |facts| facts.vdso = false,
            |facts| facts.edmm = false,
        ];
        for lack in lacks {
            let mut facts = all();
            lack(&mut facts);
            let report = SgxReport::judge(&facts);
            assert_eq!(report.auto, Some(PlatformKind::Emulated), "{facts:?}");
            assert!(report.findings.iter().all(|finding| !finding.note.is_empty()));
            facts.user_dispatch = false;
            assert_eq!(SgxReport::judge(&facts).auto, None);
        }
        let mut facts = all();
        (facts.aesm, facts.provision) = (false, Opened::Absent);
        assert_eq!(SgxReport::judge(&facts).auto, Some(PlatformKind::Device), "useful, not required");
    }

    #[test]
    fn this_machine_can_be_probed() {
        let report = SgxReport::probe();
        assert_eq!(report.findings.len(), 12);
        assert_eq!(report.works(PlatformKind::Device), report.auto == Some(PlatformKind::Device));
    }
}
