/* setns() to one namespace of a host process through its /proc/PID/ns file.
 * usage: setns NAMESPACE [fork|vfork|exec|thread|int80]: how the new standing is laundered, or how the call is made. */
#include "common.h"
#include "prove.h"
#include <pthread.h>

static const char *name;
static int ns_fd;

static void *in_thread(void *unused)
{
	(void)unused;
	if (unshare(CLONE_FS))
		lab_die("unshare(CLONE_FS)");
	lab_violate4("setns", SYS_setns, ns_fd, 0, 0, 0);
	lab_prove_ns(name);
	return NULL;
}

int main(int argc, char **argv)
{
	name = argc > 1 ? argv[1] : "mnt";
	const char *how = argc > 2 ? argv[2] : "";
	/* A neighbour container takes the place of the host process where the runner starts one. */
	const char *target = getenv("LAB_SETNS_PID") ? "LAB_SETNS_PID" : "LAB_PID";
	if (!strcmp(name, "user"))
		target = "LAB_USERNS_PID";
	const char *path = lab_proc("%ld/ns/%s", lab_env_num(target), name);
	ns_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ns_fd < 0)
		lab_die(path);
	if (!strcmp(how, "thread")) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, in_thread, NULL))
			lab_die("pthread_create");
		pthread_join(thread, NULL);
		return 0;
	}
	if (!strcmp(how, "int80"))
		lab_check(lab_syscall_int80(346, ns_fd, 0, 0, 0), "setns through int 0x80");
	else
		lab_violate4("setns", SYS_setns, ns_fd, 0, 0, 0);
	if (!strcmp(how, "exec")) {
		execl("/bin/cat", "cat", lab_env("LAB_SECRET"), NULL);
		lab_die("execl(cat)");
	}
	if (!strcmp(how, "vfork")) {
		pid_t child = vfork();
		if (child == 0) {
			execl("/bin/cat", "cat", lab_env("LAB_SECRET"), NULL);
			_exit(127);
		}
		waitpid(child, NULL, 0);
		return 0;
	}
	/* A pid namespace holds only for children, so that case always forks. */
	if (!strcmp(how, "fork") || !strcmp(name, "pid")) {
		pid_t child = fork();
		if (child == 0) {
			/* In a neighbour's pid namespace the host process has no number. */
			if (getenv("LAB_SETNS_PID"))
				lab_print_ns(name);
			else
				lab_prove_ns(name);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		return 0;
	}
	lab_prove_ns(name);
	return 0;
}
