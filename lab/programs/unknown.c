// System calls that no kernel has.
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
    int absent = 0;
    for (int i = 0; i < 2; i++)
        absent += syscall(600) == -1 && errno == ENOSYS;
    absent += syscall(335) == -1 && errno == ENOSYS;
    puts(absent == 3 ? "not there" : "there");
    return 0;
}
