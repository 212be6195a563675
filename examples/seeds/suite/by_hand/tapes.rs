//! Tutorial 2: a tape that is asked twice, and a tape inside a tape.

use backstitch::prelude::*;

use super::{Check, Outcome, What};

pub fn run(check: &mut Check<'_>) -> Outcome {
    let inputs: [_; 1] = check.inputs("seed/2/persistent_dz_dx")?;
    check.both(
        Spec::f32([]),
        &inputs,
        persistent,
        [
            ("seed/2/persistent_dz_dx", What::Gradient(0)),
            ("seed/2/persistent_dy_dx", What::Gradient(0)),
        ],
    )?;

    let cube = "seed/2/cube_second_derivative";
    let inputs: [_; 1] = check.inputs(cube)?;
    check.both(
        Spec::f32([]),
        &inputs,
        second_derivative,
        [(cube, What::Gradient(0)), (cube, What::Hessian(0, 0))],
    )
}

fn persistent<'t>(t: &'t Trace, x: Tensor<'t>) -> [Tensor<'t>; 2] {
    let tape = t.tape().persistent();
    tape.watch(&x);
    let y = x * x;
    let z = y * y;
    [tape.gradient(&z, &x).expect_connected(), tape.gradient(&y, &x).expect_connected()]
}

fn second_derivative<'t>(t: &'t Trace, x: Tensor<'t>) -> [Tensor<'t>; 2] {
    let outer = t.tape();
    outer.watch(&x);
    let inner = t.tape();
    inner.watch(&x);
    let y = x * x * x;
    let dy = inner.gradient(&y, &x).expect_connected();
    let d2y = outer.gradient(&dy, &x).expect_connected();
    [dy, d2y]
}
