//! What the workloads compute: each the plain formula, as one would write it in any
//! system.

use backstitch::{DType, Tensor, Trace};

pub fn scalar<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let (w1, w2) = (p[0], p[1]);
    3.0 * w1 * w1 + 2.0 * w1 * w2
}

pub fn linear_regression<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (w, b, x, y) = (p[0], p[1], d[0], d[1]);
    (x.matmul(w) + b - y).square().mean()
}

pub fn logistic_regression<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (w, b, x, t) = (p[0], p[1], d[0], d[1]);
    let z = x.matmul(w) + b;
    (z.softplus() - t * z).mean()
}

pub fn elementwise<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let x = p[0];
    (x.tanh() * (-x * x).exp() + x.sin().square() * x.sigmoid()).sum()
}

pub fn polynomial<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (a, b, c, x, y) = (p[0], p[1], p[2], d[0], d[1]);
    (a * x * x + b * x + c - y).square().mean()
}

pub fn perceptron<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (x, y) = (d[0], d[1]);
    let h = (x.matmul(p[0]) + p[1]).tanh();
    let h = (h.matmul(p[2]) + p[3]).tanh();
    (h.matmul(p[4]) + p[5] - y).square().mean()
}

/// A classifier of ten classes with two hidden layers.
pub fn classifier<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let h = (d[0].matmul(p[0]) + p[1]).relu();
    let h = (h.matmul(p[2]) + p[3]).relu();
    (h.matmul(p[4]) + p[5]).sparse_cross_entropy(d[1]).mean()
}

pub fn normalised<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let y = p[0].layer_norm(p[1], p[2], 1e-5);
    (y.logsumexp_over(1) - y.index(1, 0)).mean()
}

pub fn attention<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (q, k, v) = (d[0].matmul(p[0]), d[0].matmul(p[1]), d[0].matmul(p[2]));
    let weights = (q.matmul(k.swap_axes(1, 2)) * 0.125).softmax(-1);
    weights.matmul(v).matmul(p[3]).square().mean()
}

pub fn lstm<'t>(t: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (wx, wh, b, xs) = (p[0], p[1], p[2], d[0]);
    let start = t.zeros(wh.dtype(), [xs.shape().dims()[1], wh.shape().dims()[0]]);
    let ((h, _), ()) = t.scan((start, start), xs, |(h, c), x| {
        let gates = (x.matmul(wx) + h.matmul(wh) + b).split_into(1, 4);
        let [i, f, g, o] = gates[..] else { unreachable!("four parts") };
        let c = f.sigmoid() * c + i.sigmoid() * g.tanh();
        ((o.sigmoid() * c.tanh(), c), ())
    });
    h.square().mean()
}

pub fn rosenbrock<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let (x, next) = (p[0].slice(0, ..-1, 1), p[0].slice(0, 1.., 1));
    (100.0 * (next - x.square()).square() + (1.0 - x).square()).sum()
}

pub fn doubling<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let b = t.while_loop(p[0] * 2.0, |b| b.abs().lt(1000.0), |b| b * 2.0);
    t.cond(b.gt(0.0), || b, || b * 100.0)
}

/// Newton's iteration on all elements, until the last has converged.
pub fn cube_roots<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let a = p[0];
    let root = t.while_loop(
        a.ones_like(),
        |x| (x * x * x - a).abs().ge(1e-10).any(),
        |x| x - (x * x * x - a) / (3.0 * x * x),
    );
    root.sum()
}

/// A loop in a loop, both of a length that the numbers decide: some 230 rounds of
/// some 4 steps each.
pub fn nested<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let c = p[1];
    let (x, total) = t.while_loop(
        (p[0], t.scalar(0.0)),
        |(_, total)| total.lt(20.0),
        |(x, total)| {
            let y = t.while_loop(x * x + 0.3, |y| y.gt(0.1), |y| c * y / (1.0 + y * 0.1));
            (x + 0.1 * y - 0.01 * x, total + y)
        },
    );
    x + total
}

/// Lotka and Volterra's prey and predators: a thousand steps of the classical
/// method of Runge and Kutta, and how far from (10, 5) they end.
pub fn predators<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let slope = |x: Tensor<'t>, y: Tensor<'t>| {
        let meet = x * y;
        (p[0] * x - p[1] * meet, p[3] * meet - p[2] * y)
    };
    let (x, y) = t.for_loop(STEPS as i64, (p[4], p[5]), |_, (x, y)| {
        let (a, b) = slope(x, y);
        let (c, d) = slope(x + a * (0.5 * STEP), y + b * (0.5 * STEP));
        let (e, f) = slope(x + c * (0.5 * STEP), y + d * (0.5 * STEP));
        let (g, h) = slope(x + e * STEP, y + f * STEP);
        let sixth = STEP / 6.0;
        (x + (a + 2.0 * (c + e) + g) * sixth, y + (b + 2.0 * (d + f) + h) * sixth)
    });
    (x - 10.0).square() + (y - 5.0).square()
}

/// Steps of the differential equation, and how long each is.
pub const STEPS: usize = 1_000;
/// As above.
pub const STEP: f64 = 0.01;

pub fn gated<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (x, a) = (p[0], d[0]);
    a.matmul(x).tanh() * x
}

/// Minus what ADBench calls the objective of a Gaussian mixture: the inverse covariances
/// are given by the logarithms of the diagonals and the columns below, of triangles.
/// With a Wishart prior of γ = 1 and m = 0.
pub fn mixture<'t>(t: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (alphas, means, icf, x) = (p[0], p[1], p[2], d[0]);
    let (k, dim) = (means.shape().dims()[0], means.shape().dims()[1]);
    let n = x.shape().dims()[0];
    let (logs, below) = (icf.slice(1, ..dim as i64, 1), icf.slice(1, dim as i64.., 1));
    let (q, sum_q) = (logs.exp(), logs.sum_over(1));
    let places = (0..dim).flat_map(|j| (j + 1..dim).map(move |i| (i * dim + j) as i64));
    let places = t.constant(ndarray::Array1::from_iter(places));
    let lower = t.zeros(DType::F64, [k, dim * dim]).scatter_update(places, below, 1);
    let centred = x.expand_dims(1) - means;
    let turned = t.einsum("kij,nkj->nki", [lower.reshape([k, dim, dim]), centred]);
    let inner = alphas + sum_q - 0.5 * (q * centred + turned).square().sum_over(2);
    let likelihood = inner.logsumexp_over(1).sum() - n as f64 * alphas.logsumexp();
    let prior = 0.5 * (q.square().sum() + below.square().sum());
    likelihood + prior + mixture_constant(n, k, dim)
}

/// ADBench's bundle adjustment: by how much a camera sees a point beside where the
/// picture shows it, times a weight. The parameters are, along the last axis, the
/// camera's rotation (axis times angle), place, focal length, principal point and two
/// coefficients of distortion, then the point and the weight.
pub fn reprojection<'t>(t: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    type Three<'t> = [Tensor<'t>; 3];
    let [r0, r1, r2, c0, c1, c2, focal, u, v, k1, k2, x0, x1, x2, w] = p[0].unstack(-1)[..] else {
        unreachable!("fifteen parameters")
    };
    let [seen_u, seen_v] = d[0].unstack(-1)[..] else { unreachable!("two coordinates") };
    let dot = |a: Three<'t>, b: Three<'t>| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let cross = |a: Three<'t>, b: Three<'t>| -> Three<'t> {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let (rotation, from) = ([r0, r1, r2], [x0 - c0, x1 - c1, x2 - c2]);
    // Rodrigues' formula, and its limit where the angle is zero.
    let square = dot(rotation, rotation);
    let still = square.eq(0.0);
    let angle = still.select(1.0, square).sqrt();
    let (sin, cos) = (angle.sin(), angle.cos());
    let axis = rotation.map(|r| r / angle);
    let along = dot(axis, from) * (1.0 - cos);
    let (turn, small) = (cross(axis, from), cross(rotation, from));
    let [x, y, z]: Three<'t> = std::array::from_fn(|i| {
        still.select(from[i] + small[i], from[i] * cos + turn[i] * sin + axis[i] * along)
    });
    let (x, y) = (x / z, y / z);
    let square = x * x + y * y;
    let stretch = (1.0 + k1 * square + k2 * square * square) * focal;
    t.stack([w * (x * stretch + u - seen_u), w * (y * stretch + v - seen_v)], -1)
}

/// [`reprojection`] in operations on vectors.
pub fn reprojection_of_vectors<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let parts = p[0].split(-1, [3, 3, 1, 2, 1, 1, 3, 1]);
    let [rotation, place, focal, middle, k1, k2, point, w] = parts[..] else {
        unreachable!("eight parts")
    };
    let dot = |a: Tensor<'t>, b: Tensor<'t>| (a * b).sum_over(-1).expand_dims(-1);
    let from = point - place;
    let square = dot(rotation, rotation);
    let still = square.eq(0.0);
    let angle = still.select(1.0, square).sqrt();
    let (sin, cos, axis) = (angle.sin(), angle.cos(), rotation / angle);
    let turned = from * cos + axis.cross(from) * sin + axis * (dot(axis, from) * (1.0 - cos));
    let seen = still.select(from + rotation.cross(from), turned);
    let flat = seen.slice(-1, ..2, 1) / seen.slice(-1, 2.., 1);
    let square = dot(flat, flat);
    let flat = flat * (1.0 + k1 * square + k2 * square * square);
    w * (flat * focal + middle - d[0])
}

/// The part of [`mixture`] that no parameter touches.
fn mixture_constant(n: usize, k: usize, dim: usize) -> f64 {
    let (n, k, d) = (n as f64, k as f64, dim as f64);
    let nu = d + 1.0;
    let log_gammas: f64 = (1..=dim).map(|j| libm::lgamma(0.5 * (nu + 1.0 - j as f64))).sum();
    let log_gamma = 0.25 * d * (d - 1.0) * std::f64::consts::PI.ln() + log_gammas;
    let wishart = -0.5 * nu * d * std::f64::consts::LN_2 - log_gamma;
    -0.5 * n * d * std::f64::consts::TAU.ln() - k * wishart
}

/// That many operations on scalars, each on the result of the last. The derivative
/// neither vanishes nor explodes.
pub fn chain(x: Tensor<'_>, length: usize) -> Tensor<'_> {
    (0..length / 4).fold(x, |x, _| -(x + x.sin() * 1e-4))
}
