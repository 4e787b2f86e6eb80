// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Sensors of the tracepoint mode. Each names a moment and calls what decides; none decides itself.
 * A task without a tag leaves after one or two loads.
 */
#include "kernel.h"
#include "birth.h"
#include "self.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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
static __always_inline bool check_call(const struct check *k)
{
	const struct call *call = k->call;

	switch (call->class) {
	case CALL_OPEN: {
		u64 file = fd_file(k->task, call->ret);

		return file && check_file(k, file);
	}
	case CALL_OPEN_HANDLE: {
		u64 file = fd_file(k->task, call->ret);

		return file && check_handle(k, file);
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
	tag->gen = state.gen;
	c = bpf_map_lookup_elem(&containers, &tag->cid);
	if (!c || !c->condemned)
		return false;
	bpf_send_signal(SIGKILL);
	return true;
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
	if (call.class >= CALL_ACTIVE && (check_held(&k) || check_call(&k)))
		return 0;
	if (tag->flags & TAG_CGROUP)
		check_cgroup(&k);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	bool changed;

	if (!tag || (tag->flags & TAG_PROVISIONAL) || !in_force())
		return 0;
	changed = differs(task, &tag->seen);
	if (!changed && tag->gen == state.gen && !tag->flags &&
	    call_class(regs->orig_ax, task->thread_info.status & TS_COMPAT) < CALL_ACTIVE)
		return 0;
	return look_closer(task, tag, regs, ret, changed);
}

SEC("tp_btf/task_newtask")
int BPF_PROG(on_newtask, struct task_struct *child, u64 clone_flags)
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
	if (!state.ready || !starts_setup(parent, child, clone_flags))
		return 0;
	tag_stranger(child, kind_of(parent), 0);
	return 0;
}

/*
 * The kernel runs a helper for itself (core_pattern, modprobe, release_agent): its parent is kthreadd. The file must
 * be one of the host's, not a container's, not a memfd. A script shows its interpreter here: what it opens is checked.
 */
static __always_inline void check_helper(struct task_struct *task, struct linux_binprm *bprm)
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
		violation(cid, 0, &f);
		return;
	}
	if (BPF_CORE_READ(bprm, filename) == BPF_CORE_READ(bprm, interp))
		return;
	tag = make_tag(task);
	if (tag) {
		tag->cid = 0;
		tag->flags = TAG_HELPER;
	}
}

static __always_inline bool is_usermode_helper(struct task_struct *task)
{
	return BPF_CORE_READ(task, real_parent, flags) & PF_KTHREAD && BPF_CORE_READ(task, tgid) != 1;
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
	tag = make_tag(task);
	if (tag) {
		tag->flags = 0;
		tag->cid = 0;
		seal(task, tag);
	}
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct tag *tag = tag_of(task);
	struct check k = { .task = task, .tag = tag, .moment = AT_EXEC };
	u64 mnt;

	if (!in_force())
		return 0;
	if (!tag || (tag->flags & TAG_HELPER)) {
		if (!state.ready)
			return 0;
		if (is_usermode_helper(task))
			check_helper(task, bprm);
		else if (!tag)
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

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct tag *tag = tag_of(task);

	if (tag && tag->cid && in_force()) {
		leave(task, tag->cid);
		/* Once only, whoever else is attached here. */
		tag->cid = 0;
	}
	return 0;
}

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

/* io_uring opens files without open(2). Before 5.19 the second argument is no request: the agent does not load this. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_io_uring, void *ring, void *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct call call = { .nr = -1 };
	struct check k = { .task = task, .tag = tag, .call = &call, .moment = AT_CALL };
	u32 opcode;
	u64 file = 0;
	s32 res;

	if (!tag || (tag->flags & (TAG_PROVISIONAL | TAG_HELPER)) || !request || !in_force())
		return 0;
	opcode = BPF_CORE_READ((struct io_kiocb *)request, opcode);
	res = BPF_CORE_READ((struct io_kiocb *)request, cqe.res);
	/* IORING_OP_OPENAT, OPENAT2, FIXED_FD_INSTALL: the result is a descriptor. */
	if (opcode == 18 || opcode == 28 || opcode == 54)
		file = fd_file(task, res);
	else if (opcode <= 63 && ((1ULL << opcode) & IO_URING_FILE_OPS))
		file = (u64)BPF_CORE_READ((struct io_kiocb *)request, file);
	if (file)
		check_file(&k, file);
	return 0;
}

/*
 * The same at submission, for what completes without an event (IOSQE_CQE_SKIP_SUCCESS), opens without a descriptor, or
 * works on a path: the directory it starts from must not lead outside.
 */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_io_uring_submit, struct io_kiocb *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct call call = { .nr = -1 };
	struct check k = { .task = task, .tag = tag, .call = &call, .moment = AT_CALL };

	if (!tag || (tag->flags & (TAG_PROVISIONAL | TAG_HELPER)) || !in_force())
		return 0;
	switch (BPF_CORE_READ(request, opcode)) {
	case 18: /* OPENAT */
	case 28: /* OPENAT2 */
		check_dirfd(&k, BPF_CORE_READ((struct io_open *)request, dfd));
		break;
	case 35: /* RENAMEAT */
		if (!check_dirfd(&k, BPF_CORE_READ((struct io_rename *)request, old_dfd)))
			check_dirfd(&k, BPF_CORE_READ((struct io_rename *)request, new_dfd));
		break;
	case 36: /* UNLINKAT */
		check_dirfd(&k, BPF_CORE_READ((struct io_unlink *)request, dfd));
		break;
	case 37: /* MKDIRAT */
		check_dirfd(&k, BPF_CORE_READ((struct io_mkdir *)request, dfd));
		break;
	case 38: /* SYMLINKAT */
	case 39: /* LINKAT */
		if (!check_dirfd(&k, BPF_CORE_READ((struct io_link *)request, old_dfd)))
			check_dirfd(&k, BPF_CORE_READ((struct io_link *)request, new_dfd));
		break;
	}
	return 0;
}

/*
 * The host's own namespaces are those of process 1; where a hardened kernel keeps that from iterators, kthreadd's.
 * Run once, before anything is attached.
 */
SEC("iter/task")
int learn_host(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	u64 now[NS_PROXIED];

	if (!task || (BPF_CORE_READ(task, pid) != 1 && (BPF_CORE_READ(task, pid) != 2 || state.ready)))
		return 0;
	read_nsproxy(task, now);
#pragma unroll
	for (u32 i = 0; i < NS_PROXIED; i++)
		state.host_ns[i] = ns_ref(i, now[i]).ptr;
	state.host_ns[NS_PID] = ns_ref(NS_PID, task_pid_ns(task)).ptr;
	state.host_root = (u64)BPF_CORE_READ(task, fs, root.dentry);
	state.host_ns[NS_USER] = ns_ref(NS_USER, (u64)BPF_CORE_READ(task, cred, user_ns)).ptr;
	state.ready = 1;
	return 0;
}

struct pins {
	struct task_struct *agent;
};

static long learn_pin(u32 i, struct pins *pins)
{
	u64 file = 0;

	if (i >= GUARD_OBJECTS)
		return 1;
	if (settings.pin_fds[i])
		file = fd_file(pins->agent, settings.pin_fds[i]);
	state.pin_inodes[i] = file ? (u64)BPF_CORE_READ((struct file *)file, f_inode) : 0;
	if (file)
		state.pins_sb = (u64)BPF_CORE_READ((struct file *)file, f_inode, i_sb);
	return 0;
}

/* Remember the pins, by the descriptors that the agent has on them. */
SEC("iter/task")
int learn_pins(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct pins pins = { .agent = task };

	if (task && (u32)BPF_CORE_READ(task, pid) == settings.agent_tgid)
		bpf_loop(GUARD_OBJECTS, learn_pin, &pins, 0);
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

	if (!tag || !ctx->write || (tag->flags & (TAG_PROVISIONAL | TAG_HELPER)) || !in_force())
		return 1;
	bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
	if (!is_sysctl_knob(name))
		return 1;
	dies = violation(tag->cid, 0, &f);
	/* The verifier does not know that a bool is 0 or 1. */
	asm volatile("%0 &= 1" : "+r"(dies));
	return dies ^ 1;
}

static __noinline u64 fingerprint(struct task_struct *task)
{
	const struct cred *c = BPF_CORE_READ(task, cred);
	u64 now[NS_PROXIED];
	u64 mix = 1;

	read_nsproxy(task, now);
#pragma unroll
	for (u32 i = 0; i < NS_PROXIED; i++)
		mix = mix * 31 + now[i];
	mix = mix * 31 + (u64)BPF_CORE_READ(c, user_ns);
	mix = mix * 31 + (read_caps(&c->cap_permitted) | read_caps(&c->cap_effective));
	mix = mix * 31 + (u64)BPF_CORE_READ(task, fs, root.mnt);
	return mix * 31 + (u64)BPF_CORE_READ(task, fs, pwd.mnt);
}

#define NEWBORN_NS (NSEC_PER_SEC / 10)
#define SUSPICION_NS (NSEC_PER_SEC * 9 / 10)

/* A task of a container that ran before the guard, or one that slipped through because no tag could be made. */
static __always_inline void adopt(struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = task->real_parent;
	struct tag *from = leader ? tag_of(leader) : NULL;
	struct tag *tag;
	u64 home;

	if (!from && parent)
		from = tag_of(parent);
	if (from && (from->flags & TAG_HELPER))
		return;
	if (from) {
		/* A child just born is its parent's on_newtask's. What it has become since is not its baseline. */
		if (bpf_ktime_get_boot_ns() - BPF_CORE_READ(task, start_boottime) > NEWBORN_NS)
			inherit(task, from, 0);
		return;
	}
	/* Later, a stranger in a container's namespaces is a runtime at work, until its exec. */
	if (!settings.adopting)
		return;
	home = ns_birth_cid(task_mnt_ns(task));
	if (!home && BPF_CORE_READ(task, thread_pid, level) == 0 &&
	    (task_mnt_ns(task).ptr == state.host_ns[NS_MNT] || !in_runtime_cgroup(task)))
		return;
	if (home) {
		/* Not before its exec: it may be a runtime at work. */
		if (runtime_at_work(task))
			return;
		tag = make_tag(task);
		if (tag) {
			tag->flags = 0;
			tag->cid = 0;
			seal(task, tag);
		}
		return;
	}
	tag = tag_stranger(task, kind_of(task), 1);
	__sync_fetch_and_add(&state.adoptions, 1);
	if (tag && !runtime_at_work(task))
		seal(task, tag);
}

/*
 * Every task: adopt it, or compare it. What differs must differ in the same way nearly a second later: a task in the
 * middle of a system call has changed already and was not yet at its checkpoint.
 */
SEC("iter/task")
int sweep(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct check k = { .task = task, .moment = AT_SWEEP };
	struct container *c;
	struct tag *tag;
	u64 mix, now;

	if (!task || (BPF_CORE_READ(task, flags) & (PF_KTHREAD | PF_EXITING)) || !BPF_CORE_READ(task, nsproxy))
		return 0;
	tag = tag_of(task);
	if (!tag) {
		adopt(task);
		return 0;
	}
	if (tag->flags & (TAG_PROVISIONAL | TAG_HELPER))
		return 0;
	c = bpf_map_lookup_elem(&containers, &tag->cid);
	if (c && c->condemned) {
		struct victim v = { .cid = tag->cid,
				    .start_ns = BPF_CORE_READ(task, group_leader, start_boottime),
				    .pid = BPF_CORE_READ(task, tgid),
				    .condemned = 1 };

		bpf_seq_write(ctx->meta->seq, &v, sizeof(v));
		return 0;
	}
	if (!differs(task, &tag->seen)) {
		tag->suspect = 0;
		return 0;
	}
	mix = fingerprint(task);
	now = bpf_ktime_get_boot_ns();
	if (tag->suspect != mix) {
		tag->suspect = mix;
		tag->suspect_ns = now;
		return 0;
	}
	if (now - tag->suspect_ns < SUSPICION_NS)
		return 0;
	k.tag = tag;
	bpf_probe_read_kernel(&k.other, sizeof(k.other), &ctx->task);
	verify(&k);
	return 0;
}
