/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sensors of the prevention modes: each hook of the kernel's security modules twice, for BPF LSM and for fmod_ret on
 * the function that calls the modules. The agent loads one of the two, and no program at each system call.
 */
#ifndef CASEMATE_HOOKS_H
#define CASEMATE_HOOKS_H

#include "use.h"

#define EPERM 1

/*
 * -EPERM or 0. clang 14 would make it a negated bool, whose range the verifier of 6.12 does not follow: hide from it
 * that the value is one.
 */
static __always_inline int refuse(bool dies)
{
	u32 hidden = dies;

	asm volatile("" : "+r"(hidden));
	if (hidden)
		return -EPERM;
	return 0;
}

#define PARAMETERS(...) __VA_ARGS__
#define HOOK(hook, parameters, decision) HOOK_OF(hook, security_##hook, PARAMETERS(parameters), decision)
#define HOOK_OF(hook, function, parameters, decision)                                                          \
	SEC("lsm/" #hook)                                                                                      \
	int BPF_PROG(lsm_##hook, parameters)                                                                   \
	{                                                                                                      \
		return refuse(decision);                                                                       \
	}                                                                                                      \
	SEC("fmod_ret/" #function)                                                                             \
	int BPF_PROG(mod_##hook, parameters)                                                                   \
	{                                                                                                      \
		return refuse(decision);                                                                       \
	}

/* Files and programs. */
HOOK(file_open, PARAMETERS(struct file *file), use_open(file))
HOOK(file_receive, PARAMETERS(struct file *file), use_received(file))
HOOK_OF(bprm_check_security, security_bprm_check, PARAMETERS(struct linux_binprm *bprm), use_exec(bprm))
HOOK(path_unlink, PARAMETERS(const struct path *dir), use_path(dir, INV_WR))
HOOK(path_mkdir, PARAMETERS(const struct path *dir), use_path(dir, INV_WR))
HOOK(path_rmdir, PARAMETERS(const struct path *dir), use_path(dir, INV_WR))
HOOK(path_mknod, PARAMETERS(const struct path *dir), use_path(dir, INV_WR))
HOOK(path_symlink, PARAMETERS(const struct path *dir), use_path(dir, INV_WR))
HOOK(path_link, PARAMETERS(struct dentry *old, const struct path *dir), use_path(dir, INV_WR))
HOOK(path_rename, PARAMETERS(const struct path *from, struct dentry *old, const struct path *to),
     use_path(from, INV_WR) || use_path(to, INV_WR))
HOOK(path_truncate, PARAMETERS(const struct path *path), use_path(path, INV_WR))
HOOK(path_chmod, PARAMETERS(const struct path *path), use_path(path, INV_WR))
HOOK(path_chown, PARAMETERS(const struct path *path), use_path(path, INV_WR))
HOOK(path_chroot, PARAMETERS(const struct path *path), use_path(path, INV_FS))

/* Mounts. */
HOOK(sb_mount, PARAMETERS(const char *device), use_any())
HOOK(sb_kern_mount, PARAMETERS(struct super_block *sb), use_superblock(sb))
HOOK(move_mount, PARAMETERS(const struct path *from), use_moved_mount(from))
HOOK(sb_umount, PARAMETERS(struct vfsmount *mnt), use_any())
HOOK(sb_pivotroot, PARAMETERS(const struct path *from), use_any())

/* Other tasks, own credentials. */
HOOK(ptrace_access_check, PARAMETERS(struct task_struct *child, unsigned int mode), use_task(child, mode))
HOOK(task_kill, PARAMETERS(struct task_struct *target, void *info, int signal), use_signal(target, signal))
HOOK(task_fix_setuid, PARAMETERS(struct cred *announced), use_ids(announced))
HOOK(task_fix_setgid, PARAMETERS(struct cred *announced), use_ids(announced))
HOOK_OF(userns_create, security_create_user_ns, PARAMETERS(const struct cred *cred), use_precondition(DENY_USERNS))

/* Sockets. */
HOOK(socket_create, PARAMETERS(int family, int type, int protocol, int kernel), use_socket(family, kernel))
HOOK(socket_connect, PARAMETERS(void *socket), use_any())
HOOK(socket_bind, PARAMETERS(void *socket), use_any())
HOOK(unix_stream_connect, PARAMETERS(void *socket), use_any())

/* The guard itself, and what exploits start from. */
HOOK(bpf, PARAMETERS(int cmd, void *attr), use_bpf(cmd, attr))
HOOK(bpf_map, PARAMETERS(struct bpf_map *map), use_bpf_map(map))
HOOK(bpf_prog, PARAMETERS(struct bpf_prog *program), use_bpf_program(program))
HOOK(kernel_module_request, PARAMETERS(char *name), use_precondition(DENY_MODULE_REQUEST))
HOOK(inode_init_security_anon, PARAMETERS(void *inode, const struct qstr *name), use_anonymous(name))

/*
 * A few calls have no hook that tells enough: unshare(2) must be seen to allow the namespaces that it makes, others
 * show what they did only when they are done. Only these calls run a program; after them is as after any call in
 * tracepoint mode. The class is a constant of each program, so that the verifier sees one check, not all of them.
 */
static __always_inline int after_call(struct pt_regs *regs, long ret, u32 class)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct call call;
	struct check k = { .task = task, .tag = tag, .call = &call, .moment = AT_CALL };

	if (!is_judged(tag))
		return 0;
	tag->in_call = 0;
	read_call(&call, task, regs, ret);
	call.class = class;
	if (condemned(tag) || (differs(task, task->cred, &tag->seen) && verify(&k)))
		return 0;
	if (class >= CALL_ACTIVE && !check_call(&k, class))
		check_held(&k);
	return 0;
}

static __always_inline int before_call(u32 class)
{
	struct tag *tag = tag_of(bpf_get_current_task_btf());

	if (tag)
		tag->in_call = class;
	return 0;
}

#define AFTER_ENTRY(name, entry, class)                                                                        \
	SEC("fexit/" #entry)                                                                                   \
	int BPF_PROG(after_##name, struct pt_regs *regs, long ret)                                             \
	{                                                                                                      \
		return after_call(regs, ret, class);                                                           \
	}

#define BEFORE_ENTRY(name, entry, class)                                                                       \
	SEC("fentry/" #entry)                                                                                  \
	int BPF_PROG(before_##name, struct pt_regs *regs)                                                      \
	{                                                                                                      \
		return before_call(class);                                                                     \
	}

/* Entries of 64-bit and 32-bit callers; COMPAT: the latter's arguments have another shape, and a function of their own. */
#define AFTER(call, class)                                                                                     \
	AFTER_ENTRY(call, __x64_sys_##call, class)                                                             \
	AFTER_ENTRY(32_##call, __ia32_sys_##call, class)
#define AFTER_COMPAT(call, class)                                                                              \
	AFTER_ENTRY(call, __x64_sys_##call, class)                                                             \
	AFTER_ENTRY(32_##call, __ia32_compat_sys_##call, class)
#define BEFORE(call, class)                                                                                    \
	BEFORE_ENTRY(call, __x64_sys_##call, class)                                                            \
	BEFORE_ENTRY(32_##call, __ia32_sys_##call, class)
#define BEFORE_COMPAT(call, class)                                                                             \
	BEFORE_ENTRY(call, __x64_sys_##call, class)                                                            \
	BEFORE_ENTRY(32_##call, __ia32_compat_sys_##call, class)

AFTER(unshare, CALL_UNSHARE)
AFTER(setns, CALL_SETNS)
AFTER(chdir, CALL_OTHER)
AFTER(fchdir, CALL_OTHER)
AFTER_COMPAT(getdents, CALL_DIRFD0)
AFTER(getdents64, CALL_DIRFD0)
AFTER_COMPAT(open_by_handle_at, CALL_OPEN_HANDLE)
AFTER(utimensat, CALL_DIRFD0)
AFTER_ENTRY(32_utimensat_time32, __ia32_sys_utimensat_time32, CALL_DIRFD0)
AFTER(setxattr, CALL_PATH)
AFTER(lsetxattr, CALL_PATH)
AFTER(fsetxattr, CALL_DIRFD0)
AFTER(bpf, CALL_BPF)
BEFORE(setns, CALL_SETNS)
BEFORE_COMPAT(open_by_handle_at, CALL_OPEN_HANDLE)

/*
 * Not the only line: an exploit that stores into nsproxy does not pass here. Who does is stopped before it returns from
 * the kernel, not at its next use. Where the task exits there is no nsproxy to come.
 */
SEC("fentry/switch_task_namespaces")
int BPF_PROG(before_switch_task_namespaces, struct task_struct *task, struct nsproxy *next)
{
	struct check k = { .task = task, .tag = tag_of(task), .moment = AT_HOOK };

	if (next && is_judged(k.tag))
		use_namespaces(&k, next);
	return 0;
}

/* The device behind a file is known when it has been opened: block/fops.c. */
SEC("fexit/blkdev_open")
int BPF_PROG(after_blkdev_open, struct inode *inode, struct file *file, int ret)
{
	if (ret == 0)
		use_block_device(file);
	return 0;
}

#endif
