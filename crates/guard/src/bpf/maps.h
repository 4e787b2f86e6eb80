/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps and globals. All are pinned: they outlive the agent. */
#ifndef CASEMATE_MAPS_H
#define CASEMATE_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "types.h"

#define GUARD_OBJECTS 96

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tag);
} tags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct container);
} containers SEC(".maps");

/* Namespaces of baselines: {cid, ns, inum}; and whose birth they were: {0, ns, inum} -> cid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ns_key);
	__type(value, u64);
} namespaces SEC(".maps");

/*
 * Namespaces that containers made for themselves: {cid, ns, inum}. Nothing tells when a namespace ends, so the least
 * recently used give way; a task in one that gave way is not disturbed before it changes again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct ns_key);
	__type(value, u64);
} made_namespaces SEC(".maps");

/*
 * Trees of disks that containers were given at birth, where mounts have no number that tells their age (before 6.8).
 * Nothing takes them away but age: a cid is never used twice.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct disk_key);
	__type(value, u32);
} given_disks SEC(".maps");

/* Directories on the host that hold a container's files (dentry -> cid). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u64);
} container_dirs SEC(".maps");

/* Exceptions of the configuration, by the agent, once it knows a container's name: cid -> bit per invariant. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u32);
} exemptions SEC(".maps");

/* Never written: what a new record starts from, being too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct container);
} blank SEC(".maps");

/* Verdicts have a ring of their own, so that a storm of births cannot push them out. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} lifecycle SEC(".maps");

/* What the configuration says: read-only once loaded, so that nobody can change it. */
const volatile u32 policy = POLICY_ENFORCE;	  /* for containers of a runtime */
const volatile u32 sandbox_policy = POLICY_AUDIT; /* for other pid-namespace sandboxes */
const volatile u32 strict = 0;
const volatile u32 prevention = 0; /* hooks refuse at use; no program at each system call */
const volatile u32 denials = 0;	   /* bits of enum denial */
/*
 * Programs at tracepoints are attached twice. The kernel skips a program on a processor where the same program is at work
 * already (prog->active), and since 7.0 a task can be preempted in the middle of one (include/linux/tracepoint.h): what
 * ends, begins or returns on that processor meanwhile would pass unseen. The twin is counted apart. Holding the processor
 * (bpf_preempt_disable()) is no help: what was put off happens when it is let go, and the program has not ended yet.
 * Programs of BPF LSM are never skipped.
 */
const volatile u32 twins = 0;
const volatile u64 generation = 0; /* which build with which policy these programs are */

/* What the agent writes. */
struct guard_settings {
	u64 active; /* the generation in force: another one's programs, attached beside it, do nothing */
	u32 agent_tgid;
	u32 agent_pgid;
	u32 adopting; /* this sweep looks for containers that ran before the guard */
	u32 adopted;  /* that is done: since then no birth was missed */
	u32 pins_armed; /* nobody but an intruder removes pins now */
	u32 pin_fds[GUARD_OBJECTS]; /* descriptors of the agent on its pins, for learn_pins */
	u32 link_ids[GUARD_OBJECTS]; /* the guard's own links */
};

/* What the kernel side writes. */
struct guard_state {
	u32 gen; /* grows when a container is condemned: every tagged task looks at its record once */
	u32 ready; /* the host's own namespaces are known */
	u64 next_cid;
	u64 host_ns[NS_COUNT];
	u64 host_root; /* dentry of process 1's root */
	u64 pins_sb;
	u64 pin_inodes[GUARD_OBJECTS];
	u64 births;
	u64 joins;
	u64 adoptions;
	u64 verdict_count;
	u64 events_lost;
	u64 tags_failed;
	u64 records_failed;
	u64 namespaces_failed;
	u64 kills;
};

struct guard_page {
	struct guard_settings settings;
	struct guard_state state;
};

struct guard_page shared = {};

#define settings shared.settings
#define state shared.state

/* Programs are replaced without a gap: the new ones are attached, then this turns, then the old ones go. */
static __always_inline bool in_force(void)
{
	return settings.active == generation;
}

/* The skeleton names only types that a map or global reaches. */
struct event _event = {};
struct victim _victim = {};

/*
 * A function that is not static is verified once, by itself, for any arguments: for all that loops, or the verifier
 * would walk the loop again at each call. Its arguments are plain numbers.
 */
#define VERIFIED_ALONE __attribute__((noinline))

/* A pointer as a plain number: the verifier lets only those into functions that are VERIFIED_ALONE. */
static __always_inline u64 number(const void *pointer)
{
	u64 n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), &pointer);
	return n;
}

/* Compare `length` bytes; unrolled, because the BPF back end has no memcmp(). */
static __always_inline bool same_bytes(const char *a, const char *b, u32 length)
{
	for (u32 i = 0; i < length; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

#endif
