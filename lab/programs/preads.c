// Small reads of a file, each a call to whoever has the file. Prints a checksum, or with a second argument reads in a second.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 100000;
    int fd = open("/etc/passwd", O_RDONLY);
    unsigned long sum = 0;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < count; i++) {
        unsigned char bytes[64];
        if (pread(fd, bytes, sizeof bytes, i % 256) != sizeof bytes)
            return 1;
        sum = sum * 31 + bytes[i % 64];
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%016lx\n", sum);
    if (argc > 2)
        printf("%.0f reads a second\n",
               count / (end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9));
    return 0;
}
