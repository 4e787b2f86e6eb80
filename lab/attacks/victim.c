/* A process of the host for the attacks to go at. Everything it holds or does was made for the test.
 *
 * usage: victim SECRET_FILE MARK_FILE HOST_DIR SOCKET_NAME UNIX_SOCKET SHM_KEY
 * It prints "PID USERNS_PID BUFFER_ADDRESS SECRET_FD" and then serves:
 *   - a buffer with the secret; when its first byte becomes '!' it leaves the mark (writes into its memory);
 *   - an abstract socket in the host's network namespace that sends the secret;
 *   - a socket file that sends a descriptor of the host directory;
 *   - a System V segment with the secret; SIGUSR1 leaves the mark. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static volatile char buffer[256];
static const char *mark_path;
static int segment = -1;

static void leave_mark(void)
{
	int fd = open(mark_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd >= 0) {
		ssize_t n = write(fd, "escaped\n", 8);
		(void)n;
		close(fd);
	}
}

static void on_usr1(int signal)
{
	(void)signal;
	leave_mark();
}

static void on_term(int signal)
{
	(void)signal;
	shmctl(segment, IPC_RMID, NULL);
	_exit(0);
}

static int listen_on(const char *name, int abstract)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strncpy(address.sun_path + abstract, name, sizeof(address.sun_path) - 2);
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(name));
	if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 8)) {
		perror(name);
		exit(1);
	}
	return fd;
}

static void send_descriptor(int peer, int fd)
{
	char byte = 'd', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(int));
	sendmsg(peer, &message, 0);
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return 2;
	mark_path = argv[2];
	int secret = open(argv[1], O_RDONLY);
	ssize_t length = secret < 0 ? -1 : pread(secret, (char *)buffer, sizeof(buffer) - 1, 0);
	int directory = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	segment = shmget((key_t)strtol(argv[6], NULL, 0), 4096, IPC_CREAT | 0600);
	if (length <= 0 || directory < 0 || segment < 0) {
		perror("victim");
		return 1;
	}
	char *shared = shmat(segment, NULL, 0);
	memcpy(shared, (const char *)buffer, (size_t)length);
	struct pollfd sockets[2] = {{listen_on(argv[4], 1), POLLIN, 0}, {listen_on(argv[5], 0), POLLIN, 0}};
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	prctl(PR_SET_PDEATHSIG, SIGTERM);

	int ready[2];
	if (pipe(ready))
		return 1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWUSER)) {
			perror("unshare");
			_exit(1);
		}
		close(ready[1]);
		close(ready[0]);
		for (;;)
			pause();
	}
	close(ready[1]);
	char byte;
	ssize_t n = read(ready[0], &byte, 1);
	printf("%d %d %p %d\n", getpid(), child, (void *)buffer, secret);
	fflush(stdout);
	for (;;) {
		poll(sockets, 2, 10);
		if (buffer[0] == '!') {
			leave_mark();
			buffer[0] = '.';
		}
		for (int i = 0; i < 2; i++) {
			if (!(sockets[i].revents & POLLIN))
				continue;
			int peer = accept4(sockets[i].fd, NULL, NULL, SOCK_CLOEXEC);
			if (i == 0)
				n = send(peer, shared, (size_t)length, MSG_NOSIGNAL);
			else
				send_descriptor(peer, directory);
			close(peer);
		}
	}
	return (int)n;
}
