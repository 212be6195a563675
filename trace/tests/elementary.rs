//! Values and derivatives of elementary functions where they are not ordinary.
#![allow(missing_docs)]

use backstitch_trace::{Tensor, Trace};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

fn same(got: &[f64], want: &[f64]) -> bool {
    let near = |(&g, &w): (&f64, &f64)| {
        g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-12 * w.abs()
    };
    got.len() == want.len() && got.iter().zip(want).all(near)
}

/// Value, derivatives by both arguments, at pairs of arguments.
fn check_pairs(
    name: &str,
    f: for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>,
    cases: &[([f64; 2], [f64; 3])],
) {
    for &([x, y], want) in cases {
        let t = Trace::eager();
        let (x, y) = (t.constant(x), t.constant(y));
        let tape = t.tape();
        tape.watch(&x);
        tape.watch(&y);
        let out = f(x, y);
        let [dx, dy] = tape.gradient(&out, &[x, y]).map(|g| g.or_zeros());
        let got = [out, dx, dy].map(|v| v.item::<f64>().unwrap());
        assert!(same(&got, &want), "{name} of {x:?}, {y:?}: {got:?}, not {want:?}");
    }
}

/// Value, first and second derivative.
fn check(name: &str, f: for<'t> fn(Tensor<'t>) -> Tensor<'t>, cases: &[(f64, [f64; 3])]) {
    for &(at, want) in cases {
        let t = Trace::eager();
        let x = t.constant(at);
        let outer = t.tape();
        outer.watch(&x);
        let inner = t.tape();
        inner.watch(&x);
        let y = f(x);
        let slope = inner.gradient(&y, &x).or_zeros();
        let curvature = outer.gradient(&slope, &x).or_zeros();
        let got = [y, slope, curvature].map(|v| v.item::<f64>().unwrap());
        assert!(same(&got, &want), "{name} at {at}: {got:?}, not {want:?}");
    }
}

#[test]
fn derivatives_at_origins_are_0() {
    check_pairs(
        "atan2",
        |x, y| x.atan2(y),
        &[([0.0, 0.0], [0.0; 3]), ([1.0, 0.0], [PI_2, 0.0, -1.0])],
    );
    check_pairs(
        "hypot",
        |x, y| x.hypot(y),
        &[([0.0, 0.0], [0.0; 3]), ([3.0, 4.0], [5.0, 0.6, 0.8])],
    );
    check("hypot(x, x)", |x| x.hypot(x), &[(0.0, [0.0; 3])]);
}

const PI_2: f64 = std::f64::consts::FRAC_PI_2;

#[test]
fn sums_of_exponentials_of_infinities() {
    check_pairs(
        "logaddexp",
        |x, y| x.logaddexp(y),
        &[
            ([-INF, -INF], [-INF, 0.0, 0.0]),
            ([INF, 1.0], [INF, 1.0, 0.0]),
            ([1.0, INF], [INF, 0.0, 1.0]),
            ([INF, -INF], [INF, 1.0, 0.0]),
            ([-INF, 2.0], [2.0, 0.0, 1.0]),
            ([2.0, -INF], [2.0, 1.0, 0.0]),
            ([2.0, 2.0], [2.0 + std::f64::consts::LN_2, 0.5, 0.5]),
            ([1e308, -1e308], [1e308, 1.0, 0.0]),
            ([NAN, INF], [NAN, NAN, NAN]),
        ],
    );
}

#[test]
fn products_with_logarithms() {
    let ln2 = std::f64::consts::LN_2;
    check_pairs(
        "xlogy",
        |x, y| x.xlogy(y),
        &[
            ([0.0, 0.0], [0.0; 3]),
            ([0.0, 2.0], [0.0, ln2, 0.0]),
            ([0.0, -1.0], [0.0; 3]),
            ([2.0, 2.0], [2.0 * ln2, ln2, 1.0]),
        ],
    );
    check_pairs(
        "xlog1py",
        |x, y| x.xlog1py(y),
        &[([0.0, -1.0], [0.0; 3]), ([2.0, 1.0], [2.0 * ln2, ln2, 1.0])],
    );
}

#[test]
fn a_nan_takes_the_derivative_of_a_maximum() {
    let cases = [([NAN, 1.0], [NAN, 1.0, 0.0]), ([1.0, NAN], [NAN, 0.0, 1.0])];
    check_pairs("maximum", |x, y| x.maximum(y), &cases);
    check_pairs("minimum", |x, y| x.minimum(y), &cases);
    let tie = [([2.0, 2.0], [2.0, 0.5, 0.5])];
    check_pairs("maximum", |x, y| x.maximum(y), &tie);
}

#[test]
fn units_that_vanish_do_so_at_the_end() {
    let vanish = [(-INF, [0.0; 3])];
    check("silu", |x| x.silu(), &vanish);
    check("mish", |x| x.mish(), &vanish);
    check("hard_silu", |x| x.hard_silu(), &vanish);
    check("gelu", |x| x.gelu(), &vanish);
    check("gelu_tanh", |x| x.gelu_tanh(), &vanish);
    check("gelu_tanh", |x| x.gelu_tanh(), &[(1e200, [1e200, 1.0, 0.0]), (-1e200, [0.0; 3])]);
}

#[test]
fn sinc_is_smooth_at_0() {
    let third = -std::f64::consts::PI.powi(2) / 3.0;
    check("sinc", |x| x.sinc(), &[(0.0, [1.0, 0.0, third])]);
    // On both sides of the point where the formula changes.
    let edge = 1.0 / std::f64::consts::PI;
    let t = Trace::eager();
    let at = |x: f64| t.constant(x).sinc().item::<f64>().unwrap();
    assert!((at(edge * (1.0 - 1e-15)) - at(edge * (1.0 + 1e-15))).abs() < 4e-15);
}

#[test]
fn nothing_overflows_inside() {
    let ln2 = std::f64::consts::LN_2;
    check("asinh", |x| x.asinh(), &[(1.5e308, [1.5e308f64.ln() + ln2, 1.0 / 1.5e308, 0.0])]);
    check("acosh", |x| x.acosh(), &[(1.5e308, [1.5e308f64.ln() + ln2, 1.0 / 1.5e308, 0.0])]);
    check("sinh", |x| x.sinh(), &[(710.0, [710f64.sinh(), 710f64.cosh(), 710f64.sinh()])]);
    check_pairs("hypot", |x, y| x.hypot(y), &[([3e200, 4e200], [5e200, 0.6, 0.8])]);
    check_pairs(
        "atan2",
        |x, y| x.atan2(y),
        &[([3e200, 4e200], [0.75f64.atan(), 1.6e-201, -1.2e-201])],
    );
}

#[test]
fn slopes_and_curvatures() {
    let s = 0.75f64.sqrt();
    check("asin", |x| x.asin(), &[(0.5, [0.5f64.asin(), 1.0 / s, 0.5 / s.powi(3)])]);
    check("acos", |x| x.acos(), &[(0.5, [0.5f64.acos(), -1.0 / s, -0.5 / s.powi(3)])]);
    check("atan", |x| x.atan(), &[(2.0, [2f64.atan(), 0.2, -0.16])]);
    check("cbrt", |x| x.cbrt(), &[(-8.0, [-2.0, 1.0 / 12.0, 2.0 / 9.0 / 32.0])]);
    check("log2", |x| x.log2(), &[(4.0, [2.0, LOG2_E / 4.0, -LOG2_E / 16.0])]);
    check("atanh", |x| x.atanh(), &[(0.5, [0.5f64.atanh(), 4.0 / 3.0, 16.0 / 9.0])]);
}

const LOG2_E: f64 = std::f64::consts::LOG2_E;

#[test]
fn whole_divisions() {
    let t = Trace::eager();
    let x = t.constant(ndarray::arr1(&[7, -7, 7, -7, 6, 5, i32::MIN]));
    let y = t.constant(ndarray::arr1(&[3, 3, -3, -3, 3, 0, -1]));
    let values = |v: Tensor<'_>| v.array().unwrap().to_f64_vec();
    let least = f64::from(i32::MIN);
    assert_eq!(values(x.floor_divide(y)), [2.0, -3.0, -3.0, 2.0, 2.0, 0.0, least]);
    assert_eq!(values(x.modulo(y)), [1.0, 2.0, -2.0, -1.0, 0.0, 0.0, 0.0]);
    assert_eq!(values(x.trunc_divide(y)), [2.0, -2.0, -2.0, 2.0, 2.0, 0.0, least]);
    assert_eq!(values(x.fmod(y)), [1.0, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0]);
    check_pairs(
        "modulo",
        |x, y| x.modulo(y),
        &[
            ([3.0, 3.0], [0.0, 1.0, -1.0]),
            ([-1.0, INF], [INF, 1.0, 1.0]),
            ([1.0, INF], [1.0, 1.0, 0.0]),
            ([5.0, -3.0], [-1.0, 1.0, 2.0]),
        ],
    );
    check_pairs(
        "fmod",
        |x, y| x.fmod(y),
        &[([-5.0, 3.0], [-2.0, 1.0, 1.0]), ([-1.0, INF], [-1.0, 1.0, 0.0])],
    );
}
