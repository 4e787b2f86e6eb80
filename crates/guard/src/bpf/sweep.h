/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Iterators that the agent runs: learn the host and the pins, adopt, and look at every task. */
#ifndef CASEMATE_SWEEP_H
#define CASEMATE_SWEEP_H

#include "calls.h"

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

static __noinline u64 fingerprint(struct task_struct *task)
{
	const struct cred *c = BPF_CORE_READ(task, real_cred);
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
		join(task);
		return;
	}
	tag = tag_stranger(task, kind_of(task), 1);
	__sync_fetch_and_add(&state.adoptions, 1);
	if (tag && !runtime_at_work(task))
		seal(task, tag);
}

#define UNSEEN_NS (5 * NSEC_PER_SEC)

/* A container whose last task ended unseen: its record would pass for the birth of whoever gets its namespaces next. */
static long collect_dead(void *map, u64 *cid, struct container *c, u64 *now)
{
	if (!c->last_seen_ns || *now - c->last_seen_ns < UNSEEN_NS)
		return 0;
	if (c->sealed)
		tell(EVENT_GONE, c, NULL);
	forget(*cid);
	return 0;
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

	if (!task) {
		now = bpf_ktime_get_boot_ns();
		bpf_for_each_map_elem(&containers, collect_dead, &now, 0);
		return 0;
	}
	if ((BPF_CORE_READ(task, flags) & (PF_KTHREAD | PF_EXITING)) || !BPF_CORE_READ(task, nsproxy))
		return 0;
	tag = tag_of(task);
	if (!tag) {
		adopt(task);
		return 0;
	}
	now = bpf_ktime_get_boot_ns();
	c = bpf_map_lookup_elem(&containers, &tag->cid);
	if (c)
		c->last_seen_ns = now;
	if (tag->flags & (TAG_PROVISIONAL | TAG_HELPER))
		return 0;
	if (c && c->condemned) {
		struct victim v = { .cid = tag->cid,
				    .start_ns = BPF_CORE_READ(task, group_leader, start_boottime),
				    .pid = BPF_CORE_READ(task, tgid),
				    .condemned = 1 };

		bpf_seq_write(ctx->meta->seq, &v, sizeof(v));
		return 0;
	}
	if (!differs(task, task->real_cred, &tag->seen)) {
		tag->suspect = 0;
		return 0;
	}
	mix = fingerprint(task);
	if (tag->suspect != mix) {
		tag->suspect = mix;
		tag->suspect_ns = now;
		return 0;
	}
	if (now - tag->suspect_ns < SUSPICION_NS)
		return 0;
	k.tag = tag;
	verify(&k);
	return 0;
}

#endif
