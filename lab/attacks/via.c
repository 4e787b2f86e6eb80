/* Runs an attack as a grandchild whose parent is gone. usage: via PROGRAM ARGUMENTS.. */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (fork() == 0) {
		if (fork() == 0) {
			execv(argv[1], argv + 1);
			_exit(127);
		}
		_exit(0);
	}
	int status = 0, last = 0;
	while (wait(&status) > 0)
		last = status;
	if (WIFSIGNALED(last))
		for (;;)
			pause();
	return WEXITSTATUS(last);
}
