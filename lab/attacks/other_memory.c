/* Reaches into a host process. usage: other_memory attach|seize|readv|writev|mem_read|mem_write|pidfd_getfd */
#include "common.h"
#include <sys/ptrace.h>
#include <sys/uio.h>

static void print_word_by_word(long pid, long address)
{
	char text[65] = {0};
	for (int i = 0; i < 64; i += 8) {
		long word = ptrace(PTRACE_PEEKDATA, pid, address + i, 0);
		memcpy(text + i, &word, 8);
	}
	printf("PROOF %s\n", text);
	fflush(stdout);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "attach";
	long pid = lab_env_num("LAB_PID"), address = lab_env_num("LAB_ADDRESS");
	static char text[65];
	struct iovec here = {text, 64}, there = {(void *)address, 64};

	if (!strcmp(how, "attach")) {
		lab_violate4("ptrace(ATTACH)", SYS_ptrace, PTRACE_ATTACH, pid, 0, 0);
		waitpid((pid_t)pid, NULL, __WALL);
		print_word_by_word(pid, address);
	} else if (!strcmp(how, "seize")) {
		lab_violate4("ptrace(SEIZE)", SYS_ptrace, PTRACE_SEIZE, pid, 0, 0);
		if (ptrace(PTRACE_INTERRUPT, pid, 0, 0))
			lab_die("ptrace(INTERRUPT)");
		waitpid((pid_t)pid, NULL, __WALL);
		print_word_by_word(pid, address);
	} else if (!strcmp(how, "readv")) {
		lab_violate("process_vm_readv", SYS_process_vm_readv, pid, &here, 1, &there, 1, 0);
		printf("PROOF %s\n", text);
	} else if (!strcmp(how, "writev")) {
		text[0] = '!';
		here.iov_len = there.iov_len = 1;
		lab_violate("process_vm_writev", SYS_process_vm_writev, pid, &here, 1, &there, 1, 0);
	} else if (!strcmp(how, "mem_read") || !strcmp(how, "mem_write")) {
		int write = !strcmp(how, "mem_write");
		int fd = (int)lab_violate4("open", SYS_openat, AT_FDCWD, lab_proc("%ld/mem", pid), write ? O_RDWR : O_RDONLY, 0);
		if ((write ? pwrite(fd, "!", 1, address) : pread(fd, text, 64, address)) < 1)
			lab_die("the memory of the host process");
		if (!write)
			printf("PROOF %s\n", text);
	} else if (!strcmp(how, "pidfd_getfd")) {
		int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (pidfd < 0)
			lab_die("pidfd_open");
		int fd = (int)lab_violate4("pidfd_getfd", SYS_pidfd_getfd, pidfd, lab_env_num("LAB_SECRET_FD"), 0, 0);
		char *map = mmap(NULL, 64, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			lab_die("map the received descriptor");
		printf("PROOF %.64s\n", map);
	} else {
		return 2;
	}
	return 0;
}
