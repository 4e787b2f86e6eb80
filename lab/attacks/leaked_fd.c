/* Uses a directory of the host whose descriptor was inherited or received (the shape of CVE-2024-21626).
 * usage: leaked_fd fchdir|chroot|openat|magic_open|create|getdents|mkdirat|magic_mkdir|unlinkat|renameat|truncate|execve|int80
 *        |openat_rax|magic_unlink|magic_rename [socket]. The "magic" ways and truncate, execve name the directory by path, through /proc/self/fd, not by descriptor. */
#include "common.h"
#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Takes the descriptor from a process of the host that sends it over a Unix socket. */
static int receive_descriptor(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/lab-shm/socket"};
	char byte, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int peer = socket(AF_UNIX, SOCK_STREAM, 0), fd = -1;
	if (connect(peer, (struct sockaddr *)&address, sizeof(address)))
		lab_die("connect to /lab-shm/socket");
	if (recvmsg(peer, &message, 0) < 1 || !CMSG_FIRSTHDR(&message))
		lab_die("receive a descriptor");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static void list_directory(int fd)
{
	static char block[8192];
	long n = lab_violate4("getdents64", SYS_getdents64, fd, block, sizeof(block), 0);
	for (long at = 0; at < n;) {
		struct dirent64 *entry = (struct dirent64 *)(block + at);
		printf("ENTRY %s\n", entry->d_name);
		at += entry->d_reclen;
	}
}

int main(int argc, char **argv)
{
	static char secret[] = "secret", mark[] = "mark", prey[] = "prey", directory[] = "made";
	const char *how = argc > 1 ? argv[1] : "openat";
	int fd = argc > 2 ? receive_descriptor() : (int)lab_env_num("LAB_FD");
	char path[64], target[64];

	if (!strcmp(how, "fchdir")) {
		lab_violate4("fchdir", SYS_fchdir, fd, 0, 0, 0);
		lab_print_secret(secret);
	} else if (!strcmp(how, "chroot")) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		lab_violate4("chroot", SYS_chroot, path, 0, 0, 0);
		lab_print_secret("/secret");
	} else if (!strcmp(how, "openat")) {
		lab_print_fd((int)lab_violate4("openat", SYS_openat, fd, secret, O_RDONLY, 0));
	} else if (!strcmp(how, "openat_rax")) {
		lab_print_fd((int)lab_violate4("openat", LAB_GARBAGE_RAX | SYS_openat, fd, secret, O_RDONLY, 0));
	} else if (!strcmp(how, "magic_unlink")) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/prey", fd);
		lab_violate4("unlink", SYS_unlink, path, 0, 0, 0);
	} else if (!strcmp(how, "magic_rename")) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/prey", fd);
		snprintf(target, sizeof(target), "/proc/self/fd/%d/renamed", fd);
		lab_violate4("rename", SYS_rename, path, target, 0, 0);
	} else if (!strcmp(how, "magic_open")) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/secret", fd);
		lab_print_fd((int)lab_violate4("open", SYS_open, path, O_RDONLY, 0, 0));
	} else if (!strcmp(how, "magic_mkdir")) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/made", fd);
		lab_violate4("mkdir", SYS_mkdir, path, 0755, 0, 0);
	} else if (!strcmp(how, "truncate")) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/prey", fd);
		lab_violate4("truncate", SYS_truncate, path, 0, 0, 0);
	} else if (!strcmp(how, "execve")) {
		char *arguments[] = {path, NULL}, *environment[] = {NULL};
		snprintf(path, sizeof(path), "/proc/self/fd/%d/visitor", fd);
		lab_violate4("execve", SYS_execve, path, arguments, environment, 0);
	} else if (!strcmp(how, "create")) {
		lab_mark_fd((int)lab_violate4("openat", SYS_openat, fd, mark, O_WRONLY | O_CREAT, 0644));
	} else if (!strcmp(how, "int80")) {
		lab_print_fd((int)lab_check(lab_syscall_int80(295, fd, (long)secret, O_RDONLY, 0), "openat through int 0x80"));
	} else if (!strcmp(how, "getdents")) {
		list_directory(fd);
	} else if (!strcmp(how, "mkdirat")) {
		lab_violate4("mkdirat", SYS_mkdirat, fd, directory, 0755, 0);
	} else if (!strcmp(how, "unlinkat")) {
		lab_violate4("unlinkat", SYS_unlinkat, fd, prey, 0, 0);
	} else if (!strcmp(how, "renameat")) {
		lab_violate4("renameat", SYS_renameat, fd, prey, fd, "renamed");
	} else {
		fprintf(stderr, "attack: unknown way %s\n", how);
		return 2;
	}
	return 0;
}
