/* setns() by pidfd: several namespaces of a host process in one call. usage: setns_pidfd FLAG,FLAG.. [rax] */
#include "common.h"
#include "prove.h"

static const struct { const char *name; int flag; } flags[] = {
	{"mnt", CLONE_NEWNS}, {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"pid", CLONE_NEWPID},
};

int main(int argc, char **argv)
{
	int wanted = 0;
	const char *last = "mnt";
	for (char *name = strtok(argc > 1 ? argv[1] : (char[]){"mnt"}, ","); name; name = strtok(NULL, ","))
		for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
			if (!strcmp(name, flags[i].name)) {
				wanted |= flags[i].flag;
				last = flags[i].name;
			}
	int fd = (int)syscall(SYS_pidfd_open, lab_env_num("LAB_PID"), 0);
	if (fd < 0)
		lab_die("pidfd_open");
	lab_violate4("setns", (argc > 2 ? LAB_GARBAGE_RAX : 0) | SYS_setns, fd, wanted, 0, 0);
	lab_prove_ns(last);
	return 0;
}
