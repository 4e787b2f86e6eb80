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
