/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which system calls mean what to the guard. x86-64: syscall_64.tbl; 32-bit callers: syscall_32.tbl. */
#ifndef CASEMATE_SYSCALLS_H
#define CASEMATE_SYSCALLS_H

#include "maps.h"

enum call_class {
	CALL_OTHER,
	/* Only looked at where the task's state has changed. */
	CALL_IDS,
	CALL_UNSHARE,
	CALL_SETNS,
	/* Looked at every time. */
	CALL_ACTIVE,
	CALL_OPEN = CALL_ACTIVE, /* returns a descriptor */
	CALL_OPEN_HANDLE,	 /* returns a descriptor, found by file handle */
	CALL_FSMOUNT,		 /* returns a descriptor of a new mount */
	CALL_DIRFD0,		 /* acts on or below descriptor arg 0 */
	CALL_DIRFD1,
	CALL_DIRFD02,
	CALL_UNLINK,
	CALL_UNLINKAT,
	CALL_PATH, /* changes what a path names, returns no descriptor */
	CALL_MOUNT,
	CALL_PTRACE,
	CALL_VM,
	CALL_GETFD,
	CALL_KILL,
	CALL_TKILL,
	CALL_TGKILL,
	CALL_PIDFD_SIGNAL,
	CALL_BPF,
};

#define SYSCALLS 512

const volatile u8 calls64[SYSCALLS] = {
	[2] = CALL_OPEN,	   /* open */
	[85] = CALL_OPEN,	   /* creat */
	[257] = CALL_OPEN,	   /* openat */
	[304] = CALL_OPEN_HANDLE,  /* open_by_handle_at */
	[428] = CALL_OPEN,	   /* open_tree */
	[437] = CALL_OPEN,	   /* openat2 */
	[432] = CALL_FSMOUNT,	   /* fsmount */
	[78] = CALL_DIRFD0,	   /* getdents */
	[91] = CALL_DIRFD0,	   /* fchmod */
	[93] = CALL_DIRFD0,	   /* fchown */
	[190] = CALL_DIRFD0,	   /* fsetxattr */
	[217] = CALL_DIRFD0,	   /* getdents64 */
	[258] = CALL_DIRFD0,	   /* mkdirat */
	[259] = CALL_DIRFD0,	   /* mknodat */
	[260] = CALL_DIRFD0,	   /* fchownat */
	[261] = CALL_DIRFD0,	   /* futimesat */
	[76] = CALL_PATH,	   /* truncate */
	[82] = CALL_PATH,	   /* rename */
	[83] = CALL_PATH,	   /* mkdir */
	[84] = CALL_PATH,	   /* rmdir */
	[86] = CALL_PATH,	   /* link */
	[88] = CALL_PATH,	   /* symlink */
	[90] = CALL_PATH,	   /* chmod */
	[92] = CALL_PATH,	   /* chown */
	[94] = CALL_PATH,	   /* lchown */
	[132] = CALL_PATH,	   /* utime */
	[133] = CALL_PATH,	   /* mknod */
	[188] = CALL_PATH,	   /* setxattr */
	[189] = CALL_PATH,	   /* lsetxattr */
	[197] = CALL_PATH,	   /* removexattr */
	[198] = CALL_PATH,	   /* lremovexattr */
	[235] = CALL_PATH,	   /* utimes */
	[87] = CALL_UNLINK,	   /* unlink */
	[263] = CALL_UNLINKAT,	   /* unlinkat */
	[268] = CALL_DIRFD0,	   /* fchmodat */
	[280] = CALL_DIRFD0,	   /* utimensat */
	[452] = CALL_DIRFD0,	   /* fchmodat2 */
	[463] = CALL_DIRFD0,	   /* setxattrat */
	[466] = CALL_DIRFD0,	   /* removexattrat */
	[467] = CALL_OPEN,	   /* open_tree_attr */
	[469] = CALL_DIRFD0,	   /* file_setattr */
	[266] = CALL_DIRFD1,	   /* symlinkat */
	[264] = CALL_DIRFD02,	   /* renameat */
	[265] = CALL_DIRFD02,	   /* linkat */
	[316] = CALL_DIRFD02,	   /* renameat2 */
	[165] = CALL_MOUNT,	   /* mount */
	[429] = CALL_MOUNT,	   /* move_mount */
	[101] = CALL_PTRACE,	   /* ptrace */
	[310] = CALL_VM,	   /* process_vm_readv */
	[311] = CALL_VM,	   /* process_vm_writev */
	[438] = CALL_GETFD,	   /* pidfd_getfd */
	[62] = CALL_KILL,	   /* kill */
	[129] = CALL_KILL,	   /* rt_sigqueueinfo */
	[200] = CALL_TKILL,	   /* tkill */
	[234] = CALL_TGKILL,	   /* tgkill */
	[297] = CALL_TGKILL,	   /* rt_tgsigqueueinfo */
	[424] = CALL_PIDFD_SIGNAL, /* pidfd_send_signal */
	[321] = CALL_BPF,	   /* bpf */
	[105] = CALL_IDS,	   /* setuid */
	[106] = CALL_IDS,	   /* setgid */
	[113] = CALL_IDS,	   /* setreuid */
	[114] = CALL_IDS,	   /* setregid */
	[117] = CALL_IDS,	   /* setresuid */
	[119] = CALL_IDS,	   /* setresgid */
	[122] = CALL_IDS,	   /* setfsuid */
	[123] = CALL_IDS,	   /* setfsgid */
	[272] = CALL_UNSHARE,	   /* unshare */
};

const volatile u8 calls32[SYSCALLS] = {
	[5] = CALL_OPEN,	   /* open */
	[8] = CALL_OPEN,	   /* creat */
	[295] = CALL_OPEN,	   /* openat */
	[342] = CALL_OPEN_HANDLE,  /* open_by_handle_at */
	[428] = CALL_OPEN,	   /* open_tree */
	[437] = CALL_OPEN,	   /* openat2 */
	[432] = CALL_FSMOUNT,	   /* fsmount */
	[94] = CALL_DIRFD0,	   /* fchmod */
	[95] = CALL_DIRFD0,	   /* fchown16 */
	[141] = CALL_DIRFD0,	   /* getdents */
	[207] = CALL_DIRFD0,	   /* fchown */
	[220] = CALL_DIRFD0,	   /* getdents64 */
	[228] = CALL_DIRFD0,	   /* fsetxattr */
	[296] = CALL_DIRFD0,	   /* mkdirat */
	[297] = CALL_DIRFD0,	   /* mknodat */
	[298] = CALL_DIRFD0,	   /* fchownat */
	[299] = CALL_DIRFD0,	   /* futimesat */
	[9] = CALL_PATH,	   /* link */
	[14] = CALL_PATH,	   /* mknod */
	[15] = CALL_PATH,	   /* chmod */
	[16] = CALL_PATH,	   /* lchown16 */
	[30] = CALL_PATH,	   /* utime */
	[38] = CALL_PATH,	   /* rename */
	[39] = CALL_PATH,	   /* mkdir */
	[40] = CALL_PATH,	   /* rmdir */
	[83] = CALL_PATH,	   /* symlink */
	[92] = CALL_PATH,	   /* truncate */
	[182] = CALL_PATH,	   /* chown16 */
	[193] = CALL_PATH,	   /* truncate64 */
	[198] = CALL_PATH,	   /* lchown */
	[212] = CALL_PATH,	   /* chown */
	[226] = CALL_PATH,	   /* setxattr */
	[227] = CALL_PATH,	   /* lsetxattr */
	[235] = CALL_PATH,	   /* removexattr */
	[236] = CALL_PATH,	   /* lremovexattr */
	[271] = CALL_PATH,	   /* utimes */
	[10] = CALL_UNLINK,	   /* unlink */
	[301] = CALL_UNLINKAT,	   /* unlinkat */
	[306] = CALL_DIRFD0,	   /* fchmodat */
	[320] = CALL_DIRFD0,	   /* utimensat */
	[412] = CALL_DIRFD0,	   /* utimensat_time64 */
	[452] = CALL_DIRFD0,	   /* fchmodat2 */
	[463] = CALL_DIRFD0,	   /* setxattrat */
	[466] = CALL_DIRFD0,	   /* removexattrat */
	[467] = CALL_OPEN,	   /* open_tree_attr */
	[469] = CALL_DIRFD0,	   /* file_setattr */
	[304] = CALL_DIRFD1,	   /* symlinkat */
	[302] = CALL_DIRFD02,	   /* renameat */
	[303] = CALL_DIRFD02,	   /* linkat */
	[353] = CALL_DIRFD02,	   /* renameat2 */
	[21] = CALL_MOUNT,	   /* mount */
	[429] = CALL_MOUNT,	   /* move_mount */
	[26] = CALL_PTRACE,	   /* ptrace */
	[347] = CALL_VM,	   /* process_vm_readv */
	[348] = CALL_VM,	   /* process_vm_writev */
	[438] = CALL_GETFD,	   /* pidfd_getfd */
	[37] = CALL_KILL,	   /* kill */
	[178] = CALL_KILL,	   /* rt_sigqueueinfo */
	[238] = CALL_TKILL,	   /* tkill */
	[270] = CALL_TGKILL,	   /* tgkill */
	[335] = CALL_TGKILL,	   /* rt_tgsigqueueinfo */
	[424] = CALL_PIDFD_SIGNAL, /* pidfd_send_signal */
	[357] = CALL_BPF,	   /* bpf */
	[23] = CALL_IDS,	   /* setuid16 */
	[46] = CALL_IDS,	   /* setgid16 */
	[70] = CALL_IDS,	   /* setreuid16 */
	[71] = CALL_IDS,	   /* setregid16 */
	[138] = CALL_IDS,	   /* setfsuid16 */
	[139] = CALL_IDS,	   /* setfsgid16 */
	[164] = CALL_IDS,	   /* setresuid16 */
	[170] = CALL_IDS,	   /* setresgid16 */
	[203] = CALL_IDS,	   /* setreuid */
	[204] = CALL_IDS,	   /* setregid */
	[208] = CALL_IDS,	   /* setresuid */
	[210] = CALL_IDS,	   /* setresgid */
	[213] = CALL_IDS,	   /* setuid */
	[214] = CALL_IDS,	   /* setgid */
	[215] = CALL_IDS,	   /* setfsuid */
	[216] = CALL_IDS,	   /* setfsgid */
	[310] = CALL_UNSHARE,	   /* unshare */
};

/* x32 numbers its own variants of a few calls from 512 on (syscall_64.tbl); these are the ones that matter. */
static __always_inline u32 x32_class(u32 nr)
{
	switch (nr) {
	case 521:
		return CALL_PTRACE;
	case 524:
		return CALL_KILL;
	case 536:
		return CALL_TGKILL;
	case 539:
	case 540:
		return CALL_VM;
	default:
		return CALL_OTHER;
	}
}

/* Checked already; clang would drop a second bound that only the verifier needs. */
static __always_inline u32 bounded(u32 nr)
{
	asm volatile("%0 &= %1" : "+r"(nr) : "i"(SYSCALLS - 1));
	return nr;
}

/* The kernel dispatches on eax (arch/x86/entry/entry_64.S): the upper half of orig_ax is the caller's to fill. */
static __always_inline u32 call_class(u32 nr, bool compat)
{
	if (compat)
		return nr < SYSCALLS ? calls32[bounded(nr)] : CALL_OTHER;
	nr &= ~X32_SYSCALL_BIT;
	return nr < SYSCALLS ? calls64[bounded(nr)] : x32_class(nr);
}

#endif
