#!/usr/bin/env python3
"""The workloads' inputs, the same for every system.

They come from NumPy's legacy RandomState, whose stream is frozen, so that they are the
same arrays under any version. W15 and W16 read two data files of microsoft/ADBench: the
environment variable ADBENCH names a checkout of it or a folder that holds both files.
Without it these two are left out.

    python workloads.py DIR        # writes DIR/WORKLOAD/NAME.npy
"""
import math
import os
import sys

import numpy as np

GMM_FILE = "data/gmm/1k/gmm_d10_K25.txt"
BA_FILE = "data/ba/ba1_n49_m7776_p31843.txt"


class Workload:
    """What goes in and by which of it is differentiated."""

    def __init__(self, dtype, inputs, wrt, formula):
        self.dtype = dtype
        self.inputs = inputs.split()
        self.wrt = wrt.split()
        self.formula = formula
        # In the order in which they are passed.
        self.rest = [name for name in self.inputs if name not in self.wrt]


MLP = "W1 b1 W2 b2 W3 b3"
ELEMENTS = "Σ tanh(x)·exp(-x²) + sin(x)²·sigmoid(x), n = "
WORKLOADS = {
    "W01_scalar": Workload("f32", "w1 w2", "w1 w2", "3·w1² + 2·w1·w2"),
    "W02_while": Workload("f32", "a", "a", "b = 2a; while |b| < 1000: b = 2b; b if b > 0 else 100b"),
    "W03_linreg_small": Workload("f32", "X y W b", "W b", "mean (X·W + b - y)², X 2×3"),
    "W04_linreg_big": Workload("f32", "X y W b", "W b", "mean (X·W + b - y)², X 10000×100"),
    "W05_logreg": Workload("f32", "X t w b", "w b", "logistic regression, X 10000×100"),
    "W06a_elem_1e3": Workload("f32", "x", "x", ELEMENTS + "10³"),
    "W06b_elem_1e5": Workload("f32", "x", "x", ELEMENTS + "10⁵"),
    "W06c_elem_1e7": Workload("f32", "x", "x", ELEMENTS + "10⁷"),
    "W06d_elem_1e5_f64": Workload("f64", "x", "x", ELEMENTS + "10⁵"),
    "W07_poly_1e6": Workload("f32", "x y a b c", "a b c", "mean (a·x² + b·x + c - y)², n = 10⁶"),
    "W07b_poly_1e5": Workload("f32", "x y a b c", "a b c", "mean (a·x² + b·x + c - y)², n = 10⁵"),
    "W08_mlp_small": Workload("f32", "x y " + MLP, MLP, "tanh MLP 16-32-32-1, batch 32, squares"),
    "W09_mlp_mid": Workload("f32", "x labels " + MLP, MLP, "relu MLP 784-512-512-10, batch 128, cross entropy"),
    "W10_ln_lse": Workload("f32", "x g b", "x g b", "layer norm, log-sum-exp minus first entry, 512×1024"),
    "W11_attention": Workload("f32", "x Wq Wk Wv Wo", "Wq Wk Wv Wo", "attention, one head, 4×128×64"),
    "W12_lstm": Workload("f32", "xs Wx Wh b", "Wx Wh b", "LSTM, 100 steps, batch 16, 64 in, 64 hidden"),
    "W13_rosen_hess": Workload("f64", "x", "x", "Rosenbrock, n = 100: value and dense Hessian"),
    "W13b_rosen_grad": Workload("f64", "x", "x", "Rosenbrock, n = 100"),
    "W14_jacobian": Workload("f32", "A x", "x", "tanh(A·x)·x, 64 → 64: value and Jacobian"),
    "W15_gmm": Workload("f64", "alphas means icf x", "alphas means icf", "ADBench's mixture: d = 10, 25 Gaussians, 1000 points"),
    "W16_ba": Workload("f64", "cams pts w feats", "cams pts w", "ADBench's bundle adjustment: 31843 residuals and their Jacobian"),
    "W17_newton": Workload("f64", "a", "a", "Newton's cube roots until all 1000 have converged"),
}
ORDER = list(WORKLOADS)
ADBENCH = ("W15_gmm", "W16_ba")


def find(prefixes):
    """Names that begin with one of these; a number alone is that workload."""
    def matches(name, prefix):
        number = name.split("_")[0].lower()
        return number == prefix or (name.lower().startswith(prefix) and "_" in prefix) or \
            (number[:-1] == prefix and number[-1].isalpha() and prefix == "w06")
    wanted = [p.lower() for p in prefixes.split(",") if p]
    return [name for name in ORDER if not wanted or any(matches(name, p) for p in wanted)]


def adbench(path):
    root = os.environ["ADBENCH"]
    for place in (os.path.join(root, path), os.path.join(root, os.path.basename(path))):
        if os.path.exists(place):
            with open(place) as f:
                return f.read().split()
    raise FileNotFoundError(f"{path} is not in {root}")


def gmm_inputs():
    tokens = adbench(GMM_FILE)
    d, k, n = (int(t) for t in tokens[:3])
    numbers = np.array(tokens[3:-2], dtype=np.float64)
    assert [float(t) for t in tokens[-2:]] == [1.0, 0.0], "the Wishart prior that the formulas have"
    sizes = np.cumsum([k, k * d, k * (d + d * (d - 1) // 2)])
    alphas, means, icf, x = np.split(numbers, sizes)
    return dict(alphas=alphas, means=means.reshape(k, d), icf=icf.reshape(k, -1), x=x.reshape(n, d))


def gmm_constant(k, d, n):
    """The part of the mixture's objective that no parameter touches; γ = 1, m = 0."""
    nu = d + 1
    log_gamma = d * (d - 1) / 4 * math.log(math.pi)
    log_gamma += sum(math.lgamma((nu + 1 - j) / 2) for j in range(1, d + 1))
    wishart = -0.5 * nu * d * math.log(2) - log_gamma
    return -n * d * 0.5 * math.log(2 * math.pi) - k * wishart


def lower_triangle(d):
    """Rows and columns of the strict lower triangle, column by column."""
    places = [(i, j) for j in range(d) for i in range(j + 1, d)]
    return np.array([i for i, _ in places]), np.array([j for _, j in places])


def ba_inputs():
    tokens = adbench(BA_FILE)
    n = int(tokens[2])
    v = np.array(tokens[3:20], dtype=np.float64)
    # ADBench repeats its one camera, point, weight and feature.
    return dict(cams=np.tile(v[:11], (n, 1)), pts=np.tile(v[11:14], (n, 1)), w=np.full(n, v[14]),
                feats=np.tile(v[15:17], (n, 1)))


def inputs(name):
    """The arrays by name."""
    w = WORKLOADS[name]
    dtype = np.float32 if w.dtype == "f32" else np.float64
    r = np.random.RandomState(1000 + ORDER.index(name))

    def normal(*shape, scale=1.0):
        return (r.standard_normal(shape) * scale).astype(dtype)

    def layers(deviations, sizes):
        out = {}
        for i, (a, b, s) in enumerate(zip(sizes, sizes[1:], deviations), 1):
            out[f"W{i}"] = normal(a, b, scale=s)
            out[f"b{i}"] = normal(b, scale=0.1)
        return out

    number = name.split("_")[0]
    if number == "W01":
        d = dict(w1=dtype(5.0), w2=dtype(3.0))
    elif number == "W02":
        d = dict(a=dtype(0.37))
    elif number == "W03":
        d = dict(X=normal(2, 3), y=normal(2, 1), W=normal(3, 1), b=normal(1))
    elif number == "W04":
        d = dict(X=normal(10000, 100), y=normal(10000, 1), W=normal(100, 1, scale=0.1), b=normal(1))
    elif number == "W05":
        x = normal(10000, 100)
        d = dict(X=x, t=(r.uniform(size=10000) < 0.5).astype(dtype), w=normal(100, scale=0.1), b=normal())
    elif number.startswith("W06"):
        d = dict(x=normal({"W06a": 1000, "W06b": 100000, "W06c": 10000000, "W06d": 100000}[number]))
    elif number in ("W07", "W07b"):
        n = 1000000 if number == "W07" else 100000
        d = dict(x=normal(n), y=normal(n), a=dtype(0.3), b=dtype(-0.7), c=dtype(0.2))
    elif number == "W08":
        d = dict(x=normal(32, 16), y=normal(32, 1), **layers([0.25, 0.18, 0.18], [16, 32, 32, 1]))
    elif number == "W09":
        d = dict(x=normal(128, 784), labels=r.randint(0, 10, size=128).astype(np.int32),
                 **layers([0.05, 0.06, 0.06], [784, 512, 512, 10]))
    elif number == "W10":
        d = dict(x=normal(512, 1024), g=(1 + normal(1024, scale=0.1)).astype(dtype), b=normal(1024, scale=0.1))
    elif number == "W11":
        d = dict(x=normal(4, 128, 64), **{n: normal(64, 64, scale=0.125) for n in w.wrt})
    elif number == "W12":
        d = dict(xs=normal(100, 16, 64), Wx=normal(64, 256, scale=0.125), Wh=normal(64, 256, scale=0.125),
                 b=normal(256, scale=0.1))
    elif number in ("W13", "W13b"):
        d = dict(x=np.random.RandomState(13).standard_normal(100).astype(dtype))
    elif number == "W14":
        d = dict(A=normal(64, 64, scale=0.125), x=normal(64))
    elif number == "W15":
        d = gmm_inputs()
    elif number == "W16":
        d = ba_inputs()
    else:
        d = dict(a=r.uniform(1.0, 8.0, size=1000).astype(dtype))
    assert list(d) == w.inputs, (name, list(d))
    return d


def load(folder, name):
    """The arrays of a workload that `dump` wrote."""
    return {i: np.load(os.path.join(folder, name, i + ".npy")) for i in WORKLOADS[name].inputs}


def dump(folder, names=ORDER):
    """Writes what is not there yet; the names of the workloads that are there then."""
    there = []
    for name in names:
        path = os.path.join(folder, name)
        files = [os.path.join(path, i + ".npy") for i in WORKLOADS[name].inputs]
        if not all(os.path.exists(f) for f in files):
            if name in ADBENCH and "ADBENCH" not in os.environ:
                print(f"{name} is left out: ADBENCH names no folder with its data", file=sys.stderr)
                continue
            os.makedirs(path, exist_ok=True)
            for file, array in zip(files, inputs(name).values()):
                np.save(file, np.asarray(array, order="C"))
        there.append(name)
    return there


if __name__ == "__main__":
    dump(sys.argv[1])
