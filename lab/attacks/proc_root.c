/* Walks out through /proc/PID/root of a host process. usage: proc_root read|write|chdir|fd */
#include "common.h"

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "read";
	long pid = lab_env_num("LAB_PID");
	if (!strcmp(how, "write")) {
		const char *path = lab_proc("%ld/root%s", pid, lab_env("LAB_MARK"));
		lab_mark_fd((int)lab_violate4("open", SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0644));
	} else if (!strcmp(how, "fd")) {
		const char *path = lab_proc("%ld/fd/%ld", pid, lab_env_num("LAB_SECRET_FD"));
		lab_print_fd((int)lab_violate4("open", SYS_openat, AT_FDCWD, path, O_RDONLY, 0));
	} else if (!strcmp(how, "chdir")) {
		lab_violate4("chdir", SYS_chdir, lab_proc("%ld/root", pid), 0, 0, 0);
		lab_print_secret(lab_env("LAB_SECRET") + 1);
	} else {
		const char *path = lab_proc("%ld/root%s", pid, lab_env("LAB_SECRET"));
		lab_print_fd((int)lab_violate4("open", SYS_openat, AT_FDCWD, path, O_RDONLY, 0));
	}
	return 0;
}
