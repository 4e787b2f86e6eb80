// Mutexes that inherit priority, robust ones whose owner dies, time limits, and futex(2) itself. Prints what happened.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long futex(void *word, int op, unsigned value, void *fourth, void *second, unsigned sixth) {
    long result = syscall(SYS_futex, word, op, value, fourth, second, sixth);
    return result < 0 ? -errno : result;
}

static void make(pthread_mutex_t *mutex, int protocol, int robust) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setprotocol(&attr, protocol);
    pthread_mutexattr_setrobust(&attr, robust);
    pthread_mutex_init(mutex, &attr);
}

static pthread_mutex_t shared;
static long counter;

static void *count(void *unused) {
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&shared);
        counter++;
        pthread_mutex_unlock(&shared);
    }
    return NULL;
}

static void contend(const char *name, int protocol, int robust) {
    pthread_t threads[8];
    make(&shared, protocol, robust);
    counter = 0;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    printf("%s: counted %ld\n", name, counter);
}

static atomic_int held, wanted;

static void *die_with_it(void *unused) {
    (void)unused;
    pthread_mutex_lock(&shared);
    held = 1;
    while (!wanted)
        usleep(1000);
    usleep(20000);
    return NULL;
}

static void *wait_for_it(void *unused) {
    (void)unused;
    wanted = 1;
    int error = pthread_mutex_lock(&shared);
    if (error == EOWNERDEAD)
        pthread_mutex_consistent(&shared);
    pthread_mutex_unlock(&shared);
    return (void *)(long)error;
}

static void owner_dies(const char *name, int protocol) {
    pthread_t dying, waiting;
    void *seen;
    make(&shared, protocol, PTHREAD_MUTEX_ROBUST);
    held = wanted = 0;
    pthread_create(&dying, NULL, die_with_it, NULL);
    while (!held)
        usleep(1000);
    pthread_create(&waiting, NULL, wait_for_it, NULL);
    pthread_join(waiting, &seen);
    pthread_join(dying, NULL);
    printf("%s: waiting gave %ld, then locking %d\n", name, (long)seen, pthread_mutex_lock(&shared));
    pthread_mutex_unlock(&shared);
}

static void *lock_in_time(void *unused) {
    (void)unused;
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 5000000;
    if (limit.tv_nsec >= 1000000000)
        limit.tv_nsec -= 1000000000, limit.tv_sec++;
    return (void *)(long)pthread_mutex_timedlock(&shared, &limit);
}

static void time_limit(const char *name, int protocol) {
    pthread_t thread;
    void *seen;
    make(&shared, protocol, PTHREAD_MUTEX_STALLED);
    pthread_mutex_lock(&shared);
    pthread_create(&thread, NULL, lock_in_time, NULL);
    pthread_join(thread, &seen);
    pthread_mutex_unlock(&shared);
    printf("%s: in time %ld, trylock %d\n", name, (long)seen, pthread_mutex_trylock(&shared));
    pthread_mutex_unlock(&shared);
}

static unsigned first, second;
static atomic_int woken;

static void *sleep_at(void *word) {
    long result = futex(word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    atomic_fetch_add(&woken, 1);
    return (void *)result;
}

static void raw(void) {
    pthread_t threads[6];
    struct timespec soon = {0, 1000000}, wrong = {0, -1};
    printf("value %ld, ", futex(&first, FUTEX_WAIT, 1, NULL, NULL, 0));
    printf("time %ld, ", futex(&first, FUTEX_WAIT, 0, &soon, NULL, 0));
    printf("no time %ld, ", futex(&first, FUTEX_WAIT, 0, &wrong, NULL, 0));
    printf("no bits %ld, ", futex(&first, FUTEX_WAIT_BITSET, 0, &soon, NULL, 0));
    printf("past %ld, ", futex(&first, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &soon, NULL, 1));
    printf("odd %ld, ", futex((char *)&first + 1, FUTEX_WAKE, 1, NULL, NULL, 0));
    printf("nowhere %ld, ", futex((void *)8, FUTEX_WAIT, 1, NULL, NULL, 0));
    printf("unknown %ld, ", futex(&first, 99, 1, NULL, NULL, 0));
    printf("not mine %ld\n", futex(&first, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, sleep_at, &first);
    // Moved to where they are, they are counted.
    while (futex(&first, FUTEX_REQUEUE_PRIVATE, 0, (void *)6, &first, 0) != 6)
        usleep(1000);
    printf("wrong value %ld, ", futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &second, 7));
    printf("requeue %ld, ", futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &second, 0));
    printf("other bits %ld, ", futex(&second, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 0));
    // The second word becomes 5; both are woken, as it was 0 before.
    unsigned change = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0);
    printf("wake op %ld ", futex(&first, FUTEX_WAKE_OP_PRIVATE, 2, (void *)1, &second, change));
    printf("(second %u), ", second);
    printf("rest %ld %ld\n", futex(&first, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0),
           futex(&second, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    printf("woken %d\n", woken);
}

int main(void) {
    contend("normal", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
    contend("robust", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST);
    contend("inheriting", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
    contend("robust inheriting", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST);
    owner_dies("robust", PTHREAD_PRIO_NONE);
    owner_dies("robust inheriting", PTHREAD_PRIO_INHERIT);
    time_limit("normal", PTHREAD_PRIO_NONE);
    time_limit("inheriting", PTHREAD_PRIO_INHERIT);
    raw();
    return 0;
}
