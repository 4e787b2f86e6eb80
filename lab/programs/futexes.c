// Threads that hand work to each other: a bounded queue with a mutex and two condition variables, half of the threads put,
// half take. Prints the sum, which is always the same, or with a third argument the operations in a second.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROOM = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static long queue[ROOM], head, tail, sum;
static long each;

static void *put(void *unused) {
    (void)unused;
    for (long i = 0; i < each; i++) {
        pthread_mutex_lock(&lock);
        while (tail - head == ROOM)
            pthread_cond_wait(&not_full, &lock);
        queue[tail++ % ROOM] = i;
        pthread_cond_signal(&not_empty);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *take(void *unused) {
    (void)unused;
    for (long i = 0; i < each; i++) {
        pthread_mutex_lock(&lock);
        while (tail == head)
            pthread_cond_wait(&not_empty, &lock);
        sum += queue[head++ % ROOM];
        pthread_cond_signal(&not_full);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int pairs = (argc > 1 ? atoi(argv[1]) : 32) / 2;
    each = argc > 2 ? atol(argv[2]) : 20000;
    pthread_t *threads = calloc(2 * pairs, sizeof *threads);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 2 * pairs; i++)
        pthread_create(&threads[i], NULL, i % 2 ? take : put, NULL);
    for (int i = 0; i < 2 * pairs; i++)
        pthread_join(threads[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("sum %ld\n", sum);
    if (argc > 3)
        printf("%.0f operations a second\n", 2 * pairs * each / seconds);
    return 0;
}
