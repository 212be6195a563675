"""Runs the programs of one system, each in a process of its own, and times them on demand.

A system is a module with

    VERSION                              what its tables say it is
    modes(workload)                      the ways it can run a workload
    build(workload, mode, arrays, threads)
        -> make, fetch                   called before anything is timed: arrays become the
                                         system's own, and its runtime starts
    make()  -> call                      traces and compiles
    call()  -> outputs                   one evaluation; the results are there when it returns
    fetch(outputs) -> value, gradients   as NumPy's

The driver starts a server for each system (in a process of its own, as systems do not share
one well), which imports it and forks a child for each program. A child has as many
processors as it may have threads, builds its program, and waits: measuring several programs
in turn does not compile any of them twice.
"""
import importlib
import multiprocessing
import os
import re
import sys
import time
import traceback

import numpy as np

import workloads

fork = multiprocessing.get_context("fork")


class NotApplicable(Exception):
    """The system has no way to say this."""


def serve(module, pipe):
    """Answers (command, …) until the driver hangs up."""
    os.dup2(2, 1)                 # what systems print is not for the tables
    system = importlib.import_module(module)
    pipe.send(system.VERSION)
    children = {}
    while True:
        try:
            command, *args = pipe.recv()
        except EOFError:
            return
        if command == "open":
            key, folder, threads, limit = args
            ours, theirs = fork.Pipe()
            process = fork.Process(target=child, args=(system, *key, folder, threads, theirs))
            process.start()
            theirs.close()
            children[key] = process, ours
            pipe.send(answer(children, key, limit))
        elif command == "measure":
            key, seconds, limit = args
            children[key][1].send(seconds)
            pipe.send(answer(children, key, limit))
        elif command == "close":
            for process, connection in children.values():
                connection.close()
                process.join(5)
                if process.is_alive():
                    process.kill()
            children.clear()
            pipe.send(None)
        else:
            pipe.send([mode for mode in system.modes(args[0])])


def answer(children, key, limit):
    """What the child says, or that it says nothing."""
    process, connection = children[key]
    try:
        if connection.poll(limit):
            return connection.recv()
        error = f"no result within {limit:.0f} s"
    except EOFError:
        error = "the process ended"
    process.kill()
    return dict(error=error)


def child(system, name, mode, folder, threads, pipe):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        make, fetch = system.build(name, mode, workloads.load(folder, name), threads)
        begin = time.perf_counter()
        call = make()
        outputs = call()
        first = time.perf_counter() - begin
        value, gradients = fetch(outputs)
        pipe.send(dict(first_call_s=first, value=float(value), grads=[norms(g) for g in gradients]))
        calls = calibrate(call)
        while True:
            pipe.send(sample(call, calls, pipe.recv()))
    except EOFError:
        pass
    except NotApplicable as e:
        pipe.send(dict(error=f"not applicable: {e}"))
    except BaseException as e:     # whatever it is, it is the result
        if os.environ.get("PEERS_TRACE"):
            traceback.print_exc()
        text = re.sub(r"(/[\w.+-]+){2,}/", "", f"{type(e).__name__}: {e}")
        pipe.send(dict(error=text.split("\n")[0][:300]))
    os._exit(0)


def norms(gradient):
    g = np.asarray(gradient, dtype=np.float64)
    return dict(sum=float(g.sum()), l2=float(np.sqrt((g * g).sum())), len=g.size)


def calibrate(call):
    """Warms up; how many calls make a sample that a clock can time."""
    calls = 1
    while True:
        begin = time.perf_counter_ns()
        for _ in range(calls):
            call()
        spent = time.perf_counter_ns() - begin
        if spent > 200_000:
            return max(1, calls * 300_000 // spent)
        calls *= 2


def sample(call, calls, seconds):
    """Nanoseconds per call, of about so many seconds of samples."""
    clock, samples = time.perf_counter_ns, []
    call()                         # another program has had the caches meanwhile
    begin = clock()
    while clock() - begin < seconds * 1e9 or len(samples) < 2:
        start = clock()
        for _ in range(calls):
            call()
        samples.append((clock() - start) / calls)
    return samples
