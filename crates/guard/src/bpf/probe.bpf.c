// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What not every kernel lets work, one small program each: the agent finds out by experiment. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile u32 thread = 0; /* the one whose opens are refused */

static __always_inline int refuse(void)
{
	return (u32)bpf_get_current_pid_tgid() == thread ? -EPERM : 0;
}

SEC("lsm/file_open")
int BPF_PROG(lsm, struct file *file)
{
	return refuse();
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(fmod_ret, struct file *file)
{
	return refuse();
}

SEC("fexit/__x64_sys_unshare")
int BPF_PROG(fexit, struct pt_regs *regs, long ret)
{
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u32);
} storage SEC(".maps");

/* Task storage in programs of cgroups came late. */
SEC("cgroup/sysctl")
int sysctl(struct bpf_sysctl *ctx)
{
	return bpf_task_storage_get(&storage, bpf_get_current_task_btf(), NULL, 0) ? 0 : 1;
}
