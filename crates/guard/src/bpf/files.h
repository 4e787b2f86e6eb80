/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a file that was just opened is, and where it lies. */
#ifndef CASEMATE_FILES_H
#define CASEMATE_FILES_H

#include "verify.h"

#define KNOB_LEN 16
#define SYSCTL_LEN 32

/* Operations that carry a file: IORING_OP_READV.., READ, WRITE, SPLICE (include/uapi/linux/io_uring.h). */
#define IO_URING_FILE_OPS ((1ULL << 1) | (1ULL << 2) | (1ULL << 4) | (1ULL << 5) | (1ULL << 22) | (1ULL << 23) | (1ULL << 30))

/* block/bdev.c: the holder of a whole disk of which a partition is claimed. */
extern const void bd_may_claim __ksym __weak;

static __always_inline u64 proc_pid(u64 inode)
{
	u64 p = inode - bpf_core_field_offset(struct proc_inode, vfs_inode);

	return (u64)BPF_CORE_READ((struct proc_inode *)p, pid);
}

bool task_foreign(u64 cid, u64 task);
static __always_inline u64 pid_task(u64 pid);

/* The kernel's helper knobs: who writes them has the host's kernel run a program of his choice. */
VERIFIED_ALONE bool is_knob(u64 magic, u64 dentry, bool host_owned)
{
	char name[KNOB_LEN] = {};

	if (magic != PROC_SUPER_MAGIC && magic != SYSFS_MAGIC && magic != CGROUP_SUPER_MAGIC &&
	    magic != BINFMTFS_MAGIC)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ((struct dentry *)dentry, d_name.name));
#define IS(knob) (same_bytes(name, knob, sizeof(knob)))
	switch (magic) {
	case PROC_SUPER_MAGIC:
		return IS("core_pattern") || IS("modprobe") || IS("hotplug") || IS("poweroff_cmd") ||
		       IS("sysrq-trigger");
	case SYSFS_MAGIC:
		return IS("uevent_helper");
	case CGROUP_SUPER_MAGIC:
		return IS("release_agent");
	default: /* since 6.7 a user namespace can have a binfmt_misc of its own */
		return IS("register") && host_owned;
	}
#undef IS
}

static __always_inline bool is_sysctl_knob(const char *name)
{
#define IS(knob) (same_bytes(name, knob, sizeof(knob)))
	return IS("kernel/core_pattern") || IS("kernel/modprobe") || IS("kernel/hotplug") ||
	       IS("kernel/poweroff_cmd");
#undef IS
}

/*
 * Does somebody outside the container hold this block device: a superblock mounted elsewhere, a partition of it in
 * use, device mapper, swap? Not who merely has it open with O_EXCL (mkfs): such a holder is a struct file.
 */
VERIFIED_ALONE bool block_held(u64 cid, u64 file)
{
	u64 mapping = (u64)BPF_CORE_READ((struct file *)file, f_mapping);
	u64 inode = (u64)BPF_CORE_READ((struct address_space *)mapping, host);
	u64 bdev = inode - bpf_core_field_offset(struct bdev_inode, vfs_inode) +
		   bpf_core_field_offset(struct bdev_inode, bdev);
	u64 holder = (u64)BPF_CORE_READ((struct block_device *)bdev, bd_holder);

	if (!holder)
		return false;
	if (holder == (u64)&bd_may_claim)
		return true;
	if (bpf_core_field_exists(struct block_device___super, bd_super)) {
		u64 sb = (u64)BPF_CORE_READ((struct block_device___super *)bdev, bd_super);

		if (sb)
			return disk_foreign(cid, sb, (u64)BPF_CORE_READ((struct super_block *)sb, s_root));
	} else if ((u64)BPF_CORE_READ((struct super_block *)holder, s_bdev) == bdev) {
		return disk_foreign(cid, holder, (u64)BPF_CORE_READ((struct super_block *)holder, s_root));
	}
	return (u64)BPF_CORE_READ((struct file *)holder, f_mapping) != mapping;
}

static __noinline bool found_file(const struct check *k, u32 invariant, u32 detail, u64 dentry)
{
	struct finding f = { .invariant = invariant, .detail = detail, .dentry = dentry };

	return judge(k, &f);
}

static __always_inline bool is_stdio(const struct tag *tag, u64 inode)
{
	return inode == tag->stdio[0] || inode == tag->stdio[1] || inode == tag->stdio[2];
}

/* Files that are an entry to other tasks: /proc/PID/mem and namespaces. */
static __noinline bool check_entry(const struct check *k, u64 magic, u64 inode, u64 dentry)
{
	u64 cid = k->tag->cid;

	if (magic == NSFS_MAGIC) {
		u64 ns = (u64)BPF_CORE_READ((struct inode *)inode, i_private);
		struct ns_ref ref = { .ptr = ns, .inum = BPF_CORE_READ((struct ns_common *)ns, inum) };

		return !ns_owned(cid, ref) && found(k, INV_PROC, DETAIL_NSFILE, 0, ref.inum);
	}
	if (magic == PROC_SUPER_MAGIC) {
		u64 pid = proc_pid(inode);
		char name[4] = {};

		if (!pid)
			return false;
		bpf_probe_read_kernel_str(name, sizeof(name),
					  BPF_CORE_READ((struct dentry *)dentry, d_name.name));
		return same_bytes(name, "mem", 4) && task_foreign(cid, pid_task(pid)) &&
		       found_file(k, INV_PROC, DETAIL_MEM, dentry);
	}
	return false;
}

/* A descriptor that open(2) and its kin have returned. True: the task dies. */
static __noinline bool check_file(const struct check *k, u64 file)
{
	u64 mnt = (u64)BPF_CORE_READ((struct file *)file, f_path.mnt);
	u64 inode = (u64)BPF_CORE_READ((struct file *)file, f_inode);
	u32 type = BPF_CORE_READ((struct inode *)inode, i_mode) & S_IFMT;
	u64 dentry, sb, magic;
	u32 mode;

	/* Most files that a container opens are on its root. */
	if (mnt == k->tag->home_mnt && type != S_IFBLK)
		return false;
	mode = BPF_CORE_READ((struct file *)file, f_mode);
	dentry = (u64)BPF_CORE_READ((struct file *)file, f_path.dentry);
	sb = (u64)BPF_CORE_READ((struct inode *)inode, i_sb);
	magic = BPF_CORE_READ((struct super_block *)sb, s_magic);
	if (sb == state.pins_sb && sb)
		return found_file(k, INV_SELF, DETAIL_PINS, dentry);
	if (mount_namespace(mnt) != k->tag->seen.ns[NS_MNT] && mount_foreign(k->tag->cid, mnt) &&
	    (type == S_IFDIR || !is_stdio(k->tag, inode)) &&
	    found_file(k, mode & FMODE_WRITE ? INV_WR : INV_FS, DETAIL_OPEN, dentry))
		return true;
	if (check_entry(k, magic, inode, dentry))
		return true;
	/* In the middle of the open the device is not there yet. */
	if (type == S_IFBLK && k->moment != AT_HOOK && !(mode & FMODE_PATH) && block_held(k->tag->cid, file))
		return found_file(k, INV_MNT, DETAIL_BLOCK_OPEN, dentry);
	if (mode & FMODE_WRITE) {
		u64 owner = (u64)BPF_CORE_READ((struct super_block *)sb, s_user_ns);

		return is_knob(magic, dentry, NS_REF(user_namespace, owner).ptr == state.host_ns[NS_USER]) &&
		       found_file(k, INV_WR, DETAIL_KNOB, dentry);
	}
	return false;
}

/*
 * A file handle names any file of a file system, also one outside the directory that the container has mounted of it:
 * with a mount of one host file as the key, open_by_handle_at(2) opens all others ("shocker").
 */
static __always_inline bool handle_leads_out(u64 file)
{
	u64 mnt = (u64)BPF_CORE_READ((struct file *)file, f_path.mnt);
	u64 dentry = (u64)BPF_CORE_READ((struct file *)file, f_path.dentry);
	u64 top = (u64)BPF_CORE_READ((struct vfsmount *)mnt, mnt_root);

	return top != (u64)BPF_CORE_READ((struct vfsmount *)mnt, mnt_sb, s_root) && !dentry_below(dentry, top);
}

static __noinline bool check_handle(const struct check *k, u64 file)
{
	return handle_leads_out(file) &&
	       found_file(k, INV_FS, DETAIL_OPEN, (u64)BPF_CORE_READ((struct file *)file, f_path.dentry));
}

/* A directory descriptor that a call acts on or below: a leaked or received one leads outside. */
static __noinline bool check_dirfd(const struct check *k, s32 fd)
{
	u64 file = fd_file(k->task, fd);
	u64 inode, mnt;

	if (!file)
		return false;
	mnt = (u64)BPF_CORE_READ((struct file *)file, f_path.mnt);
	if (mount_namespace(mnt) == k->tag->seen.ns[NS_MNT])
		return false;
	inode = (u64)BPF_CORE_READ((struct file *)file, f_inode);
	if ((BPF_CORE_READ((struct inode *)inode, i_mode) & S_IFMT) != S_IFDIR || !mount_foreign(k->tag->cid, mnt))
		return false;
	return found_file(k, INV_FS, DETAIL_DIRFD, (u64)BPF_CORE_READ((struct file *)file, f_path.dentry));
}

static __always_inline bool changes_by_path(const struct call *call)
{
	switch (call->class) {
	case CALL_PATH:
	case CALL_UNLINK:
		return true;
	case CALL_DIRFD0:
	case CALL_DIRFD02:
	case CALL_UNLINKAT:
		return (s32)call->arg[0] == AT_FDCWD;
	case CALL_DIRFD1:
		return (s32)call->arg[1] == AT_FDCWD;
	default:
		return false;
	}
}

/*
 * A path can begin at any descriptor (/proc/self/fd/N/...), and leaves no trace of where it led. A task that was born
 * with a directory outside, and still has it, is therefore not believed when it changes something by path.
 */
static __noinline bool check_held(const struct check *k)
{
	if (!(k->tag->flags & TAG_LEAK) || !changes_by_path(k->call))
		return false;
	if (holds_foreign_dir(k->tag->cid, fd_table(k->task)))
		return found(k, INV_FS, DETAIL_HELD, 0, 0);
	k->tag->flags &= ~TAG_LEAK;
	return false;
}

/* A mount of a block device's file system that is somebody else's. */
static __always_inline bool is_host_disk(u64 cid, u64 m)
{
	u64 sb = (u64)BPF_CORE_READ((struct mount *)m, mnt.mnt_sb);

	return BPF_CORE_READ((struct super_block *)sb, s_bdev) &&
	       disk_foreign(cid, sb, (u64)BPF_CORE_READ((struct mount *)m, mnt.mnt_root));
}

static __noinline bool check_mounts(const struct check *k)
{
	struct task_struct *task = k->task;
	u64 ns = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
	u64 m;

	if (k->call->ret != 0)
		return false;
	m = newest_mount(ns);
	for (int i = 0; i < NEWEST_MOUNTS && m; i++) {
		if (is_host_disk(k->tag->cid, m))
			return found_file(k, INV_MNT, DETAIL_BLOCK_MOUNT,
					  (u64)BPF_CORE_READ((struct mount *)m, mnt_mountpoint));
		m = older_mount(ns, m);
	}
	return false;
}

static __noinline bool check_fsmount(const struct check *k)
{
	u64 file = fd_file(k->task, k->call->ret);
	u64 mnt = file ? (u64)BPF_CORE_READ((struct file *)file, f_path.mnt) : 0;

	return mnt && is_host_disk(k->tag->cid, (u64)real_mount(mnt)) &&
	       found_file(k, INV_MNT, DETAIL_BLOCK_MOUNT, (u64)BPF_CORE_READ((struct file *)file, f_path.dentry));
}

#endif
