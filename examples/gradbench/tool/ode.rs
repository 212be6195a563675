//! `ode`: the classical method of Runge and Kutta on y₀' = x₀, yᵢ' = xᵢ yᵢ₋₁, from 0 to 2,
//! and the gradient of the last component at the end.

use backstitch::DType;
use backstitch::prelude::*;
use ndarray::Array1;
use serde::Deserialize;

use super::input::{output, positive};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("primal", |line, run| {
        let (x, steps) = run.input::<Input>(line)?.parts()?;
        let n = x.len();
        Ok(output(&run.call(|| trace(Spec::f64([n]), (), |t, x, ()| end(t, x, steps)), &x, &())?))
    }),
    ("gradient", |line, run| {
        let (x, steps) = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| last(x.len(), steps)?.grad(), &x, &())?))
    }),
];

#[derive(Deserialize)]
struct Input {
    x: Vec<f64>,
    s: usize,
}

impl Input {
    fn parts(self) -> Result<(Array1<f64>, i64)> {
        positive("the length of x", self.x.len())?;
        Ok((self.x.into(), i64::try_from(positive("s", self.s)?)?))
    }
}

fn last(n: usize, steps: i64) -> Recorded<Spec, (), Spec> {
    trace(Spec::f64([n]), (), |t, x, ()| end(t, x, steps).index(0, -1))
}

/// Where the solution is after so many steps.
fn end<'t>(t: &'t Trace, x: Tensor<'t>, steps: i64) -> Tensor<'t> {
    let h = 2.0 / steps as f64;
    let one = t.ones(DType::F64, [1]);
    let slope = |y: Tensor<'t>| x * t.concat([one, y.slice(0, ..-1, 1)], 0);
    t.for_loop(steps, x.zeros_like(), |_, y| {
        let k1 = slope(y);
        let k2 = slope(y + k1 * (h / 2.0));
        let k3 = slope(y + k2 * (h / 2.0));
        let k4 = slope(y + k3 * h);
        y + (k1 + 2.0 * (k2 + k3) + k4) * (h / 6.0)
    })
}
