# SPDX-License-Identifier: MIT
"""What Python programs do that a recorder must stand:  pythons.py MODE

A counted object is bytes(HEADER less than 70000 + n): its block has 70000 + n bytes, which nothing else asks for.  Each
mode ends with object 1 kept and object 2 dropped.
"""
import os
import signal
import subprocess
import sys
import threading
import time

HEADER = sys.getsizeof(b"")
kept = []


def make(n):
    return bytes(70000 + n - HEADER)


def end():
    kept.append(make(1))
    make(2)


def plain():
    pass


def sub_interpreters():
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    code = "kept = [bytes(70010 - {0}) for _ in range(3)]; bytes(70011 - {0})".format(HEADER)
    for _ in range(3):
        one = interpreters.create()
        interpreters.run_string(one, code)
        interpreters.destroy(one)


def daemon():
    """Daemon threads that allocate to the very end, and beyond it."""
    def work():
        while True:
            make(10)
            [str(i) for i in range(100)]
            time.sleep(0.0001)
    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(20):
        make(11)


def crash():
    import faulthandler
    faulthandler.enable(file=open(os.devnull, "w"))
    faulthandler.dump_traceback_later(600, file=open(os.devnull, "w"))
    end()
    faulthandler._sigsegv()


def profiled():
    import cProfile
    calls = []

    def watch(frame, event, argument):
        if frame.f_code is make.__code__:
            calls.append(event)
        return watch
    sys.setprofile(watch)
    make(10)
    sys.setprofile(None)
    sys.settrace(watch)
    make(10)
    sys.settrace(None)
    threading.setprofile(watch)
    thread = threading.Thread(target=make, args=(10,))
    thread.start()
    thread.join()
    threading.setprofile(None)
    profile = cProfile.Profile()
    profile.runcall(make, 10)
    print(calls, [entry.callcount for entry in profile.getstats() if entry.code is make.__code__])


def tracebacks():
    """Exceptions that hold their frames, and these their objects; recursion to its limit."""
    def fail(depth):
        block = make(10)
        if depth:
            fail(depth - 1)
        raise ValueError(len(block))
    caught = []
    for _ in range(5):
        try:
            fail(3)
        except ValueError as error:
            caught.append(error)
    del caught[:]

    def deep():
        return deep() + 1
    try:
        deep()
    except RecursionError:
        print("limit")


def greenlets():
    import greenlet

    def work(n):
        for _ in range(10):
            block = make(10 + n)
            greenlet.getcurrent().parent.switch()
            del block
    all_of_them = [greenlet.greenlet(work) for _ in range(5)]
    for _ in range(11):
        for n, one in enumerate(all_of_them):
            one.switch(n) if not one else one.switch()


def monkey():
    from gevent import monkey as patches
    patches.patch_all()
    import queue
    results = queue.Queue()

    def work(n):
        for _ in range(10):
            block = make(10 + n)
            time.sleep(0)
            del block
        results.put(n)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sorted(results.get() for _ in threads))


def pooled(n):
    kept.append(make(10))
    make(11)
    return n * n


def pool(method):
    import multiprocessing
    with multiprocessing.get_context(method).Pool(2) as workers:
        print(sum(workers.map(pooled, range(20), chunksize=5)))


def executor():
    import concurrent.futures
    import multiprocessing
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as workers:
        print(sum(workers.map(pooled, range(20))))


def children():
    """Every way in which subprocess starts one, and an environment without anything in it."""
    code = "import os, sys; print(sorted(name for name in os.environ if name != 'LC_CTYPE'), bytes(70020)[0])"
    for options in ({"close_fds": True}, {"close_fds": False}, {"env": {}}, {"preexec_fn": os.getpid},
                    {"start_new_session": True}, {"pass_fds": (2,)}):
        options.setdefault("env", {"ONLY": "this"})
        print(subprocess.check_output([sys.executable, "-I", "-S", "-c", code], **options))


def forgets():
    """The environment is cleared, and then come a thread, a fork and a child."""
    os.environ.clear()
    thread = threading.Thread(target=make, args=(10,))
    thread.start()
    thread.join()
    child = os.fork()
    if child == 0:
        make(12)
        end()
        os._exit(3)
    print(os.waitpid(child, 0)[1] >> 8, subprocess.call(["/bin/true"]))


def signals():
    """Handlers in Python allocate, and one raises out of where it interrupted."""
    def handler(number, frame):
        make(10)
        if number == signal.SIGUSR2:
            raise InterruptedError
    signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR2, handler)
    for i in range(100):
        try:
            os.kill(os.getpid(), signal.SIGUSR2 if i % 2 else signal.SIGUSR1)
        except InterruptedError:
            pass


def forked():
    """Forks of a process with threads; the child makes threads of its own, and leaves in each way."""
    enough = threading.Event()

    def work():
        while not enough.wait(0.001):
            [str(i) for i in range(100)]
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(10):
        child = os.fork()
        if child == 0:
            thread = threading.Thread(target=make, args=(10 + i,))
            thread.start()
            thread.join()
            os._exit(i)
        assert os.waitpid(child, 0)[1] >> 8 == i
    enough.set()
    for thread in threads:
        thread.join()


def parallel():
    """Eight threads at the same time; each object is dropped by the next thread."""
    print("no global lock" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "a global lock")
    pools = [[] for _ in range(8)]
    ready = threading.Barrier(8)

    def work(number):
        ready.wait()
        for _ in range(500):
            pools[number].append(make(20 + number))
        ready.wait()
        pools[(number + 1) % 8].clear()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    modes = {name: value for name, value in globals().items() if callable(value)}
    modes[sys.argv[1]](*sys.argv[2:])
    end()
