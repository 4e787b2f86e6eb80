/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sensors of the tracepoint mode for what io_uring does without a system call of its own. */
#ifndef CASEMATE_URING_H
#define CASEMATE_URING_H

#include "calls.h"

/* io_uring opens files without open(2). Before 5.19 the second argument is no request: the agent does not load this. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_io_uring, void *ring, void *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct call call = { .nr = -1 };
	struct check k = { .task = task, .tag = tag, .call = &call, .moment = AT_CALL };
	u32 opcode;
	u64 file = 0;
	s32 res;

	if (!request || !is_judged(tag))
		return 0;
	opcode = BPF_CORE_READ((struct io_kiocb *)request, opcode);
	res = BPF_CORE_READ((struct io_kiocb *)request, cqe.res);
	/* IORING_OP_OPENAT, OPENAT2, FIXED_FD_INSTALL: the result is a descriptor. */
	if (opcode == 18 || opcode == 28 || opcode == 54)
		file = fd_file(task, res);
	else if (opcode <= 63 && ((1ULL << opcode) & IO_URING_FILE_OPS))
		file = (u64)BPF_CORE_READ((struct io_kiocb *)request, file);
	if (file)
		check_file(&k, file);
	return 0;
}

/*
 * The same at submission, for what completes without an event (IOSQE_CQE_SKIP_SUCCESS), opens without a descriptor, or
 * works on a path: the directory it starts from must not lead outside.
 */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_io_uring_submit, struct io_kiocb *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct call call = { .nr = -1 };
	struct check k = { .task = task, .tag = tag, .call = &call, .moment = AT_CALL };

	if (!is_judged(tag))
		return 0;
	switch (BPF_CORE_READ(request, opcode)) {
	case 18: /* OPENAT */
	case 28: /* OPENAT2 */
		check_dirfd(&k, BPF_CORE_READ((struct io_open *)request, dfd));
		break;
	case 35: /* RENAMEAT */
		if (!check_dirfd(&k, BPF_CORE_READ((struct io_rename *)request, old_dfd)))
			check_dirfd(&k, BPF_CORE_READ((struct io_rename *)request, new_dfd));
		break;
	case 36: /* UNLINKAT */
		check_dirfd(&k, BPF_CORE_READ((struct io_unlink *)request, dfd));
		break;
	case 37: /* MKDIRAT */
		check_dirfd(&k, BPF_CORE_READ((struct io_mkdir *)request, dfd));
		break;
	case 38: /* SYMLINKAT */
	case 39: /* LINKAT */
		if (!check_dirfd(&k, BPF_CORE_READ((struct io_link *)request, old_dfd)))
			check_dirfd(&k, BPF_CORE_READ((struct io_link *)request, new_dfd));
		break;
	}
	return 0;
}

#endif
