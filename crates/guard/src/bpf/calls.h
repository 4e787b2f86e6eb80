/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The checkpoint at the end of a system call: what the call did, and what has become of the task. */
#ifndef CASEMATE_CALLS_H
#define CASEMATE_CALLS_H

#include "helper.h"
#include "self.h"

static __always_inline void read_call(struct call *call, struct task_struct *task, struct pt_regs *regs, s64 ret)
{
	call->nr = (s32)regs->orig_ax;
	call->ret = ret;
	call->compat = !!(task->thread_info.status & TS_COMPAT);
	if (call->compat) {
		call->arg[0] = (u32)regs->bx;
		call->arg[1] = (u32)regs->cx;
		call->arg[2] = (u32)regs->dx;
		call->arg[3] = (u32)regs->si;
	} else {
		call->arg[0] = regs->di;
		call->arg[1] = regs->si;
		call->arg[2] = regs->dx;
		call->arg[3] = regs->r10;
	}
}

/* What the call itself did, beyond the task's own state. True: the task dies. */
static __always_inline bool check_call(const struct check *k, u32 class)
{
	const struct call *call = k->call;

	switch (class) {
	case CALL_OPEN: {
		u64 file = fd_file(k->task, call->ret);

		return file && check_file(k, file);
	}
	case CALL_OPEN_HANDLE: {
		u64 file = fd_file(k->task, call->ret);

		return file && (check_handle(k, file) || check_file(k, file));
	}
	case CALL_FSMOUNT:
		return check_fsmount(k);
	case CALL_DIRFD0:
		return check_dirfd(k, call->arg[0]);
	case CALL_DIRFD1:
		return check_dirfd(k, call->arg[1]);
	case CALL_DIRFD02:
		return check_dirfd(k, call->arg[0]) || check_dirfd(k, call->arg[2]);
	case CALL_UNLINK:
		return check_unlink(k);
	case CALL_UNLINKAT:
		return check_dirfd(k, call->arg[0]) || check_unlink(k);
	case CALL_MOUNT:
		return check_mounts(k);
	case CALL_PTRACE:
		return check_ptrace(k);
	case CALL_VM:
		return check_other_task(k, task_by_number(k->task, call->arg[0]), DETAIL_VM);
	case CALL_GETFD:
		return check_other_task(k, task_by_pidfd(k->task, call->arg[0]), DETAIL_GETFD);
	case CALL_KILL:
	case CALL_TKILL:
	case CALL_TGKILL:
	case CALL_PIDFD_SIGNAL:
		return check_kill(k);
	case CALL_BPF:
		return check_bpf(k);
	default:
		return false;
	}
}

static __always_inline bool check_cgroup(const struct check *k)
{
	struct container *c = bpf_map_lookup_elem(&containers, &k->tag->cid);
	u64 cgroup = task_cgroup(k->task, CGROUP_V2);

	k->tag->flags &= ~TAG_CGROUP;
	return c && cgroup_outside(c, cgroup) && found(k, INV_CG, DETAIL_CGROUP, 0, 0);
}

/* Condemned since the task last looked? */
static __always_inline bool condemned(struct tag *tag)
{
	struct container *c;

	if (tag->gen == state.gen)
		return false;
	c = bpf_map_lookup_elem(&containers, &tag->cid);
	if (!c || !c->condemned) {
		tag->gen = state.gen;
		return false;
	}
	bpf_send_signal(SIGKILL);
	return true;
}

/* The slow half of the checkpoint, in a function of its own: the fast half then needs no stack. */
static __noinline int look_closer(struct task_struct *task, struct tag *tag, struct pt_regs *regs, long ret, bool changed)
{
	struct call call;
	struct check k = { .task = task, .tag = tag, .call = &call, .moment = AT_CALL };

	read_call(&call, task, regs, ret);
	call.class = call_class(call.nr, call.compat);
	if (tag->flags & TAG_HELPER) {
		check_helper_open(&k);
		return 0;
	}
	if (condemned(tag))
		return 0;
	if (changed && verify(&k))
		return 0;
	if (call.class >= CALL_ACTIVE && (check_held(&k) || check_call(&k, call.class)))
		return 0;
	if (tag->flags & TAG_CGROUP)
		check_cgroup(&k);
	return 0;
}

#endif
