/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a verdict to its consequences: count, condemn, kill, tell the agent. In this order. */
#ifndef CASEMATE_ENFORCE_H
#define CASEMATE_ENFORCE_H

#include "maps.h"

#define SIGKILL 9
#define EVENTS_PER_SECOND 64 /* of one container; the rest is counted */
#define NSEC_PER_SEC 1000000000ULL

/* kernel/trace/bpf_trace.c, since 6.13; kernel/bpf/helpers.c, since 6.2 */
extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type, u64 value) __ksym __weak;
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

/* What the current system call is; sys_exit fills it, others leave nr at -1. */
struct call {
	s64 ret;
	u64 arg[4];
	s32 nr;
	u16 compat;
	u16 class;
};

/* A verdict in the making. */
struct finding {
	u32 invariant;
	u32 detail;
	u64 expected;
	u64 seen;
	u64 dentry; /* whose name goes into the event, or 0 */
	s32 nr;	    /* the system call, or -1 */
	u32 compat;
};

static __always_inline void describe_task(struct event *e, struct task_struct *task)
{
	e->pid = BPF_CORE_READ(task, tgid);
	e->tid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_STR_INTO(&e->comm, task, comm);
}

static __always_inline void describe_dentry(struct event *e, u64 dentry)
{
	e->name[0] = 0;
	if (dentry)
		bpf_probe_read_kernel_str(e->name, sizeof(e->name),
					  BPF_CORE_READ((struct dentry *)dentry, d_name.name));
}

static __always_inline void describe_container(struct event *e, struct container *c)
{
	e->cid = c->cid;
	e->adopted = c->adopted;
	e->runtime_kind = c->kind;
	e->tasks = c->tasks;
	e->condemned = c->condemned;
}

/* A birth, join or end. Loss is counted and harms no verdict: the agent also reads the maps. */
static __noinline void tell(u32 kind, struct container *c, struct task_struct *task)
{
	struct event *e = bpf_ringbuf_reserve(&lifecycle, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&state.events_lost, 1);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->syscall = -1;
	e->time_ns = bpf_ktime_get_boot_ns();
	describe_task(e, task);
	if (c) {
		describe_container(e, c);
		if (c->condemned)
			e->elapsed_ns = e->time_ns - c->condemned_ns;
	}
	bpf_ringbuf_submit(e, 0);
}

/* Kill the first task of the container's own pid namespace: the kernel then kills all others in it. */
static __always_inline void kill_init(struct container *c)
{
	struct task_struct *init;

	if (!c->own_pid_ns || !bpf_ksym_exists(bpf_send_signal_task) || !bpf_ksym_exists(bpf_task_from_pid))
		return;
	init = bpf_task_from_pid(c->init_pid);
	if (!init)
		return;
	if ((u64)BPF_CORE_READ(init, thread_pid) == c->init_pid_ptr)
		bpf_send_signal_task(init, SIGKILL, PIDTYPE_TGID, 0);
	bpf_task_release(init);
}

/*
 * A task whose container has no record is judged as a runtime's: unknown is never open. INV_COUNT stands for no
 * invariant, from which nobody is exempt.
 */
static __always_inline u32 container_action(struct container *c, u64 cid, u32 invariant)
{
	u32 rule = c && c->kind == KIND_SANDBOX ? sandbox_policy : policy;
	u32 *exempt = bpf_map_lookup_elem(&exemptions, &cid);

	if (rule == POLICY_IGNORE || (exempt && *exempt & (1U << invariant)))
		return ACTION_EXEMPT;
	return rule == POLICY_ENFORCE ? ACTION_KILL : ACTION_AUDIT;
}

/* One event in a window may pass; the others are counted in the container's record. */
static __always_inline bool event_due(struct container *c, u64 now)
{
	if (now - c->window_ns > NSEC_PER_SEC) {
		c->window_ns = now;
		c->window_events = 0;
	}
	if (c->window_events >= EVENTS_PER_SECOND) {
		__sync_fetch_and_add(&c->suppressed, 1);
		return false;
	}
	c->window_events++;
	return true;
}

/* Room for an event about a container, or NULL: its window is used up, or the ring is full. Both are counted. */
static __always_inline struct event *begin_verdict(u32 kind, u32 action, struct container *c, u64 now)
{
	struct event *e;

	if (c && !event_due(c, now))
		return NULL;
	e = bpf_ringbuf_reserve(&verdicts, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&state.events_lost, 1);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->action = action;
	e->time_ns = now;
	e->syscall = -1;
	if (c)
		describe_container(e, c);
	return e;
}

/*
 * A task broke an invariant: the one that runs now where `other` is 0 (SIGKILL reaches it before its next user
 * instruction); another one is left to its own next checkpoint, to its init's death and to the agent.
 * True: it dies. False: audit or exempt, the caller goes on with the new state.
 */
VERIFIED_ALONE bool violation(u64 cid, u64 other, const struct finding *f)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	u64 now = bpf_ktime_get_boot_ns();
	struct event *e;
	u32 action;

	/* Never: the verifier knows this function without its callers. */
	if (!f)
		return true;
	action = container_action(c, cid, f->invariant);

	if (action == ACTION_EXEMPT)
		return false;
	__sync_fetch_and_add(&state.verdict_count, 1);
	if (action == ACTION_KILL && !other)
		bpf_send_signal(SIGKILL);
	if (c) {
		if (f->invariant < INV_COUNT)
			__sync_fetch_and_add(&c->violations[f->invariant], 1);
		if (action == ACTION_KILL && !c->condemned) {
			c->condemned_ns = now;
			c->condemned = 1;
			__sync_fetch_and_add(&state.gen, 1);
			__sync_fetch_and_add(&state.kills, 1);
			kill_init(c);
		}
	}
	e = begin_verdict(EVENT_VIOLATION, action, c, now);
	if (!e)
		return action == ACTION_KILL;
	e->invariant = f->invariant;
	e->detail = f->detail;
	e->expected = f->expected;
	e->seen = f->seen;
	e->syscall = f->nr;
	e->compat = f->compat;
	describe_task(e, (struct task_struct *)(other ? other : bpf_get_current_task()));
	describe_dentry(e, f->dentry);
	if (c)
		e->suppressed = __sync_lock_test_and_set(&c->suppressed, 0);
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
	return action == ACTION_KILL;
}

#endif
