//! `llsq`: a polynomial that is to be the sign function, at `n` points of [-1, 1].
//!
//! With t the points and m coefficients, Σⱼ xⱼ tʲ is Σₐ (t^w)ᵃ Σᵦ x(wa+b) tᵇ: of the powers
//! only the first w and each w-th are computed, by repeated multiplication and in each
//! run, and what remains is a product of matrices. The number of points is data, so that
//! no compiler knows the powers.

use backstitch::DType;
use backstitch::prelude::*;
use ndarray::Array1;
use serde::Deserialize;

use super::input::{output, positive};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("primal", |line, run| {
        let (x, n) = run.input::<Input>(line)?.parts()?;
        let last = n as f64 - 1.0;
        Ok(output(&run.call(|| program(x.len(), n), &x, &last)?))
    }),
    ("gradient", |line, run| {
        let (x, n) = run.input::<Input>(line)?.parts()?;
        let last = n as f64 - 1.0;
        Ok(output(&run.call(|| program(x.len(), n)?.grad(), &x, &last)?))
    }),
];

#[derive(Deserialize)]
struct Input {
    x: Vec<f64>,
    n: usize,
}

impl Input {
    fn parts(self) -> Result<(Array1<f64>, usize)> {
        positive("the length of x", self.x.len())?;
        Ok((self.x.into(), positive("n", self.n)?))
    }
}

/// Half the sum of squares of what the polynomial misses. Data: the number of the last
/// point, counted from 0.
fn program(m: usize, n: usize) -> Recorded<Spec, Spec, Spec> {
    let width = m.isqrt().next_power_of_two();
    let rows = m.div_ceil(width);
    trace(Spec::f64([m]), Spec::f64([]), |t, x, last| {
        let points = t.iota(DType::F64, [n], 0) * 2.0 / last - 1.0;
        let short = powers(points, width);
        let step = short.index(1, -1) * points;
        let coefficients = x.pad([(0, rows * width - m)], 0.0).reshape([rows, width]);
        let parts = short.matmul(coefficients.transpose()) * powers(step, rows);
        (points.sign() - parts.sum_over(1)).square().sum() * 0.5
    })
}

/// The first so many powers of each, from 1 on.
fn powers<'t>(base: Tensor<'t>, count: usize) -> Tensor<'t> {
    let next = |&power: &Tensor<'t>| Some(power * base);
    let all = std::iter::successors(Some(base.ones_like()), next).take(count);
    base.trace().stack(all.collect::<Vec<_>>(), 1)
}
