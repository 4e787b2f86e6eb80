// As many threads as asked for, all alive at once: each adds to a sum between two barriers.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_barrier_t all;
static atomic_long sum;

static void *run(void *number) {
    atomic_fetch_add(&sum, (long)number);
    pthread_barrier_wait(&all);
    // Everybody has added by now.
    long seen = atomic_load(&sum);
    pthread_barrier_wait(&all);
    return (void *)seen;
}

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 10000;
    pthread_t *threads = calloc(count, sizeof *threads);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    pthread_barrier_init(&all, NULL, count);
    for (long i = 0; i < count; i++) {
        int error = pthread_create(&threads[i], &small, run, (void *)i);
        if (error) {
            printf("thread %ld: %s\n", i, strerror(error));
            return 1;
        }
    }
    long wrong = 0;
    for (long i = 0; i < count; i++) {
        void *seen;
        pthread_join(threads[i], &seen);
        wrong += (long)seen != count * (count - 1) / 2;
    }
    printf("%ld threads, %ld wrong sums\n", count, wrong);
    return wrong != 0;
}
