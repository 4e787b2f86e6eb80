/* Moves itself to the root of a cgroup hierarchy, out of reach of limits, freezers and kills. usage: cgroup_move v1|v2 */
#include "common.h"
#include <sys/mount.h>

int main(int argc, char **argv)
{
	int v2 = argc > 1 && !strcmp(argv[1], "v2");
	mkdir("/lab_cg", 0755);
	if (mount("cgroup", "/lab_cg", v2 ? "cgroup2" : "cgroup", 0, v2 ? NULL : "pids"))
		lab_die("mount the cgroup hierarchy");
	int fd = open("/lab_cg/cgroup.procs", O_WRONLY);
	if (fd < 0)
		lab_die("open cgroup.procs");
	lab_violate4("write", SYS_write, fd, "0", 1, 0);
	char line[512];
	FILE *own = fopen("/proc/self/cgroup", "r");
	while (own && fgets(line, sizeof(line), own))
		printf("CGROUP %s", line);
	return 0;
}
