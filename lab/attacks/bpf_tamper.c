/* With CAP_BPF and CAP_SYS_ADMIN: goes at the guard's own BPF objects, then (to have a proof without guard) at the lab's decoy.
 * usage: bpf_tamper map|link|pin|unlink. LAB_GUARD_MAPS, LAB_GUARD_LINKS: ids of the guard's objects, comma-separated.
 * With LAB_HARMLESS the guard's objects are opened and not changed: audit mode lets that pass. */
#include "common.h"
#include <dirent.h>
#include <linux/bpf.h>

static long call(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* The descriptor of an object by id; the call that a guard must not let pass. */
static int open_by_id(int command, uint32_t id)
{
	union bpf_attr attr = {.map_id = id};
	return (int)lab_violate("bpf(GET_FD_BY_ID)", SYS_bpf, command, &attr, sizeof(attr), 0, 0, 0);
}

static void clear_map(int fd)
{
	static char key[4096], value[65536];
	union bpf_attr first = {.map_fd = (uint32_t)fd, .next_key = (uintptr_t)key};
	if (getenv("LAB_HARMLESS") || call(BPF_MAP_GET_NEXT_KEY, &first))
		return;
	union bpf_attr delete = {.map_fd = (uint32_t)fd, .key = (uintptr_t)key};
	union bpf_attr update = {.map_fd = (uint32_t)fd, .key = (uintptr_t)key, .value = (uintptr_t)value};
	call(BPF_MAP_DELETE_ELEM, &delete);
	call(BPF_MAP_UPDATE_ELEM, &update);
}

static void change_decoy(int fd)
{
	uint32_t key = 0;
	uint64_t value = 1;
	union bpf_attr update = {.map_fd = (uint32_t)fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
	if (call(BPF_MAP_UPDATE_ELEM, &update))
		lab_die("change the decoy's map");
}

static void detach(int fd)
{
	union bpf_attr attr = {.link_detach = {.link_fd = (uint32_t)fd}};
	if (!getenv("LAB_HARMLESS"))
		call(BPF_LINK_DETACH, &attr);
}

/* Calls `use` on each object in the list of ids that the environment holds. */
static void each_of(const char *list, int command, void (*use)(int))
{
	char *ids = strdup(getenv(list) ? getenv(list) : "");
	for (char *id = strtok(ids, ","); id; id = strtok(NULL, ","))
		use(open_by_id(command, (uint32_t)strtoul(id, NULL, 10)));
	free(ids);
}

/* Whether a map, or the program behind a link, is the decoy's. */
static int named_decoy(int fd, int is_link)
{
	union { struct bpf_map_info map; struct bpf_link_info link; struct bpf_prog_info program; } about = {0};
	union bpf_attr info = {.info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof(about), .info = (uintptr_t)&about}};
	info.info.info_len = is_link ? sizeof(about.link) : sizeof(about.map);
	if (call(BPF_OBJ_GET_INFO_BY_FD, &info))
		return 0;
	if (!is_link)
		return !strcmp(about.map.name, "lab_decoy");
	union bpf_attr by_id = {.prog_id = about.link.prog_id};
	int program = (int)call(BPF_PROG_GET_FD_BY_ID, &by_id);
	memset(&about, 0, sizeof(about));
	info.info.bpf_fd = (uint32_t)program;
	info.info.info_len = sizeof(about.program);
	return program >= 0 && !call(BPF_OBJ_GET_INFO_BY_FD, &info) && !strcmp(about.program.name, "lab_decoy");
}

/* Walks all ids, as an intruder does who does not know the guard's. */
static int find_decoy(int next, int open, int is_link)
{
	union bpf_attr walk = {.start_id = 0};
	while (!call(next, &walk)) {
		union bpf_attr attr = {.map_id = walk.next_id};
		int fd = (int)lab_syscall6(SYS_bpf, open, LAB_L(&attr), sizeof(attr), 0, 0, 0);
		if (fd >= 0 && named_decoy(fd, is_link))
			return fd;
		if (fd >= 0)
			close(fd);
		walk.start_id = walk.next_id;
	}
	errno = ENOENT;
	lab_die("find the decoy");
	return -1;
}

static int open_pin(const char *path)
{
	union bpf_attr attr = {.pathname = (uintptr_t)path};
	return (int)lab_violate(path, SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr), 0, 0, 0);
}

static void unlink_pin(const char *path)
{
	lab_violate4("unlink", SYS_unlinkat, AT_FDCWD, path, 0, 0);
}

static void get_pin(const char *path)
{
	close(open_pin(path));
}

/* Calls `use` on each pin below `directory`. */
static void each_pin(const char *directory, void (*use)(const char *))
{
	struct dirent *entry;
	DIR *pins = opendir(directory);
	while (pins && (entry = readdir(pins))) {
		char path[1024];
		/* The kernel puts maps.debug and progs.debug into every bpffs: they cannot be opened by this call. */
		if (entry->d_name[0] == '.' || strstr(entry->d_name, ".debug"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (entry->d_type == DT_DIR)
			each_pin(path, use);
		else
			use(path);
	}
	if (pins)
		closedir(pins);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "map";
	char decoy[256];
	snprintf(decoy, sizeof(decoy), "/hostbpf/%s/map", lab_env("LAB_NAME"));
	if (!strcmp(how, "map")) {
		each_of("LAB_GUARD_MAPS", BPF_MAP_GET_FD_BY_ID, clear_map);
		change_decoy(find_decoy(BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID, 0));
	} else if (!strcmp(how, "link")) {
		each_of("LAB_GUARD_LINKS", BPF_LINK_GET_FD_BY_ID, detach);
		detach(find_decoy(BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID, 1));
		puts("LINK");
	} else if (!strcmp(how, "pin")) {
		each_pin("/guardbpf", get_pin);
		change_decoy(open_pin(decoy));
	} else {
		each_pin("/guardbpf", unlink_pin);
		unlink_pin(decoy);
	}
	return 0;
}
