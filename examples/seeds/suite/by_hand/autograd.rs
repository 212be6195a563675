//! Tutorial 3: part of a computation taken as given, and control flow that depends
//! on the data.

use backstitch::prelude::*;
use backstitch::{Array, TraceError};

use super::{COMPILED, Check, EAGER, Outcome, What};

/// The runs of `f` on a scalar.
const SCALARS: [&str; 5] = [
    "seed/3/control_flow_0",
    "seed/3/control_flow_1",
    "seed/3/control_flow_2",
    "seed/3/control_flow_3",
    "seed/3/control_flow_4",
];

pub fn run(check: &mut Check<'_>) -> Outcome {
    let name = "seed/3/detach_dz_dx";
    let inputs: [_; 1] = check.inputs(name)?;
    let wanted = [(name, What::Output(0)), (name, What::Gradient(0))];
    check.both(Spec::f32([4]), &inputs, detached, wanted)?;

    for name in SCALARS {
        let [a] = check.inputs(name)?;
        let t = Trace::eager();
        let a = t.variable(a);
        let tape = t.tape();
        let d = eager_f(a)?;
        let gradient = tape.gradient(&d, &a).expect_connected();
        check.that(EAGER, name, What::Output(0), &d.array()?)?;
        check.that(EAGER, name, What::Gradient(0), &gradient.array()?)?;
    }

    // Compiled once, for any number of repetitions and either branch.
    let f = trace(Spec::f32([]), (), f)?.value_and_grad()?.compile()?;
    for name in SCALARS {
        let [a]: [Array; 1] = check.inputs(name)?;
        let (d, gradient) = f.call(&a, &())?;
        check.that(COMPILED, name, What::Output(0), &d)?;
        check.that(COMPILED, name, What::Gradient(0), &gradient)?;
    }
    Ok(())
}

/// `u` is `x²`, but its gradient is not followed.
fn detached<'t>(t: &'t Trace, x: Tensor<'t>) -> [Tensor<'t>; 2] {
    let tape = t.tape();
    tape.watch(&x);
    let y = x * x;
    let u = y.stop_gradient();
    let z = u * x;
    [z, tape.gradient(&z, &x).expect_connected()]
}

/// In eager mode values decide as any other values do.
fn eager_f(a: Tensor<'_>) -> Result<Tensor<'_>, TraceError> {
    let mut b = a * 2.0;
    while b.norm().lt(1000.0).is_true()? {
        b = b * 2.0;
    }
    Ok(if b.sum().gt(0.0).is_true()? { b } else { 100.0 * b })
}

/// The same for the compiler: what is decided when the program runs is said with
/// `while_loop` and `cond`.
fn f<'t>(t: &'t Trace, a: Tensor<'t>, (): ()) -> Tensor<'t> {
    let b = t.while_loop(a * 2.0, |b| b.norm().lt(1000.0), |b| b * 2.0);
    t.cond(b.sum().gt(0.0), || b, || 100.0 * b)
}
