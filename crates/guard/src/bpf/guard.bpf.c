// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Sensors of every mode, and of the tracepoint mode. Each names a moment and calls what decides; none decides itself.
 * A task without a tag leaves after one or two loads.
 */
#include "kernel.h"
#include "calls.h"
#include "hooks.h"
#include "sweep.h"
#include "uring.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Has the first of two programs looked already? If not, this one does. */
static __always_inline bool done_by_twin(struct tag *tag, u32 at, bool twin)
{
	if (!twins)
		return false;
	if (!twin) {
		tag->looked |= at;
		return false;
	}
	if (!(tag->looked & at))
		return false;
	tag->looked &= ~at;
	return true;
}

static __always_inline int call_ends(struct pt_regs *regs, long ret, bool twin)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	bool changed;

	if (!tag || (tag->flags & TAG_PROVISIONAL) || !in_force())
		return 0;
	if (done_by_twin(tag, LOOKED_CALL, twin))
		return 0;
	changed = differs(task, task->cred, &tag->seen);
	if (!changed && tag->gen == state.gen && !tag->flags) {
		u32 class = call_class(regs->orig_ax, task->thread_info.status & TS_COMPAT);

		if (class < CALL_ACTIVE || (class == CALL_OPEN && is_plain_descriptor(task, ret, tag->seen.ns[NS_MNT])))
			return 0;
	}
	return look_closer(task, tag, regs, ret, changed);
}

/* This, and task_ends(), may run twice for one event. */
static __always_inline int task_begins(struct task_struct *child, u64 clone_flags)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct tag *from = tag_of(parent);

	if (!in_force())
		return 0;
	if (from) {
		if (from->flags & TAG_HELPER)
			return 0;
		if (strict && (clone_flags & CLONE_NEW_ANY) && !(from->flags & TAG_PROVISIONAL)) {
			struct check k = { .task = parent, .tag = from, .moment = AT_CALL };

			found(&k, INV_NS, NS_USER, 0, clone_flags & CLONE_NEW_ANY);
		}
		inherit(child, from, clone_flags);
		return 0;
	}
	if (!state.ready || tag_of(child) || !starts_setup(parent, child, clone_flags))
		return 0;
	tag_stranger(child, kind_of(parent), 0);
	return 0;
}

/* A task of the host has exec'ed: in a container's mount namespace it joins, in a new one it may be a birth. */
static __always_inline void check_stranger(struct task_struct *task)
{
	struct ns_ref mnt = task_mnt_ns(task);
	struct tag *tag;
	u64 home;

	if (mnt.ptr == state.host_ns[NS_MNT])
		return;
	home = ns_birth_cid(mnt);
	/* runc re-executes itself in the container's cgroup before it has entered anything else. */
	if (!home && (!in_runtime_cgroup(task) || runtime_at_work(task) || is_runtime(task->real_parent)))
		return;
	if (!home) {
		tag = tag_stranger(task, KIND_RUNTIME, 0);
		if (tag)
			seal(task, tag);
		return;
	}
	join(task);
}

static __always_inline int judge_program(struct task_struct *task, struct tag *tag, struct linux_binprm *bprm)
{
	struct check k = { .task = task, .tag = tag, .moment = AT_EXEC };
	u64 mnt;

	if (!in_force())
		return 0;
	if (!tag || (tag->flags & TAG_HELPER)) {
		if (!state.ready)
			return 0;
		if (is_usermode_helper(task)) {
			if (!prevention)
				check_helper(task, bprm);
		} else if (!tag)
			check_stranger(task);
		return 0;
	}
	if (tag->flags & TAG_PROVISIONAL) {
		if (!is_hook(task, tag))
			seal(task, tag);
		return 0;
	}
	if (condemned(tag) || verify(&k))
		return 0;
	mnt = (u64)BPF_CORE_READ(bprm, file, f_path.mnt);
	if (mount_namespace(mnt) != tag->seen.ns[NS_MNT] && mount_foreign(tag->cid, mnt))
		found_file(&k, INV_FS, DETAIL_EXEC, (u64)BPF_CORE_READ(bprm, file, f_path.dentry));
	return 0;
}

static __always_inline int program_begins(struct task_struct *task, struct linux_binprm *bprm, bool twin)
{
	struct tag *tag = tag_of(task);

	if (twin && tag && done_by_twin(tag, LOOKED_EXEC, true))
		return 0;
	judge_program(task, tag, bprm);
	tag = tag_of(task);
	if (!twin && tag)
		done_by_twin(tag, LOOKED_EXEC, false);
	return 0;
}

static __always_inline int task_ends(struct task_struct *task)
{
	struct tag *tag = tag_of(task);

	if (tag && tag->cid && in_force()) {
		leave(task, tag->cid);
		tag->cid = 0;
	}
	return 0;
}

/* A sensor and its twin: see `twins` in maps.h. */
#define SENSOR(name, point, decision, twin_decision, ...)                                                      \
	SEC("tp_btf/" #point)                                                                                  \
	int BPF_PROG(name, __VA_ARGS__)                                                                        \
	{                                                                                                      \
		return decision;                                                                               \
	}                                                                                                      \
	SEC("tp_btf/" #point)                                                                                  \
	int BPF_PROG(name##_twin, __VA_ARGS__)                                                                 \
	{                                                                                                      \
		return twin_decision;                                                                          \
	}

SENSOR(on_sys_exit, sys_exit, call_ends(regs, ret, false), call_ends(regs, ret, true), struct pt_regs *regs, long ret)
SENSOR(on_newtask, task_newtask, task_begins(child, clone_flags), task_begins(child, clone_flags),
       struct task_struct *child, u64 clone_flags)
SENSOR(on_exec, sched_process_exec, program_begins(task, bprm, false), program_begins(task, bprm, true),
       struct task_struct *task, int old_pid, struct linux_binprm *bprm)
SENSOR(on_exit, sched_process_exit, task_ends(task), task_ends(task), struct task_struct *task)

/*
 * Moves are judged by who makes them: the container may not leave, the host may move it. Where the host moves its
 * first task, that is its place from then on.
 */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_cgroup_move, struct cgroup *destination, const char *path, struct task_struct *moved)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct container *c;

	if (!in_force())
		return 0;
	if (!tag) {
		tag = tag_of(moved);
		c = tag ? bpf_map_lookup_elem(&containers, &tag->cid) : NULL;
		if (c && c->sealed && (u64)BPF_CORE_READ(moved, thread_pid) == c->init_pid_ptr)
			rehome(c, (u64)BPF_CORE_READ(destination, self.cgroup));
		return 0;
	}
	if (tag->flags & (TAG_PROVISIONAL | TAG_HELPER))
		return 0;
	c = bpf_map_lookup_elem(&containers, &tag->cid);
	/* self.cgroup is the cgroup itself, as a plain number. */
	if (c && cgroup_outside(c, (u64)BPF_CORE_READ(destination, self.cgroup))) {
		struct finding f = { .invariant = INV_CG, .detail = DETAIL_CGROUP, .nr = -1 };

		violation(tag->cid, 0, &f);
	}
	return 0;
}

/*
 * A write to a sysctl that is a helper knob is refused, however it is made: io_uring can open and write within one
 * system call, at whose end it would be too late. Where the host has no cgroup v2 mount, this is not attached.
 */
SEC("cgroup/sysctl")
int on_sysctl(struct bpf_sysctl *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = bpf_task_storage_get(&tags, task, NULL, 0);
	struct finding f = { .invariant = INV_WR, .detail = DETAIL_SYSCTL, .nr = -1 };
	char name[SYSCTL_LEN] = {};
	u32 dies;

	if (!ctx->write || !is_judged(tag))
		return 1;
	bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
	if (!is_sysctl_knob(name))
		return 1;
	dies = violation(tag->cid, 0, &f);
	/* The verifier does not know that a bool is 0 or 1. */
	asm volatile("%0 &= 1" : "+r"(dies));
	return dies ^ 1;
}

/*
 * The same where programs of cgroups have no task storage: the writer is known by a namespace that a container was born
 * with. It is refused here, and judged at the end of the call, which has opened the knob.
 */
SEC("cgroup/sysctl")
int on_sysctl_by_ns(struct bpf_sysctl *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	char name[SYSCTL_LEN] = {};
	u64 cid;

	if (!ctx->write || !in_force())
		return 1;
	bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
	if (!is_sysctl_knob(name))
		return 1;
	cid = owner_by_ns(number(task));
	return !cid || container_action(bpf_map_lookup_elem(&containers, &cid), cid, INV_WR) != ACTION_KILL;
}
