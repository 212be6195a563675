#!/usr/bin/env python3
"""Times value and gradients of the workloads in Backstitch and in other systems, side by side.

    python compare.py [--workloads W04,W10] [--peers jax,torch] [--threads 1,2] [--seconds 0.5]

For each workload all contenders are built first and then measured in turn, several rounds,
so that what else the machine does meets all alike; a contender's time is the least of its
rounds' medians. Values and gradients are compared with Backstitch's. Results go to a file of
JSON lines (`--out`); with `--merge` they replace those that are there already, and the tables
are of all. See README.md.
"""
import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time

import report
import server
import workloads

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEERS = ["jax", "torch", "tensorflow", "casadi", "rust"]
spawn = multiprocessing.get_context("spawn")


class Python:
    """A system that Python hosts, in a server of its own."""

    def __init__(self, peer, args):
        spawn.set_executable(args.python.get(peer, sys.executable))
        self.pipe, theirs = spawn.Pipe()
        spawn.Process(target=server.serve, args=("with_" + peer, theirs)).start()
        theirs.close()
        self.peer, self.args = peer, args
        try:
            self.version = self.pipe.recv()
        except EOFError:
            sys.exit(f"{peer} did not start: is it installed? (--peers says which are wanted)")

    def ask(self, *command):
        self.pipe.send(command)
        return self.pipe.recv()

    def open(self, name, threads):
        """Builds all modes: what they give, by mode."""
        build = lambda mode: self.ask("open", (name, mode), self.args.inputs, threads, self.args.limit)
        found = {mode: dict(build(mode), version=self.version) for mode in self.ask("modes", name)}
        self.modes = [mode for mode, what in found.items() if "error" not in what]
        return found

    def measure(self, name, threads, seconds):
        """Nanoseconds per call, or an error, by mode."""
        answers = {mode: self.ask("measure", (name, mode), seconds, self.args.limit) for mode in self.modes}
        return {mode: a if isinstance(a, dict) else statistics.median(a) for mode, a in answers.items()}

    def close(self):
        self.ask("close")


class Binary:
    """A program that prints a JSON line for each mode, and is run once per round."""

    def __init__(self, peer, program, args, modes=()):
        self.peer, self.program, self.args, self.modes = peer, program, args, modes

    def run(self, name, threads, seconds):
        allowed = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        command = ["taskset", "-c", allowed, self.program, "--json", "--seconds", str(seconds),
                   "--inputs", self.args.inputs, "--threads", str(threads), name]
        command += ["--modes", ",".join(self.modes)] if self.modes else []
        env = dict(os.environ, RAYON_NUM_THREADS=str(threads))
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode != 0:
            print(f"{self.peer}, {name}: {done.stderr.strip()}", file=sys.stderr)
            return {}
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        wanted = lambda row: row["workload"] == name and (not self.modes or row["mode"] in self.modes)
        return {row["mode"]: row for row in rows if wanted(row)}

    def open(self, name, threads):
        found = self.run(name, threads, 0.02)
        for row in found.values():
            # Only compiling is timed by itself: the first call is taken to be like the others.
            ms = row.get("first_compile_ms")
            row["first_call_s"] = None if ms is None else ms / 1e3 + row["per_call_ns"]["median"] / 1e9
        return found

    def measure(self, name, threads, seconds):
        return {mode: row["per_call_ns"]["median"] for mode, row in self.run(name, threads, seconds).items()}

    def close(self):
        pass


def program(peer, args, manifest, *options):
    """The program that was given, or what cargo builds: where it is."""
    if peer in args.program:
        return args.program[peer]
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", manifest, *options,
               "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, done.stdout.splitlines())
    return [m["executable"] for m in messages if m.get("executable")][-1]


def differences(got, want, dtype):
    """All that differs more than rounding can explain."""
    tolerance, wrong = (1e-3 if dtype == "f32" else 1e-9), []

    def compare(what, a, b, scale):
        if not abs(a - b) <= tolerance * scale:        # NaN is not close to anything
            wrong.append(f"{what} is {a}, not {b}")
    compare("the value", got["value"], want["value"], abs(want["value"]))
    if len(got["grads"]) != len(want["grads"]):
        return wrong + [f"{len(got['grads'])} gradients, not {len(want['grads'])}"]
    for i, (a, b) in enumerate(zip(got["grads"], want["grads"])):
        compare(f"the norm of gradient {i}", a["l2"], b["l2"], b["l2"])
        compare(f"the sum of gradient {i}", a["sum"], b["sum"], b["l2"] * math.sqrt(b["len"]))
    return wrong


def compare(name, threads, systems, args):
    """Rows of one workload."""
    found = {(system.peer, mode): dict(what, samples=[])
             for system in systems for mode, what in system.open(name, threads).items()}
    for _ in range(args.rounds):
        for system in systems:
            for mode, time in system.measure(name, threads, args.seconds / args.rounds).items():
                if isinstance(time, dict):
                    found[system.peer, mode].update(time)
                else:
                    found[system.peer, mode]["samples"].append(time)
    for system in systems:
        system.close()
    rows, want = [], found.get(("backstitch", "compiled"))
    if want is None:
        return rows
    for (peer, mode), what in found.items():
        row = dict(peer=peer, mode=mode, workload=name, threads=threads, version=what.get("version"))
        if "error" in what:
            row["error"] = what["error"]
        else:
            row.update(ns=min(what["samples"]), first_call_s=what["first_call_s"],
                       differences=differences(what, want, workloads.WORKLOADS[name].dtype))
        rows.append(row)
        text = row.get("error") or f"{row['ns'] / 1e3:.3f} µs"
        print(f"{name:<18} {threads} thread(s)  {peer:<10} {mode:<12} {text}", *row.get("differences", []),
              sep="  ", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("--workloads", default="", help="beginnings of names, with commas; all")
    parser.add_argument("--peers", default=",".join(PEERS), help="with commas; all: %(default)s")
    parser.add_argument("--threads", default="1,2", help="with commas; %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="of samples per contender; %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="in which they take turns; %(default)s")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds until a contender is given up; %(default)s")
    parser.add_argument("--inputs", default=os.path.join(ROOT, "target", "peers", "inputs"), help="written where missing")
    parser.add_argument("--out", default=os.path.join(ROOT, "target", "peers", "results.jsonl"), help="JSON lines")
    parser.add_argument("--merge", action="store_true", help="keep what --out has already of other rows")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH",
                        help="another interpreter for that peer")
    parser.add_argument("--program", action="append", default=[], metavar="PEER=PATH",
                        help="that program for backstitch or rust, instead of building it")
    parser.add_argument("--markdown", help="where the tables go, say benches/RESULTS.md")
    parser.add_argument("--chart", help="where the picture goes (SVG)")
    args = parser.parse_args()
    args.python, args.program = (dict(p.split("=", 1) for p in given) for given in (args.python, args.program))
    begin = time.time()

    cache = tempfile.TemporaryDirectory()              # what torch.compile makes is for this run
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache.name
    bench = program("backstitch", args, os.path.join(ROOT, "Cargo.toml"), "--bench", "workloads")
    systems = [Binary("backstitch", bench, args, ["compiled", "eager"])]
    for peer in args.peers.split(","):
        if peer == "rust":
            crates = program("rust", args, os.path.join(ROOT, "benches", "rust_peers", "Cargo.toml"))
            systems.append(Binary("rust", crates, args))
        else:
            systems.append(Python(peer, args))
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    names = workloads.dump(args.inputs, workloads.find(args.workloads))
    rows = []
    if args.merge and os.path.exists(args.out):
        with open(args.out) as f:
            rows = [json.loads(line) for line in f]
    key = lambda row: (row["workload"], row["threads"], row["peer"], row["mode"])
    for name in names:
        for threads in map(int, args.threads.split(",")):
            new = compare(name, threads, systems, args)
            made = {key(row) for row in new}
            rows = [row for row in rows if key(row) not in made] + new
            with open(args.out, "w") as f:
                f.writelines(json.dumps(row) + "\n" for row in rows)
    for system in systems:
        if isinstance(system, Python):
            system.pipe.close()
    if args.markdown:
        with open(args.markdown, "w") as f:
            f.write(report.markdown(rows))
    if args.chart:
        with open(args.chart, "w") as f:
            f.write(report.chart(rows))
    print(f"{len(rows)} rows, {time.time() - begin:.0f} s")
    wrong = [row for row in rows if row.get("differences")]
    sys.exit(f"{len(wrong)} rows have other values" if wrong else 0)


if __name__ == "__main__":
    main()
