//! Tutorial 1: the chain rule. The gradient with respect to an intermediate result,
//! and one that does not exist.

use backstitch::prelude::*;

use super::{COMPILED, Check, EAGER, Outcome, What};

/// x, w1, b1, w2, b2
type Params<T> = (T, T, T, T, T);

pub fn run(check: &mut Check<'_>) -> Outcome {
    let inputs: [_; 5] = check.inputs("seed/1/chain_dy2_dy1")?;
    let scalar = || Spec::f32([]);
    check.both(
        (scalar(), scalar(), scalar(), scalar(), scalar()),
        &inputs,
        chain,
        [
            ("seed/1/chain_dy2_dy1", What::Gradient(0)),
            ("seed/1/chain_dy1_dw1", What::Gradient(0)),
            ("seed/1/chain_dy2_dw1", What::Gradient(0)),
            ("seed/1/chain_dy2_dw2", What::Gradient(0)),
        ],
    )?;

    // y1 comes before w2: there is no gradient, and both modes say why.
    let name = "seed/1/chain_dy1_dw2_none";
    let t = Trace::eager();
    let [x, w1, b1, w2, _] = inputs.map(|input| t.variable(input));
    let tape = t.tape();
    let y1 = x * w1 + b1;
    let none = tape.gradient(&y1, &w2);
    check.missing(EAGER, name, none.status())?;

    let y1 = trace(scalar(), (scalar(), scalar(), scalar()), |_, _w2, (x, w1, b1)| x * w1 + b1)?;
    check.missing(COMPILED, name, &y1.gradient_status())
}

fn chain<'t>(t: &'t Trace, (x, w1, b1, w2, b2): Params<Tensor<'t>>) -> [Tensor<'t>; 4] {
    let tape = t.tape().persistent();
    tape.watch(&(w1, b1, w2, b2));
    let y1 = x * w1 + b1;
    let y2 = y1 * w2 + b2;
    [
        tape.gradient(&y2, &y1).expect_connected(),
        tape.gradient(&y1, &w1).expect_connected(),
        tape.gradient(&y2, &w1).expect_connected(),
        tape.gradient(&y2, &w2).expect_connected(),
    ]
}
