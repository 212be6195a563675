//! `lse`: the logarithm of a sum of exponentials, of its parts.

use backstitch::prelude::*;
use ndarray::Array1;
use serde::Deserialize;

use super::input::{output, positive};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("primal", |line, run| {
        let x = run.input::<Input>(line)?.numbers()?;
        Ok(output(&run.call(|| program(x.len()), &x, &())?))
    }),
    ("gradient", |line, run| {
        let x = run.input::<Input>(line)?.numbers()?;
        Ok(output(&run.call(|| program(x.len())?.grad(), &x, &())?))
    }),
];

#[derive(Deserialize)]
struct Input {
    x: Vec<f64>,
}

impl Input {
    fn numbers(self) -> Result<Array1<f64>> {
        positive("the length of x", self.x.len())?;
        Ok(self.x.into())
    }
}

fn program(n: usize) -> Recorded<Spec, (), Spec> {
    trace(Spec::f64([n]), (), |_, x, ()| {
        let most = x.max();
        (x - most).exp().sum().log() + most
    })
}
