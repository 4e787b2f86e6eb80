/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The checkpoint of the prevention modes: where the current task is about to use what it has, in the middle of a
 * call. What hooks.h names is decided here: true, and the use is refused.
 */
#ifndef CASEMATE_USE_H
#define CASEMATE_USE_H

#include "calls.h"

#define AF_PACKET 17
#define AF_RXRPC 33
#define AF_ALG 38
#define PTRACE_MODE_ATTACH 0x02 /* include/linux/ptrace.h */
#define MOUNT_DETACHED 0

/* Refused, or only reported: a precondition of known exploits that the configuration forbids to containers. */
static __noinline bool refused(const struct check *k, u32 denial)
{
	struct container *c;
	struct event *e;
	u32 action;

	if (!(denials & (1U << denial)))
		return false;
	c = bpf_map_lookup_elem(&containers, &k->tag->cid);
	action = container_action(c, k->tag->cid, INV_COUNT);
	if (action == ACTION_EXEMPT)
		return false;
	e = begin_verdict(EVENT_DENIED, action, c, bpf_ktime_get_boot_ns());
	if (!e)
		return action == ACTION_KILL;
	e->detail = denial;
	describe_task(e, k->task);
	bpf_ringbuf_submit(e, 0);
	return action == ACTION_KILL;
}

/* Borrowed credentials (io_uring's personalities, access(2)) may be less than the task's own, never more. */
static __always_inline bool borrows_too_much(const struct check *k)
{
	struct task_struct *task = k->task;
	const struct cred *c = BPF_CORE_READ(task, cred);
	u64 caps;

	if (c == BPF_CORE_READ(task, real_cred) || (u64)BPF_CORE_READ(c, user_ns) != k->tag->birth_user_ns)
		return false;
	caps = read_caps(&c->cap_permitted) | read_caps(&c->cap_effective);
	return caps & ~k->tag->bounding && found(k, INV_CRED, DETAIL_CAPS, k->tag->bounding, caps);
}

/* What a hook goes on with. */
enum entry {
	PASS, /* not a task of a container */
	LOOK, /* everything about the task is in order: look at the use itself */
	DENY, /* it is not, or its container is condemned */
};

static __noinline u32 checkpoint(const struct check *k)
{
	struct task_struct *task = k->task;

	if (condemned(k->tag))
		return DENY;
	if (differs(task, task->real_cred, &k->tag->seen) && verify(k))
		return DENY;
	if (task->cred != task->real_cred && borrows_too_much(k))
		return DENY;
	if (k->tag->flags & TAG_CGROUP && check_cgroup(k))
		return DENY;
	return LOOK;
}

/* Is the current task one of a container? */
static __always_inline bool begin(struct check *k)
{
	k->task = bpf_get_current_task_btf();
	k->tag = tag_of(k->task);
	k->call = NULL;
	k->moment = AT_HOOK;
	return is_judged(k->tag);
}

static __always_inline u32 enter(struct check *k)
{
	return begin(k) ? checkpoint(k) : PASS;
}

/* A hook that has nothing more to look at. */
static __always_inline bool use_any(void)
{
	struct check k;

	return enter(&k) == DENY;
}

/*
 * Does the kernel open this file for itself? An overlay opens its layers under borrowed credentials, on a mount in
 * nobody's namespace or, before 6.5, under the path of the overlay's own file. Pipes and memory files, which are on
 * such mounts too, need no look.
 */
static __always_inline bool opened_inside(u64 mnt, u64 inode)
{
	u64 ns = mount_namespace(mnt);

	if (ns != MOUNT_DETACHED && !ns_pointer_valid(ns))
		return true;
	return BPF_CORE_READ((struct vfsmount *)mnt, mnt_sb) != BPF_CORE_READ((struct inode *)inode, i_sb);
}

/* A file is opened. Of those that the kernel opens for itself only namespaces matter. */
static __always_inline bool use_open(struct file *file)
{
	struct check k;
	u64 mnt, inode, magic;
	bool plain;

	if (!begin(&k))
		return false;
	plain = is_plain_file(file, k.tag->seen.ns[NS_MNT]);
	if (!plain) {
		mnt = (u64)BPF_CORE_READ(file, f_path.mnt);
		inode = (u64)BPF_CORE_READ(file, f_inode);
		if (opened_inside(mnt, inode)) {
			magic = BPF_CORE_READ((struct inode *)inode, i_sb, s_magic);
			return magic == NSFS_MAGIC &&
			       check_entry(&k, magic, inode, (u64)BPF_CORE_READ(file, f_path.dentry));
		}
	}
	if (checkpoint(&k) == DENY)
		return true;
	if (k.tag->in_call == CALL_OPEN_HANDLE && check_handle(&k, number(file)))
		return true;
	return !plain && check_file(&k, number(file));
}

/*
 * A task of a container is about to get other namespaces, by whomever: the commonest kernel payload gives the host's to
 * the container's first process. Those that unshare(2) has just made are nobody's yet.
 */
static __noinline void use_namespaces(const struct check *k, struct nsproxy *next)
{
	u64 now[NS_PROXIED];

	read_proxy(next, now);
#pragma unroll
	for (u32 i = 0; i < NS_PROXIED; i++) {
		struct ns_ref ref = ns_ref(i, now[i]);

		if ((ns_is_host(i, ref.ptr) || ns_birth_cid(ref)) && !ns_owned(k->tag->cid, ref) &&
		    found(k, INV_NS, i, 0, ref.inum))
			return;
	}
}

/* A descriptor arrives over a socket or from another process: not a directory outside, not a foreign namespace. */
static __always_inline bool use_received(struct file *file)
{
	struct check k;
	u64 inode = (u64)BPF_CORE_READ(file, f_inode);
	u64 mnt = (u64)BPF_CORE_READ(file, f_path.mnt);
	u64 dentry = (u64)BPF_CORE_READ(file, f_path.dentry);
	u64 magic = BPF_CORE_READ((struct inode *)inode, i_sb, s_magic);
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	if (magic == NSFS_MAGIC)
		return check_entry(&k, magic, inode, dentry);
	if ((BPF_CORE_READ((struct inode *)inode, i_mode) & S_IFMT) != S_IFDIR ||
	    mount_namespace(mnt) == k.tag->seen.ns[NS_MNT])
		return false;
	return mount_foreign(k.tag->cid, mnt) && found_file(&k, INV_FS, DETAIL_RECEIVED, dentry);
}

/* Something is changed, or the root is moved, by path: `path` names the mount it is on. */
static __always_inline bool use_path(const struct path *path, u32 invariant)
{
	struct check k;
	u64 mnt = (u64)BPF_CORE_READ(path, mnt);
	u64 sb = (u64)BPF_CORE_READ(path, mnt, mnt_sb);
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	if (sb == state.pins_sb)
		return found_file(&k, INV_SELF, DETAIL_PINS, (u64)BPF_CORE_READ(path, dentry));
	if (mount_namespace(mnt) == k.tag->seen.ns[NS_MNT])
		return false;
	return mount_foreign(k.tag->cid, mnt) &&
	       found_file(&k, invariant, DETAIL_PATH, (u64)BPF_CORE_READ(path, dentry));
}

/* A program is about to run: for the kernel itself, or in a container. */
static __always_inline bool use_exec(struct linux_binprm *bprm)
{
	struct check k;
	u64 mnt = (u64)BPF_CORE_READ(bprm, file, f_path.mnt);
	u32 entry = enter(&k);

	if (!k.tag)
		return in_force() && state.ready && is_usermode_helper(k.task) && check_helper(k.task, bprm);
	if (entry != LOOK)
		return entry == DENY;
	return mount_namespace(mnt) != k.tag->seen.ns[NS_MNT] && mount_foreign(k.tag->cid, mnt) &&
	       found_file(&k, INV_FS, DETAIL_EXEC, (u64)BPF_CORE_READ(bprm, file, f_path.dentry));
}

/* Another task is looked into (ps does it to everybody), attached to, or its namespaces are entered by pidfd. */
static __always_inline bool use_task(struct task_struct *child, u32 mode)
{
	struct check k;
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	if (!(mode & PTRACE_MODE_ATTACH) && k.tag->in_call != CALL_SETNS)
		return false;
	return task_foreign(k.tag->cid, number(child)) &&
	       found(&k, INV_PROC, k.tag->in_call == CALL_SETNS ? DETAIL_NSFILE : DETAIL_PTRACE, 0,
		     BPF_CORE_READ(child, tgid));
}

static __always_inline bool use_signal(struct task_struct *target, int signal)
{
	struct check k;
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	return signal && is_agent(number(target)) && found(&k, INV_SELF, DETAIL_SIGNAL, 0, signal);
}

/* A superblock is about to be mounted. */
static __always_inline bool use_superblock(struct super_block *sb)
{
	struct check k;
	u64 root = (u64)BPF_CORE_READ(sb, s_root);
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	return BPF_CORE_READ(sb, s_bdev) && disk_foreign(k.tag->cid, number(sb), root) &&
	       found_file(&k, INV_MNT, DETAIL_BLOCK_MOUNT, root);
}

static __always_inline bool use_moved_mount(const struct path *from)
{
	struct check k;
	u32 entry = enter(&k);
	u64 mnt = (u64)BPF_CORE_READ(from, mnt);

	if (entry != LOOK)
		return entry == DENY;
	return is_host_disk(k.tag->cid, (u64)real_mount(mnt)) &&
	       found_file(&k, INV_MNT, DETAIL_BLOCK_MOUNT, (u64)BPF_CORE_READ(from, dentry));
}

/* A block device has been opened: before that, file and device are not connected. */
static __always_inline bool use_block_device(struct file *file)
{
	struct check k;

	if (enter(&k) != LOOK || (BPF_CORE_READ(file, f_mode) & FMODE_PATH))
		return false;
	return block_held(k.tag->cid, number(file)) &&
	       found_file(&k, INV_MNT, DETAIL_BLOCK_OPEN, (u64)BPF_CORE_READ(file, f_path.dentry));
}

/* bpf(2): links have no hook of their own, but the number that the caller names is in the kernel's copy. */
static __always_inline bool use_bpf(int cmd, const void *attr)
{
	struct check k;
	u32 entry = enter(&k);
	u32 link = 0;

	if (entry != LOOK)
		return entry == DENY;
	if (cmd == BPF_LINK_GET_FD_BY_ID) {
		bpf_probe_read_kernel(&link, sizeof(link), attr);
		for (u32 i = 0; i < GUARD_OBJECTS; i++)
			if (link && settings.link_ids[i] == link)
				return found(&k, INV_SELF, DETAIL_BPF, 0, cmd);
	}
	return refused(&k, DENY_BPF);
}

static __always_inline bool use_bpf_map(struct bpf_map *map)
{
	struct check k;
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	return is_guard_map(number(map)) && found(&k, INV_SELF, DETAIL_BPF, 0, BPF_MAP_GET_FD_BY_ID);
}

static __always_inline bool use_bpf_program(struct bpf_prog *program)
{
	struct check k;
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	return is_guard_program((u64)BPF_CORE_READ(program, aux)) &&
	       found(&k, INV_SELF, DETAIL_BPF, 0, BPF_PROG_GET_FD_BY_ID);
}

/* A set*id call is allowed and about to take effect: these ids are legal from now on. */
static __always_inline bool use_ids(const struct cred *announced)
{
	struct check k;
	u32 entry = enter(&k);

	if (entry != LOOK)
		return entry == DENY;
	read_ids(announced, k.tag->next_ids);
	return false;
}

static __always_inline bool use_precondition(u32 denial)
{
	struct check k;
	u32 entry = enter(&k);

	return entry == DENY || (entry == LOOK && refused(&k, denial));
}

static __always_inline bool use_socket(int family, bool kernel)
{
	struct check k;
	u32 entry = enter(&k);

	if (entry != LOOK || kernel)
		return entry == DENY;
	switch (family) {
	case AF_ALG:
		return refused(&k, DENY_AF_ALG);
	case AF_RXRPC:
		return refused(&k, DENY_AF_RXRPC);
	case AF_PACKET:
		return refused(&k, DENY_AF_PACKET);
	default:
		return false;
	}
}

/* An inode without a file system: io_uring_setup(2) makes one of this name (io_uring/io_uring.c). */
static __always_inline bool use_anonymous(const struct qstr *about)
{
	char name[sizeof("[io_uring]")] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(about, name));
	return same_bytes(name, "[io_uring]", sizeof(name)) && use_precondition(DENY_IO_URING);
}

#endif
