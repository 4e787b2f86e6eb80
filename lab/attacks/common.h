/* What every attack shares: its parameters, its proofs, and the call after which it must be dead.
 *
 * The runner passes parameters as environment variables (LAB_*) and maps one page of host memory, the file /lab-shm/after, into
 * every attack. The system call that breaks out goes through lab_violate(): the instruction directly behind `syscall` stores to
 * that page, so a page that is still zero proves that no further instruction of the attacker ran. */
#ifndef CASEMATE_LAB_COMMON_H
#define CASEMATE_LAB_COMMON_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int *lab_after;

/* Ends the attack: the machine refused a step, so nothing is proven. */
static inline void lab_die(const char *what)
{
	fprintf(stderr, "attack: %s: %s\n", what, strerror(errno));
	exit(1);
}

static inline const char *lab_env(const char *name)
{
	const char *value = getenv(name);
	if (!value || !*value) {
		fprintf(stderr, "attack: %s is not set; run me through `lab attack`\n", name);
		exit(2);
	}
	return value;
}

static inline long lab_env_num(const char *name)
{
	return strtol(lab_env(name), NULL, 0);
}

__attribute__((constructor)) static void lab_map_after(void)
{
	int fd = open("/lab-shm/after", O_RDWR | O_CLOEXEC);
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		lab_die("map /lab-shm/after");
	close(fd);
	lab_after = page;
}

/* The raw call plus the store. Returns like the kernel: -errno on failure. */
static inline long lab_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret = nr;
	__asm__ volatile("syscall\n\tmovl $1, (%[after])"
			 : "+a"(ret)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9), [after] "b"(lab_after)
			 : "rcx", "r11", "memory");
	return ret;
}

/* The 32-bit gate, from a 64-bit program. Pointers must lie below 4 GiB: static data of a non-PIE program does. */
static inline long lab_syscall_int80(long nr, long a, long b, long c, long d)
{
	long ret = nr;
	volatile int *after = lab_after;
	__asm__ volatile("int $0x80\n\tmovl $1, (%[after])"
			 : "+a"(ret)
			 : "b"(a), "c"(b), "d"(c), "S"(d), [after] "r"(after)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)ret;
}

/* The kernel looks up a call by eax: with this above it, rax is another number and the call the same. */
#define LAB_GARBAGE_RAX 0xdead00000000L

/* Ends the attack if `ret` is an error of the kernel, else returns it. */
static inline long lab_check(long ret, const char *what)
{
	if (ret < 0) {
		errno = (int)-ret;
		lab_die(what);
	}
	return ret;
}

#define LAB_L(x) ((long)(x))
#define lab_violate(what, nr, a, b, c, d, e, f)                                                              \
	lab_check(lab_syscall6((nr), LAB_L(a), LAB_L(b), LAB_L(c), LAB_L(d), LAB_L(e), LAB_L(f)), (what))
#define lab_violate4(what, nr, a, b, c, d) lab_violate(what, nr, a, b, c, d, 0, 0)

/* Prints what `fd` holds: the proof when that is the host's secret. */
static inline void lab_print_fd(int fd)
{
	char text[512];
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		lab_die("read the secret");
	text[n] = 0;
	printf("PROOF %s\n", text);
	fflush(stdout);
}

static inline void lab_print_secret(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		lab_die(path);
	lab_print_fd(fd);
	close(fd);
}

/* The runner takes a mark for genuine only with this content: an empty file is what one killed call may leave behind. */
static inline void lab_mark_fd(int fd)
{
	if (write(fd, "escaped\n", 8) != 8)
		lab_die("write the mark");
	close(fd);
}

static inline void lab_mark(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		lab_die(path);
	lab_mark_fd(fd);
}

/* Writes `text` to `path` in one call, as a shell's echo would. */
static inline void lab_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		lab_die(path);
	if (write(fd, text, strlen(text)) < 0)
		lab_die(path);
	close(fd);
}

/* A path below the proc that shows the host's processes: /hostproc when it is bind-mounted, /proc with the host's pids. */
static inline const char *lab_proc(const char *format, ...)
{
	static char paths[4][512];
	static unsigned turn;
	char *path = paths[turn++ % 4];
	int n = snprintf(path, 256, "%s/", lab_env("LAB_PROC"));
	va_list args;
	va_start(args, format);
	vsnprintf(path + n, 512 - (size_t)n, format, args);
	va_end(args);
	return path;
}

/* Proof of standing in another namespace: the kernel's own name of it. */
static inline void lab_print_ns(const char *name)
{
	char path[64], link[64];
	snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", name);
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		lab_die(path);
	link[n] = 0;
	printf("IN %s\n", link);
	fflush(stdout);
}

static inline void lab_copy(const char *from, const char *to)
{
	char block[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ssize_t n;
	if (in < 0 || out < 0)
		lab_die(in < 0 ? from : to);
	while ((n = read(in, block, sizeof(block))) > 0)
		if (write(out, block, (size_t)n) != n)
			lab_die(to);
	close(in);
	close(out);
}

/* Where the container's root lies on the host: the upper directory of an overlay, else the root of its mount. */
static inline const char *lab_host_path_of_root(void)
{
	static char found[4096];
	char line[8192], root[4096], point[4096];
	FILE *mounts = fopen("/proc/self/mountinfo", "r");
	if (!mounts)
		lab_die("/proc/self/mountinfo");
	while (fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*d %*d %*s %4095s %4095s", root, point) != 2 || strcmp(point, "/"))
			continue;
		char *upper = strstr(line, "upperdir=");
		snprintf(found, sizeof(found), "%s", upper ? upper + 9 : root);
		found[strcspn(found, ",\n ")] = 0;
	}
	fclose(mounts);
	return found;
}

/* Puts a helper program for the kernel to run, and the mark it shall leave, at the root of the container. */
static inline void lab_place_helper(void)
{
	FILE *mark = fopen("/lab_mark_path", "w");
	if (!mark)
		lab_die("/lab_mark_path");
	fputs(lab_env("LAB_MARK"), mark);
	fclose(mark);
	lab_copy("/lab/umh_mark", "/umh_mark");
}

/* A child dies with a core dump: the kernel runs what core_pattern names. */
static inline void lab_dump_core(void)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	pid_t child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &unlimited);
		abort();
	}
	waitpid(child, NULL, 0);
}

#endif
