// inotify(7) as a server uses it, in the directory that it is given.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int fd;

static void show(const char *when) {
    char bytes[4096] __attribute__((aligned(8)));
    printf("%s:", when);
    struct pollfd wait = {fd, POLLIN, 0};
    unsigned first = 0;
    while (poll(&wait, 1, 0) == 1) {
        int waiting = 0;
        ioctl(fd, FIONREAD, &waiting);
        ssize_t length = read(fd, bytes, sizeof bytes);
        if (length != waiting) printf(" [%zd of %d]", length, waiting);
        for (char *at = bytes; at < bytes + length;) {
            struct inotify_event *event = (struct inotify_event *)at;
            if (event->cookie && !first) first = event->cookie;
            printf(" %d %x %d %s;", event->wd, event->mask, event->cookie && event->cookie == first, event->len ? event->name : "-");
            at += sizeof *event + event->len;
        }
    }
    puts("");
}

int main(int argc, char **argv) {
    if (argc < 2 || chdir(argv[1])) return 1;
    fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    char byte;
    printf("nothing %zd %d\n", read(fd, &byte, 1), errno == EAGAIN);
    printf("none %d %d\n", inotify_add_watch(fd, "none", IN_ALL_EVENTS), errno == ENOENT);
    mkdir("d", 0755);
    printf("add %d\n", inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    int file = open("d/f", O_CREAT | O_RDWR, 0644);
    show("create");
    if (write(file, "text", 4) != 4) return 1;
    show("write");
    if (pread(file, &byte, 1, 0) != 1) return 1;
    show("read");
    if (ftruncate(file, 1)) return 1;
    show("truncate");
    close(file);
    show("close");
    chmod("d/f", 0600);
    show("chmod");
    printf("watch %d\n", inotify_add_watch(fd, "d/f", IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF));
    printf("only a directory %d %d\n", inotify_add_watch(fd, "d/f", IN_MODIFY | IN_ONLYDIR), errno == ENOTDIR);
    rename("d/f", "d/g");
    show("rename");
    mkdir("d/sub", 0755);
    show("mkdir");
    rmdir("d/sub");
    show("rmdir");
    if (symlink("g", "d/l")) return 1;
    show("symlink");
    unlink("d/l");
    show("unlink");
    rename("d/g", "out");
    show("out");
    printf("remove %d %d\n", inotify_rm_watch(fd, 1), inotify_rm_watch(fd, 1));
    show("removed");
    unlink("out");
    rmdir("d");
    printf("wrong %zd %d\n", read(fd, &byte, 1), errno == EAGAIN || errno == EINVAL);
}
