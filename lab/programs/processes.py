import multiprocessing as mp, mmap, os
from multiprocessing import sharedctypes
ctx = mp.get_context("fork")
def add(value, array, lock, n):
    for _ in range(200):
        with value.get_lock():
            value.value += 1
        with lock:
            array[n] += 2
if __name__ == "__main__":
    value = ctx.Value("i", 0); array = sharedctypes.RawArray("i", 4); lock = ctx.Lock()
    children = [ctx.Process(target=add, args=(value, array, lock, n)) for n in range(4)]
    for c in children: c.start()
    for c in children: c.join()
    print(value.value, list(array), [c.exitcode for c in children])
    q = ctx.Queue()
    def put(q):
        for i in range(5): q.put(i * i)
    p = ctx.Process(target=put, args=(q,)); p.start()
    print([q.get() for _ in range(5)]); p.join()
    with ctx.Pool(2) as pool:
        print(pool.map(abs, range(-5, 5)))
    fd = os.memfd_create("x"); os.ftruncate(fd, 4096)
    m = mmap.mmap(fd, 4096)
    if os.fork() == 0:
        m[5] = 9; os._exit(0)
    os.wait(); print(m[5])
