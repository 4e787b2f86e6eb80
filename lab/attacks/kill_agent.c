/* Kills the guard's agent (unguarded: any process of the host) from a container that sees the host's pids. */
#include "common.h"

int main(void)
{
	lab_violate4("kill", SYS_kill, lab_env_num("LAB_AGENT_PID"), SIGKILL, 0, 0);
	return 0;
}
