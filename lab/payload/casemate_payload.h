/* SPDX-License-Identifier: GPL-2.0 */
/* What the test programs in lab/attacks and the module have in common. */
#ifndef CASEMATE_PAYLOAD_H
#define CASEMATE_PAYLOAD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* How the payload comes to run. All but the first let user code run without the exit path of a system call behind it. */
enum casemate_vehicle {
	CASEMATE_CALL,	 /* in the ioctl itself */
	CASEMATE_FAULT,	 /* in the fault of the next page touched of a mapping of the device */
	CASEMATE_WORK,	 /* in task work: on the way back to user space, behind the last tracepoint */
	CASEMATE_INT3,	 /* in the next breakpoint of the task, interrupts off: stores only */
	CASEMATE_WORKER, /* by a kernel thread, a moment later, while the task runs on in user space */
};

struct casemate_payload {
	__u32 vehicle;
	__s32 pid; /* of the task to be changed, as the caller sees it; 0: the caller */
	char text[128];
};

#define CASEMATE_EFFECT(n) _IOW('C', n, struct casemate_payload)

#define CASEMATE_COMMIT_CREDS	CASEMATE_EFFECT(1)  /* commit_creds(prepare_kernel_cred(&init_task)) */
#define CASEMATE_STORE_CRED	CASEMATE_EFFECT(2)  /* the pointers to the credentials */
#define CASEMATE_STORE_CAPS	CASEMATE_EFFECT(3)  /* capability bits in the live credentials */
#define CASEMATE_STORE_IDS	CASEMATE_EFFECT(4)  /* uids and gids in the live credentials */
#define CASEMATE_SWITCH_NS	CASEMATE_EFFECT(5)  /* switch_task_namespaces(task, &init_nsproxy) */
#define CASEMATE_STORE_NSPROXY	CASEMATE_EFFECT(6)  /* the task's pointer to its namespaces */
#define CASEMATE_STORE_NS	CASEMATE_EFFECT(7)  /* one pointer in there, which all tasks of the container share */
#define CASEMATE_CREDS_NS_FS	CASEMATE_EFFECT(8)  /* 1, 5, and a copy of the file system state of the host's init */
#define CASEMATE_CREDS_INIT_NS	CASEMATE_EFFECT(9)  /* 1 for the caller, 5 for the container's init */
#define CASEMATE_SET_ROOT	CASEMATE_EFFECT(10) /* root and working directory of the host's init */
#define CASEMATE_CLEAR_SECCOMP	CASEMATE_EFFECT(11) /* mode, filter, count and flag */
#define CASEMATE_CLEAR_FLAG	CASEMATE_EFFECT(12) /* only the flag that makes the kernel ask the filter */
#define CASEMATE_CLEAR_NNP	CASEMATE_EFFECT(13) /* no_new_privs */
#define CASEMATE_CORE_PATTERN	CASEMATE_EFFECT(14) /* `text` into core_pattern */
#define CASEMATE_MODPROBE_PATH	CASEMATE_EFFECT(15) /* `text` into modprobe_path */

/* Returns the caller's process id as the host sees it: exploits guess it, a test need not. */
#define CASEMATE_HOST_PID	_IO('C', 64)

#endif
