"""JAX: `jit` of `value_and_grad`, and of forward mode through loops that reverse mode refuses."""
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import workloads as wl

VERSION = f"JAX {jax.__version__}"


def doubling(a):
    b = lax.while_loop(lambda b: jnp.abs(b) < 1000, lambda b: 2 * b, 2 * a)
    return jnp.where(b > 0, b, 100 * b)


def linear_regression(W, b, X, y):
    return jnp.mean((X @ W + b - y) ** 2)


def logistic_regression(w, b, X, t):
    z = X @ w + b
    return jnp.mean(jax.nn.softplus(z) - t * z)


def elementwise(x):
    return jnp.sum(jnp.tanh(x) * jnp.exp(-x * x) + jnp.sin(x) ** 2 * jax.nn.sigmoid(x))


def polynomial(a, b, c, x, y):
    return jnp.mean((a * x * x + b * x + c - y) ** 2)


def perceptron(W1, b1, W2, b2, W3, b3, x, y):
    h = jnp.tanh(x @ W1 + b1)
    h = jnp.tanh(h @ W2 + b2)
    return jnp.mean((h @ W3 + b3 - y) ** 2)


def classifier(W1, b1, W2, b2, W3, b3, x, labels):
    h = jax.nn.relu(x @ W1 + b1)
    h = jax.nn.relu(h @ W2 + b2)
    logs = jax.nn.log_softmax(h @ W3 + b3)
    return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=1))


def normalised(x, g, b):
    mean = jnp.mean(x, axis=1, keepdims=True)
    variance = jnp.mean((x - mean) ** 2, axis=1, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + 1e-5) * g + b
    return jnp.mean(jax.nn.logsumexp(y, axis=1) - y[:, 0])


def attention(Wq, Wk, Wv, Wo, x):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    p = jax.nn.softmax(q @ k.transpose(0, 2, 1) * 0.125, axis=-1)
    return jnp.mean((p @ v @ Wo) ** 2)


def lstm(Wx, Wh, b, xs):
    def step(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(x @ Wx + h @ Wh + b, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
    start = jnp.zeros((xs.shape[1], Wh.shape[0]), xs.dtype)
    (h, _), _ = lax.scan(step, (start, start), xs)
    return jnp.mean(h ** 2)


def rosenbrock(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def gated(x, A):
    return jnp.tanh(A @ x) * x


def mixture(alphas, means, icf, x):
    (k, d), n = means.shape, x.shape[0]
    rows, columns = wl.lower_triangle(d)
    logs, below = icf[:, :d], icf[:, d:]
    q = jnp.exp(logs)
    lower = jnp.zeros((k, d, d), x.dtype).at[:, rows, columns].set(below)
    centred = x[:, None, :] - means[None, :, :]
    turned = q[None] * centred + jnp.einsum("kij,nkj->nki", lower, centred)
    inner = alphas + jnp.sum(logs, axis=1) - 0.5 * jnp.sum(turned * turned, axis=2)
    likelihood = jnp.sum(jax.nn.logsumexp(inner, axis=1)) - n * jax.nn.logsumexp(alphas)
    prior = 0.5 * (jnp.sum(q * q) + jnp.sum(below ** 2))
    return likelihood + prior + wl.gmm_constant(k, d, n)


def reprojection(p, seen):
    rotation, place, focal, middle, k = p[0:3], p[3:6], p[6], p[7:9], p[9:11]
    point, w = p[11:14], p[14]
    square = jnp.sum(rotation * rotation)
    angle = jnp.sqrt(jnp.where(square == 0, 1.0, square))
    d, axis = point - place, rotation / angle
    along = axis * (jnp.dot(axis, d) * (1 - jnp.cos(angle)))
    turned = d * jnp.cos(angle) + jnp.cross(axis, d) * jnp.sin(angle) + along
    turned = jnp.where(square == 0, d + jnp.cross(rotation, d), turned)
    flat = turned[:2] / turned[2]
    square = jnp.sum(flat * flat)
    flat = flat * (1 + k[0] * square + k[1] * square * square)
    return w * (flat * focal + middle - seen)


def bundle_adjustment(cams, pts, w, feats):
    def one(p, seen):
        value, pull = jax.vjp(lambda p: reprojection(p, seen), p)
        return value, jax.vmap(lambda e: pull(e)[0])(jnp.eye(2, dtype=p.dtype))
    value, jacobian = jax.vmap(one)(jnp.concatenate([cams, pts, w[:, None]], axis=1), feats)
    return value, (jacobian,)


def cube_roots(a):
    body = lambda x: x - (x ** 3 - a) / (3 * x ** 2)
    return lax.while_loop(lambda x: jnp.any(jnp.abs(x ** 3 - a) >= 1e-10), body, jnp.ones_like(a))


LOSS = dict(W01=lambda w1, w2: 3 * w1 ** 2 + 2 * w1 * w2, W03=linear_regression, W04=linear_regression,
            W05=logistic_regression, W06a=elementwise, W06b=elementwise, W06c=elementwise, W06d=elementwise,
            W07=polynomial, W07b=polynomial, W08=perceptron, W09=classifier, W10=normalised, W11=attention, W12=lstm,
            W13b=rosenbrock, W15=mixture)


def modes(name):
    # Reverse mode refuses loops of unknown length.
    return ["jit-jvp"] if name in ("W02_while", "W17_newton") else ["jit"]


def program(number):
    if number == "W02":
        return lambda a: jax.jvp(doubling, (a,), (jnp.ones_like(a),))
    if number == "W17":
        # Element by element, so that one tangent has all derivatives.
        def roots(a):
            x, slopes = jax.jvp(cube_roots, (a,), (jnp.ones_like(a),))
            return jnp.sum(x), slopes
        return roots
    if number == "W13":
        return lambda x: (rosenbrock(x), jax.hessian(rosenbrock)(x))
    if number == "W14":
        return lambda x, A: (gated(x, A), jax.jacfwd(gated)(x, A))
    if number == "W16":
        return bundle_adjustment
    return None


def build(name, mode, arrays, threads):
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    workload, number = wl.WORKLOADS[name], name.split("_")[0]
    if workload.dtype == "f64":
        jax.config.update("jax_enable_x64", True)
    args = [jax.block_until_ready(jnp.asarray(arrays[n])) for n in workload.wrt + workload.rest]
    jax.block_until_ready(jax.jit(lambda x: x + 1)(jnp.zeros(3)))       # starts the runtime

    def make():
        f = program(number) or jax.value_and_grad(LOSS[number], argnums=tuple(range(len(workload.wrt))))
        f = jax.jit(f)
        return lambda: jax.block_until_ready(f(*args))

    def fetch(outputs):
        value, grads = outputs
        grads = grads if isinstance(grads, (tuple, list)) else (grads,)
        return np.sum(np.asarray(value, dtype=np.float64)), [np.asarray(g) for g in grads]
    return make, fetch
