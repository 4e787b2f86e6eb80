/* Memory shared between processes: what Linux does with it, told in lines that are the same everywhere.
 * With "ping N": nanoseconds of a round between parent and child, by spinning and by semaphores. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CHILDREN = 3, THREADS = 3, ROUNDS = 400 };

struct shared {
	atomic_int counter;
	int guarded;
	int turn;
	pthread_mutex_t mutex;
	pthread_mutex_t robust;
	pthread_cond_t changed;
	pthread_barrier_t barrier;
	sem_t ping, pong;
	char text[64];
};

static struct shared *shared;

static void *zeros(size_t length)
{
	void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return at;
}

static void end(const char *what, pid_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) != pid)
		perror("waitpid");
	else if (WIFSIGNALED(status))
		printf("%s: signal %d\n", what, WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		printf("%s: code %d\n", what, WEXITSTATUS(status));
}

static pid_t child(void (*run)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		run();
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

static void *add(void *unused)
{
	(void)unused;
	for (int i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(&shared->counter, 1);
		pthread_mutex_lock(&shared->mutex);
		int before = shared->guarded;
		if (i % 16 == 0)
			sched_yield();
		shared->guarded = before + 1;
		pthread_mutex_unlock(&shared->mutex);
	}
	return NULL;
}

static void add_by_threads(void)
{
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, add, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void set_up(void)
{
	shared = zeros(sizeof *shared);
	pthread_mutexattr_t mutex;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->mutex, &mutex);
	pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&shared->robust, &mutex);
	pthread_condattr_t changed;
	pthread_condattr_init(&changed);
	pthread_condattr_setpshared(&changed, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&shared->changed, &changed);
	pthread_barrierattr_t barrier;
	pthread_barrierattr_init(&barrier);
	pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &barrier, CHILDREN + 1);
	sem_init(&shared->ping, 1, 0);
	sem_init(&shared->pong, 1, 0);
}

static void counters(void)
{
	pid_t pids[CHILDREN];
	for (int i = 0; i < CHILDREN; i++)
		pids[i] = child(add_by_threads);
	add_by_threads();
	for (int i = 0; i < CHILDREN; i++)
		end("counters", pids[i]);
	printf("counter %d, guarded %d\n", atomic_load(&shared->counter), shared->guarded);
}

static void answer(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		sem_wait(&shared->ping);
		shared->turn++;
		sem_post(&shared->pong);
	}
}

static void semaphores(void)
{
	pid_t pid = child(answer);
	int wrong = 0;
	for (int i = 0; i < ROUNDS; i++) {
		sem_post(&shared->ping);
		sem_wait(&shared->pong);
		wrong += shared->turn != i + 1;
	}
	end("semaphores", pid);
	printf("semaphores: %d rounds, %d wrong\n", shared->turn, wrong);
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 30000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	int result = sem_timedwait(&shared->ping, &until);
	printf("timed wait: %d %s\n", result, strerrorname_np(errno));
}

static void take_turns(int mine)
{
	for (int i = 0; i < ROUNDS / 4; i++) {
		pthread_mutex_lock(&shared->mutex);
		while (shared->turn % 2 != mine)
			pthread_cond_wait(&shared->changed, &shared->mutex);
		shared->turn++;
		pthread_cond_broadcast(&shared->changed);
		pthread_mutex_unlock(&shared->mutex);
	}
}

static void odd(void)
{
	take_turns(1);
}

static void conditions(void)
{
	shared->turn = 0;
	pid_t pid = child(odd);
	take_turns(0);
	end("conditions", pid);
	printf("conditions: %d turns\n", shared->turn);
}

static void at_barrier(void)
{
	atomic_fetch_add(&shared->counter, 1);
	pthread_barrier_wait(&shared->barrier);
}

static void barriers(void)
{
	pid_t pids[CHILDREN];
	atomic_store(&shared->counter, 0);
	for (int i = 0; i < CHILDREN; i++)
		pids[i] = child(at_barrier);
	pthread_barrier_wait(&shared->barrier);
	printf("behind the barrier: %d\n", atomic_load(&shared->counter));
	for (int i = 0; i < CHILDREN; i++)
		end("barriers", pids[i]);
}

static void die_with_lock(void)
{
	pthread_mutex_lock(&shared->robust);
	sem_post(&shared->pong);
	/* Until the parent waits, most likely. */
	usleep(20000);
	_exit(0);
}

static void robust(void)
{
	pid_t pid = child(die_with_lock);
	sem_wait(&shared->pong);
	int result = pthread_mutex_lock(&shared->robust);
	printf("owner died: %s\n", strerrorname_np(result));
	pthread_mutex_consistent(&shared->robust);
	pthread_mutex_unlock(&shared->robust);
	end("robust", pid);
}

static void nothing(int signal)
{
	(void)signal;
}

static void interrupted(void)
{
	struct sigaction action = { .sa_handler = nothing };
	sigaction(SIGALRM, &action, NULL);
	struct itimerval soon = { .it_value = { .tv_usec = 30000 } };
	setitimer(ITIMER_REAL, &soon, NULL);
	int result = sem_wait(&shared->ping);
	printf("interrupted: %d %s\n", result, strerrorname_np(errno));
}

static char *page;

static void write_page(void)
{
	*(volatile char *)page = 1;
}

static void leave_page(void)
{
	munmap(page, PAGE);
	write_page();
}

static void protections(void)
{
	page = zeros(2 * PAGE);
	memset(page, 'x', 2 * PAGE);
	mprotect(page, PAGE, PROT_READ);
	end("read only", child(write_page));
	end("unmapped", child(leave_page));
	munmap(page, PAGE);
	printf("the other page: %c, the first: %d\n", page[PAGE], msync(page, PAGE, MS_ASYNC));
	munmap(page + PAGE, PAGE);
}

static void say(void)
{
	int ends[2];
	if (pipe(ends) != 0 || write(ends[1], "by a system call", 16) != 16)
		_exit(3);
	if (read(ends[0], shared->text, sizeof shared->text) != 16)
		_exit(4);
}

static void grandchild(void)
{
	end("grandchild", child(say));
}

static void other_kinds(void)
{
	end("child", child(grandchild));
	printf("text: %s\n", shared->text);
	int zero = open("/dev/zero", O_RDWR);
	int *word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
	int id = shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | 0600);
	int *segment = shmat(id, NULL, 0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		word[1] = 11;
		segment[2 * 1024] = 12;
		_exit(0);
	}
	end("kinds", pid);
	printf("/dev/zero %d, segment %d\n", word[1], segment[2 * 1024]);
	shmdt(segment);
	shmctl(id, IPC_RMID, NULL);
}

static void many(void)
{
	/* Made and given back: neither addresses nor descriptors run out. */
	for (int i = 0; i < 3000; i++) {
		char *at = zeros(64 * PAGE);
		at[i % PAGE] = 1;
		munmap(at, 64 * PAGE);
	}
	/* Each process's own, although made at the same place. */
	fflush(stdout);
	pid_t pid = fork();
	int *own = zeros(PAGE);
	*own = pid == 0 ? 1 : 2;
	if (pid == 0)
		_exit(*own == 1 ? 0 : 5);
	end("own", pid);
	printf("own: %d\n", *own);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int pings(int rounds)
{
	fflush(stdout);
	pid_t pid = fork();
	int mine = pid == 0;
	double begin = now();
	for (int i = 0; i < rounds; i++) {
		while (atomic_load(&shared->counter) % 2 != mine)
			__builtin_ia32_pause();
		atomic_fetch_add(&shared->counter, 1);
	}
	double spun = now();
	for (int i = 0; i < rounds; i++) {
		if (mine) {
			sem_wait(&shared->ping);
			sem_post(&shared->pong);
		} else {
			sem_post(&shared->ping);
			sem_wait(&shared->pong);
		}
	}
	double slept = now();
	if (pid == 0)
		_exit(0);
	end("pings", pid);
	printf("spinning %.0f ns, semaphores %.0f ns\n", (spun - begin) / rounds, (slept - spun) / rounds);
	return 0;
}

int main(int count, char **arguments)
{
	set_up();
	if (count > 2 && strcmp(arguments[1], "ping") == 0)
		return pings(atoi(arguments[2]));
	counters();
	semaphores();
	conditions();
	barriers();
	robust();
	interrupted();
	protections();
	other_kinds();
	many();
	return 0;
}
