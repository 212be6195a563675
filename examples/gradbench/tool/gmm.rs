//! `gmm`: the logarithm of the posterior of a mixture of Gaussians.
//!
//! ‖Q (x − μ)‖² for all points and all triangles Q is one product of matrices, of the
//! points and all Q beside each other, less Q μ. Nothing depends on differences x − μ then,
//! and the reverse has one product more, for all Q.

use backstitch::DType;
use backstitch::prelude::*;
use ndarray::{Array1, Array2};
use serde::Deserialize;
use serde_json::json;

use super::input::{Rows, matrix, output, positive, vector};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("objective", |line, run| {
        let (mixture, x, sizes) = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| program(sizes), &mixture, &x)?))
    }),
    ("jacobian", |line, run| {
        let (mixture, x, sizes) = run.input::<Input>(line)?.parts()?;
        let g = run.call(|| program(sizes)?.grad(), &mixture, &x)?;
        let (alpha, mu, q, l) = (output(&g.0), output(&g.1), output(&g.2), output(&g.3));
        Ok(json!({ "alpha": alpha, "mu": mu, "q": q, "l": l }))
    }),
];

#[derive(Deserialize)]
struct Input {
    d: usize,
    k: usize,
    n: usize,
    alpha: Vec<f64>,
    mu: Rows,
    q: Rows,
    l: Rows,
    x: Rows,
    m: u32,
    gamma: f64,
}

/// Logarithms of the weights, means, logarithms of the diagonals of the triangles, and
/// what is below, column by column.
type Mixture<T> = (T, T, T, T);

#[derive(Clone, Copy)]
struct Sizes {
    d: usize,
    k: usize,
    n: usize,
    m: u32,
    gamma: f64,
}

type Parts = ((Array1<f64>, Array2<f64>, Array2<f64>, Array2<f64>), Array2<f64>, Sizes);

impl Input {
    fn parts(self) -> Result<Parts> {
        let Self { m, gamma, .. } = self;
        let (d, k, n) = (positive("d", self.d)?, positive("k", self.k)?, positive("n", self.n)?);
        let mu = matrix("mu", &self.mu, [k, d])?;
        let below = d.checked_mul(d - 1).ok_or("`d` is too large")? / 2;
        let (q, l) = (matrix("q", &self.q, [k, d])?, matrix("l", &self.l, [k, below])?);
        let alpha = vector("alpha", self.alpha, k)?;
        Ok(((alpha, mu, q, l), matrix("x", &self.x, [n, d])?, Sizes { d, k, n, m, gamma }))
    }
}

fn program(sizes: Sizes) -> Recorded<Mixture<Spec>, Spec, Spec> {
    let Sizes { d, k, n, m, gamma } = sizes;
    let square = Spec::f64([k, d]);
    let mixture = (Spec::f64([k]), square.clone(), square, Spec::f64([k, d * (d - 1) / 2]));
    trace(mixture, Spec::f64([n, d]), |t, (alpha, mu, q, l), x| {
        let (diagonal, sum_q) = (q.exp(), q.sum_over(1));
        let triangles = triangles(t, diagonal, l);
        let turned = x.matmul(triangles.reshape([k * d, d]).transpose()).reshape([n, k, d]);
        let middle = t.einsum("kij,kj->ki", [triangles, mu]);
        let inner = alpha + sum_q - 0.5 * (turned - middle).square().sum_over(2);
        let likelihood = inner.logsumexp_over(-1).sum() - n as f64 * alpha.logsumexp();
        let frobenius = diagonal.square().sum() + l.square().sum();
        let prior = f64::from(m) * sum_q.sum() - 0.5 * gamma * gamma * frobenius;
        likelihood + prior + constant(sizes)
    })
}

/// The matrices with these diagonals, and these columns below.
fn triangles<'t>(t: &'t Trace, diagonal: Tensor<'t>, below: Tensor<'t>) -> Tensor<'t> {
    let [k, d] = diagonal.shape().dims()[..] else { unreachable!("a row for each matrix") };
    let on = (0..d).map(|j| j * d + j);
    let under = (0..d).flat_map(|j| (j + 1..d).map(move |i| i * d + j));
    let places = on.chain(under).map(|place| place as i64);
    let places = t.constant(Array1::from_iter(places));
    let elements = t.concat([diagonal, below], 1);
    t.zeros(DType::F64, [k, d * d]).scatter_add(places, elements, 1).reshape([k, d, d])
}

/// What no parameter touches.
fn constant(Sizes { d, k, n, m, gamma }: Sizes) -> f64 {
    let (d, k, n) = (d as f64, k as f64, n as f64);
    let freedom = d + f64::from(m) + 1.0;
    let log_gammas: f64 =
        (1..=d as u32).map(|j| libm::lgamma(0.5 * (freedom + 1.0 - f64::from(j)))).sum();
    let log_gamma = 0.25 * d * (d - 1.0) * std::f64::consts::PI.ln() + log_gammas;
    let wishart = freedom * d * (gamma.ln() - 0.5 * std::f64::consts::LN_2) - log_gamma;
    -0.5 * n * d * std::f64::consts::TAU.ln() + k * wishart
}
