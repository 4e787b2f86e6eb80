/* Goes at a block device that the host has mounted. usage: block_device raw|mount|fsmount */
#include "common.h"
#include <sys/mount.h>
#include <sys/sysmacros.h>

static const char needle[] = "casemate-lab-secret-";

/* The secret is a file's first block: look at the start of each. */
static void search(int fd)
{
	static char block[1024];
	for (off_t at = 0; pread(fd, block, sizeof(block), at) == sizeof(block); at += sizeof(block))
		if (!memcmp(block, needle, sizeof(needle) - 1)) {
			printf("PROOF %.64s\n", block);
			return;
		}
	errno = ENOENT;
	lab_die("find the secret on the device");
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "raw";
	dev_t device = makedev((unsigned)lab_env_num("LAB_LOOP_MAJOR"), (unsigned)lab_env_num("LAB_LOOP_MINOR"));
	if (mknod("/dev/lab_disk", S_IFBLK | 0600, device))
		lab_die("mknod /dev/lab_disk");
	if (!strcmp(how, "mount")) {
		mkdir("/lab_mnt", 0755);
		lab_violate("mount", SYS_mount, "/dev/lab_disk", "/lab_mnt", "ext4", 0, NULL, 0);
		lab_print_secret("/lab_mnt/secret");
		umount("/lab_mnt");
	} else if (!strcmp(how, "fsmount")) {
		/* The new calls give a mount that is attached nowhere, which the container's table of mounts does not show. */
		int context = (int)syscall(SYS_fsopen, "ext4", 0);
		if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", "/dev/lab_disk", 0))
			lab_die("fsopen");
		if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
			lab_die("fsconfig(CMD_CREATE)");
		int root = (int)lab_violate4("fsmount", SYS_fsmount, context, 0, 0, 0);
		lab_print_fd(openat(root, "secret", O_RDONLY));
	} else {
		search((int)lab_violate4("open", SYS_openat, AT_FDCWD, "/dev/lab_disk", O_RDONLY, 0));
	}
	return 0;
}
