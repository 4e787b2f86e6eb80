/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What `cargo xtask bench guard` and `cargo xtask lab --cost` measure, in one small static program: it runs as a host
 * task and as the first process of a container, and does what it is told, line by line, on standard input.
 *
 *   getppid N | open N | fork N | exec N | pipe N   do it N times; answer: nanoseconds for all
 *   readwrite N  one byte into a pipe and out again, N times, within this process; answer: nanoseconds for all
 *   devices N    one byte out of /dev/zero and one into /dev/null, N times; answer: nanoseconds for all
 *   calibrate N  a loop of exactly 2 N instructions (N > 0); answer: nanoseconds for all
 *   flood N      N violations of FS: into the leaked directory (descriptor 3) and back; answer: nanoseconds for all
 *   crowd N      N children that sleep; answer: N
 *   violate      one violation of FS; answer: 1, where the guard lets it live
 *
 * It ends at the end of its input, and its children with it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEAKED 3

static char *self;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void call_getppid(long n)
{
	for (long i = 0; i < n; i++)
		syscall(SYS_getppid);
}

static void open_close(long n)
{
	for (long i = 0; i < n; i++) {
		int fd = open(self, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			die(self);
		close(fd);
	}
}

static void reap(pid_t child)
{
	int status;

	if (child < 0)
		die("fork");
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		die("waitpid");
}

static void fork_exit(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		reap(child);
	}
}

/* With arguments "worker true" the program does nothing: a static /bin/true. */
static void fork_exec(long n)
{
	char *const arguments[] = {self, "true", NULL};
	char *const environment[] = {NULL};

	for (long i = 0; i < n; i++) {
		pid_t child = fork();

		if (!child) {
			execve(self, arguments, environment);
			_exit(127);
		}
		reap(child);
	}
}

static void pass(int from, int to)
{
	char byte = 0;

	if (read(from, &byte, 1) == 1 && write(to, &byte, 1) != 1)
		die("write to a pipe");
}

/* One round is two switches: both processes have the same single core. */
static long ping_pong(long n)
{
	int there[2], back[2];
	char byte = 0;
	pid_t child;
	long start;

	if (pipe(there) || pipe(back))
		die("pipe");
	child = fork();
	if (!child) {
		for (long i = 0; i < n; i++)
			pass(there[0], back[1]);
		_exit(0);
	}
	start = now();
	for (long i = 0; i < n; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			die("use a pipe");
	start = now() - start;
	reap(child);
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
	return start;
}

/* N times one byte through `in` and `out`: a pipe's two ends, or two devices. */
static long move_bytes(int out, int in, long n)
{
	char byte = 0;
	long start = now();

	for (long i = 0; i < n; i++)
		if (write(out, &byte, 1) != 1 || read(in, &byte, 1) != 1)
			die("move a byte");
	start = now() - start;
	close(out);
	close(in);
	return start;
}

static long through_pipe(long n)
{
	int ends[2];

	if (pipe(ends))
		die("pipe");
	return move_bytes(ends[1], ends[0], n);
}

static long through_devices(long n)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	if (null < 0 || zero < 0)
		die("/dev/null and /dev/zero");
	return move_bytes(null, zero, n);
}

/* For who wants to know what a nanosecond of this machine's clock is in instructions. */
static void calibrate(long n)
{
	__asm__ volatile("1: decq %0\n\tjnz 1b" : "+r"(n) : : "cc");
}

static void flood(long n)
{
	for (long i = 0; i < n; i++)
		if (fchdir(LEAKED) || chdir("/"))
			die("go to the leaked directory and back");
}

static void crowd(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
}

static void answer(long value)
{
	printf("%ld\n", value);
	fflush(stdout);
}

static void obey(const char *what, long n)
{
	long start = now();

	if (!strcmp(what, "getppid")) {
		call_getppid(n);
	} else if (!strcmp(what, "open")) {
		open_close(n);
	} else if (!strcmp(what, "fork")) {
		fork_exit(n);
	} else if (!strcmp(what, "exec")) {
		fork_exec(n);
	} else if (!strcmp(what, "pipe")) {
		answer(ping_pong(n));
		return;
	} else if (!strcmp(what, "readwrite")) {
		answer(through_pipe(n));
		return;
	} else if (!strcmp(what, "devices")) {
		answer(through_devices(n));
		return;
	} else if (!strcmp(what, "calibrate")) {
		calibrate(n);
	} else if (!strcmp(what, "flood")) {
		flood(n);
	} else if (!strcmp(what, "crowd")) {
		crowd(n);
		answer(n);
		return;
	} else if (!strcmp(what, "violate")) {
		if (fchdir(LEAKED))
			die("go to the leaked directory");
		answer(1);
		return;
	} else {
		fprintf(stderr, "worker: unknown command %s\n", what);
		exit(2);
	}
	answer(now() - start);
}

/* usage: worker true | worker CPU (negative: wherever the kernel puts it) */
int main(int argc, char **argv)
{
	char line[64], what[32];
	long cpu, n;

	self = argv[0];
	if (argc == 2 && !strcmp(argv[1], "true"))
		return 0;
	cpu = argc > 1 ? atol(argv[1]) : -1;
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			die("sched_setaffinity");
	}
	answer(getpid());
	while (fgets(line, sizeof(line), stdin)) {
		n = 1;
		if (sscanf(line, "%31s %ld", what, &n) < 1)
			continue;
		obey(what, n);
	}
	return 0;
}
