/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Cgroups: where a container was born, and whether a task is still at or below that place. */
#ifndef CASEMATE_CGROUP_H
#define CASEMATE_CGROUP_H

#include "enforce.h"

#define CGROUP_DEPTH 24
#define ID_DIGITS 64

/* Slot of the version 2 hierarchy in container.cgroups; the slots before it are the subsystems'. */
#define CGROUP_V2 CGROUP_SUBSYS

/* The number of subsystems is the kernel's: sizeof(css_set.subsys) / 8. */
static __always_inline u32 subsystem_count(void)
{
	u32 n = bpf_core_field_size(((struct css_set *)0)->subsys) / 8;

	return n < CGROUP_SUBSYS ? n : CGROUP_SUBSYS;
}

static __always_inline u64 set_cgroup(u64 set, u32 slot)
{
	u64 css = 0;

	if (slot == CGROUP_V2)
		return (u64)BPF_CORE_READ((struct css_set *)set, dfl_cgrp);
	if (slot >= subsystem_count())
		return 0;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)(set + bpf_core_field_offset(struct css_set, subsys) + slot * 8));
	return css ? (u64)BPF_CORE_READ((struct cgroup_subsys_state *)css, cgroup) : 0;
}

static __always_inline u64 task_cgroup(struct task_struct *task, u32 slot)
{
	return set_cgroup((u64)BPF_CORE_READ(task, cgroups), slot);
}

static __always_inline void record_cgroups(struct task_struct *task, struct container *c)
{
	for (u32 i = 0; i <= CGROUP_V2; i++)
		c->cgroups[i] = task_cgroup(task, i);
}

VERIFIED_ALONE bool cgroup_at_or_below(u64 cgroup, u64 top)
{
	for (int i = 0; i < CGROUP_DEPTH && cgroup; i++) {
		u64 css;

		if (cgroup == top)
			return true;
		css = (u64)BPF_CORE_READ((struct cgroup *)cgroup, self.parent);
		cgroup = css ? (u64)BPF_CORE_READ((struct cgroup_subsys_state *)css, cgroup) : 0;
	}
	return false;
}

/*
 * The slot of the container's place in a cgroup's hierarchy, or -1. Version 2 has a slot of its own: there, a
 * subsystem's cgroup is the nearest one above that has the controller, not the task's.
 */
static __noinline int slot_of(struct container *c, u64 cgroup)
{
	u64 hierarchy = (u64)BPF_CORE_READ((struct cgroup *)cgroup, root);

	for (int i = CGROUP_V2; i >= 0; i--) {
		u64 born = c->cgroups[i];

		if (born && (u64)BPF_CORE_READ((struct cgroup *)born, root) == hierarchy)
			return i;
	}
	return -1;
}

/* The host has moved the container: its place in this hierarchy is another. */
static __always_inline void rehome(struct container *c, u64 destination)
{
	int slot = slot_of(c, destination);

	if (slot >= 0 && slot <= CGROUP_V2)
		c->cgroups[slot] = destination;
}

/* Is the destination of a move outside the container's place in the same hierarchy? */
static __always_inline bool cgroup_outside(struct container *c, u64 destination)
{
	int slot = slot_of(c, destination);

	return slot >= 0 && slot <= CGROUP_V2 && !cgroup_at_or_below(destination, c->cgroups[slot]);
}

/* A table instead of comparisons: no branch, so the verifier walks the loop below once. */
const volatile u8 hex_digit[256] = {
	['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
	['8'] = 1, ['9'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
};

VERIFIED_ALONE bool hex_id_at(u64 name)
{
	unsigned char id[ID_DIGITS] = {};
	u32 digits = 0;

	if (bpf_probe_read_kernel(id, sizeof(id), (void *)name))
		return false;
	for (u32 i = 0; i < ID_DIGITS; i++)
		digits += hex_digit[id[i]];
	return digits == ID_DIGITS;
}

/* Is a cgroup named after a container id of 64 hexadecimal digits, as every engine names them? */
static __always_inline bool holds_container_id(u64 cgroup)
{
	u64 name = cgroup ? (u64)BPF_CORE_READ((struct cgroup *)cgroup, kn, name) : 0;

	if (!name)
		return false;
	return hex_id_at(name) ||	 /* cgroupfs driver: docker/<id>, kubepods/.../<id> */
	       hex_id_at(name + 5) ||	 /* crio- */
	       hex_id_at(name + 7) ||	 /* docker-, libpod- */
	       hex_id_at(name + 15);	 /* cri-containerd- */
}

/* Does a cgroup of this css_set, or the one above it, carry a container id? */
VERIFIED_ALONE bool names_container(u64 set)
{
	u64 last = 0;

	for (u32 i = 0; i <= CGROUP_V2; i++) {
		u64 cgroup = set_cgroup(set, i);
		u64 css;

		if (!cgroup || cgroup == last)
			continue;
		last = cgroup;
		if (holds_container_id(cgroup))
			return true;
		css = (u64)BPF_CORE_READ((struct cgroup *)cgroup, self.parent);
		if (css && holds_container_id((u64)BPF_CORE_READ((struct cgroup_subsys_state *)css, cgroup)))
			return true;
	}
	return false;
}

static __always_inline bool in_runtime_cgroup(struct task_struct *task)
{
	return names_container((u64)BPF_CORE_READ(task, cgroups));
}

#endif
