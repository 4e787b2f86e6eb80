/* What the kernel is made to run: leaves the mark whose path lies beside this program. No libc tricks: its environment is the kernel's. */
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char path[4096], mark[4096] = {0};
	(void)argc;
	snprintf(path, sizeof(path), "%s", argv[0]);
	strncat(dirname(path), "/lab_mark_path", sizeof(path) / 2);
	int in = open(path, O_RDONLY);
	/* Run from memory, by way of /proc/PID/fd: the container's root is beside it. */
	if (in < 0) {
		snprintf(path, sizeof(path), "%s", argv[0]);
		strncat(dirname(path), "/../root/lab_mark_path", sizeof(path) / 2);
		in = open(path, O_RDONLY);
	}
	if (in < 0 || read(in, mark, sizeof(mark) - 1) <= 0)
		return 1;
	int out = open(mark, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	return out < 0 || write(out, "escaped\n", 8) != 8;
}
