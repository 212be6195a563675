//! Tutorial 4: linear regression and a dense layer with a tape over their
//! variables, several targets, and a Jacobian.

use std::collections::BTreeMap;

use backstitch::prelude::*;
use backstitch::{Activation, Array, DType, Gradients};

use super::{COMPILED, Check, EAGER, Outcome, What};

type Batch<T> = (T, T);

pub fn run(check: &mut Check<'_>) -> Outcome {
    layer(check, "seed/4/linear_regression", Activation::Linear)?;
    for name in ["seed/4/dense_relu_0", "seed/4/dense_relu_1", "seed/4/dense_relu_2"] {
        layer(check, name, Activation::Relu)?;
    }

    let name = "seed/4/dict_of_targets";
    let inputs: [_; 1] = check.inputs(name)?;
    check.both(Spec::f32([]), &inputs, several_targets, [(name, What::Gradient(0))])?;

    let name = "seed/4/jacobian";
    let inputs: [_; 1] = check.inputs(name)?;
    let wanted = [(name, What::Output(0)), (name, What::Jacobian(0, 0))];
    check.both(Spec::f32([3]), &inputs, jacobian, wanted)
}

/// A layer is a tree: its gradient is a layer again.
fn layer(check: &mut Check<'_>, name: &str, activation: Activation) -> Outcome {
    let [x, y, kernel, bias]: [Array; 4] = check.inputs(name)?;
    let layer = Dense { kernel, bias, activation };

    let t = Trace::eager();
    let batch = (t.constant(x.clone()), t.constant(y.clone()));
    let variables = layer.map_leaves(&mut |w: &Array| t.variable(w.clone()));
    let tape = t.tape();
    let loss = mean_square(&t, variables, batch);
    let gradient = tape.gradient(&loss, &variables).expect_connected();
    check.that(EAGER, name, What::Output(0), &loss.array()?)?;
    check.that(EAGER, name, What::Gradient(0), &gradient.kernel.array()?)?;
    check.that(EAGER, name, What::Gradient(1), &gradient.bias.array()?)?;

    let specs = Dense::spec(DType::F32, 3, 1, activation);
    let f = trace(specs, (Spec::f32([2, 3]), Spec::f32([2, 1])), mean_square)?;
    let (loss, gradient) = f.value_and_grad()?.compile()?.call(&layer, &(&x, &y))?;
    check.that(COMPILED, name, What::Output(0), &loss)?;
    check.that(COMPILED, name, What::Gradient(0), &gradient.kernel)?;
    check.that(COMPILED, name, What::Gradient(1), &gradient.bias)
}

fn mean_square<'t>(
    _: &'t Trace,
    layer: Dense<Tensor<'t>>,
    (x, y): Batch<Tensor<'t>>,
) -> Tensor<'t> {
    (layer.call(x) - y).square().mean()
}

/// The gradient of several targets is that of their sum.
fn several_targets<'t>(t: &'t Trace, x: Tensor<'t>) -> [Tensor<'t>; 1] {
    let tape = t.tape();
    tape.watch(&x);
    let targets = BTreeMap::from([("y0", x.square()), ("y1", -4.0 * x)]);
    [tape.gradient(&targets, &x).expect_connected()]
}

fn jacobian<'t>(t: &'t Trace, x: Tensor<'t>) -> [Tensor<'t>; 2] {
    let tape = t.tape();
    tape.watch(&x);
    let [x0, x1, x2] = [x.index(0, 0), x.index(0, 1), x.index(0, 2)];
    let y = t.stack([2.0 * x0.square(), x1.powi(3), x2 + x1], 0);
    [y, tape.jacobian(&y, &x).expect_connected()]
}
