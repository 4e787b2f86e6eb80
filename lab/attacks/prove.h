/* Proofs of having arrived in a namespace of the host: something only a task in there can do. */
#ifndef CASEMATE_LAB_PROVE_H
#define CASEMATE_LAB_PROVE_H

#include "common.h"
#include <stddef.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Asks the victim's abstract socket, which exists in the host's network namespace only. */
static inline void lab_prove_net(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *name = lab_env("LAB_SOCKET");
	strncpy(address.sun_path + 1, name, sizeof(address.sun_path) - 2);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))))
		lab_die("connect to the host's abstract socket");
	lab_print_fd(fd);
}

/* Reads the victim's System V segment, which exists in the host's ipc namespace only. */
static inline void lab_prove_ipc(void)
{
	int id = shmget((key_t)lab_env_num("LAB_SHM_KEY"), 4096, 0600);
	char *text = id < 0 ? (void *)-1 : shmat(id, NULL, SHM_RDONLY);
	if (text == (void *)-1)
		lab_die("attach the host's shared memory");
	printf("PROOF %s\n", text);
	fflush(stdout);
}

static inline void lab_prove_ns(const char *name)
{
	if (!strcmp(name, "mnt")) {
		lab_print_secret(lab_env("LAB_SECRET"));
	} else if (!strcmp(name, "net")) {
		lab_prove_net();
	} else if (!strcmp(name, "ipc")) {
		lab_prove_ipc();
	} else if (!strcmp(name, "pid")) {
		/* Host pids have a meaning only in the host's pid namespace. */
		if (kill((pid_t)lab_env_num("LAB_PID"), SIGUSR1))
			lab_die("signal the host process");
	} else {
		lab_print_ns(name);
	}
}

#endif
