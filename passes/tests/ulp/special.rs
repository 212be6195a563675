//! Special arguments, and what holds of results to the bit.

use std::f64::consts::{FRAC_PI_2, PI};

use backstitch_ir::scalar::Scalar;
use backstitch_ir::{DType, Element};
use backstitch_passes::math::trig_limit;

use crate::arguments::Bits;
use crate::exact::{error_f32, reference_f64};
use crate::run::apply;

/// Whether `got` is `want` to the bit, or both are NaN.
fn same(got: f64, want: f64) -> bool {
    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan())
}

/// Checks a function of one argument in both types, where argument and result
/// are numbers of both.
fn check(f: Scalar, cases: &[(f64, f64)]) {
    let xs: Vec<_> = cases.iter().map(|c| c.0).collect();
    let single: Vec<_> = xs.iter().map(|&x| x as f32).collect();
    let double_results: Vec<f64> = apply(f, &[&xs]);
    let single_results: Vec<f32> = apply(f, &[&single]);
    for ((&(x, want), &d), &s) in cases.iter().zip(&double_results).zip(&single_results) {
        assert!(same(d, want), "{} of {x} is {d}, not {want}, in f64", f.name());
        assert!(same(s.into(), want), "{} of {x} is {s}, not {want}, in f32", f.name());
    }
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

#[test]
fn special_arguments_give_special_results() {
    check(Scalar::Exp, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN)]);
    check(Scalar::Exp, &[(1e4, INF), (-1e4, 0.0), (1e38, INF), (-1e38, 0.0)]);
    check(Scalar::Expm1, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (NAN, NAN)]);
    check(Scalar::Expm1, &[(1e4, INF), (-1e4, -1.0), (-100.0, -1.0)]);
    check(Scalar::Log, &[(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN)]);
    check(Scalar::Log, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Log1p, &[(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN)]);
    check(Scalar::Log1p, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Sin, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Cos, &[(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Tan, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Tanh, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN)]);
    check(Scalar::Tanh, &[(40.0, 1.0), (-40.0, -1.0), (1e30, 1.0)]);
    check(Scalar::Sigmoid, &[(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN)]);
    check(Scalar::Sigmoid, &[(1e4, 1.0), (-1e4, 0.0)]);
    check(Scalar::Rsqrt, &[(4.0, 0.5), (0.0, INF), (-0.0, -INF), (INF, 0.0), (-1.0, NAN)]);
    check(Scalar::Reciprocal, &[(4.0, 0.25), (-0.0, -INF), (INF, 0.0)]);
    check(Scalar::Sign, &[(3.0, 1.0), (-3.0, -1.0), (-0.0, -0.0), (0.0, 0.0), (NAN, NAN)]);
    check(Scalar::Trunc, &[(1.5, 1.0), (-0.5, -0.0), (-INF, -INF), (NAN, NAN)]);
    check(Scalar::Exp2, &[(0.0, 1.0), (10.0, 1024.0), (-3.0, 0.125), (-INF, 0.0), (INF, INF)]);
    check(Scalar::Exp2, &[(NAN, NAN), (1e30, INF), (-1e30, 0.0)]);
    check(Scalar::Log2, &[(8.0, 3.0), (1.0, 0.0), (0.125, -3.0), (-0.0, -INF), (INF, INF)]);
    check(Scalar::Log2, &[(-1.0, NAN), (NAN, NAN)]);
    check(Scalar::Log10, &[(1.0, 0.0), (10.0, 1.0), (1e6, 6.0), (0.0, -INF), (-1.0, NAN)]);
    check(Scalar::Cbrt, &[(27.0, 3.0), (-8.0, -2.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)]);
    check(Scalar::Cbrt, &[(0.0, 0.0), (NAN, NAN), (0.125, 0.5)]);
    check(Scalar::Asin, &[(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Acos, &[(1.0, 0.0), (-1.5, NAN), (INF, NAN), (NAN, NAN)]);
    check(Scalar::Atan, &[(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)]);
    check(Scalar::Sinh, &[(0.0, 0.0), (-0.0, -0.0), (1e4, INF), (-INF, -INF), (NAN, NAN)]);
    check(Scalar::Cosh, &[(0.0, 1.0), (-0.0, 1.0), (-1e4, INF), (-INF, INF), (NAN, NAN)]);
    check(Scalar::Asinh, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)]);
    check(Scalar::Acosh, &[(1.0, 0.0), (0.5, NAN), (-2.0, NAN), (-1e30, NAN), (INF, INF)]);
    check(Scalar::Acosh, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Atanh, &[(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (2.0, NAN)]);
    check(Scalar::Atanh, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Round, &[(0.5, 0.0), (1.5, 2.0), (-0.5, -0.0), (2.5, 2.0)]);
}

/// Checks a function of two arguments, whose result is near the one given, in both
/// types; zeros to the sign.
fn check_pairs(f: Scalar, cases: &[(f64, f64, f64)]) {
    let (xs, ys): (Vec<_>, Vec<_>) = cases.iter().map(|c| (c.0, c.1)).unzip();
    let single = |xs: &[f64]| xs.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let double: Vec<f64> = apply(f, &[&xs, &ys]);
    let single: Vec<f32> = apply(f, &[&single(&xs), &single(&ys)]);
    for ((&(x, y, want), &d), &s) in cases.iter().zip(&double).zip(&single) {
        let near = |got: f64, want: f64, unit: f64| {
            same(got, want) || (want != 0.0 && (got - want).abs() <= unit * want.abs())
        };
        assert!(near(d, want, 3e-16), "{} of {x}, {y} is {d}, not {want}, in f64", f.name());
        assert!(near(s.into(), want, 1.2e-7), "{} of {x}, {y} is {s}, not {want}", f.name());
    }
}

#[test]
fn angles_and_distances_follow_c99() {
    let (quarter, half) = (PI / 4.0, FRAC_PI_2);
    check_pairs(
        Scalar::Atan2,
        &[
            (0.0, 1.0, 0.0),
            (-0.0, 1.0, -0.0),
            (0.0, 0.0, 0.0),
            (-0.0, 0.0, -0.0),
            (0.0, -0.0, PI),
            (-0.0, -0.0, -PI),
            (0.0, -1.0, PI),
            (-0.0, -1.0, -PI),
            (1.0, 0.0, half),
            (-1.0, -0.0, -half),
            (1.0, 1.0, quarter),
            (1.0, -1.0, 3.0 * quarter),
            (-1.0, -1.0, -3.0 * quarter),
            (-1.0, 1.0, -quarter),
            (INF, INF, quarter),
            (INF, -INF, 3.0 * quarter),
            (-INF, -INF, -3.0 * quarter),
            (INF, 1e30, half),
            (-INF, -1e30, -half),
            (1e30, INF, 0.0),
            (-1.0, INF, -0.0),
            (-1.0, -INF, -PI),
            (1e-30, -1e30, PI),
            (1e30, 1e-30, half),
            (NAN, INF, NAN),
            (INF, NAN, NAN),
            (NAN, 0.0, NAN),
            (0.0, NAN, NAN),
        ],
    );
    check_pairs(
        Scalar::Hypot,
        &[
            (3.0, -4.0, 5.0),
            (0.0, 0.0, 0.0),
            (-0.0, -0.0, 0.0),
            (-2.0, 0.0, 2.0),
            (3e30, 4e30, 5e30),
            (3e-30, 4e-30, 5e-30),
            (INF, NAN, INF),
            (NAN, -INF, INF),
            (NAN, 1.0, NAN),
            (1.0, NAN, NAN),
        ],
    );
    let steps: Vec<f64> = (1..300).map(|k| f64::from(k) * f64::from_bits(1)).collect();
    let got: Vec<f64> = apply(Scalar::Hypot, &[&steps, &vec![0.0; steps.len()]]);
    assert_eq!(got, steps);
    let infinite: Vec<f64> = apply(Scalar::Atan, &[&[INF, -INF]]);
    assert_eq!(infinite, [half, -half]);
}

#[test]
fn quotients_of_integers_are_exact_and_do_not_trap() {
    fn cases<T: Element + Copy>(edges: &[T], random: impl Fn(u64) -> T) -> [Vec<T>; 2] {
        let mut bits = Bits(0x1234_5678_9ABC_DEF1);
        let mut pairs: Vec<(T, T)> =
            edges.iter().flat_map(|&x| edges.iter().map(move |&y| (x, y))).collect();
        pairs.extend((0..200_000).map(|_| {
            let (x, y, shift) = (bits.next(), bits.next(), bits.next());
            (random(x >> (shift & 63)), random(y >> (shift >> 6 & 63)))
        }));
        pairs.extend((0..100_000).map(|_| {
            let (x, y, shift) = (bits.next() as i64, bits.next() as i64, bits.next());
            (random((x >> (shift & 63)) as u64), random((y >> (shift >> 6 & 63)) as u64))
        }));
        let (xs, ys) = pairs.into_iter().unzip();
        [xs, ys]
    }
    let near = |n: i64| [n.wrapping_sub(1), n, n.wrapping_add(1)];
    let edges: Vec<i64> =
        [0, 3, 10, 1 << 31, 1 << 32, 1 << 52, 1 << 53, 1 << 62, -(1 << 62), -(1 << 53), i64::MAX]
            .into_iter()
            .flat_map(near)
            .collect();
    let [xs, ys] = cases(&edges, |n| n as i64);
    let by = |f: fn(i64, i64) -> i64| {
        let divided = |(&x, &y)| if y == 0 { 0 } else { f(x, y) };
        xs.iter().zip(&ys).map(divided).collect::<Vec<_>>()
    };
    assert_eq!(apply::<i64, i64>(Scalar::Quot, &[&xs, &ys]), by(i64::wrapping_div));
    assert_eq!(apply::<i64, i64>(Scalar::Rem, &[&xs, &ys]), by(i64::wrapping_rem));
    let edges: Vec<i32> = edges.iter().map(|&n| n as i32).chain([i32::MIN, i32::MAX]).collect();
    let [xs, ys] = cases(&edges, |n| n as i32);
    let by = |f: fn(i32, i32) -> i32| {
        let divided = |(&x, &y)| if y == 0 { 0 } else { f(x, y) };
        xs.iter().zip(&ys).map(divided).collect::<Vec<_>>()
    };
    assert_eq!(apply::<i32, i32>(Scalar::Quot, &[&xs, &ys]), by(i32::wrapping_div));
    assert_eq!(apply::<i32, i32>(Scalar::Rem, &[&xs, &ys]), by(i32::wrapping_rem));
}

#[test]
fn subnormal_numbers_are_numbers() {
    let single: Vec<f32> = [1u32, 2, 3, 1000, 0x007F_FFFF].map(f32::from_bits).to_vec();
    let double: Vec<f64> = [1u64, 2, 3, 1000, (1 << 52) - 1].map(f64::from_bits).to_vec();
    let odd = [Scalar::Sin, Scalar::Tan, Scalar::Asin, Scalar::Atan, Scalar::Sinh, Scalar::Tanh];
    let more = [Scalar::Asinh, Scalar::Atanh, Scalar::Expm1, Scalar::Log1p];
    for f in odd.into_iter().chain(more) {
        assert_eq!(apply::<_, f32>(f, &[&single]), single, "{}", f.name());
        assert_eq!(apply::<_, f64>(f, &[&double]), double, "{}", f.name());
    }
    assert_eq!(apply::<_, f64>(Scalar::Log, &[&double])[0], -744.4400719213812);
    assert_eq!(apply::<_, f32>(Scalar::Log, &[&single])[0], -103.27893);
    assert_eq!(apply::<_, f64>(Scalar::Exp, &[&[-744.44f64]])[0].to_bits(), 1);
    assert_eq!(apply::<_, f32>(Scalar::Exp, &[&[-103.27f32]])[0].to_bits(), 1);
    assert_eq!(apply::<_, f32>(Scalar::Sigmoid, &[&[-103.27f32]])[0].to_bits(), 1);
}

#[test]
fn overflow_begins_where_it_should() {
    let edge = [88.72283f32, 88.722_84];
    assert_eq!(apply::<_, f32>(Scalar::Exp, &[&edge]), [edge[0].exp(), f32::INFINITY]);
    let edge = [709.782712893384f64, 709.7827128933841];
    let got: Vec<f64> = apply(Scalar::Exp, &[&edge]);
    assert!(got[0] > 1.79e308 && got[0].is_finite() && got[1] == INF);
}

#[test]
fn huge_angles_are_right_or_nan() {
    fn all_nan<T: Element + Into<f64>>(f: Scalar, xs: &[T]) -> bool {
        apply::<T, T>(f, &[xs]).into_iter().all(|y| y.into().is_nan())
    }
    let ((single, double), near) = ((1e6, 1e15), |x: f64| [x, -x, x / 2.0]);
    assert_eq!((trig_limit(DType::F32), trig_limit(DType::F64)), (single, double));
    for f in [Scalar::Sin, Scalar::Cos, Scalar::Tan] {
        let xs = near(single).map(|x| x as f32);
        for (&x, y) in xs.iter().zip(apply::<f32, f32>(f, &[&xs])) {
            assert!(error_f32(y, reference_f64(f, x.into(), 0.0)) < 1.6, "{} of {x}", f.name());
        }
        for (x, y) in near(double).into_iter().zip(apply::<f64, f64>(f, &[&near(double)])) {
            let want = reference_f64(f, x, 0.0);
            assert!((y - want).abs() <= 1e-15 * want.abs().max(0.1), "{} of {x}", f.name());
        }
        let beyond: Vec<f64> = (1..1000).map(|i| double * 2.03f64.powi(i)).collect();
        assert!(all_nan(f, &beyond), "{} in f64", f.name());
        let beyond: Vec<f32> = (1..1000).map(|i| single as f32 * 1.097f32.powi(i)).collect();
        assert!(all_nan(f, &beyond), "{} in f32", f.name());
    }
}

#[test]
fn tanh_and_sigmoid_do_not_pass_1() {
    let single: Vec<f32> = (0..200_000).map(|i| i as f32 * 1e-4).collect();
    let double: Vec<f64> = (0..200_000).map(|i| f64::from(i) * 2e-4).collect();
    for f in [Scalar::Tanh, Scalar::Sigmoid] {
        assert!(apply::<_, f32>(f, &[&single]).iter().all(|&y: &f32| y <= 1.0));
        assert!(apply::<_, f64>(f, &[&double]).iter().all(|&y: &f64| y <= 1.0));
    }
}

#[test]
fn powers_follow_c99() {
    let cases = [
        (2.0, 10.0, 1024.0),
        (-2.0, 3.0, -8.0),
        (-2.0, 2.0, 4.0),
        (-2.0, -3.0, -0.125),
        (-2.0, 0.5, NAN),
        (-8.0, 1.5, NAN),
        (NAN, 0.0, 1.0),
        (NAN, -0.0, 1.0),
        (INF, 0.0, 1.0),
        (1.0, NAN, 1.0),
        (1.0, INF, 1.0),
        (-1.0, INF, 1.0),
        (-1.0, -INF, 1.0),
        (NAN, 1.5, NAN),
        (1.5, NAN, NAN),
        (0.0, 3.0, 0.0),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (-0.0, 0.5, 0.0),
        (0.0, -3.0, INF),
        (-0.0, -3.0, -INF),
        (-0.0, -2.0, INF),
        (-0.0, -0.5, INF),
        (0.0, -INF, INF),
        (0.0, INF, 0.0),
        (0.5, INF, 0.0),
        (0.5, -INF, INF),
        (2.0, INF, INF),
        (2.0, -INF, 0.0),
        (INF, 1e-30, INF),
        (INF, -1e-30, 0.0),
        (-INF, 3.0, -INF),
        (-INF, 2.0, INF),
        (-INF, 0.5, INF),
        (-INF, -3.0, -0.0),
        (-INF, -2.0, 0.0),
        (0.0, 1e-30, 0.0),
        (2.0, 1e30, INF),
        (2.0, -1e30, 0.0),
        (-2.0, 1e30, INF),
        (1.5, 2.0, 2.25),
        (9.0, 0.5, 3.0),
        (1.0, 1e30, 1.0),
    ];
    let (xs, ys): (Vec<_>, Vec<_>) = cases.iter().map(|c| (c.0, c.1)).unzip();
    let got: Vec<f64> = apply(Scalar::Pow, &[&xs, &ys]);
    for (&(x, y, want), &got) in cases.iter().zip(&got) {
        assert!(same(got, want), "{x}^{y} is {got}, not {want}, in f64");
    }
    let single = |xs: &[f64]| xs.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let got: Vec<f32> = apply(Scalar::Pow, &[&single(&xs), &single(&ys)]);
    for (&(x, y, want), &got) in cases.iter().zip(&got) {
        assert!(same(got.into(), want), "{x}^{y} is {got}, not {want}, in f32");
    }
}

#[test]
fn differences_of_equals_are_zero() {
    let (xs, ys) = ([INF, -INF, INF, NAN, 2.0], [INF, -INF, 1.0, INF, 2.0f64]);
    let got: Vec<f64> = apply(Scalar::SubZ, &[&xs, &ys]);
    assert!(got.iter().zip([0.0, 0.0, INF, NAN, 0.0]).all(|(&g, w)| same(g, w)));
}

#[test]
fn products_with_zero_are_zero() {
    let (xs, ys) = ([0.0, INF, NAN, -0.0, 2.0, NAN], [INF, -0.0, 0.0, 3.0, 3.0, 1.0f64]);
    let got: Vec<f64> = apply(Scalar::MulZ, &[&xs, &ys]);
    assert!(got.iter().zip([0.0, 0.0, 0.0, 0.0, 6.0, NAN]).all(|(&g, w)| same(g, w)));
    let got: Vec<f64> = apply(Scalar::MulZLeft, &[&xs, &ys]);
    assert!(got.iter().zip([0.0, NAN, NAN, 0.0, 6.0, NAN]).all(|(&g, w)| same(g, w)));
}

#[test]
fn booleans_are_ordered() {
    let (xs, ys) = ([false, false, true, true], [false, true, false, true]);
    let less = [false, true, false, false];
    assert_eq!(apply::<bool, bool>(Scalar::Lt, &[&xs, &ys]), less);
    assert_eq!(apply::<bool, bool>(Scalar::Gt, &[&ys, &xs]), less);
    assert_eq!(apply::<bool, bool>(Scalar::Ge, &[&xs, &ys]), less.map(|b| !b));
    assert_eq!(apply::<bool, bool>(Scalar::Le, &[&ys, &xs]), less.map(|b| !b));
}

#[test]
fn casts_saturate_and_compare_with_zero() {
    let xs = [1e20f64, -1e20, NAN, 2.9, -2.9];
    assert_eq!(apply::<f64, i32>(Scalar::ToI32, &[&xs]), [i32::MAX, i32::MIN, 0, 2, -2]);
    assert_eq!(
        apply::<f64, bool>(Scalar::ToBool, &[&[0.0, -0.0, NAN, 0.1]]),
        [false, false, true, true]
    );
    assert_eq!(apply::<bool, f32>(Scalar::ToF32, &[&[true, false]]), [1.0, 0.0]);
    assert_eq!(apply::<i32, bool>(Scalar::ToBool, &[&[0, 7]]), [false, true]);
}
