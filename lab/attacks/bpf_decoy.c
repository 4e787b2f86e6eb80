/* A process of the host that owns a BPF map and a link, pinned, for attacks to go at when no guard runs.
 * usage: bpf_decoy PIN_DIR MARK_FILE. Leaves the mark when somebody changes the map; removes its pins at SIGTERM. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char map_pin[256], link_pin[256];
static const char *directory;

static int bpf(int command, union bpf_attr *attr)
{
	int result = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
	if (result < 0) {
		perror("bpf_decoy: bpf");
		exit(1);
	}
	return result;
}

static void pin(int fd, const char *path)
{
	union bpf_attr attr = {.pathname = (uintptr_t)path, .bpf_fd = (uint32_t)fd};
	unlink(path);
	bpf(BPF_OBJ_PIN, &attr);
}

static void on_term(int signal)
{
	(void)signal;
	unlink(map_pin);
	unlink(link_pin);
	rmdir(directory);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	directory = argv[1];
	snprintf(map_pin, sizeof(map_pin), "%s/map", directory);
	snprintf(link_pin, sizeof(link_pin), "%s/link", directory);
	mkdir(directory, 0700);

	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
	strcpy(map.map_name, "lab_decoy");
	int map_fd = bpf(BPF_MAP_CREATE, &map);

	struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr program = {.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT, .insns = (uintptr_t)nothing, .insn_cnt = 2, .license = (uintptr_t)"GPL"};
	strcpy(program.prog_name, "lab_decoy");
	int program_fd = bpf(BPF_PROG_LOAD, &program);
	union bpf_attr link = {.raw_tracepoint = {.name = (uintptr_t)"sched_process_exit", .prog_fd = (uint32_t)program_fd}};
	int link_fd = bpf(BPF_RAW_TRACEPOINT_OPEN, &link);

	pin(map_fd, map_pin);
	pin(link_fd, link_pin);
	signal(SIGTERM, on_term);
	prctl(PR_SET_PDEATHSIG, SIGTERM);

	union bpf_attr info = {.info = {.bpf_fd = (uint32_t)link_fd}};
	struct bpf_link_info about = {0};
	info.info.info = (uintptr_t)&about;
	info.info.info_len = sizeof(about);
	bpf(BPF_OBJ_GET_INFO_BY_FD, &info);
	printf("%u\n", about.id);
	fflush(stdout);
	for (;;) {
		uint32_t key = 0;
		uint64_t value = 0;
		union bpf_attr look = {.map_fd = (uint32_t)map_fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
		bpf(BPF_MAP_LOOKUP_ELEM, &look);
		if (value) {
			int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
			ssize_t n = fd < 0 ? -1 : write(fd, "escaped\n", 8);
			(void)n;
			for (;;)
				pause();
		}
		usleep(10000);
	}
}
