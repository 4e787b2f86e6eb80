/* The container's first process: starts a bystander and the attack, and outlives an attack that is killed.
 *
 * The bystander and the lingering are the proof that the guard kills the container, not only the attacker. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	pid_t bystander = fork();
	if (bystander == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	pid_t attack = fork();
	if (attack == 0) {
		execv(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	int status = 0;
	while (waitpid(attack, &status, 0) != attack)
		;
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "init: the attack died of signal %d\n", WTERMSIG(status));
		for (;;)
			pause();
	}
	kill(bystander, SIGKILL);
	return WEXITSTATUS(status);
}
