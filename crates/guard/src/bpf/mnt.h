/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Mounts, superblocks and the directories that hold a container's files. Addresses here are plain numbers. */
#ifndef CASEMATE_MNT_H
#define CASEMATE_MNT_H

#include "ns.h"

#define MAX_INSTANCES 65536 /* mounts of one superblock that are looked at */
#define MAX_DEPTH 64	  /* directories between a file and the root of its mount */
#define NEWEST_MOUNTS 4
#define MAX_GIVEN 1024	  /* mounts of a container at its birth */

/* An anonymous mount namespace holds detached trees: number 0, since 6.18 MNT_NS_ANON_INO (include/linux/nsfs.h). */
#define MNT_NS_ANON_INO 0xEFFFFFF7U

static __always_inline struct mount *real_mount(u64 vfsmount)
{
	return (struct mount *)(vfsmount - bpf_core_field_offset(struct mount, mnt));
}

static __always_inline u64 mount_namespace(u64 vfsmount)
{
	return (u64)BPF_CORE_READ(real_mount(vfsmount), mnt_ns);
}

/* Instances of a superblock (struct mount), before 6.17 on a list_head: see newest_listed() for why apart. */
static __noinline u64 first_listed_instance(u64 sb)
{
	return (u64)BPF_CORE_READ((struct super_block___instance *)sb, s_mounts.next) -
	       bpf_core_field_offset(struct mount___instance, mnt_instance);
}

static __noinline u64 next_listed_instance(u64 m)
{
	return (u64)BPF_CORE_READ((struct mount___instance *)m, mnt_instance.next) -
	       bpf_core_field_offset(struct mount___instance, mnt_instance);
}

static __noinline u64 end_of_listed_instances(u64 sb)
{
	return sb + bpf_core_field_offset(struct super_block___instance, s_mounts) -
	       bpf_core_field_offset(struct mount___instance, mnt_instance);
}

static __always_inline u64 first_instance(u64 sb)
{
	if (bpf_core_field_exists(struct mount___next, mnt_next_for_sb))
		return (u64)BPF_CORE_READ((struct super_block___next *)sb, s_mounts);
	return first_listed_instance(sb);
}

static __always_inline u64 next_instance(u64 m)
{
	if (bpf_core_field_exists(struct mount___next, mnt_next_for_sb))
		return (u64)BPF_CORE_READ((struct mount___next *)m, mnt_next_for_sb);
	return next_listed_instance(m);
}

static __always_inline u64 end_of_instances(u64 sb)
{
	return bpf_core_field_exists(struct mount___next, mnt_next_for_sb) ? 0 : end_of_listed_instances(sb);
}

static __always_inline bool ns_pointer_valid(u64 mnt_ns)
{
	/* MNT_NS_INTERNAL is ERR_PTR(-EINVAL): kern_mount()ed, in nobody's namespace (pipes, memfd, nsfs). */
	return mnt_ns && mnt_ns < (u64)-4095;
}

static __always_inline bool ns_anonymous(struct ns_ref ref)
{
	return ref.inum == 0 || ref.inum == MNT_NS_ANON_INO;
}

/* A walk over the instances of a superblock; a callback, so that the verifier sees one step, not thousands. */
struct walk {
	u64 cid;
	u64 root; /* the tree in question */
	u64 end;
	u64 m; /* where the walk is; `end` when it is over */
	u64 at_birth;
	u64 first_inside;
	u64 first_outside;
	u64 answer;
};

/* The same, smaller: it lies under deep callers. */
struct search {
	u64 root;
	u64 end;
	u64 m;
	u64 answer;
};

static long step_host(u32 i, struct search *w)
{
	u64 m = w->m;
	u64 ns;

	if (!m || m == w->end) {
		w->answer = 0;
		return 1;
	}
	ns = (u64)BPF_CORE_READ((struct mount *)m, mnt_ns);
	if (ns_pointer_valid(ns) && ns + bpf_core_field_offset(struct mnt_namespace, ns) == state.host_ns[NS_MNT] &&
	    (u64)BPF_CORE_READ((struct mount *)m, mnt.mnt_root) == w->root)
		return 1;
	w->m = next_instance(m);
	return 0;
}

/* Does the host's mount namespace show the same tree (superblock and root)? Too many mounts to tell: yes. */
VERIFIED_ALONE u64 host_mounts(u64 sb, u64 root)
{
	struct search w = { .root = root, .end = end_of_instances(sb), .m = first_instance(sb), .answer = 1 };

	bpf_loop(MAX_INSTANCES, step_host, &w, 0);
	return w.answer;
}

/*
 * How old a mount is: a number that only grows, or 0 before 6.8, where there is none. There the order of the list of
 * instances (oldest first) is the age.
 */
static __noinline u64 mount_age(u64 m)
{
	if (m && bpf_core_field_exists(struct mount___id, mnt_id_unique))
		return BPF_CORE_READ((struct mount___id *)m, mnt_id_unique);
	return 0;
}

/* Is a dentry at or below another? */
VERIFIED_ALONE bool dentry_below(u64 dentry, u64 top)
{
	for (int i = 0; i < MAX_DEPTH && dentry; i++) {
		u64 parent;

		if (dentry == top)
			return true;
		parent = (u64)BPF_CORE_READ((struct dentry *)dentry, d_parent);
		if (parent == dentry)
			return false;
		dentry = parent;
	}
	return false;
}

static long step_disk(u32 i, struct walk *w)
{
	u64 m = w->m;
	u64 ns, age;

	if (!m || m == w->end) {
		w->answer = w->first_outside < w->first_inside;
		return 1;
	}
	w->m = next_instance(m);
	ns = (u64)BPF_CORE_READ((struct mount *)m, mnt_ns);
	if (!ns_pointer_valid(ns))
		return 0;
	age = mount_age(m);
	if (!age)
		age = i + 1;
	struct ns_ref ref = NS_REF(mnt_namespace, ns);

	if (!ns_owned(w->cid, ref)) {
		if (!ns_anonymous(ref) && age < w->first_outside)
			w->first_outside = age;
		return 0;
	}
	if (!dentry_below(w->root, (u64)BPF_CORE_READ((struct mount *)m, mnt.mnt_root)))
		return 0;
	if (age <= w->at_birth) {
		w->answer = 0;
		return 1;
	}
	if (age < w->first_inside)
		w->first_inside = age;
	return 0;
}

/* Before 6.8: was the container given this tree, or one that it is part of, at its birth? */
VERIFIED_ALONE bool disk_given(u64 cid, u64 sb, u64 root)
{
	struct disk_key key = { .cid = cid, .sb = sb };

	for (int i = 0; i < MAX_DEPTH && root; i++) {
		u64 parent;

		key.root = root;
		if (bpf_map_lookup_elem(&given_disks, &key))
			return true;
		parent = (u64)BPF_CORE_READ((struct dentry *)root, d_parent);
		if (parent == root)
			return false;
		root = parent;
	}
	return false;
}

/*
 * Is a tree of a superblock somebody else's? Yes, where it is mounted outside the container since before the container
 * first had it, and was not given to the container at birth. A container's own disk that propagates to the host
 * (a storage driver's) is not: there the container was first. Too many mounts to tell: yes.
 */
VERIFIED_ALONE u64 disk_foreign(u64 cid, u64 sb, u64 root)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	struct walk w = {
		.cid = cid,
		.root = root,
		.end = end_of_instances(sb),
		.m = first_instance(sb),
		.at_birth = c ? c->newest_mount : 0,
		.first_inside = ~0ULL,
		.first_outside = ~0ULL,
		.answer = 1,
	};

	if (!bpf_core_field_exists(struct mount___id, mnt_id_unique) && disk_given(cid, sb, root))
		return false;
	bpf_loop(MAX_INSTANCES, step_disk, &w, 0);
	return w.answer;
}

/* A mount namespace of another container with which this one shares a pid namespace (a pod, kubectl debug). */
static __always_inline bool shares_pids(u64 cid, struct ns_ref mnt_ns)
{
	u64 owner = ns_birth_cid(mnt_ns);
	struct container *c = bpf_map_lookup_elem(&containers, &owner);
	struct ns_ref pid = {};

	if (!owner || !c)
		return false;
	pid.ptr = c->ns[NS_PID];
	pid.inum = c->inum[NS_PID];
	return !ns_is_host(NS_PID, pid.ptr) && ns_owned(cid, pid);
}

/*
 * Is a mount outside the container? A detached one (no namespace) is, where it is a copy of a mount of the
 * host: what a runtime left behind of the old root. A tree in an anonymous namespace is not: open_tree(2) and
 * fsmount(2) take only what the caller could reach.
 */
VERIFIED_ALONE bool mount_foreign(u64 cid, u64 vfsmount)
{
	u64 ns = mount_namespace(vfsmount);
	struct ns_ref ref;

	if (!vfsmount)
		return false;
	if (!ns) {
		u64 root = (u64)BPF_CORE_READ((struct vfsmount *)vfsmount, mnt_root);
		struct container *c = bpf_map_lookup_elem(&containers, &cid);

		if (c && c->root_dentry == root)
			return false;
		return host_mounts((u64)BPF_CORE_READ((struct vfsmount *)vfsmount, mnt_sb), root);
	}
	if (!ns_pointer_valid(ns))
		return false;
	ref = NS_REF(mnt_namespace, ns);
	return !ns_anonymous(ref) && !ns_owned(cid, ref) && !shares_pids(cid, ref);
}

/* A file system that holds files, and nothing that acts when it is opened or written. */
static __always_inline bool is_plain(u64 magic)
{
	switch (magic) {
	case OVERLAYFS_SUPER_MAGIC:
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* The container that holds this file's directory on the host, or 0. */
VERIFIED_ALONE u64 dir_owner(u64 dentry)
{
	for (int i = 0; i < MAX_DEPTH && dentry; i++) {
		u64 *cid = bpf_map_lookup_elem(&container_dirs, &dentry);
		u64 parent;

		if (cid)
			return *cid;
		parent = (u64)BPF_CORE_READ((struct dentry *)dentry, d_parent);
		if (parent == dentry)
			return 0;
		dentry = parent;
	}
	return 0;
}

/* Overlay: the host directory that takes the container's writes (fs/overlayfs/ovl_entry.h: layers[0]). */
static __always_inline u64 upper_dentry(u64 sb)
{
	struct ovl_layer *layers;
	struct ovl_fs *ovl;
	u64 upper = 0;

	if (BPF_CORE_READ((struct super_block *)sb, s_magic) != OVERLAYFS_SUPER_MAGIC ||
	    !bpf_core_type_exists(struct ovl_fs))
		return 0;
	ovl = BPF_CORE_READ((struct super_block *)sb, s_fs_info);
	layers = BPF_CORE_READ(ovl, layers);
	upper = (u64)BPF_CORE_READ(layers, mnt);
	return upper ? (u64)BPF_CORE_READ((struct vfsmount *)upper, mnt_root) : 0;
}

/* The node before this one in a red-black tree (lib/rbtree.c: rb_prev). */
static __always_inline u64 rb_before(u64 node)
{
	u64 n = (u64)BPF_CORE_READ((struct rb_node *)node, rb_left);

	if (n) {
		for (int i = 0; i < 32; i++) {
			u64 right = (u64)BPF_CORE_READ((struct rb_node *)n, rb_right);

			if (!right)
				break;
			n = right;
		}
		return n;
	}
	for (int i = 0; i < 32; i++) {
		u64 parent = BPF_CORE_READ((struct rb_node *)node, __rb_parent_color) & ~3UL;

		if (!parent || (u64)BPF_CORE_READ((struct rb_node *)parent, rb_right) == node)
			return parent;
		node = parent;
	}
	return 0;
}

/*
 * Before 6.8, a list. In functions of their own: clang would hoist the relocated offsets out of the branch that keeps
 * newer kernels away from them.
 */
static __noinline u64 newest_listed(u64 mnt_ns)
{
	u64 n = (u64)BPF_CORE_READ((struct mnt_namespace___list *)mnt_ns, list.prev);

	return n - bpf_core_field_offset(struct mount___list, mnt_list);
}

static __noinline u64 older_listed(u64 mnt_ns, u64 m)
{
	u64 n = (u64)BPF_CORE_READ((struct mount___list *)m, mnt_list.prev);

	if (n == mnt_ns + bpf_core_field_offset(struct mnt_namespace___list, list))
		return 0;
	return n - bpf_core_field_offset(struct mount___list, mnt_list);
}

/* The newest mount of a namespace: a struct mount. */
VERIFIED_ALONE u64 newest_mount(u64 mnt_ns)
{
	u64 n;

	if (!bpf_core_field_exists(struct mnt_namespace___tree, mounts))
		return newest_listed(mnt_ns);
	n = (u64)BPF_CORE_READ((struct mnt_namespace___tree *)mnt_ns, mounts.rb_node);
	for (int i = 0; i < 32; i++) {
		u64 right = n ? (u64)BPF_CORE_READ((struct rb_node *)n, rb_right) : 0;

		if (!right)
			break;
		n = right;
	}
	return n ? n - bpf_core_field_offset(struct mount___tree, mnt_node) : 0;
}

VERIFIED_ALONE u64 older_mount(u64 mnt_ns, u64 m)
{
	u64 n;

	if (!bpf_core_field_exists(struct mnt_namespace___tree, mounts))
		return older_listed(mnt_ns, m);
	n = rb_before(m + bpf_core_field_offset(struct mount___tree, mnt_node));
	return n ? n - bpf_core_field_offset(struct mount___tree, mnt_node) : 0;
}

struct given {
	u64 cid;
	u64 mnt_ns;
	u64 m;
};

static long step_given(u32 i, struct given *given)
{
	u64 m = given->m;
	u32 one = 1;
	u64 sb;

	if (!m)
		return 1;
	sb = (u64)BPF_CORE_READ((struct mount *)m, mnt.mnt_sb);
	if (BPF_CORE_READ((struct super_block *)sb, s_bdev)) {
		struct disk_key key = {
			.cid = given->cid,
			.sb = sb,
			.root = (u64)BPF_CORE_READ((struct mount *)m, mnt.mnt_root),
		};

		bpf_map_update_elem(&given_disks, &key, &one, BPF_ANY);
	}
	given->m = older_mount(given->mnt_ns, m);
	return 0;
}

/* Remember what disks a container has at its birth, where the age of a mount does not tell. */
VERIFIED_ALONE int record_disks(u64 cid, u64 mnt_ns)
{
	struct given given = { .cid = cid, .mnt_ns = mnt_ns };

	if (bpf_core_field_exists(struct mount___id, mnt_id_unique))
		return 0;
	given.m = newest_mount(mnt_ns);
	bpf_loop(MAX_GIVEN, step_given, &given, 0);
	return 0;
}

#endif
