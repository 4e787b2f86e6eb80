/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The guard's own objects must stay out of a container's reach, whatever capabilities it has. */
#ifndef CASEMATE_SELF_H
#define CASEMATE_SELF_H

#include "proc.h"

/* include/uapi/linux/bpf.h, enum bpf_cmd */
#define BPF_OBJ_GET 7
#define BPF_PROG_GET_FD_BY_ID 13
#define BPF_MAP_GET_FD_BY_ID 14
#define BPF_LINK_GET_FD_BY_ID 30

#define MAPS_OF_A_PROGRAM 16

static __always_inline bool is_guard_map(u64 map)
{
	char name[sizeof("guard_bp")] = {};

	if (map == (u64)&tags || map == (u64)&containers || map == (u64)&namespaces ||
	    map == (u64)&made_namespaces || map == (u64)&given_disks || map == (u64)&container_dirs || map == (u64)&exemptions ||
	    map == (u64)&blank || map == (u64)&verdicts || map == (u64)&lifecycle)
		return true;
	/* .bss and .rodata have no symbol here; libbpf names them after the object. */
	bpf_probe_read_kernel_str(name, sizeof(name), &((struct bpf_map *)map)->name);
	return same_bytes(name, "guard_bp", sizeof(name));
}

/* A program of the guard uses the map of tags. */
static __noinline bool is_guard_program(u64 aux)
{
	u64 used = (u64)BPF_CORE_READ((struct bpf_prog_aux *)aux, used_maps);
	u32 count = BPF_CORE_READ((struct bpf_prog_aux *)aux, used_map_cnt);

	for (u32 i = 0; i < MAPS_OF_A_PROGRAM && i < count; i++) {
		u64 map = 0;

		bpf_probe_read_kernel(&map, sizeof(map), (void *)(used + i * 8));
		if (map == (u64)&tags)
			return true;
	}
	return false;
}

/* A pin that was removed: its inode has no name any more. */
static long find_unpinned(u32 i, u32 *unpinned)
{
	u64 inode;

	if (i >= GUARD_OBJECTS)
		return 1;
	inode = state.pin_inodes[i];
	if (!inode || BPF_CORE_READ((struct inode *)inode, i_nlink) != 0)
		return 0;
	*unpinned = 1;
	return 1;
}

/* Has a pin of the guard been removed? */
static __noinline bool check_unlink(const struct check *k)
{
	u32 unpinned = 0;

	if (!settings.pins_armed)
		return false;
	bpf_loop(GUARD_OBJECTS, find_unpinned, &unpinned, 0);
	return unpinned && found(k, INV_SELF, DETAIL_UNPINNED, 0, 0);
}

/* Has bpf(2) returned a descriptor of one of the guard's maps, programs or links? */
static __noinline bool check_bpf(const struct check *k)
{
	u64 cmd = (u32)k->call->arg[0];
	u64 file, object;
	bool hit = false;

	if (cmd != BPF_OBJ_GET && cmd != BPF_PROG_GET_FD_BY_ID && cmd != BPF_MAP_GET_FD_BY_ID &&
	    cmd != BPF_LINK_GET_FD_BY_ID)
		return false;
	file = fd_file(k->task, k->call->ret);
	object = file ? (u64)BPF_CORE_READ((struct file *)file, private_data) : 0;
	if (!object)
		return false;
	if (cmd == BPF_MAP_GET_FD_BY_ID || cmd == BPF_OBJ_GET)
		hit = is_guard_map(object);
	if (!hit && (cmd == BPF_PROG_GET_FD_BY_ID || cmd == BPF_OBJ_GET))
		hit = is_guard_program((u64)BPF_CORE_READ((struct bpf_prog *)object, aux));
	if (!hit && (cmd == BPF_LINK_GET_FD_BY_ID || cmd == BPF_OBJ_GET))
		hit = is_guard_program((u64)BPF_CORE_READ((struct bpf_link *)object, prog, aux));
	return hit && found(k, INV_SELF, DETAIL_BPF, 0, cmd);
}

#endif
