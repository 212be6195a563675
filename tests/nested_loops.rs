//! Derivatives of high order of loops inside loops: stacks inside stacks, whose
//! cotangents are added up when several later loops read them.
#![allow(missing_docs)]

use backstitch::prelude::*;

/// `x · a⁶` by three times two multiplications.
fn sixth_power<'t>(t: &'t Trace, a: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    t.for_loop(3, x, |_, y| t.for_loop(2, y, |_, z| z * a))
}

/// The same, by loops that end when the value is large enough.
fn sixth_power_by_while<'t>(t: &'t Trace, a: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    let (i, y) = t.while_loop(
        (t.scalar(0), x),
        |(i, _)| i.lt(3),
        |(i, y)| {
            let inner = t.while_loop((t.scalar(0), y), |(j, _)| j.lt(2), |(j, z)| (j + 1, z * a));
            (i + 1, inner.1)
        },
    );
    let _ = i;
    y
}

#[test]
fn every_derivative_of_nested_loops_up_to_the_fourth() {
    type Program = for<'t> fn(&'t Trace, Tensor<'t>, Tensor<'t>) -> Tensor<'t>;
    for program in [sixth_power as Program, sixth_power_by_while as Program] {
        let f = trace(Spec::f64([]), Spec::f64([]), program).unwrap();
        let (a, x) = (2.0, 3.0);
        let mut f = f.grad().unwrap();
        for (order, falling) in [6.0, 30.0, 120.0, 360.0].into_iter().enumerate() {
            let want = falling * x * 2f64.powi(5 - order as i32);
            assert_eq!(f.eval(&a, &x).unwrap().item::<f64>(), Some(want), "order {order}");
            let compiled = f.compile().unwrap();
            assert_eq!(compiled.call(&a, &x).unwrap().item::<f64>(), Some(want), "order {order}");
            f = f.grad().unwrap();
        }
    }
}
