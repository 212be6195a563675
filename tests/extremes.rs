//! Infinite, huge and tiny arguments: where the true value and slope are finite, so
//! are those computed, in eager mode and compiled.
#![allow(missing_docs)]

use backstitch::{Array, Compile, DType, Spec, Tensor, Trace, trace, trace_tree};
use ndarray::arr1;

const INF: f64 = f64::INFINITY;

type Operation = for<'t> fn(Tensor<'t>) -> Tensor<'t>;

fn near(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let close = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= tolerance * b.abs();
    a.len() == b.len() && a.iter().zip(b).all(close)
}

/// The values at `x` and the gradient of their sum, in eager mode and compiled, are
/// those given, up to `tolerance`.
fn expect(f: Operation, x: Array, value: &[f64], gradient: &[f64], tolerance: f64) {
    let whole = trace_tree(Spec::of(&x), (), |t, x, ()| t.outputs(&f(x))).unwrap();
    let sum = trace(Spec::of(&x), (), |_, x, ()| f(x).sum()).unwrap().grad().unwrap();
    let eager = [whole.eval(&x, &()).unwrap(), sum.eval(&x, &()).unwrap()];
    let [whole, sum] = [whole.compile().unwrap(), sum.compile().unwrap()];
    let compiled = [whole.call(&x, &()).unwrap(), sum.call(&x, &()).unwrap()];
    for (mode, got) in [("eager", eager), ("compiled", compiled)] {
        let [v, g] = got.map(|a| a.to_f64_vec());
        assert!(near(&v, value, tolerance), "{mode}: values {v:?}, expected {value:?}");
        assert!(near(&g, gradient, tolerance), "{mode}: slopes {g:?}, expected {gradient:?}");
    }
}

fn f64s<const N: usize>(x: [f64; N]) -> Array {
    Array::from(arr1(&x))
}

fn f32s<const N: usize>(x: [f32; N]) -> Array {
    Array::from(arr1(&x))
}

#[test]
fn softsign_ends_at_one() {
    let x = f64s([-INF, -1e308, 1e308, INF]);
    expect(|x| x.softsign(), x, &[-1.0, -1.0, 1.0, 1.0], &[0.0; 4], 1e-15);
}

#[test]
fn gates_are_shut_and_open_at_the_ends() {
    let gates: [Operation; 5] =
        [|x| x.silu(), |x| x.mish(), |x| x.gelu(), |x| x.gelu_tanh(), |x| x.hard_silu()];
    for gate in gates {
        let x = [-INF, -1e300, -2000.0, 2000.0, 1e300, INF];
        let (value, slope) = ([0.0, 0.0, 0.0, 2000.0, 1e300, INF], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        expect(gate, f64s(x), &value, &slope, 0.0);
    }
}

#[test]
fn gelu_tanh_keeps_its_digits_left_of_zero() {
    // The value of the formula, to more digits than `f32` has.
    expect(|x| x.gelu_tanh(), f32s([-3.0]), &[-0.003637392081773], &[-0.01158416663097], 2e-6);
}

#[test]
fn asinh_of_infinity_is_infinite() {
    expect(|x| x.asinh(), f64s([-INF, INF]), &[-INF, INF], &[0.0; 2], 0.0);
    expect(
        |x| x.asinh(),
        f32s([-f32::INFINITY, 1e38]),
        &[-INF, 88.19138071433369],
        &[0.0, 1e-38],
        1e-6,
    );
}

#[test]
fn negative_powers_do_not_overflow_in_their_slopes() {
    expect(|x| x.powi(-2), f32s([1e-10]), &[1e20], &[-2e30], 1e-6);
    expect(|x| x.powi(-2), f64s([1e-80]), &[1e160], &[-2e240], 1e-14);
    expect(|x| x.powi(-3), f32s([1e-8]), &[1e24], &[-3e32], 1e-6);
}

#[test]
fn log_cosh_is_the_distance_far_out() {
    let x = f64s([-INF, -1e308, -1000.0, 1e308]);
    let value = [INF, 1e308, 1000.0 - std::f64::consts::LN_2, 1e308];
    expect(|x| x.log_cosh(x.zeros_like()), x, &value, &[-1.0, -1.0, -1.0, 1.0], 1e-15);
}

#[test]
fn huber_is_straight_far_out() {
    let x = f64s([-INF, -1e308, 1e308, INF]);
    let f: Operation = |x| x.huber(x.zeros_like(), 0.5);
    expect(f, x, &[INF, 5e307, 5e307, INF], &[-0.5, -0.5, 0.5, 0.5], 1e-15);
}

#[test]
fn sure_predictions_that_are_right_cost_nothing() {
    // Labels are 1 where the logit is positive.
    let f: Operation = |x| x.bce_with_logits(x.gt(0).cast(DType::F64));
    let e = (-50.0f64).exp();
    let x = f64s([-INF, -50.0, 50.0, INF]);
    expect(f, x, &[0.0, e, e, 0.0], &[0.0, e, -e, 0.0], 1e-12);
}

#[test]
fn a_rate_of_zero_counts_nothing() {
    let f: Operation = |x| x.poisson_nll(x.zeros_like());
    expect(f, f64s([-INF, 0.0]), &[0.0, 1.0], &[0.0, 1.0], 0.0);
}

#[test]
fn large_logits_cost_no_digits() {
    let f: Operation = |x| x.sparse_cross_entropy(x.trace().zeros(DType::I64, []));
    let (loss, p) = (1.3132616875182228, 0.2689414213699951);
    expect(f, f32s([1e8, 1e8 + 8.0]), &[8.0003354], &[-0.99966466, 0.99966466], 1e-6);
    expect(f, f64s([1e12, 1e12 + 1.0]), &[loss], &[p - 1.0, 1.0 - p], 1e-14);
    // Right beyond doubt, as dense cross entropy has it.
    expect(f, f64s([INF, 0.0]), &[0.0], &[0.0, 0.0], 0.0);
}

#[test]
fn quantiles_at_infinity_belong_to_the_elements_that_are_infinite() {
    expect(
        |x| x.quantile(0.0, 0),
        f64s([1.0, -INF, 2.0, -INF]),
        &[-INF],
        &[0.0, 0.5, 0.0, 0.5],
        0.0,
    );
    expect(|x| x.median(0), f64s([INF, 1.0, INF]), &[INF], &[0.5, 0.0, 0.5], 0.0);
    expect(
        |x| x.nan_median(0),
        f64s([f64::NAN, -INF, -INF, 1.0]),
        &[-INF],
        &[0.0, 0.5, 0.5, 0.0],
        0.0,
    );
    let third = 1.0 / 3.0;
    expect(|x| x.median(0), f64s([0.1, 0.1, 0.1]), &[0.1], &[third; 3], 1e-15);
}

#[test]
fn what_is_beyond_all_elements_is_found_behind_them() -> Result<(), Box<dyn std::error::Error>> {
    for n in 1..9 {
        let t = Trace::eager();
        let sorted = t.iota(DType::F64, [n], 0);
        let at = sorted.search_sorted(t.constant(arr1(&[-INF, 0.5, INF])));
        assert_eq!(at.array()?.to_f64_vec(), [0.0, 1.0, n as f64]);
    }
    Ok(())
}
