"""CasADi: its interpreter (`vm`), and its C through gcc (`c`).

Calls go through the buffer interface, which converts nothing. Everything is in double
precision, so that the workloads of `f32` are not the same arithmetic, and on one thread.
Scalar expressions (SX) where that is faster and finishes, otherwise those of matrices (MX).
"""
import os
import subprocess
import tempfile

import casadi as ca
import numpy as np

import workloads as wl
from server import NotApplicable

VERSION = f"CasADi {ca.__version__}"

SX = ("W01", "W03", "W13", "W16")


def sigmoid(z):
    return 1 / (1 + ca.exp(-z))


def softplus(z):
    return ca.fmax(z, 0) + ca.log1p(ca.exp(-ca.fabs(z)))


def mean_square(r):
    return ca.sumsqr(r) / r.numel()


def linear_regression(W, b, X, y):
    return mean_square(X @ W + b - y)


def logistic_regression(w, b, X, t):
    z = X @ w + b
    return ca.sum1(softplus(z) - t * z) / z.numel()


def elementwise(x):
    return ca.sum1(ca.tanh(x) * ca.exp(-x * x) + ca.sin(x) ** 2 * sigmoid(x))


def polynomial(a, b, c, x, y):
    return mean_square(a * x * x + b * x + c - y)


def perceptron(W1, b1, W2, b2, W3, b3, x, y):
    n = x.shape[0]
    row = lambda b: ca.repmat(b.T, n, 1)
    h = ca.tanh(x @ W1 + row(b1))
    h = ca.tanh(h @ W2 + row(b2))
    return mean_square(h @ W3 + row(b3) - y)


def rosenbrock(x):
    n = x.shape[0]
    return ca.sum1(100.0 * (x[1:n] - x[0:n - 1] ** 2) ** 2 + (1.0 - x[0:n - 1]) ** 2)


def mixture(arrays):
    """A scalar function of one point, mapped over the points with shared parameters."""
    (k, d), n, width = arrays["means"].shape, arrays["x"].shape[0], arrays["icf"].shape[1]
    rows, columns = wl.lower_triangle(d)
    alphas, means = ca.SX.sym("alphas", k), ca.SX.sym("means", k, d)
    icf, x = ca.SX.sym("icf", k, width), ca.SX.sym("x", d)
    inner = []
    for j in range(k):
        centred = x - means[j, :].T
        turned = [ca.exp(icf[j, i]) * centred[i] for i in range(d)]
        for e, (r, c) in enumerate(zip(rows, columns)):
            turned[int(r)] += icf[j, d + e] * centred[int(c)]
        inner.append(alphas[j] + ca.sum2(icf[j, :d]) - 0.5 * sum(v * v for v in turned))
    inner = ca.vertcat(*inner)
    most = ca.mmax(inner)
    one = ca.Function("one", [alphas, means, icf, x], [ca.log(ca.sum1(ca.exp(inner - most))) + most])
    alphas, means = ca.MX.sym("alphas", k), ca.MX.sym("means", k, d)
    icf, x = ca.MX.sym("icf", k, width), ca.MX.sym("x", n, d)
    likelihood = ca.sum2(one.map("all", "serial", n, [0, 1, 2], [])(alphas, means, icf, x.T))
    most = ca.mmax(alphas)
    likelihood -= n * (ca.log(ca.sum1(ca.exp(alphas - most))) + most)
    prior = 0.5 * (ca.sumsqr(ca.exp(icf[:, :d])) + ca.sumsqr(icf[:, d:]))
    return [alphas, means, icf, x], likelihood + prior + wl.gmm_constant(k, d, n)


def reprojection(p, seen):
    rotation, place, focal, middle, k = p[0:3], p[3:6], p[6], p[7:9], p[9:11]
    point, w = p[11:14], p[14]
    angle = ca.sqrt(ca.dot(rotation, rotation))      # the data has no rotation of zero
    d, axis = point - place, rotation / angle
    along = axis * (ca.dot(axis, d) * (1 - ca.cos(angle)))
    turned = d * ca.cos(angle) + ca.cross(axis, d) * ca.sin(angle) + along
    flat = turned[0:2] / turned[2]
    square = ca.dot(flat, flat)
    flat = flat * (1 + k[0] * square + k[1] * square * square)
    return w * (flat * focal + middle - seen)


LOSS = dict(W01=lambda w1, w2: 3 * w1 ** 2 + 2 * w1 * w2, W03=linear_regression, W04=linear_regression,
            W05=logistic_regression, W06a=elementwise, W06b=elementwise, W06c=elementwise, W06d=elementwise,
            W07=polynomial, W07b=polynomial, W08=perceptron, W13b=rosenbrock)


def modes(name):
    number = name.split("_")[0]
    return ["vm", "c"] if number in LOSS or number in ("W13", "W14", "W15", "W16") else []


def graph(number, arrays, workload):
    if number == "W15":
        symbols, value = mixture(arrays)
        return symbols, [value] + [ca.gradient(value, s) for s in symbols[:3]]
    if number == "W16":
        p, seen = ca.SX.sym("p", 15), ca.SX.sym("seen", 2)
        value = reprojection(p, seen)
        return [p, seen], [value, ca.jacobian(value, p)]
    symbol = ca.SX.sym if number in SX else ca.MX.sym
    shape = lambda a: (a.size, 1) if a.ndim < 2 else a.shape
    symbols = [symbol(n, *shape(arrays[n])) for n in workload.wrt + workload.rest]
    if number == "W13":
        value = rosenbrock(symbols[0])
        return symbols, [value, ca.hessian(value, symbols[0])[0]]
    if number == "W14":
        value = ca.tanh(symbols[1] @ symbols[0]) * symbols[0]
        return symbols, [value, ca.jacobian(value, symbols[0])]
    value = LOSS[number](*symbols)
    return symbols, [value] + [ca.gradient(value, s) for s in symbols[:len(workload.wrt)]]


def through_c(f):
    with tempfile.TemporaryDirectory() as folder:
        here = os.getcwd()
        os.chdir(folder)
        try:
            f.generate("f.c")
            flags = ["-O3", "-march=native", "-shared", "-fPIC"]
            subprocess.run(["gcc", *flags, "f.c", "-o", "f.so", "-lm"], check=True, timeout=60)
            return ca.external("f", os.path.join(folder, "f.so"))
        finally:
            os.chdir(here)


def build(name, mode, arrays, threads):
    if threads > 1:
        raise NotApplicable("runs on one thread")
    workload, number = wl.WORKLOADS[name], name.split("_")[0]
    arrays = {n: np.asarray(a, dtype=np.float64) for n, a in arrays.items()}
    values = [arrays[n] for n in workload.wrt + workload.rest]
    if number == "W16":
        values = [np.concatenate([arrays["cams"], arrays["pts"], arrays["w"][:, None]], 1).T, arrays["feats"].T]
    inputs = [np.array(v.ravel(order="F")) for v in values]          # column by column

    def make():
        symbols, outputs = graph(number, arrays, workload)
        f = ca.Function("f", symbols, [ca.densify(o) for o in outputs])
        f = through_c(f) if mode == "c" else f
        f = f.map(values[0].shape[1]) if number == "W16" else f
        buffer, run = f.buffer()
        results = [np.zeros(f.nnz_out(i)) for i in range(f.n_out())]
        for i, a in enumerate(inputs):
            buffer.set_arg(i, memoryview(a))
        for i, a in enumerate(results):
            buffer.set_res(i, memoryview(a))

        def call():
            run()
            return results, buffer           # which must outlive the call
        return call

    def fetch(outputs):
        # Sums and norms do not ask for the order.
        return outputs[0][0].sum(), outputs[0][1:]
    return make, fetch
