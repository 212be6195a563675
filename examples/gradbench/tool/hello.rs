//! `hello`: the square of a number, and its derivative.

use backstitch::prelude::*;

use super::input::output;
use super::run::{Function, Recorded};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("square", |line, run| {
        let x: f64 = run.bare_input(line)?;
        Ok(output(&run.call(square, &x, &())?))
    }),
    ("double", |line, run| {
        let x: f64 = run.bare_input(line)?;
        Ok(output(&run.call(|| square()?.grad(), &x, &())?))
    }),
];

fn square() -> Recorded<Spec, (), Spec> {
    trace(Spec::f64([]), (), |_, x, ()| x * x)
}
