// A handler sees addresses of the program, not of what the program does not know of, wherever it was interrupted.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t seen, foreign;

static int holds(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    unsigned long *found = data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        unsigned long start = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_LOAD && found[0] >= start && found[0] < start + h->p_memsz) found[1] = 1;
    }
    return 0;
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    unsigned long at[2] = {((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP], 0};
    dl_iterate_phdr(holds, at);
    seen++;
    if (!at[1]) foreign++;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
    unsigned long calls = 0;
    pid_t self = getpid();
    while (seen < 30) {
        if (syscall(SYS_getpid) != self || getppid() < 0 || raise(SIGALRM)) return 1;
        calls++;
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    printf("foreign %d calls %d\n", (int)foreign, calls > 0);
    return 0;
}
