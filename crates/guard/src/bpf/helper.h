/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel runs for itself: usermode helpers (kernel/umh.c). */
#ifndef CASEMATE_HELPER_H
#define CASEMATE_HELPER_H

#include "birth.h"
#include "proc.h"

#define PROC_PATH_LEN 16

/*
 * The container of process N, where a helper is called /proc/N/...: a memfd of that process, mostly. The number is in
 * the host's pid namespace, where the kernel looked it up.
 */
VERIFIED_ALONE u64 named_owner(u64 filename)
{
	char path[PROC_PATH_LEN] = {};
	struct ns_ref mnt;
	u64 task, ns;
	u32 nr = 0;

	bpf_probe_read_kernel_str(path, sizeof(path), (void *)filename);
	if (!same_bytes(path, "/proc/", sizeof("/proc/") - 1))
		return 0;
	for (u32 i = sizeof("/proc/") - 1; i < PROC_PATH_LEN; i++) {
		if (path[i] < '0' || path[i] > '9')
			break;
		nr = nr * 10 + (path[i] - '0');
	}
	task = pid_task(find_pid(state.host_ns[NS_PID] - bpf_core_field_offset(struct pid_namespace, ns), nr));
	ns = task ? (u64)BPF_CORE_READ((struct task_struct *)task, nsproxy, mnt_ns) : 0;
	if (!ns)
		return 0;
	mnt = NS_REF(mnt_namespace, ns);
	return ns_birth_cid(mnt);
}

/*
 * The kernel runs a helper for itself (core_pattern, modprobe, release_agent): its parent is kthreadd. The file must
 * be one of the host's, not a container's, not a memfd. At the end of an exec a script shows its interpreter: what
 * that one opens is checked. True: it dies.
 */
static __always_inline bool check_helper(struct task_struct *task, struct linux_binprm *bprm)
{
	u64 mnt = (u64)BPF_CORE_READ(bprm, file, f_path.mnt);
	u64 dentry = (u64)BPF_CORE_READ(bprm, file, f_path.dentry);
	u64 ns = mount_namespace(mnt);
	u64 cid = dir_owner(dentry);
	struct ns_ref ref = {};
	struct tag *tag;

	if (ns_pointer_valid(ns))
		ref = NS_REF(mnt_namespace, ns);
	if (cid || ref.ptr != state.host_ns[NS_MNT]) {
		struct finding f = { .invariant = INV_UMH, .detail = DETAIL_HELPER, .dentry = dentry, .nr = -1 };

		if (!cid && ref.ptr)
			cid = ns_birth_cid(ref);
		if (!cid)
			cid = named_owner((u64)BPF_CORE_READ(bprm, filename));
		return violation(cid, 0, &f);
	}
	/* Where hooks see every file of an exec, they have seen the script itself. */
	if (prevention || BPF_CORE_READ(bprm, filename) == BPF_CORE_READ(bprm, interp))
		return false;
	tag = make_tag(task);
	if (tag) {
		tag->cid = 0;
		tag->flags = TAG_HELPER;
	}
	return false;
}

static __always_inline bool is_usermode_helper(struct task_struct *task)
{
	return BPF_CORE_READ(task, real_parent, flags) & PF_KTHREAD && BPF_CORE_READ(task, tgid) != 1;
}

/* A usermode helper that is a script: it must not come from a container's file system. */
static __noinline void check_helper_open(const struct check *k)
{
	u64 file = k->call->class == CALL_OPEN ? fd_file(k->task, k->call->ret) : 0;
	u64 dentry = file ? (u64)BPF_CORE_READ((struct file *)file, f_path.dentry) : 0;
	u64 cid = dentry ? dir_owner(dentry) : 0;

	if (cid) {
		k->tag->cid = cid;
		found_file(k, INV_UMH, DETAIL_HELPER_SCRIPT, dentry);
		k->tag->cid = 0;
	}
}

#endif
