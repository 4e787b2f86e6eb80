/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Birth, join, inheritance, end. A tag is given once: at a fork into a new pid namespace, at an exec inside a
 * container's mount namespace by a task of the host, or by the adoption at start. From then on it is inherited only.
 */
#ifndef CASEMATE_BIRTH_H
#define CASEMATE_BIRTH_H

#include "cgroup.h"
#include "verify.h"

#define ANCESTORS 8
#define TAG_TRIES 4

static __always_inline struct tag *tag_of(struct task_struct *task)
{
	if (!task->bpf_storage)
		return NULL;
	return bpf_task_storage_get(&tags, task, NULL, 0);
}

/* A tag by which a task is judged: a runtime at its set-up and a helper of the kernel are not. */
static __always_inline bool is_judged(const struct tag *tag)
{
	return tag && !(tag->flags & (TAG_PROVISIONAL | TAG_HELPER)) && in_force();
}

/*
 * Creating storage can fail for want of memory, or (before 6.3) because another program holds the lock. The task
 * is then found by the sweep, which the event starts at once.
 */
static __always_inline struct tag *make_tag(struct task_struct *task)
{
	struct tag *tag = NULL;

	for (int i = 0; i < TAG_TRIES && !tag; i++)
		tag = bpf_task_storage_get(&tags, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!tag) {
		__sync_fetch_and_add(&state.tags_failed, 1);
		tell(EVENT_UNTAGGED, NULL, task);
	}
	return tag;
}

/* Names that runtimes give themselves (comm). A host user who takes such a name only has his own sandbox enforced. */
static __always_inline bool runtime_name(const char *comm)
{
#define IS(prefix) (same_bytes(comm, prefix, sizeof(prefix) - 1))
	return IS("runc") || IS("crun") || IS("youki") || IS("conmon") || IS("containerd-") || IS("podman") ||
	       IS("lxc-") || IS("systemd-nsp") || IS("kata-");
#undef IS
}

/* Was this task started by a container runtime? */
VERIFIED_ALONE bool has_runtime_ancestor(u64 t)
{
	char comm[COMM_LEN];

	for (int i = 0; i < ANCESTORS && t; i++) {
		__builtin_memset(comm, 0, sizeof(comm));
		BPF_CORE_READ_STR_INTO(&comm, (struct task_struct *)t, comm);
		if (runtime_name(comm))
			return true;
		t = (u64)BPF_CORE_READ((struct task_struct *)t, real_parent);
	}
	return false;
}

static __always_inline bool is_runtime(struct task_struct *task)
{
	char comm[COMM_LEN] = {};

	BPF_CORE_READ_STR_INTO(&comm, task, comm);
	return runtime_name(comm);
}

/* A runtime in the middle of a set-up: by its name, and by its program, which is not one of the container's. */
static __always_inline bool runtime_at_work(struct task_struct *task)
{
	u64 exe = (u64)BPF_CORE_READ(task, mm, exe_file, f_path.mnt);

	return is_runtime(task) && exe && mount_namespace(exe) != (u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
}

static __always_inline struct container *new_container(void)
{
	u64 cid = __sync_fetch_and_add(&state.next_cid, 1) + 1;
	u32 zero = 0;
	struct container *c = bpf_map_lookup_elem(&blank, &zero);

	if (!c || bpf_map_update_elem(&containers, &cid, c, BPF_NOEXIST)) {
		__sync_fetch_and_add(&state.records_failed, 1);
		return NULL;
	}
	c = bpf_map_lookup_elem(&containers, &cid);
	if (c)
		c->cid = cid;
	return c;
}

static __always_inline void record_namespaces(struct task_struct *task, struct container *c)
{
	u64 now[NS_PROXIED];

	read_nsproxy(task, now);
#pragma unroll
	for (u32 i = 0; i < NS_COUNT; i++) {
		struct ns_ref ref;

		if (i < NS_PROXIED)
			ref = ns_ref(i, now[i]);
		else if (i == NS_PID)
			ref = ns_ref(NS_PID, task_pid_ns(task));
		else
			ref = ns_ref(NS_USER, (u64)BPF_CORE_READ(task, cred, user_ns));
		c->ns[i] = ref.ptr;
		c->inum[i] = ref.inum;
		ns_born(c->cid, i, ref);
	}
}

static __always_inline void record_dir(u64 cid, u64 dir)
{
	if (dir)
		bpf_map_update_elem(&container_dirs, &dir, &cid, BPF_ANY);
}

static __always_inline void forget_dir(u64 cid, u64 dir)
{
	u64 *owner = bpf_map_lookup_elem(&container_dirs, &dir);

	if (owner && *owner == cid)
		bpf_map_delete_elem(&container_dirs, &dir);
}

/*
 * Where the container's files are on the host: an overlay's root and the layer that takes its writes, or a directory.
 * Not a whole file system of another kind: that would be the host's own, in a sandbox that keeps it.
 */
static __always_inline void record_root(struct task_struct *task, struct container *c)
{
	u64 mnt = (u64)BPF_CORE_READ(task, fs, root.mnt);
	u64 sb = (u64)BPF_CORE_READ((struct vfsmount *)mnt, mnt_sb);

	c->root_mnt = mnt;
	c->root_dentry = (u64)BPF_CORE_READ((struct vfsmount *)mnt, mnt_root);
	c->upper_dentry = upper_dentry(sb);
	if (!c->upper_dentry && (c->root_dentry == (u64)BPF_CORE_READ((struct super_block *)sb, s_root) ||
				 c->root_dentry == state.host_root))
		return;
	record_dir(c->cid, c->root_dentry);
	record_dir(c->cid, c->upper_dentry);
}

static __noinline void record_baseline(struct task_struct *task, struct container *c)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	u64 at = number(pid) + bpf_core_field_offset(struct pid, numbers) +
		 (u64)level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr);
	u32 nr = 0;

	bpf_probe_read_kernel(&nr, sizeof(nr), (void *)at);
	c->own_pid_ns = level > 0 && nr == 1;
	c->init_pid = BPF_CORE_READ(task, tgid);
	c->init_pid_ptr = (u64)pid;
	c->init_start_ns = BPF_CORE_READ(task, start_boottime);
	c->born_ns = bpf_ktime_get_boot_ns();
	c->bounding = read_caps(&BPF_CORE_READ(task, real_cred)->cap_bset);
	c->seccomp_mode = BPF_CORE_READ(task, seccomp.mode);
	c->seccomp_filters = BPF_CORE_READ(task, seccomp.filter_count.counter);
	c->no_new_privs = BPF_CORE_READ(task, atomic_flags) & PFA_NO_NEW_PRIVS;
	record_namespaces(task, c);
	record_root(task, c);
	record_cgroups(task, c);
	c->newest_mount = mount_age(newest_mount((u64)BPF_CORE_READ(task, nsproxy, mnt_ns)));
	c->sealed = 1;
}

/* The inodes of the standard streams: a program may open /dev/stdout again, wherever the runtime pointed it. */
static __noinline void record_stdio(struct task_struct *task, struct tag *tag)
{
	u64 fds = (u64)BPF_CORE_READ(task, files, fdt, fd);

#pragma unroll
	for (u32 i = 0; i < STDIO_FDS; i++) {
		u64 file = 0;

		bpf_probe_read_kernel(&file, sizeof(file), (void *)(fds + i * 8));
		tag->stdio[i] = file ? (u64)BPF_CORE_READ((struct file *)file, f_inode) : 0;
	}
}

/* Opens on the container's root need no closer look: unless it is a file system whose files are knobs or tasks. */
static __always_inline void record_home(struct tag *tag)
{
	u64 root = tag->seen.root_mnt;
	u64 magic = BPF_CORE_READ((struct vfsmount *)root, mnt_sb, s_magic);

	tag->home_mnt = mount_namespace(root) == tag->seen.ns[NS_MNT] && is_plain(magic) ? root : 0;
}

/* What a task brings along itself, apart from its container. */
static __always_inline void record_task(struct task_struct *task, struct tag *tag)
{
	const struct cred *c = BPF_CORE_READ(task, real_cred);

	tag->bounding = read_caps(&c->cap_bset);
	tag->birth_user_ns = (u64)BPF_CORE_READ(c, user_ns);
	tag->gen = 0;
	tag->suspect = 0;
	remember(task, &tag->seen);
	__builtin_memcpy(tag->next_ids, tag->seen.ids, sizeof(tag->next_ids));
	tag->in_call = 0;
	record_stdio(task, tag);
	record_home(tag);
}

static __always_inline void count_tasks(u64 cid, int change)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cid);

	if (c)
		__sync_fetch_and_add(&c->tasks, change);
}

/* The last task is gone: forget the container. Namespaces that it made itself give way in their map by age. */
VERIFIED_ALONE int forget(u64 cid)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cid);

	if (!c)
		return 0;
#pragma unroll
	for (u32 i = 0; i < NS_COUNT; i++) {
		struct ns_key key = { .cid = cid, .ptr = c->ns[i], .inum = c->inum[i] };
		u64 *born;

		bpf_map_delete_elem(&namespaces, &key);
		key.cid = 0;
		born = bpf_map_lookup_elem(&namespaces, &key);
		if (born && *born == cid)
			bpf_map_delete_elem(&namespaces, &key);
	}
	forget_dir(cid, c->root_dentry);
	forget_dir(cid, c->upper_dentry);
	bpf_map_delete_elem(&exemptions, &cid);
	bpf_map_delete_elem(&containers, &cid);
	return 0;
}

static __always_inline void leave(struct task_struct *task, u64 cid)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cid);

	if (!c || __sync_fetch_and_sub(&c->tasks, 1) != 1)
		return;
	if (c->sealed)
		tell(EVENT_GONE, c, task);
	forget(cid);
}

/*
 * A hook that the runtime runs inside, before the container's own program: its parent is the runtime, itself still at
 * the set-up. Its exec is not the birth.
 */
static __always_inline bool is_hook(struct task_struct *task, const struct tag *tag)
{
	struct task_struct *parent = task->real_parent;
	struct tag *above = parent ? tag_of(parent) : NULL;

	return above && (above->flags & TAG_PROVISIONAL) && above->cid == tag->cid && is_runtime(parent);
}

static __noinline void born(struct task_struct *task, struct container *c)
{
	if (c->kind == KIND_SANDBOX && in_runtime_cgroup(task))
		c->kind = KIND_RUNTIME;
	record_baseline(task, c);
	record_disks(c->cid, (u64)BPF_CORE_READ(task, nsproxy, mnt_ns));
	__sync_fetch_and_add(&state.births, 1);
	tell(EVENT_BIRTH, c, task);
}

/* CVE-2024-21626: a runtime that leaves a directory of the host open. */
static __always_inline void note_leak(struct task_struct *task, struct tag *tag)
{
	if (holds_foreign_dir(tag->cid, fd_table(task)))
		tag->flags |= TAG_LEAK;
}

/* The setup is over: the container is born, or the task joins one. Called at the exec that ends the setup. */
static __noinline void seal(struct task_struct *task, struct tag *tag)
{
	u64 home = ns_birth_cid(task_mnt_ns(task));
	u64 cid = tag->cid;
	struct container *c;

	tag->flags &= ~TAG_PROVISIONAL;
	record_task(task, tag);
	if (home && home != cid) {
		tag->cid = home;
		tag->flags &= ~TAG_ORPHAN;
		count_tasks(home, 1);
		leave(task, cid);
		__sync_fetch_and_add(&state.joins, 1);
		note_leak(task, tag);
		c = bpf_map_lookup_elem(&containers, &home);
		if (c)
			tell(EVENT_JOIN, c, task);
		return;
	}
	c = bpf_map_lookup_elem(&containers, &cid);
	if (!c) {
		tag->flags |= TAG_ORPHAN;
		return;
	}
	if (!c->sealed)
		born(task, c);
	note_leak(task, tag);
}

/* A tag for a task of the host that turns out to be in a container's namespaces. */
static __always_inline struct tag *tag_stranger(struct task_struct *task, u32 kind, u32 adopted)
{
	struct container *c = new_container();
	struct tag *tag = make_tag(task);

	if (c) {
		c->kind = kind;
		c->adopted = adopted;
	}
	if (!tag) {
		if (c)
			forget(c->cid);
		return NULL;
	}
	tag->cid = c ? c->cid : 0;
	tag->flags = c ? TAG_PROVISIONAL : TAG_PROVISIONAL | TAG_ORPHAN;
	if (c)
		c->tasks = 1;
	return tag;
}

/* A task of the host that runs in a container's mount namespace becomes one of the container's. */
static __always_inline void join(struct task_struct *task)
{
	struct tag *tag = make_tag(task);

	if (!tag)
		return;
	tag->flags = 0;
	tag->cid = 0;
	seal(task, tag);
}

static __always_inline u32 kind_of(struct task_struct *runtime)
{
	return has_runtime_ancestor((u64)BPF_CORE_READ(runtime, group_leader)) ? KIND_RUNTIME : KIND_SANDBOX;
}

/*
 * Does a fork by a task of the host start a container's setup? A deeper pid namespace says so for any runtime.
 * With the host's pid namespace: runc's last stage is forked by its "runc:[1:CHILD]", which has made the mount
 * namespace; others clone into a new one.
 */
static __always_inline bool starts_setup(struct task_struct *parent, struct task_struct *child, u64 clone_flags)
{
	char comm[COMM_LEN] = {};

	if (child->thread_pid->level > parent->thread_pid->level)
		return true;
	if (NS_REF(mnt_namespace, child->nsproxy->mnt_ns).ptr == state.host_ns[NS_MNT])
		return false;
	BPF_CORE_READ_STR_INTO(&comm, parent, comm);
	if (same_bytes(comm, "runc:[1:CHILD]", sizeof("runc:[1:CHILD]") - 1))
		return true;
	return (clone_flags & CLONE_NEWNS) && runtime_name(comm);
}

/* The namespaces that a clone by a tagged task has made are the container's own. */
static __noinline void own_cloned(struct task_struct *child, struct tag *tag, u64 clone_flags)
{
	u64 now[NS_PROXIED];
	u64 user = (u64)BPF_CORE_READ(child, cred, user_ns);

	read_nsproxy(child, now);
#pragma unroll
	for (u32 i = 0; i < NS_PROXIED; i++) {
		if (now[i] == tag->seen.ns[i] || !(clone_flags & ns_clone_flag(i)))
			continue;
		ns_made(tag->cid, ns_ref(i, now[i]));
		tag->seen.ns[i] = now[i];
	}
	if (user != tag->seen.user_ns && (clone_flags & CLONE_NEWUSER)) {
		ns_made(tag->cid, ns_ref(NS_USER, user));
		tag->seen.user_ns = user;
	}
}

#define CLONE_NEW_ANY                                                                                          \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |         \
	 CLONE_NEWPID | CLONE_NEWNET)

static __always_inline void inherit(struct task_struct *child, const struct tag *from, u64 clone_flags)
{
	struct tag *tag = make_tag(child);

	if (!tag)
		return;
	/* A sweep can have come first: the child is in the task list already. */
	if (tag->cid != from->cid)
		count_tasks(from->cid, 1);
	__builtin_memcpy(tag, from, sizeof(*tag));
	tag->suspect = 0;
	tag->in_call = 0;
	tag->looked = 0;
	if (tag->flags & TAG_PROVISIONAL)
		return;
	if (clone_flags & CLONE_INTO_CGROUP)
		tag->flags |= TAG_CGROUP;
	if ((clone_flags & CLONE_NEW_ANY) && !strict && !(tag->flags & TAG_ORPHAN))
		own_cloned(child, tag, clone_flags);
	/* In the same pid namespace the number is new, the namespace is not; else the first checkpoint looks. */
	if (pid_namespace_of(child->thread_pid) == task_pid_ns(bpf_get_current_task_btf()))
		tag->seen.pid = (u64)child->thread_pid;
}

#endif
