/* Registers an interpreter of the container with binfmt_misc: the host runs it for every file with our magic. */
#include "common.h"
#include <sys/mount.h>

int main(void)
{
	char rule[512];
	lab_copy("/lab/interp_mark", "/interp_mark");
	mkdir("/lab_binfmt", 0755);
	if (mount("binfmt_misc", "/lab_binfmt", "binfmt_misc", 0, NULL))
		lab_die("mount binfmt_misc");
	/* F opens the interpreter now, in here; it is run later, out there. */
	snprintf(rule, sizeof(rule), ":%s:M::CASEMATE-LAB::/interp_mark:F", lab_env("LAB_NAME"));
	int fd = (int)lab_violate4("open", SYS_openat, AT_FDCWD, "/lab_binfmt/register", O_WRONLY, 0);
	if (write(fd, rule, strlen(rule)) < 0)
		lab_die("register with binfmt_misc");
	/* The rule lives as long as this mount: stay until the host has run a file, or was expected to. */
	for (int turn = 0; turn < 300 && access("/lab-shm/done", F_OK); turn++)
		usleep(10000);
	return 0;
}
