// Threads that wait while others compute, signals to threads that compute, and calls that trap while time slices end.
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int slept, running, handled;

static void *sleeper(void *unused) {
  struct timespec pause = {0, 50000000};
  nanosleep(&pause, 0);
  slept = 1;
  return unused;
}

static void handler(int signal) { handled = signal; }

static void *spinner(void *unused) {
  running = 1;
  while (!handled) {
  }
  return unused;
}

static void *trapper(void *code) {
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    for (int i = 0; i < 100; i++) ((void (*)(void))code)();
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 1500);
  return 0;
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, 0, sleeper, 0);
  while (!slept) {
  }
  pthread_join(thread, 0);
  puts("a sleeper wakes while others compute");

  signal(SIGUSR1, handler);
  pthread_create(&thread, 0, spinner, 0);
  while (!running) {
  }
  pthread_kill(thread, SIGUSR1);
  pthread_join(thread, 0);
  puts("a thread that computes gets its signal");

  sigset_t none, usr1, now;
  sigemptyset(&none);
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, 0);
  handled = 0;
  kill(getpid(), SIGUSR1);
  int before = handled;
  struct timespec second = {1, 0};
  int result = ppoll(0, 0, &second, &none);
  sigprocmask(SIG_BLOCK, 0, &now);
  printf("ppoll %d, handled %d then %d, blocked again %d\n", result, before, handled, sigismember(&now, SIGUSR1));

  // mov $39, %eax; syscall; ret: in memory that no loader has seen, so the call traps.
  unsigned char *code = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(code, "\xb8\x27\0\0\0\x0f\x05\xc3", 8);
  mprotect(code, 4096, PROT_READ | PROT_EXEC);
  pthread_create(&thread, 0, trapper, code);
  trapper(code);
  pthread_join(thread, 0);
  puts("calls trap while time slices end");
  return 0;
}
