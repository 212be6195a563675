//! The workloads: what they compute, and on what.
//!
//! Each is the plain formula, as one would write it in any system; inputs of the
//! same names and shapes are used everywhere.

use backstitch::{DType, Tensor, Trace};

use crate::matrices::Matrix;

/// A program and the inputs it is to be run on.
pub struct Workload {
    /// What it is called: a number, and what it is.
    pub name: &'static str,
    /// Element type of all that goes in and out.
    pub dtype: DType,
    /// What it is differentiated by.
    pub params: &'static [Input],
    /// What else it takes.
    pub data: &'static [Input],
    /// The value.
    pub loss: Loss,
}

/// A program: from parameters and data to a scalar.
pub type Loss = for<'t> fn(&'t Trace, &[Tensor<'t>], &[Tensor<'t>]) -> Tensor<'t>;

/// An input.
pub struct Input {
    pub name: &'static str,
    pub dims: &'static [usize],
    /// Where it is not given, it is drawn from this.
    pub from: Distribution,
}

/// Where inputs come from that are not given.
#[derive(Clone, Copy)]
pub enum Distribution {
    /// That number.
    Constant(f64),
    /// Normal, of mean 0 and this deviation.
    Normal(f64),
    /// 0 or 1, as likely as not.
    Coin,
    /// Between these numbers.
    Uniform(f64, f64),
}

use Distribution::{Coin, Constant, Normal, Uniform};

const fn input(name: &'static str, dims: &'static [usize], from: Distribution) -> Input {
    Input { name, dims, from }
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "W01_scalar",
        dtype: DType::F32,
        params: &[input("w1", &[], Constant(5.0)), input("w2", &[], Constant(3.0))],
        data: &[],
        loss: scalar,
    },
    Workload {
        name: "W03_linreg_small",
        dtype: DType::F32,
        params: &[input("W", &[3, 1], Normal(1.0)), input("b", &[1], Normal(1.0))],
        data: &[input("X", &[2, 3], Normal(1.0)), input("y", &[2, 1], Normal(1.0))],
        loss: linear_regression,
    },
    Workload {
        name: "W04_linreg_big",
        dtype: DType::F32,
        params: &[input("W", &[100, 1], Normal(0.1)), input("b", &[1], Normal(1.0))],
        data: &[input("X", &[10_000, 100], Normal(1.0)), input("y", &[10_000, 1], Normal(1.0))],
        loss: linear_regression,
    },
    Workload {
        name: "W05_logreg",
        dtype: DType::F32,
        params: &[input("w", &[100], Normal(0.1)), input("b", &[], Normal(1.0))],
        data: &[input("X", &[10_000, 100], Normal(1.0)), input("t", &[10_000], Coin)],
        loss: logistic_regression,
    },
    Workload {
        name: "W06a_elem_1e3",
        dtype: DType::F32,
        params: &[input("x", &[1_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W06b_elem_1e5",
        dtype: DType::F32,
        params: &[input("x", &[100_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W06c_elem_1e7",
        dtype: DType::F32,
        params: &[input("x", &[10_000_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W06d_elem_1e5_f64",
        dtype: DType::F64,
        params: &[input("x", &[100_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W07_poly_1e6",
        dtype: DType::F32,
        params: &[
            input("a", &[], Constant(0.3)),
            input("b", &[], Constant(-0.7)),
            input("c", &[], Constant(0.2)),
        ],
        data: &[input("x", &[1_000_000], Normal(1.0)), input("y", &[1_000_000], Normal(1.0))],
        loss: polynomial,
    },
    Workload {
        name: "W08_mlp_small",
        dtype: DType::F32,
        params: &[
            input("W1", &[16, 32], Normal(0.25)),
            input("b1", &[32], Normal(0.1)),
            input("W2", &[32, 32], Normal(0.18)),
            input("b2", &[32], Normal(0.1)),
            input("W3", &[32, 1], Normal(0.18)),
            input("b3", &[1], Normal(0.1)),
        ],
        data: &[input("x", &[32, 16], Normal(1.0)), input("y", &[32, 1], Normal(1.0))],
        loss: perceptron,
    },
    Workload {
        name: "W10_ln_lse",
        dtype: DType::F32,
        params: &[
            input("x", &[512, 1024], Normal(1.0)),
            input("g", &[1024], Normal(0.1)),
            input("b", &[1024], Normal(0.1)),
        ],
        data: &[],
        loss: normalised,
    },
    Workload {
        name: "W11_attention",
        dtype: DType::F32,
        params: &[
            input("Wq", &[64, 64], Normal(0.125)),
            input("Wk", &[64, 64], Normal(0.125)),
            input("Wv", &[64, 64], Normal(0.125)),
            input("Wo", &[64, 64], Normal(0.125)),
        ],
        data: &[input("x", &[4, 128, 64], Normal(1.0))],
        loss: attention,
    },
    Workload {
        name: "W12_lstm",
        dtype: DType::F32,
        params: &[
            input("Wx", &[64, 256], Normal(0.125)),
            input("Wh", &[64, 256], Normal(0.125)),
            input("b", &[256], Normal(0.1)),
        ],
        data: &[input("xs", &[100, 16, 64], Normal(1.0))],
        loss: lstm,
    },
    Workload {
        name: "W13b_rosen_grad",
        dtype: DType::F64,
        params: &[input("x", &[100], Normal(1.0))],
        data: &[],
        loss: rosenbrock,
    },
    Workload {
        name: "W02_while",
        dtype: DType::F32,
        params: &[input("a", &[], Constant(0.37))],
        data: &[],
        loss: doubling,
    },
    Workload {
        name: "W17_newton",
        dtype: DType::F64,
        params: &[input("a", &[1_000], Uniform(1.0, 8.0))],
        data: &[],
        loss: cube_roots,
    },
    Workload {
        name: "W18_nested",
        dtype: DType::F64,
        params: &[input("a", &[], Constant(0.8)), input("c", &[], Constant(0.7))],
        data: &[],
        loss: nested,
    },
    Workload {
        name: "W19_ode",
        dtype: DType::F64,
        params: &[
            input("alpha", &[], Constant(1.1)),
            input("beta", &[], Constant(0.4)),
            input("gamma", &[], Constant(0.4)),
            input("delta", &[], Constant(0.1)),
            input("x", &[], Constant(10.0)),
            input("y", &[], Constant(5.0)),
        ],
        data: &[],
        loss: predators,
    },
    Workload {
        name: "W15_gmm",
        dtype: DType::F64,
        params: &[
            input("alphas", &[25], Normal(1.0)),
            input("means", &[25, 10], Normal(1.0)),
            input("icf", &[25, 55], Normal(1.0)),
        ],
        data: &[input("x", &[1000, 10], Normal(1.0))],
        loss: mixture,
    },
];

fn scalar<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let (w1, w2) = (p[0], p[1]);
    3.0 * w1 * w1 + 2.0 * w1 * w2
}

fn linear_regression<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (w, b, x, y) = (p[0], p[1], d[0], d[1]);
    (x.matmul(w) + b - y).square().mean()
}

fn logistic_regression<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (w, b, x, t) = (p[0], p[1], d[0], d[1]);
    let z = x.matmul(w) + b;
    (z.softplus() - t * z).mean()
}

fn elementwise<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let x = p[0];
    (x.tanh() * (-x * x).exp() + x.sin().square() * x.sigmoid()).sum()
}

fn polynomial<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (a, b, c, x, y) = (p[0], p[1], p[2], d[0], d[1]);
    (a * x * x + b * x + c - y).square().mean()
}

fn perceptron<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (x, y) = (d[0], d[1]);
    let h = (x.matmul(p[0]) + p[1]).tanh();
    let h = (h.matmul(p[2]) + p[3]).tanh();
    (h.matmul(p[4]) + p[5] - y).square().mean()
}

fn normalised<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let y = p[0].layer_norm(p[1], p[2], 1e-5);
    (y.logsumexp_over(1) - y.index(1, 0)).mean()
}

fn attention<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (q, k, v) = (d[0].matmul(p[0]), d[0].matmul(p[1]), d[0].matmul(p[2]));
    let weights = (q.matmul(k.swap_axes(1, 2)) * 0.125).softmax(-1);
    weights.matmul(v).matmul(p[3]).square().mean()
}

fn lstm<'t>(t: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
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

fn rosenbrock<'t>(_: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let (x, next) = (p[0].slice(0, ..-1, 1), p[0].slice(0, 1.., 1));
    (100.0 * (next - x.square()).square() + (1.0 - x).square()).sum()
}

fn doubling<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
    let b = t.while_loop(p[0] * 2.0, |b| b.abs().lt(1000.0), |b| b * 2.0);
    t.cond(b.gt(0.0), || b, || b * 100.0)
}

/// Newton's iteration on all elements, until the last has converged.
fn cube_roots<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
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
fn nested<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
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
fn predators<'t>(t: &'t Trace, p: &[Tensor<'t>], _: &[Tensor<'t>]) -> Tensor<'t> {
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

/// Workloads whose derivative is a matrix.
pub const MATRICES: &[(Workload, Matrix)] = &[
    (
        Workload {
            name: "W13_rosen_hess",
            dtype: DType::F64,
            params: &[input("x", &[100], Normal(1.0))],
            data: &[],
            loss: rosenbrock,
        },
        Matrix::Hessian,
    ),
    (
        Workload {
            name: "W14_jacobian",
            dtype: DType::F32,
            params: &[input("x", &[64], Normal(1.0))],
            data: &[input("A", &[64, 64], Normal(0.125))],
            loss: gated,
        },
        Matrix::Jacobian,
    ),
];

fn gated<'t>(_: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
    let (x, a) = (p[0], d[0]);
    a.matmul(x).tanh() * x
}

/// Minus what ADBench calls the objective of a Gaussian mixture: the inverse covariances
/// are given by the logarithms of the diagonals and the columns below, of triangles.
/// With a Wishart prior of γ = 1 and m = 0.
fn mixture<'t>(t: &'t Trace, p: &[Tensor<'t>], d: &[Tensor<'t>]) -> Tensor<'t> {
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

/// The part of [`mixture`] that no parameter touches.
fn mixture_constant(n: usize, k: usize, dim: usize) -> f64 {
    let (n, k, d) = (n as f64, k as f64, dim as f64);
    let nu = d + 1.0;
    let log_gammas: f64 = (1..=dim).map(|j| libm::lgamma(0.5 * (nu + 1.0 - j as f64))).sum();
    let log_gamma = 0.25 * d * (d - 1.0) * std::f64::consts::PI.ln() + log_gammas;
    let wishart = -0.5 * nu * d * std::f64::consts::LN_2 - log_gamma;
    -0.5 * n * d * std::f64::consts::TAU.ln() - k * wishart
}

/// The lengths of the chains that compilation is timed with.
pub const CHAINS: [(&str, usize); 2] = [("chain_1000", 1_000), ("chain_10000", 10_000)];

/// That many operations on scalars, each on the result of the last. The derivative
/// neither vanishes nor explodes.
pub fn chain(x: Tensor<'_>, length: usize) -> Tensor<'_> {
    (0..length / 4).fold(x, |x, _| -(x + x.sin() * 1e-4))
}
