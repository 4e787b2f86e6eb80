// What ordinary programs do inside containers and shells cannot: one word, one deed, exit status 0 when it worked.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(condition)                                                                   \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "probe: line %d: %s: %s\n", __LINE__, #condition, strerror(errno)); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

extern char **environ;

static void reap(pid_t child)
{
    int status;
    NEED(waitpid(child, &status, 0) == child);
    NEED(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A server's sandbox: no_new_privs, then two filters, the second in all threads; a child inherits them over exec.
static void seccomp(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ptrace, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
    NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    NEED(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    NEED(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
    NEED(ptrace(PTRACE_TRACEME, 0, 0, 0) == -1 && errno == EPERM);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "probe", "nothing", NULL);
        _exit(127);
    }
    reap(child);
}

// A debugger and a profiler on its own child.
static void debug(void)
{
    static volatile long shared = 41;
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        for (;;)
            pause();
    }
    int status;
    long seen = 0;
    struct iovec mine = {&seen, sizeof seen}, theirs = {(void *)&shared, sizeof shared};
    NEED(process_vm_readv(child, &mine, 1, &theirs, 1, 0) == sizeof seen && seen == 41);
    NEED(ptrace(PTRACE_ATTACH, child, 0, 0) == 0);
    NEED(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    NEED(ptrace(PTRACE_POKEDATA, child, &shared, 42L) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int mem = open(path, O_RDWR);
    NEED(mem >= 0 && pread(mem, &seen, sizeof seen, (off_t)&shared) == sizeof seen && seen == 42);
    NEED(ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    NEED(pidfd >= 0);
    NEED(syscall(SYS_pidfd_getfd, pidfd, 0, 0) >= 0);
    NEED(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
}

static void *sleeper(void *unused)
{
    usleep(200000);
    return unused;
}

// What gosu and glibc do: identity changes of a process with threads, back and forth, then for good.
static void identity(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        NEED(pthread_create(&threads[i], NULL, sleeper, NULL) == 0);
    NEED(setresgid(1000, 1000, 0) == 0 && setresuid(1000, 1000, 0) == 0);
    NEED(setresuid(0, 0, 0) == 0);
    NEED(setgid(1000) == 0 && setuid(1000) == 0 && setuid(0) == -1);
    for (int i = 0; i < 4; i++)
        NEED(pthread_join(threads[i], NULL) == 0);
    execl("/proc/self/exe", "probe", "nothing", NULL);
    NEED(!"exec");
}

// Every namespace at once, alone, in a thread's child, and back into one of its own by an fd.
static void namespaces(void)
{
    static const int flags[] = {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWCGROUP,
                                CLONE_NEWUSER, 0x80 /* CLONE_NEWTIME */, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        pid_t child = fork();
        NEED(child >= 0);
        if (child == 0) {
            NEED(unshare(flags[i]) == 0);
            pid_t grandchild = fork();
            if (grandchild == 0)
                execl("/proc/self/exe", "probe", "nothing", NULL);
            reap(grandchild);
            _exit(0);
        }
        reap(child);
    }
    int home = open("/proc/self/ns/net", O_RDONLY), uts = open("/proc/self/ns/uts", O_RDONLY);
    NEED(home >= 0 && uts >= 0);
    NEED(unshare(CLONE_NEWNET | CLONE_NEWUTS) == 0);
    NEED(sethostname("other", 5) == 0);
    NEED(setns(home, CLONE_NEWNET) == 0 && setns(uts, CLONE_NEWUTS) == 0);
}

// Descriptors over a Unix socket, a program run from memory, vfork and posix_spawn.
static void descriptors(void)
{
    int pair[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t child = fork();
    if (child == 0) {
        int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
        char space[CMSG_SPACE(sizeof(int))] = {0}, byte = 'x';
        struct iovec data = {&byte, 1};
        struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &dir, sizeof dir);
        _exit(sendmsg(pair[1], &message, 0) == 1 ? 0 : 1);
    }
    char space[CMSG_SPACE(sizeof(int))], byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    NEED(recvmsg(pair[0], &message, 0) == 1);
    int dir;
    memcpy(&dir, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof dir);
    reap(child);
    NEED(fchdir(dir) == 0);
    NEED(openat(dir, "made", O_CREAT | O_WRONLY, 0600) >= 0);

    int self = open("/proc/self/exe", O_RDONLY), memory = memfd_create("program", 0);
    struct stat info;
    NEED(self >= 0 && memory >= 0 && fstat(self, &info) == 0);
    for (off_t done = 0; done < info.st_size;) {
        char block[65536];
        ssize_t length = pread(self, block, sizeof block, done);
        NEED(length > 0 && write(memory, block, (size_t)length) == length);
        done += length;
    }
    char *const nothing[] = {"probe", "nothing", NULL};
    child = fork();
    if (child == 0)
        fexecve(memory, nothing, environ);
    reap(child);
    child = vfork();
    if (child == 0) {
        execv("/proc/self/exe", nothing);
        _exit(127);
    }
    reap(child);
    NEED(posix_spawn(&child, "/proc/self/exe", NULL, NULL, nothing, environ) == 0);
    reap(child);
}

// A file of the container's own, by handle, as NFS servers and backup programs do.
static void handle(void)
{
    char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    struct file_handle *file = (struct file_handle *)space;
    file->handle_bytes = MAX_HANDLE_SZ;
    int mount_id, dir = open("/t", O_RDONLY | O_DIRECTORY);
    NEED(dir >= 0 && name_to_handle_at(dir, "file", file, &mount_id, 0) == 0);
    int fd = open_by_handle_at(dir, file, O_RDWR);
    NEED(fd >= 0 && write(fd, "x", 1) == 1);
}

// Dies with a core dump.
static void core(void)
{
    struct rlimit limit;
    NEED(getrlimit(RLIMIT_CORE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    NEED(setrlimit(RLIMIT_CORE, &limit) == 0);
    abort();
}

// What known exploits start with; a guard that denies it lets everything else go on.
static void denied(void)
{
    char attribute[64] = {0};
    static const int families[] = {38 /* AF_ALG */, 33 /* AF_RXRPC */, AF_PACKET};
    NEED(unshare(CLONE_NEWUSER) == -1 && errno == EPERM);
    NEED(syscall(SYS_bpf, 0, attribute, sizeof attribute) == -1 && errno == EPERM);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        NEED(socket(families[i], SOCK_DGRAM, 0) == -1 && errno == EPERM);
    char ring[256] = {0};
    NEED(syscall(SYS_io_uring_setup, 4, ring) == -1 && errno == EPERM);
    // A family that nobody has loaded: the kernel asks for its module.
    NEED(socket(AF_APPLETALK, SOCK_DGRAM, 0) == -1);
    NEED(socket(AF_INET, SOCK_DGRAM, 0) >= 0);
}

static void nothing(void)
{
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*deed)(void);
    } deeds[] = {{"seccomp", seccomp},         {"debug", debug},   {"identity", identity}, {"namespaces", namespaces},
                 {"descriptors", descriptors}, {"handle", handle}, {"core", core},         {"denied", denied},
                 {"nothing", nothing}};
    for (size_t i = 0; argc == 2 && i < sizeof deeds / sizeof deeds[0]; i++) {
        if (strcmp(argv[1], deeds[i].name) == 0) {
            deeds[i].deed();
            return 0;
        }
    }
    fprintf(stderr, "probe: seccomp|debug|identity|namespaces|descriptors|handle|core|denied|nothing\n");
    return 2;
}
