/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* File descriptors of a task. */
#ifndef CASEMATE_FD_H
#define CASEMATE_FD_H

#include "mnt.h"

#define LEAK_FDS 64 /* descriptors that are looked at for a leak */
#define AT_FDCWD (-100)

static __always_inline u64 fd_file(struct task_struct *task, s64 fd)
{
	struct fdtable *fdt = task->files->fdt;
	u64 file = 0;

	if (fd < 0 || fd >= fdt->max_fds)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), fdt->fd + fd);
	return file;
}

/* kernel/bpf/helpers.c, since 6.2: a number as a typed pointer; the verifier makes a move of it, not a call. */
extern void *bpf_rdonly_cast(const void *address, u32 btf_id) __ksym __weak;

#define CAST(type, address) ((struct type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(struct type)))

/*
 * Is this a file of a plain file system in this mount namespace, and not a device? Then check_file() has nothing against
 * it. Most of what a container opens is, and here it costs no call.
 */
static __always_inline bool is_plain_file(struct file *file, u64 mnt_ns)
{
	struct vfsmount *vfsmount = file->f_path.mnt;
	struct inode *inode = file->f_inode;
	struct mount *mount;

	if (!bpf_ksym_exists(bpf_rdonly_cast))
		return false;
	mount = CAST(mount, (u64)vfsmount - bpf_core_field_offset(struct mount, mnt));
	return (u64)mount->mnt_ns == mnt_ns && (inode->i_mode & S_IFMT) != S_IFBLK &&
	       inode->i_sb == vfsmount->mnt_sb && is_plain(inode->i_sb->s_magic);
}

/* The same of a descriptor of the current task. Any struct of one pointer will do to read the descriptor table. */
static __always_inline bool is_plain_descriptor(struct task_struct *task, s64 fd, u64 mnt_ns)
{
	struct fdtable *fdt = task->files->fdt;

	if (!bpf_ksym_exists(bpf_rdonly_cast) || fd < 0 || fd >= fdt->max_fds)
		return false;
	return is_plain_file(CAST(file, CAST(hlist_head, fdt->fd + fd)->first), mnt_ns);
}

static __always_inline u64 fd_table(struct task_struct *task)
{
	return (u64)BPF_CORE_READ(task, files, fdt);
}

/* Is one of the first descriptors a directory outside the container? */
VERIFIED_ALONE bool holds_foreign_dir(u64 cid, u64 fdt)
{
	u64 array = (u64)BPF_CORE_READ((struct fdtable *)fdt, fd);
	u32 max = BPF_CORE_READ((struct fdtable *)fdt, max_fds);

	for (u32 i = 0; i < LEAK_FDS && i < max; i++) {
		u64 file = 0;

		bpf_probe_read_kernel(&file, sizeof(file), (void *)(array + i * 8));
		if (file && (BPF_CORE_READ((struct file *)file, f_inode, i_mode) & S_IFMT) == S_IFDIR &&
		    mount_foreign(cid, (u64)BPF_CORE_READ((struct file *)file, f_path.mnt)))
			return true;
	}
	return false;
}

#endif
