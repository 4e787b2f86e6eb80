/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, as far as the guard reads them. CO-RE relocates every access by field name, so order and
 * size here mean nothing. A suffix ___name is a flavour: an older or newer shape of the same kernel type.
 */
#ifndef CASEMATE_KERNEL_H
#define CASEMATE_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

/* include/linux/pid_types.h */
enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct rb_node {
	unsigned long __rb_parent_color;
	struct rb_node *rb_right;
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct ns_common {
	unsigned int inum;
};

struct user_namespace {
	struct ns_common ns;
};

struct uts_namespace {
	struct ns_common ns;
};

struct ipc_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct time_namespace {
	struct ns_common ns;
};

struct cgroup_namespace {
	struct ns_common ns;
};

struct xa_node {
	unsigned char shift;
	void *slots[64];
};

struct xarray {
	void *xa_head;
};

struct idr {
	struct xarray idr_rt;
};

struct pid_namespace {
	struct idr idr;
	struct task_struct *child_reaper;
	unsigned int level;
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[4];
	struct upid numbers[1];
};

struct dentry;
struct inode;
struct super_block;

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct mnt_namespace {
	struct ns_common ns;
};

/* Since 6.8: mounts of a namespace in a tree sorted by mnt_id_unique (fs/mount.h). */
struct mnt_namespace___tree {
	struct rb_root mounts;
};

/* Before 6.8: mounts of a namespace in a list, the newest last. */
struct mnt_namespace___list {
	struct list_head list;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct mount___tree {
	struct rb_node mnt_node;
};

struct mount___list {
	struct list_head mnt_list;
};

/* Since 6.8: a number that is never used twice. */
struct mount___id {
	u64 mnt_id_unique;
};

/* Since 6.17: instances of a superblock chained by pointer; before: list_head. */
struct mount___next {
	struct mount *mnt_next_for_sb;
};

struct mount___instance {
	struct list_head mnt_instance;
};

struct super_block___next {
	struct mount *s_mounts;
};

struct super_block___instance {
	struct list_head s_mounts;
};

struct super_block {
	unsigned long s_magic;
	struct dentry *s_root;
	struct block_device *s_bdev;
	void *s_fs_info;
	struct user_namespace *s_user_ns;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct address_space {
	struct inode *host;
};

struct inode {
	u16 i_mode;
	unsigned int i_nlink;
	struct super_block *i_sb;
	void *i_private;
};

struct file {
	unsigned int f_mode;
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
	struct address_space *f_mapping;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct gendisk {
	struct block_device *part0;
};

struct block_device {
	void *bd_holder;
	struct gendisk *bd_disk;
};

/* Before 6.5: the superblock is named here, and bd_holder is the file system's type. */
struct block_device___super {
	struct super_block *bd_super;
};

struct bdev_inode {
	struct block_device bdev;
	struct inode vfs_inode;
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct ovl_layer {
	struct vfsmount *mnt;
};

struct ovl_fs {
	struct ovl_layer *layers;
};

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct time_namespace *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
};

typedef struct {
	u32 val;
} kid_t;

struct cap_set {
	u64 val;
};

struct cred {
	kid_t uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
	struct cap_set cap_permitted;
	struct cap_set cap_effective;
	struct cap_set cap_bset;
	struct user_namespace *user_ns;
};

struct cap_set___words {
	u32 cap[2];
};

/* Before 6.3: two 32-bit words. */
struct cred___words {
	struct cap_set___words cap_permitted;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct seccomp_filter;

struct mm_struct {
	struct file *exe_file;
};

typedef struct {
	int counter;
} atomic_t;

struct seccomp {
	int mode;
	atomic_t filter_count;
	struct seccomp_filter *filter;
};

struct thread_info {
	unsigned long flags;
	u32 status;
};

struct thread_info___work {
	unsigned long syscall_work;
};

struct kernfs_node {
	const char *name;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup_root;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid;
	int tgid;
	char comm[16];
	struct mm_struct *mm;
	u64 start_boottime;
	unsigned long atomic_flags;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct list_head ptraced;
	struct list_head ptrace_entry;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	const struct cred *real_cred;
	const struct cred *cred;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct seccomp seccomp;
	struct css_set *cgroups;
	struct bpf_local_storage *bpf_storage;
};

struct task_struct___work {
	struct thread_info___work thread_info;
};

struct linux_binprm {
	struct file *file;
	const char *filename;
	const char *interp;
};

struct pt_regs {
	unsigned long r10, r9, r8, cx, dx, si, di, bx, bp, orig_ax;
};

struct bpf_map {
	char name[16];
};

struct bpf_prog_aux {
	u32 used_map_cnt;
	struct bpf_map **used_maps;
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

struct bpf_link {
	struct bpf_prog *prog;
};

struct io_cqe {
	s32 res;
};

struct io_kiocb {
	struct file *file;
	u8 opcode;
	struct io_cqe cqe;
};

/* io_uring/openclose.c, io_uring/fs.c: commands, laid over the start of a request */
struct io_open {
	int dfd;
};

struct io_rename {
	int old_dfd, new_dfd;
};

struct io_unlink {
	int dfd;
};

struct io_mkdir {
	int dfd;
};

struct io_link {
	int old_dfd, new_dfd;
};

struct io_ring_ctx;
struct io_uring_cqe;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* include/uapi/linux/bpf.h: the context of cgroup/sysctl programs */
struct bpf_sysctl {
	u32 write;
	u32 file_pos;
};

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define PF_EXITING 0x00000004
#define PFA_NO_NEW_PRIVS (1UL << 0)
#define SYSCALL_WORK_SECCOMP (1UL << 0) /* include/linux/thread_info.h, since 5.11 */
#define TIF_SECCOMP_OLD (1UL << 8)	/* arch/x86 before 5.11 */
#define TS_COMPAT 0x2			/* arch/x86/include/asm/thread_info.h */
#define X32_SYSCALL_BIT 0x40000000U
#define FMODE_WRITE 0x2
#define FMODE_PATH 0x4000
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFBLK 0060000

#define CLONE_NEWTIME 0x00000080UL
#define CLONE_NEWNS 0x00020000UL
#define CLONE_NEWCGROUP 0x02000000UL
#define CLONE_NEWUTS 0x04000000UL
#define CLONE_NEWIPC 0x08000000UL
#define CLONE_NEWUSER 0x10000000UL
#define CLONE_NEWPID 0x20000000UL
#define CLONE_NEWNET 0x40000000UL
#define CLONE_INTO_CGROUP 0x200000000UL

/* include/uapi/linux/magic.h */
#define PROC_SUPER_MAGIC 0x9fa0
#define SYSFS_MAGIC 0x62656572
#define CGROUP_SUPER_MAGIC 0x27e0eb
#define BINFMTFS_MAGIC 0x42494e4d
#define NSFS_MAGIC 0x6e736673
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define EXT4_SUPER_MAGIC 0xef53
#define XFS_SUPER_MAGIC 0x58465342
#define BTRFS_SUPER_MAGIC 0x9123683e
#define TMPFS_MAGIC 0x01021994

#endif
