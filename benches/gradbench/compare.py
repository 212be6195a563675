#!/usr/bin/env python3
"""Backstitch's tool beside GradBench's hand-written C++ (`manual`), on the same inputs.

See README.md. Needs nothing but Python, cargo and a checkout of GradBench whose `manual` is built.
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


# Inputs: of the sizes and distributions that the evals have.


def uniform(rng, *dims):
    return filled(rng.random, *dims)


def normal(rng, *dims):
    return filled(lambda: rng.gauss(0, 1), *dims)


def filled(number, first, *rest):
    return [filled(number, *rest) if rest else number() for _ in range(first)]


def gmm(rng, size):
    d, k, n = map(int, size.split("_"))
    return {
        "d": d, "k": k, "n": n, "m": 0, "gamma": 1.0,
        "alpha": normal(rng, k), "mu": uniform(rng, k, d), "q": normal(rng, k, d),
        "l": filled(lambda: rng.gauss(0, 1), k, d * (d - 1) // 2), "x": normal(rng, n, d),
    }  # fmt: skip


def lstm(rng, size):
    layers, length, bits = *map(int, size.split("_")), 14
    return {
        "main_params": uniform(rng, 2 * layers, 4 * bits), "extra_params": uniform(rng, 3, bits),
        "state": uniform(rng, 2 * layers, bits),
        "sequence": filled(lambda: float(rng.random() < 0.5), length, bits),
    }  # fmt: skip


def ba(rng, size):
    n, m, p = map(int, size.split("_"))
    return {
        "n": n, "m": m, "p": p, "x": [-0.61, 0.57, -1.85], "w": rng.random(),
        "cam": [0.016, -0.013, -0.004, -0.034, -0.108, 1.12, 399.8, -3.2e-7, 5.9e-13, 0.01, -0.02],
        "feat": [-332.65, 262.09],
    }  # fmt: skip


def kmeans(rng, size):
    k, n, d = map(int, size.split("_"))
    points = uniform(rng, n, d)
    return {"points": points, "centroids": points[n - k :]}


def llsq(rng, size):
    n, m = map(int, size.split("_"))
    return {"x": uniform(rng, m), "n": n}


def lse(rng, size):
    return {"x": uniform(rng, int(size))}


def ode(rng, size):
    n, s = map(int, size.split("_"))
    return {"x": uniform(rng, n), "s": s}


def det(rng, size):
    ell = int(size)
    return {"A": uniform(rng, ell * ell), "ell": ell}


# Module: inputs, the function and its derivative, sizes (those in the middle first).
EVALS = {
    "gmm": (gmm, "objective", "jacobian", ["10_25_1000", "2_25_1000", "32_25_1000", "10_100_1000"]),
    "lstm": (lstm, "objective", "jacobian", ["2_1024", "4_1024", "6_4096"]),
    "ba": (ba, "objective", "jacobian", ["49_7776_31843", "161_48126_182072"]),
    "kmeans": (kmeans, "cost", "dir", ["100_1000_8", "10_1000_8", "10_10000_16", "100_10000_8"]),
    "llsq": (llsq, "primal", "gradient", ["1024_128", "128_128", "16_128", "4096_128"]),
    "lse": (lse, "primal", "gradient", ["160000", "10000", "1280000"]),
    "det": (det, "primal", "gradient", ["9", "5", "7"]),
    "ode": (ode, "primal", "gradient", ["1000_100", "1000_10", "10000_10", "10000_100"]),
}


# The two tools.


def times(timings):
    """Milliseconds: to prepare, and the fastest run, which others on the machine disturb least."""
    of = lambda name: [t["nanoseconds"] / 1e6 for t in timings if t["name"] == name]
    return sum(of("prepare")), min(of("evaluate"))


def run_manual(args, module, function, data, path):
    path.write_text(json.dumps(data))
    program = args.checkout / "tools" / "manual" / "bin" / module
    out = subprocess.run([*args.pin, program, path, function], capture_output=True, check=True)
    output, *timings = map(json.loads, out.stdout.splitlines())
    return output, *times(timings)


def run_backstitch(args, module, function, data, path):
    message = {"id": 0, "kind": "evaluate", "module": module, "function": function, "input": data}
    command = [*args.pin, args.tool]
    out = subprocess.run(command, input=json.dumps(message).encode(), capture_output=True, check=True)
    answer = json.loads(out.stdout)
    if not answer["success"]:
        sys.exit(f"{module}.{function}: {answer['error']}")
    return answer["output"], *times(answer["timings"])


def flat(value):
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in flat(value[key])]
    return [x for part in value for x in flat(part)] if isinstance(value, list) else [value]


def distance(ours, reference):
    """Relative, in the 2-norm."""
    a, b = flat(ours), flat(reference)
    assert len(a) == len(b), "answers of one length"
    norm = math.hypot(*b)
    return math.hypot(*(x - y for x, y in zip(a, b))) / (norm if norm > 0 else 1)


# A workload: both tools in turns.


def compare(args, module, function, data, folder):
    rows = []
    for _ in range(args.rounds):
        reference, _, manual = run_manual(args, module, function, data, folder / "input.json")
        output, prepare, backstitch = run_backstitch(args, module, function, data, folder)
        rows.append((manual, backstitch, prepare, distance(output, reference)))
    return rows


def milliseconds(x):
    return f"{x * 1e3:.3g} µs" if x < 1 else f"{x:.3g} ms"


def report(module, size, function, rows):
    manual, backstitch, prepare, off = map(min, zip(*rows))
    ratios = sorted(b / m for m, b, _, _ in rows)
    ratio = f"**{statistics.median(ratios):.2f}** ({ratios[0]:.2f}–{ratios[-1]:.2f})"
    cells = [f"{module} {size}", function, milliseconds(manual), milliseconds(backstitch), ratio]
    print("|", " | ".join([*cells, milliseconds(prepare), f"{off:.0e}"]), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evals", default=",".join(EVALS), help="these alone")
    parser.add_argument("--sizes", type=int, default=1, help="how many sizes of each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="of runs, in each round")
    parser.add_argument("--cpu", default="0", help="the processor for both")
    parser.add_argument("--tool", help="this program instead of building the example")
    args = parser.parse_args()

    args.checkout = pathlib.Path(os.environ.get("GRADBENCH", ""))
    if not (args.checkout / "tools" / "manual" / "bin").is_dir():
        sys.exit("GRADBENCH has to name a checkout of GradBench in which tools/manual is built")
    if args.tool is None:
        build = ["cargo", "build", "--release", "--locked", "--example", "gradbench"]
        subprocess.run(build, cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        args.tool = target / "release" / "examples" / "gradbench"
    args.pin = ["taskset", "-c", args.cpu] if shutil.which("taskset") else []

    print("| workload | function | manual | Backstitch | ratio (range) | prepare | distance |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for module in args.evals.split(","):
            make, *functions, sizes = EVALS[module]
            for size in sizes[: args.sizes]:
                data = make(random.Random(31337), size)
                data |= {"min_runs": 3, "min_seconds": args.seconds}
                primal, derivative = (
                    compare(args, module, function, data, pathlib.Path(folder))
                    for function in functions
                )
                if module == "ode":
                    # `manual` has it in closed form: the function is what there is to compare with.
                    derivative = [(p[0], *d[1:]) for p, d in zip(primal, derivative)]
                report(module, size, functions[0], primal)
                report(module, size, functions[1], derivative)


if __name__ == "__main__":
    main()
