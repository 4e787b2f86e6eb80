/* An interpreter for binfmt_misc: leaves a mark beside the file it is asked to run. */
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char path[4096];
	if (argc < 2)
		return 2;
	snprintf(path, sizeof(path) / 2, "%s", argv[1]);
	strcat(dirname(path), "/mark");
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	return out < 0 || write(out, "escaped\n", 8) != 8;
}
