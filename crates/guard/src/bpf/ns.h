/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Namespaces: where they are, whose they are. A namespace is known by the address and number of its ns_common. */
#ifndef CASEMATE_NS_H
#define CASEMATE_NS_H

#include "maps.h"

struct ns_ref {
	u64 ptr;
	u64 inum;
};

#define NS_REF(type, address)                                                                                  \
	({                                                                                                     \
		struct ns_ref _r = {};                                                                         \
		struct type *_n = (void *)(address);                                                           \
		if (_n) {                                                                                      \
			_r.ptr = (u64)_n + bpf_core_field_offset(struct type, ns);                             \
			_r.inum = BPF_CORE_READ(_n, ns.inum);                                                  \
		}                                                                                              \
		_r;                                                                                            \
	})

static __always_inline struct ns_ref ns_ref(u32 kind, u64 address)
{
	switch (kind) {
	case NS_UTS:
		return NS_REF(uts_namespace, address);
	case NS_IPC:
		return NS_REF(ipc_namespace, address);
	case NS_MNT:
		return NS_REF(mnt_namespace, address);
	case NS_NET:
		return NS_REF(net, address);
	case NS_TIME:
	case NS_TIME_FOR_CHILDREN:
		return NS_REF(time_namespace, address);
	case NS_CGROUP:
		return NS_REF(cgroup_namespace, address);
	case NS_USER:
		return NS_REF(user_namespace, address);
	default:
		return NS_REF(pid_namespace, address);
	}
}

/* The flag of clone(2) and unshare(2) that makes a namespace of this kind. */
static __always_inline u64 ns_clone_flag(u32 kind)
{
	switch (kind) {
	case NS_UTS:
		return CLONE_NEWUTS;
	case NS_IPC:
		return CLONE_NEWIPC;
	case NS_MNT:
		return CLONE_NEWNS;
	case NS_NET:
		return CLONE_NEWNET;
	case NS_TIME:
	case NS_TIME_FOR_CHILDREN:
		return CLONE_NEWTIME;
	case NS_CGROUP:
		return CLONE_NEWCGROUP;
	case NS_USER:
		return CLONE_NEWUSER;
	default:
		return CLONE_NEWPID;
	}
}

/* Pointers of nsproxy, in the order of enum ns_kind. */
static __always_inline void read_proxy(struct nsproxy *n, u64 *out)
{
	out[NS_UTS] = (u64)BPF_CORE_READ(n, uts_ns);
	out[NS_IPC] = (u64)BPF_CORE_READ(n, ipc_ns);
	out[NS_MNT] = (u64)BPF_CORE_READ(n, mnt_ns);
	out[NS_PID_FOR_CHILDREN] = (u64)BPF_CORE_READ(n, pid_ns_for_children);
	out[NS_NET] = (u64)BPF_CORE_READ(n, net_ns);
	out[NS_TIME] = (u64)BPF_CORE_READ(n, time_ns);
	out[NS_TIME_FOR_CHILDREN] = (u64)BPF_CORE_READ(n, time_ns_for_children);
	out[NS_CGROUP] = (u64)BPF_CORE_READ(n, cgroup_ns);
}

static __always_inline void read_nsproxy(struct task_struct *task, u64 *out)
{
	read_proxy(BPF_CORE_READ(task, nsproxy), out);
}

/* The pid namespace a struct pid lives in: ns_of_pid() of include/linux/pid.h. */
static __always_inline u64 pid_namespace_of(struct pid *pid)
{
	u32 level = BPF_CORE_READ(pid, level);
	u64 at = number(pid) + bpf_core_field_offset(struct pid, numbers) +
		 (u64)level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, ns);
	u64 ns = 0;

	bpf_probe_read_kernel(&ns, sizeof(ns), (void *)at);
	return ns;
}

/* One kind of namespace of a task that is not in nsproxy. */
static __always_inline u64 task_pid_ns(struct task_struct *task)
{
	return pid_namespace_of(BPF_CORE_READ(task, thread_pid));
}

/* The live container that was born with this namespace, or 0. */
static __always_inline u64 ns_birth_cid(struct ns_ref ref)
{
	struct ns_key key = { .ptr = ref.ptr, .inum = ref.inum };
	u64 *cid = bpf_map_lookup_elem(&namespaces, &key);

	if (!cid || !bpf_map_lookup_elem(&containers, cid))
		return 0;
	return *cid;
}

/* The container that was born with one of a task's namespaces, or 0: a guess, for where there is no tag to be had. */
VERIFIED_ALONE u64 owner_by_ns(u64 task)
{
	u64 cid = ns_birth_cid(ns_ref(NS_PID, task_pid_ns((struct task_struct *)task)));
	u64 now[NS_PROXIED];

	read_nsproxy((struct task_struct *)task, now);
#pragma unroll
	for (u32 i = 0; i < NS_PROXIED; i++)
		if (!cid)
			cid = ns_birth_cid(ns_ref(i, now[i]));
	return cid;
}

static __always_inline bool ns_is_host(u32 kind, u64 ns_common)
{
	return kind < NS_COUNT && state.host_ns[kind] == ns_common;
}

/*
 * Is a namespace the container's own? Of its baseline, or made by itself; the latter can have ended, and its address
 * and number be another container's now.
 */
static __always_inline bool ns_owned(u64 cid, struct ns_ref ref)
{
	struct ns_key key = { .cid = cid, .ptr = ref.ptr, .inum = ref.inum };
	u64 born;

	if (bpf_map_lookup_elem(&namespaces, &key))
		return true;
	if (!bpf_map_lookup_elem(&made_namespaces, &key))
		return false;
	born = ns_birth_cid(ref);
	return born == 0 || born == cid;
}

/* A namespace that a task of the container has just made. */
static __always_inline void ns_made(u64 cid, struct ns_ref ref)
{
	struct ns_key key = { .cid = cid, .ptr = ref.ptr, .inum = ref.inum };
	u64 one = 1;

	if (ref.ptr && bpf_map_update_elem(&made_namespaces, &key, &one, BPF_ANY))
		__sync_fetch_and_add(&state.namespaces_failed, 1);
}

static __always_inline void ns_born(u64 cid, u32 kind, struct ns_ref ref)
{
	struct ns_key own = { .cid = cid, .ptr = ref.ptr, .inum = ref.inum };
	struct ns_key key = { .ptr = ref.ptr, .inum = ref.inum };
	u64 one = 1;

	if (ref.ptr && bpf_map_update_elem(&namespaces, &own, &one, BPF_ANY))
		__sync_fetch_and_add(&state.namespaces_failed, 1);
	/* A namespace shared with another live container (a pod) stays the first one's. */
	if (!ref.ptr || ns_is_host(kind, ref.ptr) || ns_birth_cid(ref))
		return;
	if (bpf_map_update_elem(&namespaces, &key, &cid, BPF_ANY))
		__sync_fetch_and_add(&state.namespaces_failed, 1);
}

static __always_inline struct ns_ref task_mnt_ns(struct task_struct *task)
{
	return NS_REF(mnt_namespace, BPF_CORE_READ(task, nsproxy, mnt_ns));
}

#endif
