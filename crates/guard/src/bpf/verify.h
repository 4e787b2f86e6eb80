/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A checkpoint. differs() is the fast path: is everything as it was when it was last verified? Where something is
 * not, verify() decides for each part whether the change is one that the container may make, and remembers it.
 */
#ifndef CASEMATE_VERIFY_H
#define CASEMATE_VERIFY_H

#include "enforce.h"
#include "fd.h"
#include "syscalls.h"

static __always_inline u64 read_caps(const void *set)
{
	u64 caps = 0; /* both shapes of kernel_cap_t are 64 bits, low word first */

	bpf_probe_read_kernel(&caps, sizeof(caps), set);
	return caps;
}

static __always_inline u32 seccomp_bit(struct task_struct *task)
{
	if (bpf_core_field_exists(struct thread_info___work, syscall_work))
		return ((struct task_struct___work *)task)->thread_info.syscall_work & SYSCALL_WORK_SECCOMP;
	return !!(task->thread_info.flags & TIF_SECCOMP_OLD);
}

static __always_inline bool differs(struct task_struct *task, const struct cred *c, const struct seen *seen)
{
	struct nsproxy *n = task->nsproxy;
	struct fs_struct *fs = task->fs;

	if ((u64)n->uts_ns != seen->ns[NS_UTS] || (u64)n->ipc_ns != seen->ns[NS_IPC] ||
	    (u64)n->mnt_ns != seen->ns[NS_MNT] ||
	    (u64)n->pid_ns_for_children != seen->ns[NS_PID_FOR_CHILDREN] ||
	    (u64)n->net_ns != seen->ns[NS_NET] || (u64)n->time_ns != seen->ns[NS_TIME] ||
	    (u64)n->time_ns_for_children != seen->ns[NS_TIME_FOR_CHILDREN] ||
	    (u64)n->cgroup_ns != seen->ns[NS_CGROUP])
		return true;
	if ((u64)task->thread_pid != seen->pid || (u64)c->user_ns != seen->user_ns)
		return true;
	if (bpf_core_field_exists(struct cap_set, val)) {
		if (c->cap_permitted.val != seen->permitted || c->cap_effective.val != seen->effective)
			return true;
	} else if (read_caps(&c->cap_permitted) != seen->permitted ||
		   read_caps(&c->cap_effective) != seen->effective) {
		return true;
	}
	if (c->uid.val != seen->ids[0] || c->gid.val != seen->ids[1] || c->suid.val != seen->ids[2] ||
	    c->sgid.val != seen->ids[3] || c->euid.val != seen->ids[4] || c->egid.val != seen->ids[5] ||
	    c->fsuid.val != seen->ids[6] || c->fsgid.val != seen->ids[7])
		return true;
	if ((u64)fs->root.mnt != seen->root_mnt || (u64)fs->root.dentry != seen->root_dentry ||
	    (u64)fs->pwd.mnt != seen->pwd_mnt)
		return true;
	if ((u32)task->seccomp.mode != seen->seccomp_mode || (u64)task->seccomp.filter != seen->seccomp_filter ||
	    (u32)task->seccomp.filter_count.counter != seen->seccomp_filters)
		return true;
	return (task->atomic_flags & PFA_NO_NEW_PRIVS) != seen->no_new_privs || seccomp_bit(task) != seen->seccomp_bit;
}

static __always_inline void read_ids(const struct cred *c, u32 *ids)
{
	ids[0] = BPF_CORE_READ(c, uid.val);
	ids[1] = BPF_CORE_READ(c, gid.val);
	ids[2] = BPF_CORE_READ(c, suid.val);
	ids[3] = BPF_CORE_READ(c, sgid.val);
	ids[4] = BPF_CORE_READ(c, euid.val);
	ids[5] = BPF_CORE_READ(c, egid.val);
	ids[6] = BPF_CORE_READ(c, fsuid.val);
	ids[7] = BPF_CORE_READ(c, fsgid.val);
}

/* Everything as it is now becomes what was verified. */
static __noinline void remember(struct task_struct *task, struct seen *seen)
{
	const struct cred *c = BPF_CORE_READ(task, real_cred);

	read_nsproxy(task, seen->ns);
	seen->pid = (u64)BPF_CORE_READ(task, thread_pid);
	seen->user_ns = (u64)BPF_CORE_READ(c, user_ns);
	seen->root_mnt = (u64)BPF_CORE_READ(task, fs, root.mnt);
	seen->root_dentry = (u64)BPF_CORE_READ(task, fs, root.dentry);
	seen->pwd_mnt = (u64)BPF_CORE_READ(task, fs, pwd.mnt);
	seen->permitted = read_caps(&c->cap_permitted);
	seen->effective = read_caps(&c->cap_effective);
	read_ids(c, seen->ids);
	seen->seccomp_mode = BPF_CORE_READ(task, seccomp.mode);
	seen->seccomp_filter = (u64)BPF_CORE_READ(task, seccomp.filter);
	seen->seccomp_filters = BPF_CORE_READ(task, seccomp.filter_count.counter);
	seen->seccomp_bit = seccomp_bit(task);
	seen->no_new_privs = BPF_CORE_READ(task, atomic_flags) & PFA_NO_NEW_PRIVS;
}

/* Why a checkpoint looks closer. */
enum moment {
	AT_CALL,  /* the current task leaves a system call */
	AT_EXEC,  /* the current task has just exec'ed */
	AT_SWEEP, /* another task, stopped wherever it is */
	AT_HOOK,  /* the current task, in the middle of a call */
};

struct check {
	struct task_struct *task;
	struct tag *tag;
	const struct call *call; /* NULL but for AT_CALL */
	u32 moment;
};

static __always_inline bool judge(const struct check *k, struct finding *f)
{
	struct task_struct *task = k->task;

	f->nr = -1;
	f->compat = 0;
	if (k->call) {
		f->nr = (s32)k->call->nr;
		f->compat = k->call->compat;
	} else if (k->moment == AT_HOOK) {
		f->nr = BPF_CORE_READ((struct pt_regs *)bpf_task_pt_regs(task), orig_ax);
		f->compat = BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
	}
	return violation(k->tag->cid, k->moment == AT_SWEEP ? number(task) : 0, f);
}

static __noinline bool found(const struct check *k, u32 invariant, u32 detail, u64 expected, u64 seen)
{
	struct finding f = { .invariant = invariant, .detail = detail, .expected = expected, .seen = seen };

	return judge(k, &f);
}

/*
 * May the task be in this namespace? Yes, where it is the container's own, or where this very unshare(2) has made
 * it: then it becomes the container's own. One that is the host's or was another live container's at its birth was
 * not made by this call, whatever the call was.
 */
static __noinline bool ns_allowed(const struct check *k, u32 kind, u64 ptr, u64 inum)
{
	struct ns_ref ref = { .ptr = ptr, .inum = inum };

	if (strict || (k->tag->flags & TAG_ORPHAN))
		return false;
	if (ns_owned(k->tag->cid, ref))
		return true;
	if (k->moment != AT_CALL || !k->call || k->call->class != CALL_UNSHARE || k->call->ret != 0 ||
	    !(k->call->arg[0] & ns_clone_flag(kind)))
		return false;
	if (ns_is_host(kind, ref.ptr) || ns_birth_cid(ref))
		return false;
	ns_made(k->tag->cid, ref);
	return true;
}

static __always_inline u64 inum_of(u32 kind, u64 address)
{
	return address ? ns_ref(kind, address).inum : 0;
}

/*
 * The credentials to judge. In the middle of a call the kernel itself may act under borrowed ones (override_creds() of
 * overlayfs): then what counts is what the task has by itself.
 */
static __always_inline const struct cred *own_creds(const struct check *k)
{
	struct task_struct *task = k->task;

	if (k->moment == AT_SWEEP || k->moment == AT_HOOK)
		return BPF_CORE_READ(task, real_cred);
	return BPF_CORE_READ(task, cred);
}

static __noinline bool verify_namespaces(const struct check *k)
{
	struct task_struct *task = k->task;
	struct seen *seen = &k->tag->seen;
	u64 now[NS_PROXIED];
	u64 pid, user;

	read_nsproxy(k->task, now);
	if (!now[NS_UTS])
		return false; /* exiting: exit_task_namespaces() has run */
#pragma unroll
	for (u32 i = 0; i < NS_PROXIED; i++) {
		if (now[i] == seen->ns[i])
			continue;
		struct ns_ref ref = ns_ref(i, now[i]);

		if (!ns_allowed(k, i, ref.ptr, ref.inum) && found(k, INV_NS, i, inum_of(i, seen->ns[i]), ref.inum))
			return true;
		seen->ns[i] = now[i];
	}
	pid = (u64)BPF_CORE_READ(task, thread_pid);
	if (pid != seen->pid) {
		/* exec by a thread takes over the leader's pid; a pid namespace never changes. */
		struct ns_ref ref = ns_ref(NS_PID, pid_namespace_of((struct pid *)pid));

		if (!ns_owned(k->tag->cid, ref) && found(k, INV_NS, NS_PID, 0, ref.inum))
			return true;
		seen->pid = pid;
	}
	user = (u64)BPF_CORE_READ(own_creds(k), user_ns);
	if (user != seen->user_ns) {
		struct ns_ref ref = ns_ref(NS_USER, user);

		if (!ns_allowed(k, NS_USER, ref.ptr, ref.inum) &&
		    found(k, INV_NS, NS_USER, inum_of(NS_USER, seen->user_ns), ref.inum))
			return true;
		seen->user_ns = user;
	}
	return false;
}

/*
 * Prevention modes hear of set*id calls before they take effect, and may be followed by the tracepoint mode before they
 * have looked again. That mode itself keeps next_ids equal to seen.ids.
 */
static __always_inline bool id_announced(const struct tag *tag, u32 i, u32 id)
{
	return tag->next_ids[i] == id;
}

static __noinline bool verify_credentials(const struct check *k)
{
	const struct cred *c = own_creds(k);
	struct seen *seen = &k->tag->seen;
	u64 permitted = read_caps(&c->cap_permitted);
	u64 effective = read_caps(&c->cap_effective);
	u64 beyond = (permitted | effective) & ~k->tag->bounding;
	u32 ids[8];
	bool ids_may_change;

	if (beyond && (u64)BPF_CORE_READ(c, user_ns) == k->tag->birth_user_ns &&
	    found(k, INV_CRED, DETAIL_CAPS, k->tag->bounding, permitted | effective))
		return true;
	seen->permitted = permitted;
	seen->effective = effective;
	/* Whoever the task is becoming, it is on its way through exec or set*id: its own checkpoint decides. */
	if (k->moment == AT_SWEEP)
		return false;
	ids_may_change = k->moment == AT_EXEC || (k->call && k->call->class == CALL_IDS);
	read_ids(c, ids);
#pragma unroll
	for (u32 i = 0; i < 8; i++) {
		if (ids[i] != seen->ids[i] && !ids_may_change && !id_announced(k->tag, i, ids[i]) &&
		    found(k, INV_CRED, DETAIL_IDS, seen->ids[i], ids[i]))
			return true;
		seen->ids[i] = ids[i];
		k->tag->next_ids[i] = ids[i];
	}
	return false;
}

static __noinline bool verify_root(const struct check *k)
{
	struct task_struct *task = k->task;
	u64 root = (u64)BPF_CORE_READ(task, fs, root.mnt);
	u64 pwd = (u64)BPF_CORE_READ(task, fs, pwd.mnt);
	struct seen *seen = &k->tag->seen;
	u64 cid = k->tag->cid;

	if (root != seen->root_mnt && mount_foreign(cid, root) &&
	    found(k, INV_FS, DETAIL_ROOT, mount_namespace(seen->root_mnt), mount_namespace(root)))
		return true;
	if (pwd != seen->pwd_mnt && mount_foreign(cid, pwd)) {
		struct finding f = {
			.invariant = INV_FS,
			.detail = DETAIL_CWD,
			.dentry = (u64)BPF_CORE_READ(task, fs, pwd.dentry),
		};

		if (judge(k, &f))
			return true;
	}
	seen->root_mnt = root;
	seen->root_dentry = (u64)BPF_CORE_READ(task, fs, root.dentry);
	seen->pwd_mnt = pwd;
	return false;
}

static __noinline bool verify_seccomp(const struct check *k)
{
	struct task_struct *task = k->task;
	u32 mode = BPF_CORE_READ(task, seccomp.mode);
	u32 filters = BPF_CORE_READ(task, seccomp.filter_count.counter);
	u32 nnp = BPF_CORE_READ(task, atomic_flags) & PFA_NO_NEW_PRIVS;
	u32 bit = seccomp_bit(k->task);
	struct seen *seen = &k->tag->seen;

	if (mode < seen->seccomp_mode && found(k, INV_SEC, DETAIL_SECCOMP_MODE, seen->seccomp_mode, mode))
		return true;
	if (filters < seen->seccomp_filters &&
	    found(k, INV_SEC, DETAIL_SECCOMP_FILTERS, seen->seccomp_filters, filters))
		return true;
	if (seen->seccomp_bit && !bit && found(k, INV_SEC, DETAIL_SECCOMP_BIT, 1, 0))
		return true;
	if (seen->no_new_privs && !nnp && found(k, INV_SEC, DETAIL_NO_NEW_PRIVS, 1, 0))
		return true;
	seen->seccomp_mode = mode;
	seen->seccomp_filters = filters;
	seen->seccomp_filter = (u64)BPF_CORE_READ(task, seccomp.filter);
	seen->seccomp_bit = bit;
	seen->no_new_privs = nnp;
	return false;
}

/* The whole closer look. True: the task dies. */
static __always_inline bool verify(const struct check *k)
{
	return verify_namespaces(k) || verify_credentials(k) || verify_root(k) || verify_seccomp(k);
}

#endif
