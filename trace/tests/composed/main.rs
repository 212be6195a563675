//! Operations that are composed of others: values, first and second derivatives.

mod indices;
mod losses;
mod networks;
mod products;
mod reductions;
mod shapes;

use backstitch_trace::{Array, Problem, Spec, Tensor, Trace, trace};
use ndarray::{ArrayD, IxDyn};

/// Numbers without pattern in (-1, 1).
fn noise(dims: &[usize], seed: u64) -> ArrayD<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    ArrayD::from_shape_fn(IxDyn(dims), |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// The value of a program of one array, computed eagerly.
fn value(f: impl for<'t> Fn(&'t Trace, Tensor<'t>) -> Tensor<'t>, x: impl Into<Array>) -> Vec<f64> {
    let t = Trace::eager();
    let x = t.constant(x);
    f(&t, x).array().unwrap_or_else(|e| panic!("{e}")).to_f64_vec()
}

/// The gradient of the sum of the results.
fn gradient(f: impl for<'t> Fn(&'t Trace, Tensor<'t>) -> Tensor<'t>, x: &ArrayD<f64>) -> Vec<f64> {
    let f = trace(Spec::f64(x.shape()), (), |t, x, ()| f(t, x).sum()).unwrap();
    f.grad().unwrap().eval(x, &()).unwrap().to_f64_vec()
}

/// The second derivative of the sum of the results along a direction.
fn second(
    f: impl for<'t> Fn(&'t Trace, Tensor<'t>) -> Tensor<'t>,
    x: &ArrayD<f64>,
    direction: &ArrayD<f64>,
) -> Vec<f64> {
    let f = trace(Spec::f64(x.shape()), (), |t, x, ()| f(t, x).sum()).unwrap();
    f.hvp().unwrap().eval(x, &((), direction)).unwrap().to_f64_vec()
}

#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        let near = (a - b).abs() <= tolerance * b.abs().max(1.0);
        assert!(near || a == b || a.is_nan() && b.is_nan(), "{i}: {a} and {b}");
    }
}

/// First and second derivatives along a direction against differences.
#[track_caller]
fn smooth(f: impl for<'t> Fn(&'t Trace, Tensor<'t>) -> Tensor<'t>, x: &ArrayD<f64>) {
    // Weighted results, so that what cancels in their sum is seen.
    let f = trace(Spec::f64(x.shape()), (), |t, x, ()| {
        let y = f(t, x);
        let weights = noise(y.shape().dims(), 77);
        (y * t.constant(weights)).sum()
    });
    let f = f.unwrap();
    let (slope, curve) = (f.grad().unwrap(), f.hvp().unwrap());
    let along = noise(x.shape(), 99);
    let h = 1e-5;
    let (up, down) = (x + &(&along * h), x - &(&along * h));
    let at = |x: &ArrayD<f64>| f.eval(x, &()).unwrap().to_f64_vec()[0];
    let slope = |x: &ArrayD<f64>| slope.eval(x, &()).unwrap().to_f64_vec();
    let along_slope: f64 = slope(x).iter().zip(&along).map(|(a, b)| a * b).sum();
    close(&[along_slope], &[(at(&up) - at(&down)) / (2.0 * h)], 1e-7);
    let difference: Vec<f64> =
        slope(&up).iter().zip(slope(&down)).map(|(a, b)| (a - b) / (2.0 * h)).collect();
    close(&curve.eval(x, &((), &along)).unwrap().to_f64_vec(), &difference, 1e-6);
}

/// The mistakes of results that all have one, of the sorts that are expected.
#[track_caller]
fn mistakes(t: &Trace, wrong: &[(Tensor<'_>, Problem)]) -> Vec<String> {
    for (i, (x, _)) in wrong.iter().enumerate() {
        assert!(x.array().is_err(), "case {i} is wrong");
    }
    let e = t.check().unwrap_err();
    assert_eq!(e.mistakes.len(), wrong.len(), "{e}");
    for (m, (_, problem)) in e.mistakes.iter().zip(wrong) {
        assert!(m.place.file().contains("tests"), "{m}");
        assert_eq!(m.problem, *problem, "{m}");
    }
    e.mistakes.iter().map(|m| format!("{}: {}", m.operation, m.message)).collect()
}
