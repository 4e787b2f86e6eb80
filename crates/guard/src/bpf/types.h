/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel side and the agent share. libbpf-cargo turns these types into Rust. */
#ifndef CASEMATE_TYPES_H
#define CASEMATE_TYPES_H

#define COMM_LEN 16
#define NAME_LEN 96
#define STDIO_FDS 3
#define CGROUP_SUBSYS 16

/* Order is the ABI: crates/guard/src/invariant.rs repeats it. */
enum invariant {
	INV_NS,
	INV_CRED,
	INV_FS,
	INV_SEC,
	INV_WR,
	INV_UMH,
	INV_PROC,
	INV_MNT,
	INV_CG,
	INV_SELF,
	INV_COUNT,
};

/* Namespaces of a task; the first eight are nsproxy's, in its order. */
enum ns_kind {
	NS_UTS,
	NS_IPC,
	NS_MNT,
	NS_PID_FOR_CHILDREN,
	NS_NET,
	NS_TIME,
	NS_TIME_FOR_CHILDREN,
	NS_CGROUP,
	NS_PROXIED,
	NS_PID = NS_PROXIED,
	NS_USER,
	NS_COUNT,
};

/* What a violation is about; the agent words it. Values 0..NS_COUNT are enum ns_kind. */
enum detail {
	DETAIL_CAPS = 32,
	DETAIL_IDS,
	DETAIL_ROOT,
	DETAIL_CWD,
	DETAIL_OPEN,
	DETAIL_DIRFD,
	DETAIL_EXEC,
	DETAIL_SECCOMP_MODE,
	DETAIL_SECCOMP_FILTERS,
	DETAIL_SECCOMP_BIT,
	DETAIL_NO_NEW_PRIVS,
	DETAIL_KNOB,
	DETAIL_HELPER,
	DETAIL_HELPER_SCRIPT,
	DETAIL_PTRACE,
	DETAIL_VM,
	DETAIL_MEM,
	DETAIL_NSFILE,
	DETAIL_GETFD,
	DETAIL_BLOCK_MOUNT,
	DETAIL_BLOCK_OPEN,
	DETAIL_CGROUP,
	DETAIL_BPF,
	DETAIL_SIGNAL,
	DETAIL_PINS,
	DETAIL_UNPINNED,
	DETAIL_SYSCTL,
	DETAIL_HELD,
	DETAIL_PATH,
	DETAIL_RECEIVED,
};

enum event_kind {
	EVENT_BIRTH = 1,
	EVENT_JOIN,
	EVENT_VIOLATION,
	EVENT_GONE,
	EVENT_UNTAGGED, /* a task could not be tagged: the agent sweeps at once */
	EVENT_DENIED,	/* a precondition of known exploits was refused; detail is enum denial */
};

/* What the configuration may forbid to containers: a bit each in `denials`. */
enum denial {
	DENY_USERNS,
	DENY_BPF,
	DENY_AF_ALG,
	DENY_AF_RXRPC,
	DENY_AF_PACKET,
	DENY_IO_URING,
	DENY_MODULE_REQUEST,
};

enum action {
	ACTION_AUDIT,
	ACTION_KILL,
	ACTION_EXEMPT,
};

enum kind {
	KIND_SANDBOX, /* a pid namespace of nobody we know */
	KIND_RUNTIME, /* born of a container runtime */
};

enum policy {
	POLICY_ENFORCE,
	POLICY_AUDIT,
	POLICY_IGNORE,
};

struct event {
	u32 kind; /* enum event_kind */
	u32 invariant;
	u32 action;
	u32 detail;
	u64 cid;
	u64 time_ns; /* bpf_ktime_get_boot_ns */
	u64 expected;
	u64 seen;
	u64 elapsed_ns; /* EVENT_GONE of a condemned container: since the first violation */
	s32 syscall;	/* -1: none */
	u32 compat;	/* the number is of the 32-bit table */
	u32 pid;	/* host pid of the process (tgid) */
	u32 tid;
	u32 suppressed; /* violations of this container that had no event of their own since the last one */
	u32 condemned;	/* the whole container dies */
	u32 adopted;
	u32 runtime_kind; /* enum kind */
	u32 tasks;
	char comm[COMM_LEN];
	char name[NAME_LEN];
};

/* One container. Key of its map: cid. Fields up to `tasks` are the immutable baseline. */
struct container {
	u64 cid;
	u64 born_ns;
	u64 init_start_ns; /* start_boottime of the first task */
	u64 init_pid_ptr;  /* its struct pid: guards against reuse of the number */
	u32 init_pid;	   /* host pid of the first task */
	u32 sealed;
	u32 adopted;
	u32 kind; /* enum kind */
	u64 ns[NS_COUNT];   /* address of each struct ns_common */
	u32 inum[NS_COUNT]; /* as in /proc/PID/ns */
	u32 own_pid_ns;	    /* the first task is init of its pid namespace */
	u32 seccomp_mode;
	u64 bounding; /* capability bounding set */
	u32 seccomp_filters;
	u32 no_new_privs;
	u64 root_mnt;
	u64 root_dentry;
	u64 upper_dentry; /* overlay: where the container's own files are on the host */
	u64 cgroups[CGROUP_SUBSYS + 1];
	u64 newest_mount; /* age of the newest mount at birth, see mount_age() */

	u32 tasks;
	u32 condemned;
	u64 condemned_ns;
	u64 last_seen_ns; /* by the sweep: a task that lives */
	u64 violations[INV_COUNT];
	u64 window_ns;
	u32 window_events;
	u32 suppressed;
};

/* What was verified last. A checkpoint compares, and looks closer where something differs. */
struct seen {
	u64 ns[NS_PROXIED]; /* nsproxy's pointers */
	u64 pid;	    /* struct pid */
	u64 user_ns;
	u64 root_mnt;
	u64 root_dentry;
	u64 pwd_mnt;
	u64 permitted;
	u64 effective;
	u32 ids[8]; /* uid gid suid sgid euid egid fsuid fsgid */
	u64 seccomp_filter;
	u32 seccomp_mode;
	u32 seccomp_filters;
	u32 seccomp_bit;
	u32 no_new_privs;
};

enum tag_flags {
	TAG_PROVISIONAL = 1, /* the runtime still sets it up: not checked before its exec */
	TAG_HELPER = 2,	     /* a usermode helper that runs a script: only its opens are checked */
	TAG_CGROUP = 4,	     /* cloned into a cgroup: check where at the first checkpoint */
	TAG_ORPHAN = 8,	     /* its container's record could not be made: strict rule */
	TAG_LEAK = 16,	     /* began with a directory outside among its descriptors */
};

enum looked {
	LOOKED_CALL = 1,
	LOOKED_EXEC = 2,
};

struct tag {
	u64 cid;
	u32 flags;
	u32 gen;
	u64 bounding;
	u64 birth_user_ns;
	u64 home_mnt; /* the container's root, if files there are nothing but files */
	u32 next_ids[8];      /* prevention: what set*id calls have announced, as in seen.ids */
	u32 in_call;	      /* prevention: the class of a call that hooks must know of, or 0 */
	u32 looked;	      /* twins: what the first of the two has looked at, enum looked */
	u64 stdio[STDIO_FDS]; /* inodes of fds 0..2 at birth: /dev/stdout may open them again */
	u64 suspect;	      /* sweep: what differed the last time */
	u64 suspect_ns;	      /* and since when */
	struct seen seen;
};

/* A task of a condemned container, or one the sweep reports. Written by the iterator, read by the agent. */
struct victim {
	u64 cid;
	u64 start_ns;
	u32 pid;
	u32 condemned;
};

/* A tree of a disk's file system. */
struct disk_key {
	u64 cid;
	u64 sb;
	u64 root; /* dentry */
};

struct ns_key {
	u64 cid; /* 0: any, the key of births */
	u64 ptr;
	u64 inum;
};

#endif
