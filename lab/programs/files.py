"""Everything that a server does with files, in the directory that it is given. What it prints depends on nothing else."""

import errno
import fcntl
import mmap
import os
import stat
import sys
import threading

here = sys.argv[1]
os.chdir(here)


def attempt(name, function, *arguments):
    try:
        result = function(*arguments)
    except OSError as error:
        result = errno.errorcode[error.errno]
    print(name, result)


def kinds(path):
    return sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in os.scandir(path))


def write(path, text, flags=0, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, mode)
    count = os.write(fd, text)
    os.close(fd)
    return count


def read(path):
    with open(path, "rb") as file:
        return file.read()


os.umask(0o027)
attempt("create", write, "f", b"hello\n")
attempt("again", write, "f", b"J")
attempt("exclusive", write, "f", b"x", os.O_EXCL)
attempt("append", write, "f", b"more\n", os.O_APPEND)
attempt("contents", read, "f")
attempt("mode", lambda: oct(os.stat("f").st_mode))
attempt("truncate", write, "t", b"long text", os.O_TRUNC)
attempt("truncated", write, "t", b"short", os.O_TRUNC)
attempt("text", read, "t")
attempt("none", read, "none")
attempt("no directory", write, "none/f", b"")
attempt("under a file", write, "f/x", b"")
attempt("a directory", write, ".", b"")

attempt("mkdir", os.mkdir, "d", 0o777)
attempt("mkdir again", os.mkdir, "d")
attempt("mkdir mode", lambda: oct(os.stat("d").st_mode))
attempt("mkdirs", os.makedirs, "d/e/g")
attempt("symlink", os.symlink, "../f", "d/link")
attempt("dangling", os.symlink, "nowhere", "d/dangling")
attempt("readlink", os.readlink, "d/link")
attempt("through", read, "d/link")
attempt("write through", write, "d/dangling", b"made", 0)
attempt("made", read, "d/nowhere")
attempt("nofollow", write, "d/link", b"", os.O_NOFOLLOW)
attempt("link", os.link, "f", "d/hard")
attempt("links", lambda: os.stat("d/hard").st_nlink)
attempt("list", kinds, "d")
attempt("rename", os.rename, "d/hard", "moved")
attempt("replace", os.rename, "t", "moved")
attempt("moved", read, "moved")
attempt("rename over a directory", os.rename, "moved", "d")
attempt("into itself", os.rename, "d", "d/e/x")
attempt("rmdir full", os.rmdir, "d")
attempt("unlink a directory", os.unlink, "d")
attempt("rmdir a file", os.rmdir, "f")
attempt("slash", os.stat, "f/")

attempt("chmod", os.chmod, "f", 0o4751)
attempt("changed", lambda: oct(os.stat("f").st_mode))
attempt("utime", lambda: os.utime("f", ns=(5_000_000_007, 6_000_000_008)))
attempt("times", lambda: (os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns))
attempt("link's time", lambda: os.utime("d/link", ns=(1, 2), follow_symlinks=False))
attempt("link's", lambda: os.lstat("d/link").st_mtime_ns)
attempt("chown", lambda: os.chown("f", os.getuid(), -1))
attempt("statvfs", lambda: os.statvfs(".").f_namemax)

fd = os.open("big", os.O_RDWR | os.O_CREAT)
attempt("pwrite", os.pwrite, fd, b"end", 1_000_000)
attempt("size", lambda: os.fstat(fd).st_size)
attempt("pread", os.pread, fd, 5, 999_998)
attempt("ftruncate", os.ftruncate, fd, 10)
attempt("cut", os.pread, fd, 100, 0)
attempt("fallocate", os.posix_fallocate, fd, 0, 5000)
attempt("allocated", lambda: os.fstat(fd).st_size)
attempt("fsync", os.fsync, fd)
attempt("fdatasync", os.fdatasync, fd)
attempt("large", lambda: os.pwrite(fd, bytes(range(256)) * 8192, 0))
attempt("sum", lambda: sum(os.pread(fd, 3_000_000, 0)))
attempt("seek", os.lseek, fd, -1, os.SEEK_END)
attempt("unlink open", os.unlink, "big")
attempt("still there", os.pread, fd, 3, 0)
attempt("no links", lambda: os.fstat(fd).st_nlink)
os.close(fd)

fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
attempt("at", lambda: os.open("nowhere", os.O_RDONLY, dir_fd=fd) > 0)
attempt("fsync of a directory", os.fsync, fd)
attempt("list by descriptor", lambda: sorted(os.listdir(fd)))
os.close(fd)

for number in range(500):
    os.close(os.open(f"many-{number:03}", os.O_CREAT | os.O_WRONLY))
attempt("many", lambda: len([name for name in os.listdir(".") if name.startswith("many-")]))
for number in range(500):
    os.unlink(f"many-{number:03}")
attempt("gone", lambda: sorted(os.listdir(".")))

# Locks: one process's record locks never conflict, those of open files and flock(2) do.
a, b = os.open("lock", os.O_RDWR | os.O_CREAT), os.open("lock", os.O_RDWR)
attempt("lockf", fcntl.lockf, a, fcntl.LOCK_EX | fcntl.LOCK_NB)
attempt("lockf of the same", fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
attempt("flock", fcntl.flock, a, fcntl.LOCK_SH | fcntl.LOCK_NB)
attempt("flock shared", fcntl.flock, b, fcntl.LOCK_SH | fcntl.LOCK_NB)
attempt("flock in the way", fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
attempt("flock away", fcntl.flock, a, fcntl.LOCK_UN)
attempt("flock exclusive", fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
waiting = threading.Thread(target=lambda: attempt("flock waited", fcntl.flock, a, fcntl.LOCK_EX))
waiting.start()
waiting.join(0.05)
print("waits", waiting.is_alive())
os.close(b)
waiting.join()

# A shared mapping is the file.
fd = os.open("map", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 10_000)
with mmap.mmap(fd, 10_000) as shared:
    shared[0:5] = b"first"
    attempt("read of a mapping", os.pread, fd, 6, 0)
    os.pwrite(fd, b"second", 5000)
    attempt("mapping of a write", lambda: shared[5000:5007])
    shared[9_999] = 33
    shared.flush()
    attempt("flushed", lambda: read("map")[-1])
    shared[9_998] = 34
attempt("unmapped", lambda: read("map")[-2:])
private = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
private[0:1] = b"F"
attempt("private", lambda: (private[0:5], os.pread(fd, 5, 0)))
attempt("kind", lambda: stat.S_ISREG(os.fstat(fd).st_mode))
