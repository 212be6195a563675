"""PyTorch: eager with autograd, and `torch.compile`.

`compile` is `torch.compile` of the graph with value and gradients (`torch.func`), which is
faster than differentiating a compiled loss outside of it, except where control flow depends
on data: there it is the latter. What `torch.func` has no gradient for (a Hessian, Jacobians)
is its transformations in both modes.
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import workloads as wl
from server import NotApplicable

VERSION = f"PyTorch {torch.__version__}"


def doubling(a):
    b = 2 * a
    while b.abs() < 1000:
        b = 2 * b
    return b if b > 0 else 100 * b


def linear_regression(W, b, X, y):
    return torch.mean((X @ W + b - y) ** 2)


def logistic_regression(w, b, X, t):
    z = X @ w + b
    return torch.mean(F.softplus(z) - t * z)


def elementwise(x):
    return torch.sum(torch.tanh(x) * torch.exp(-x * x) + torch.sin(x) ** 2 * torch.sigmoid(x))


def polynomial(a, b, c, x, y):
    return torch.mean((a * x * x + b * x + c - y) ** 2)


def perceptron(W1, b1, W2, b2, W3, b3, x, y):
    h = torch.tanh(x @ W1 + b1)
    h = torch.tanh(h @ W2 + b2)
    return torch.mean((h @ W3 + b3 - y) ** 2)


def classifier(W1, b1, W2, b2, W3, b3, x, labels):
    h = torch.relu(x @ W1 + b1)
    h = torch.relu(h @ W2 + b2)
    return F.cross_entropy(h @ W3 + b3, labels)


def normalised(x, g, b):
    y = F.layer_norm(x, (x.shape[1],), g, b, 1e-5)
    return torch.mean(torch.logsumexp(y, 1) - y[:, 0])


def attention(Wq, Wk, Wv, Wo, x):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    p = torch.softmax(q @ k.transpose(1, 2) * 0.125, dim=-1)
    return torch.mean((p @ v @ Wo) ** 2)


def lstm(Wx, Wh, b, xs):
    h = torch.zeros(xs.shape[1], Wh.shape[0], dtype=xs.dtype)
    c = torch.zeros_like(h)
    for x in xs:
        i, f, g, o = (x @ Wx + h @ Wh + b).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return torch.mean(h ** 2)


def rosenbrock(x):
    return torch.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def gated(x, A):
    return torch.tanh(A @ x) * x


def mixture(alphas, means, icf, x):
    (k, d), n = means.shape, x.shape[0]
    rows, columns = (torch.from_numpy(v) for v in wl.lower_triangle(d))
    logs, below = icf[:, :d], icf[:, d:]
    q = torch.exp(logs)
    at = (torch.arange(k)[:, None], rows[None], columns[None])
    lower = torch.zeros(k, d, d, dtype=x.dtype).index_put(at, below)
    centred = x[:, None, :] - means[None]
    turned = q[None] * centred + torch.einsum("kij,nkj->nki", lower, centred)
    inner = alphas + logs.sum(1) - 0.5 * (turned * turned).sum(2)
    likelihood = torch.logsumexp(inner, 1).sum() - n * torch.logsumexp(alphas, 0)
    return likelihood + 0.5 * ((q * q).sum() + (below ** 2).sum()) + wl.gmm_constant(k, d, n)


def reprojection(p, seen):
    rotation, place, focal, middle, k = p[0:3], p[3:6], p[6], p[7:9], p[9:11]
    point, w = p[11:14], p[14]
    square = torch.sum(rotation * rotation)
    angle = torch.sqrt(torch.where(square == 0, torch.ones_like(square), square))
    d, axis, cross = point - place, rotation / angle, torch.linalg.cross
    along = axis * (torch.dot(axis, d) * (1 - torch.cos(angle)))
    turned = d * torch.cos(angle) + cross(axis, d) * torch.sin(angle) + along
    turned = torch.where(square == 0, d + cross(rotation, d), turned)
    flat = turned[:2] / turned[2]
    square = torch.sum(flat * flat)
    flat = flat * (1 + k[0] * square + k[1] * square * square)
    return w * (flat * focal + middle - seen)


def bundle_adjustment(cams, pts, w, feats):
    def one(p, seen):
        value, pull = torch.func.vjp(lambda p: reprojection(p, seen), p)
        return value, torch.func.vmap(lambda e: pull(e)[0])(torch.eye(2, dtype=p.dtype))
    value, jacobian = torch.func.vmap(one)(torch.cat([cams, pts, w[:, None]], 1), feats)
    return value, (jacobian,)


def cube_roots(a):
    x = torch.ones_like(a)
    while bool(torch.any(torch.abs(x ** 3 - a) >= 1e-10)):
        x = x - (x ** 3 - a) / (3 * x ** 2)
    return torch.sum(x)


LOSS = dict(W01=lambda w1, w2: 3 * w1 ** 2 + 2 * w1 * w2, W02=doubling, W03=linear_regression, W04=linear_regression,
            W05=logistic_regression, W06a=elementwise, W06b=elementwise, W06c=elementwise, W06d=elementwise,
            W07=polynomial, W07b=polynomial, W08=perceptron, W09=classifier, W10=normalised, W11=attention, W12=lstm,
            W13b=rosenbrock, W15=mixture, W17=cube_roots)
MATRIX = dict(W13=lambda x: (rosenbrock(x), (torch.func.hessian(rosenbrock)(x),)),
              W14=lambda x, A: (gated(x, A), (torch.func.jacfwd(gated)(x, A),)),
              W16=bundle_adjustment)


def modes(name):
    return ["eager", "compile"]


def build(name, mode, arrays, threads):
    workload, number = wl.WORKLOADS[name], name.split("_")[0]
    if mode == "compile" and number == "W12":
        raise NotApplicable("a hundred steps written out do not compile within minutes")
    torch.set_num_threads(threads)
    tensor = lambda n: torch.from_numpy(np.asarray(arrays[n], order="C"))
    params = [tensor(n) for n in workload.wrt]
    data = [tensor(n).long() if n == "labels" else tensor(n) for n in workload.rest]
    (torch.ones(8, 8) @ torch.ones(8, 8)).sum()
    if mode == "compile":
        torch.compile(lambda x: x * 2 + 1)(torch.ones(16))           # starts the compiler
    dynamic = number in ("W02", "W17")

    def whole():
        """Value and gradients in one function."""
        if number in MATRIX:
            f = MATRIX[number]
            f = torch.compile(f) if mode == "compile" else f
            return lambda: f(*params, *data)
        f = torch.compile(torch.func.grad_and_value(LOSS[number], argnums=tuple(range(len(params)))))

        def call():
            grads, value = f(*params, *data)
            return value, grads
        return call

    def outside():
        """Gradients by autograd, of what the loss did."""
        leaves = [p.clone().requires_grad_(True) for p in params]
        f = torch.compile(LOSS[number]) if mode == "compile" else LOSS[number]

        def call():
            value = f(*leaves, *data)
            return value, torch.autograd.grad(value, leaves)
        return call

    def fetch(outputs):
        value, grads = outputs
        return float(value.detach().double().sum()), [g.detach().numpy() for g in grads]
    return (whole if number in MATRIX or (mode == "compile" and not dynamic) else outside), fetch
