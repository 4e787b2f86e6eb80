// What a program sees of itself, one line each; the same natively and inside, but for what the comments say.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int counter;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int local = 7;

static void *count(void *argument) {
  for (int i = 0; i < 10000; i++) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
  }
  local += (int)(intptr_t)argument;
  return (void *)(intptr_t)local;
}

static volatile sig_atomic_t handled;
static void handler(int signal, siginfo_t *info, void *context) {
  (void)context;
  handled = signal * 1000 + (info->si_code == SI_TKILL);
}

static void *faulted_at;
static int page_is_open;
static char *page;
static void open_page(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  faulted_at = info->si_addr;
  page_is_open = mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0;
}

// Vector registers must survive a system call.
static int vectors_survive(void) {
  double before[4] = {1.5, 2.5, 3.5, 4.5}, after[4];
  __asm__ volatile(
      "vmovupd %1, %%ymm5\n\tmov $39, %%eax\n\tsyscall\n\tvmovupd %%ymm5, %0\n\tvzeroupper"
      : "=m"(after)
      : "m"(before)
      : "rax", "rcx", "r11", "xmm5", "memory");
  return memcmp(before, after, sizeof before) == 0;
}

static void report(const char *what, long result) {
  int error = result < 0 ? errno : 0;
  printf("%s %ld %d\n", what, result, error);
}

int main(int argc, char **argv) {
  printf("argc %d argv[1] %s\n", argc, argc > 1 ? argv[1] : "-");
  printf("env %s\n", getenv("CASEMATE_TEST") ? getenv("CASEMATE_TEST") : "-");
  printf("page size %ld\n", sysconf(_SC_PAGESIZE));
  printf("secure %lu random %d\n", getauxval(AT_SECURE), getauxval(AT_RANDOM) != 0);

  char *map = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(map, 1, 1 << 20);
  printf("munmap middle %d\n", munmap(map + 4096, 4096));
  map = mremap(map + 8192, 8192, 1 << 22, MREMAP_MAYMOVE);
  printf("mremap %d %d\n", map != MAP_FAILED, map[0] == 1 && map[8191] == 1 && map[8192] == 0);
  void *before = sbrk(0);
  printf("sbrk %d\n", sbrk(1 << 20) == before && memset(before, 3, 1 << 20) == before);

  pthread_t threads[8];
  long sum = 0;
  for (long i = 0; i < 8; i++) pthread_create(&threads[i], 0, count, (void *)i);
  for (int i = 0; i < 8; i++) {
    void *result;
    pthread_join(threads[i], &result);
    sum += (long)result;
  }
  printf("threads counted %d, locals %ld\n", counter, sum);

  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &action, 0);
  raise(SIGUSR1);
  printf("handled %d\n", (int)handled);
  page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct sigaction fault = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &fault, 0);
  ((volatile char *)page)[100] = 5;
  printf("fault %d", faulted_at == page + 100);
  printf(" %d %d\n", page_is_open, page[100]);

  struct timespec start, end, pause = {0, 20000000};
  clock_gettime(CLOCK_MONOTONIC, &start);
  nanosleep(&pause, 0);
  clock_gettime(CLOCK_MONOTONIC, &end);
  long slept = (end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec;
  printf("slept %d\n", slept >= 20000000 && slept < 2000000000);
  printf("time %d\n", time(0) > 1700000000);
  printf("vectors %d\n", vectors_survive());

  report("no call", syscall(1000));
  report("bad pointer", syscall(SYS_write, 1, 8, 10));
  report("bad fd", close(77));
  int fd = open("/etc/hostname", O_RDONLY);
  char text[64];
  report("read", read(fd, text, sizeof text) > 0);
  report("missing", open("/no/such/file", O_RDONLY));
  fflush(stdout);
  return argc > 2 ? atoi(argv[2]) : 0;
}
