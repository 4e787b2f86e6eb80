//! The programs that are attached for good: where, in which mode, and whether the guard can do without.

use std::collections::HashSet;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Func;

use crate::mode::Mode;

/// The program whose link says that a guard is there: every mode has it.
pub(crate) const ALWAYS: &str = "on_exec";

/// A program with a link of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sensor {
    /// The program, as bpf/ calls it.
    pub(crate) program: String,
    /// The kernel function that must be there, or the tracepoint as its BTF type.
    pub(crate) target: String,
    /// No mode without it.
    pub(crate) required: bool,
}

impl Sensor {
    /// The same program once more, for kernels that may skip the first: those at tracepoints without which nothing holds.
    pub(crate) fn twin(&self) -> Option<Self> {
        let twin =
            TASKS.iter().chain(&CALLS).any(|(program, _, required)| *required && self.program == *program);
        twin.then(|| Self::new(format!("{}_twin", self.program), self.target.clone(), false))
    }

    fn new(program: impl Into<String>, target: impl Into<String>, required: bool) -> Self {
        Self { program: program.into(), target: target.into(), required }
    }
}

/// Programs of every mode: program, tracepoint, required.
const TASKS: [(&str, &str, bool); 4] = [
    ("on_exit", "sched_process_exit", true),
    ("on_newtask", "task_newtask", true),
    (ALWAYS, "sched_process_exec", true),
    ("on_cgroup_move", "cgroup_attach_task", false),
];

/// Programs of the tracepoint mode. The last one needs a mount, not a function: see `probe::Offer`.
const CALLS: [(&str, &str, bool); 3] = [
    ("on_sys_exit", "sys_exit", true),
    ("on_io_uring", "io_uring_complete", false),
    ("on_io_uring_submit", "io_uring_submit_req", false),
];

/// Refuses writes to sysctls; attached to the root of cgroup v2 (tracepoint mode).
pub(crate) const SYSCTL: &str = "on_sysctl";
/// The same for kernels that have no task-local storage for such programs.
pub(crate) const SYSCTL_BY_NS: &str = "on_sysctl_by_ns";

/// Hooks whose function is not called `security_<hook>`.
const RENAMED: [(&str, &str); 2] =
    [("bprm_check_security", "security_bprm_check"), ("userns_create", "security_create_user_ns")];

/// Hooks of the prevention modes without which a known escape would pass, or an honest call would not.
const REQUIRED_HOOKS: [&str; 5] =
    ["file_open", "bprm_check_security", "ptrace_access_check", "task_fix_setuid", "task_fix_setgid"];

/// The other hooks of the prevention modes.
const HOOKS: [&str; 28] = [
    "file_receive",
    "path_unlink",
    "path_mkdir",
    "path_rmdir",
    "path_mknod",
    "path_symlink",
    "path_link",
    "path_rename",
    "path_truncate",
    "path_chmod",
    "path_chown",
    "path_chroot",
    "sb_mount",
    "sb_kern_mount",
    "move_mount",
    "sb_umount",
    "sb_pivotroot",
    "task_kill",
    "userns_create",
    "socket_create",
    "socket_connect",
    "socket_bind",
    "unix_stream_connect",
    "bpf",
    "bpf_map",
    "bpf_prog",
    "kernel_module_request",
    "inode_init_security_anon",
];

/// System calls behind which the prevention modes look, and whether they must.
const AFTER: [(&str, bool); 12] = [
    ("unshare", true),
    ("setns", true),
    ("chdir", false),
    ("fchdir", false),
    ("getdents", false),
    ("getdents64", false),
    ("open_by_handle_at", false),
    ("utimensat", false),
    ("setxattr", false),
    ("lsetxattr", false),
    ("fsetxattr", false),
    ("bpf", false),
];

/// System calls whose 32-bit callers have a function of their own, because their arguments have another shape.
const COMPAT: [&str; 2] = ["getdents", "open_by_handle_at"];

/// The 32-bit form of utimensat(2) from before 2038 was a concern.
const ONLY_32: &str = "utimensat_time32";

/// System calls that tell the hooks inside them which call it is.
const BEFORE: [&str; 2] = ["setns", "open_by_handle_at"];

/// The programs of a mode, in the order in which they are attached: who may already be tagged is checked first.
pub(crate) fn of(mode: Mode) -> Vec<Sensor> {
    let tracepoint =
        |(program, point, required)| Sensor::new(program, format!("btf_trace_{point}"), required);
    let mut all: Vec<Sensor> = TASKS.into_iter().map(tracepoint).collect();
    if !mode.prevents() {
        all.extend(CALLS.into_iter().map(tracepoint));
        return all;
    }
    for (call, required) in AFTER {
        all.push(Sensor::new(format!("after_{call}"), format!("__x64_sys_{call}"), required));
        all.push(Sensor::new(format!("after_32_{call}"), entry_32(call), false));
    }
    all.push(Sensor::new(format!("after_32_{ONLY_32}"), entry_32(ONLY_32), false));
    for call in BEFORE {
        all.push(Sensor::new(format!("before_{call}"), format!("__x64_sys_{call}"), false));
        all.push(Sensor::new(format!("before_32_{call}"), entry_32(call), false));
    }
    all.push(Sensor::new("after_blkdev_open", "blkdev_open", false));
    all.push(Sensor::new("before_switch_task_namespaces", "switch_task_namespaces", false));
    for (hook, required) in REQUIRED_HOOKS.map(|h| (h, true)).into_iter().chain(HOOKS.map(|h| (h, false))) {
        all.push(match mode {
            Mode::Lsm => Sensor::new(format!("lsm_{hook}"), format!("bpf_lsm_{hook}"), required),
            _ => Sensor::new(format!("mod_{hook}"), function(hook), required),
        });
    }
    all
}

/// Where a call of a 32-bit program enters the kernel: arch/x86/entry/syscalls/syscall_32.tbl.
fn entry_32(call: &str) -> String {
    let kind = if COMPAT.contains(&call) { "compat_sys" } else { "sys" };
    format!("__ia32_{kind}_{call}")
}

/// The function that calls the security modules' hook.
fn function(hook: &str) -> String {
    RENAMED
        .into_iter()
        .find_map(|(renamed, function)| (renamed == hook).then(|| function.to_owned()))
        .unwrap_or_else(|| format!("security_{hook}"))
}

/// Names of the running kernel's functions: one pass over its types.
pub(crate) fn functions(btf: &Btf<'_>) -> HashSet<String> {
    btf.type_by_kind::<Func<'_>>().filter_map(|f| Some(f.name()?.to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_each_program_once_and_no_call_pays_twice() {
        for mode in Mode::ALL {
            let all = of(mode);
            let names: HashSet<_> = all.iter().map(|s| &s.program).collect();
            assert_eq!(names.len(), all.len());
            assert!(names.contains(&ALWAYS.to_owned()));
            assert_eq!(names.contains(&"on_sys_exit".to_owned()), !mode.prevents());
        }
        let hook = |mode| of(mode).into_iter().find(|s| s.program.ends_with("userns_create")).unwrap().target;
        assert_eq!(
            (hook(Mode::Lsm), hook(Mode::FmodRet)),
            ("bpf_lsm_userns_create".into(), "security_create_user_ns".into())
        );
    }
}
