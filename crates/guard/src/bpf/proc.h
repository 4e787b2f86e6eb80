/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Other tasks: who is meant by a number or a descriptor, and is it outside? */
#ifndef CASEMATE_PROC_H
#define CASEMATE_PROC_H

#include "files.h"

#define PID_FS_MAGIC 0x50494446
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
#define XA_LEVELS 6

/* The struct pid with this number in a pid namespace: idr_find() over include/linux/xarray.h. */
VERIFIED_ALONE u64 find_pid(u64 pid_ns, u32 nr)
{
	u64 entry = (u64)BPF_CORE_READ((struct pid_namespace *)pid_ns, idr.idr_rt.xa_head);

	for (int i = 0; i < XA_LEVELS; i++) {
		u64 node = entry & ~3ULL;
		u64 slot;

		if ((entry & 3) != 2 || entry <= 4096)
			break;
		slot = (nr >> (BPF_CORE_READ((struct xa_node *)node, shift) & 63)) & 63;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)(node + bpf_core_field_offset(struct xa_node, slots) + slot * 8));
	}
	return entry & 3 ? 0 : entry;
}

/* pid_task(): the task of a struct pid, or 0. */
static __always_inline u64 pid_task(u64 pid)
{
	u64 node = pid ? (u64)BPF_CORE_READ((struct pid *)pid, tasks[0].first) : 0;

	return node ? node - bpf_core_field_offset(struct task_struct, pid_links) : 0;
}

static __always_inline u64 task_by_number(struct task_struct *caller, s32 nr)
{
	return nr > 0 ? pid_task(find_pid(task_pid_ns(caller), nr)) : 0;
}

/* The task behind a pidfd or an open directory /proc/PID: fs/pidfs.c, kernel/pid.c. */
static __always_inline u64 task_by_pidfd(struct task_struct *caller, s32 fd)
{
	u64 file = fd_file(caller, fd);
	u64 inode = file ? (u64)BPF_CORE_READ((struct file *)file, f_inode) : 0;
	u64 magic;

	if (!inode)
		return 0;
	magic = BPF_CORE_READ((struct inode *)inode, i_sb, s_magic);
	if (magic == PROC_SUPER_MAGIC)
		return pid_task(proc_pid(inode));
	if (magic == PID_FS_MAGIC)
		return pid_task((u64)BPF_CORE_READ((struct inode *)inode, i_private));
	return pid_task((u64)BPF_CORE_READ((struct file *)file, private_data));
}

/*
 * Is a task outside the container? Not, where its mount namespace is the container's own, nor where it lives in a
 * pid namespace that the container was given (a pod that shares one), the host's excepted.
 */
VERIFIED_ALONE bool task_foreign(u64 cid, u64 task)
{
	u64 mnt_ns = task ? (u64)BPF_CORE_READ((struct task_struct *)task, nsproxy, mnt_ns) : 0;
	struct ns_ref pid;

	if (!mnt_ns || ns_owned(cid, NS_REF(mnt_namespace, mnt_ns)))
		return false;
	pid = NS_REF(pid_namespace, task_pid_ns((struct task_struct *)task));
	return ns_is_host(NS_PID, pid.ptr) || !ns_owned(cid, pid);
}

static __always_inline bool is_agent(u64 task)
{
	return task && settings.agent_tgid && (u32)BPF_CORE_READ((struct task_struct *)task, tgid) == settings.agent_tgid;
}

/* kill(2) by number: the agent itself, its process group, or everybody. */
static __always_inline bool signals_agent(struct task_struct *caller, s32 nr)
{
	bool host_pids = ns_is_host(NS_PID, NS_REF(pid_namespace, task_pid_ns(caller)).ptr);

	if (!settings.agent_tgid)
		return false;
	if (host_pids && (nr == -1 || (nr < -1 && (u32)-nr == settings.agent_pgid) || (u32)nr == settings.agent_tgid))
		return true;
	return is_agent(task_by_number(caller, nr));
}

static __always_inline bool check_signal(const struct check *k, bool hit, u64 signal)
{
	return hit && (s32)signal != 0 && k->call->ret == 0 &&
	       found(k, INV_SELF, DETAIL_SIGNAL, 0, (s32)signal);
}

static __noinline bool check_kill(const struct check *k)
{
	const struct call *call = k->call;

	switch (call->class) {
	case CALL_KILL:
		return check_signal(k, signals_agent(k->task, call->arg[0]), call->arg[1]);
	case CALL_TKILL:
		return check_signal(k, is_agent(task_by_number(k->task, call->arg[0])), call->arg[1]);
	case CALL_TGKILL:
		return check_signal(k, is_agent(task_by_number(k->task, call->arg[0])), call->arg[2]);
	default:
		return check_signal(k, is_agent(task_by_pidfd(k->task, call->arg[0])), call->arg[1]);
	}
}

static __noinline bool check_ptrace(const struct check *k)
{
	struct task_struct *task = k->task;
	u64 request = k->call->arg[0];
	u64 head = (u64)k->task + bpf_core_field_offset(struct task_struct, ptraced);
	u64 entry, tracee;

	if (k->call->ret != 0 || (request != PTRACE_ATTACH && request != PTRACE_SEIZE))
		return false;
	/* kernel/ptrace.c, __ptrace_link(): the newest tracee comes first. */
	entry = (u64)BPF_CORE_READ(task, ptraced.next);
	if (entry == head)
		return false;
	tracee = entry - bpf_core_field_offset(struct task_struct, ptrace_entry);
	return task_foreign(k->tag->cid, tracee) &&
	       found(k, INV_PROC, DETAIL_PTRACE, 0, BPF_CORE_READ((struct task_struct *)tracee, tgid));
}

static __noinline bool check_other_task(const struct check *k, u64 task, u32 detail)
{
	return k->call->ret >= 0 && task_foreign(k->tag->cid, task) &&
	       found(k, INV_PROC, detail, 0, BPF_CORE_READ((struct task_struct *)task, tgid));
}

#endif
