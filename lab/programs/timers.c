// Timers and signals that are waited for: setitimer, timer_create, timerfd, signalfd, sigtimedwait, sigqueue.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t alarms, values;

static void on_alarm(int signal) { (void)signal, alarms++; }

static void on_value(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    values = values * 10 + info->si_value.sival_int;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void *spin(void *end) {
    while (!*(volatile int *)end) {}
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 10000}, {0, 10000}}, old;
    setitimer(ITIMER_REAL, &often, NULL);
    while (alarms < 5) pause();
    getitimer(ITIMER_REAL, &old);
    printf("interval %ld left %d\n", (long)old.it_interval.tv_usec, old.it_value.tv_usec > 0 && old.it_value.tv_usec <= 10000);
    // It interrupts what computes, too.
    int before = alarms;
    while (alarms < before + 3) {}
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    puts("computing is interrupted");

    printf("alarm %u", alarm(100));
    printf(" %u\n", alarm(0));
    alarm(1);
    double start = now();
    int result = pause();
    printf("pause %d %s %d\n", result, strerror(errno), now() - start > 0.5 && now() - start < 1.5);
    struct timespec second = {1, 0}, rest;
    ualarm(20000, 0);
    result = nanosleep(&second, &rest);
    printf("nanosleep %d %d\n", result, rest.tv_nsec > 500000000);

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct timespec soon = {0, 20000000};
    siginfo_t info;
    result = sigtimedwait(&set, &info, &soon);
    printf("none %d %d\n", result, errno == EAGAIN);
    kill(getpid(), SIGUSR1);
    result = sigwaitinfo(&set, &info);
    printf("usr1 %d code %d own %d\n", result == SIGUSR1, info.si_code, info.si_pid == getpid());
    for (int i = 1; i < 4; i++) sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    for (int i = 1; i < 4; i++) {
        result = sigwaitinfo(&set, &info);
        printf("queued %d value %d code %d\n", result == SIGRTMIN + 1, info.si_value.sival_int, info.si_code);
    }
    struct sigaction value = {.sa_sigaction = on_value, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN + 1, &value, NULL);
    for (int i = 1; i < 6; i++) sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("handled %d\n", (int)values);

    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
    sigprocmask(SIG_BLOCK, &set, NULL);
    printf("create %d\n", timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec every = {{0, 10000000}, {0, 10000000}}, left;
    timer_settime(timer, 0, &every, NULL);
    usleep(65000);
    timer_gettime(timer, &left);
    result = sigwaitinfo(&set, &info);
    int overrun = timer_getoverrun(timer);
    printf("timer %d value %d code %d overrun %d left %d\n", result == SIGUSR1, info.si_value.sival_int, info.si_code,
           overrun >= 3 && overrun < 12, left.it_value.tv_nsec > 0);
    printf("delete %d again %d\n", timer_delete(timer), timer_delete(timer));
    event.sigev_notify = 42;
    result = timer_create(CLOCK_MONOTONIC, &event, &timer);
    printf("wrong %d %d\n", result, errno == EINVAL);

    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t count;
    result = read(fd, &count, 8);
    printf("timerfd %d %d\n", result, errno == EAGAIN);
    timerfd_settime(fd, 0, &(struct itimerspec){{0, 20000000}, {0, 20000000}}, NULL);
    int poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN});
    struct epoll_event ready;
    for (int i = 0; i < 3; i++) {
        result = epoll_wait(poller, &ready, 1, 1000);
        printf("ready %d %zd\n", result, read(fd, &count, 8));
    }
    usleep(90000);
    result = read(fd, &count, 8);
    printf("missed %d\n", count >= 3 && count < 10);
    struct timespec real;
    clock_gettime(CLOCK_REALTIME, &real);
    real.tv_sec += 1;
    int wall = timerfd_create(CLOCK_REALTIME, 0);
    timerfd_settime(wall, TFD_TIMER_ABSTIME, &(struct itimerspec){{0, 0}, real}, NULL);
    start = now();
    result = read(wall, &count, 8);
    printf("wall %d %d\n", (int)count, now() - start > 0.9 && now() - start < 1.5);

    int signals = signalfd(-1, &set, SFD_NONBLOCK);
    struct signalfd_siginfo told;
    result = read(signals, &told, sizeof told);
    printf("signalfd %d %d\n", result, errno == EAGAIN);
    kill(getpid(), SIGUSR1);
    struct pollfd wait = {signals, POLLIN, 0};
    result = poll(&wait, 1, 1000);
    printf("poll %d %zd %d %d\n", result, read(signals, &told, sizeof told), told.ssi_signo == SIGUSR1, told.ssi_pid == (uint32_t)getpid());

    // A timer for one thread, while another one computes.
    static int end;
    pthread_t thread;
    pthread_create(&thread, NULL, spin, &end);
    struct sigevent mine = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
    mine._sigev_un._tid = syscall(SYS_gettid);
    timer_create(CLOCK_REALTIME, &mine, &timer);
    before = alarms;
    timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 10000000}}, NULL);
    while (alarms == before) pause();
    end = 1;
    pthread_join(thread, NULL);
    puts("thread");
    alarm(1);
    signal(SIGALRM, SIG_DFL);
    for (;;) pause();
}
