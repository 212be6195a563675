//! Tutorial 0: a product of two matrices, summed.

use backstitch::Gradients;
use backstitch::prelude::*;

use super::{Check, Outcome, What};

pub fn run(check: &mut Check<'_>) -> Outcome {
    let name = "seed/0/matmul_sum_variables";
    let inputs: [_; 2] = check.inputs(name)?;
    check.both(
        (Spec::f32([1, 2]), Spec::f32([2, 2])),
        &inputs,
        product,
        [(name, What::Output(0)), (name, What::Gradient(0)), (name, What::Gradient(1))],
    )
}

fn product<'t>(t: &'t Trace, (u, v): (Tensor<'t>, Tensor<'t>)) -> [Tensor<'t>; 3] {
    let tape = t.tape();
    tape.watch(&(u, v));
    let y = u.matmul(v).sum();
    let (du, dv) = tape.gradient(&y, &(u, v)).expect_connected();
    [y, du, dv]
}
