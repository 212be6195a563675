//! Reductions at the points where formulas lose digits, overflow, or have a kink.

use backstitch_trace::{DType, Problem, Tensor, Trace};
use ndarray::{ArrayD, IxDyn, arr1, arr2};

use super::{close, gradient, noise, second, smooth, value};

const NAN: f64 = f64::NAN;

fn vector(x: &[f64]) -> ArrayD<f64> {
    arr1(x).into_dyn()
}

#[test]
fn a_norm_neither_overflows_nor_underflows() {
    for (scale, exact) in [(1.0, true), (1e300, false), (1e-300, false), (1e-320, false)] {
        let x = [3.0 * scale, 0.0, -4.0 * scale];
        let norm = value(|_, x| x.norm(), arr1(&x))[0];
        let want = 5.0 * scale;
        assert!(if exact { norm == want } else { (norm - want).abs() <= 1e-3 * want }, "{norm}");
        close(&gradient(|_, x| x.norm(), &vector(&x)), &[0.6, 0.0, -0.8], 1e-3);
        close(&value(|_, x| x.normalize(0, 0.0), arr1(&x)), &[0.6, 0.0, -0.8], 1e-3);
        close(&value(|_, x| x.cosine_similarity(x * 2.0, 0, 0.0), arr1(&x)), &[1.0], 1e-9);
    }
    let single = |x: [f32; 2]| value(|_, x| x.norm(), arr1(&x))[0] as f32;
    assert_eq!(single([3e30, 4e30]), 5e30);
    assert_eq!(single([3e-30, 4e-30]), 5e-30);
    assert_eq!(value(|_, x| x.norm(), arr1(&[f64::INFINITY, 1.0])), [f64::INFINITY]);
    assert!(value(|_, x| x.norm(), arr1(&[NAN, 1.0]))[0].is_nan());
    assert_eq!(value(|_, x| x.norm(), arr1(&[0.0; 0])), [0.0]);
}

#[test]
fn a_norm_at_zero_is_flat_in_every_order() {
    let zero = vector(&[0.0, 0.0]);
    let along = vector(&[1.0, 2.0]);
    assert_eq!(gradient(|_, x| x.norm(), &zero), [0.0, 0.0]);
    assert_eq!(second(|_, x| x.norm(), &zero, &along), [0.0, 0.0]);
    assert_eq!(gradient(|_, x| x.norm1(), &zero), [0.0, 0.0]);
    assert_eq!(gradient(|_, x| x.normalize(0, 1e-12), &zero), [0.0, 0.0]);
    assert_eq!(second(|_, x| x.normalize(0, 1e-12), &zero, &along), [0.0, 0.0]);
    // Of the square of a norm, the derivatives are those of the sum of squares.
    let bend = second(|_, x| x.norm().square(), &vector(&[3.0, 4.0]), &along);
    close(&bend, &[2.0, 4.0], 1e-14);
}

#[test]
fn norms_and_deviations_have_both_derivatives() {
    let x = noise(&[3, 4], 1);
    smooth(|_, x| x.norm_over(1), &x);
    smooth(|_, x| x.norm(), &x);
    smooth(|_, x| x.norm_keep(0) * x.norm1(), &x);
    smooth(|_, x| x.normalize(1, 1e-9), &x);
    smooth(|_, x| x.normalize(1, 100.0), &x);
    smooth(|_, x| x.cosine_similarity(x.exp(), -1, 1e-9), &x);
    smooth(|_, x| x.var_over(0) + x.std(), &x);
    smooth(|_, x| x.std_with(1, 1), &x);
    smooth(|_, x| x.ptp_over(0), &x);
    smooth(|_, x| x.logsumexp_over(1), &x);
    smooth(|_, x| x.prod_over(1), &x);
    smooth(|_, x| x.mean_over(0), &x);
}

#[test]
fn a_variance_of_equal_values_is_exactly_nothing() {
    for x in [0.1, 1e9 + 0.1, -7.3e-200] {
        let equal = vector(&[x; 7]);
        assert_eq!(value(|_, x| x.var(), equal.clone()), [0.0]);
        assert_eq!(gradient(|_, x| x.std(), &equal), [0.0; 7]);
        assert_eq!(gradient(|_, x| x.var(), &equal), [0.0; 7]);
        assert_eq!(second(|_, x| x.std(), &equal, &vector(&[1.0; 7])), [0.0; 7]);
    }
    let shifted = arr1(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0, 1e9 + 4.0]);
    assert_eq!(value(|_, x| x.var(), shifted), [1.25]);
    // The second derivative of the variance is a constant, at equal values too.
    let bend = second(|_, x| x.var(), &vector(&[2.0, 2.0]), &vector(&[1.0, 0.0]));
    assert_eq!(bend, [0.5, -0.5]);
    let single = value(|_, x| x.var_with((), 1), arr1(&[2.0]));
    assert!(single[0].is_nan());
}

#[test]
fn a_product_with_zeros_has_both_derivatives() {
    let along = vector(&[1.0, -1.0, 0.5]);
    assert_eq!(gradient(|_, x| x.prod(), &vector(&[0.0, 2.0, 3.0])), [6.0, 0.0, 0.0]);
    assert_eq!(gradient(|_, x| x.prod(), &vector(&[0.0, 2.0, 0.0])), [0.0, 0.0, 0.0]);
    // The Hessian of x·y·z is made of the third factors.
    let hessian = |x: [f64; 3]| second(|_, x| x.prod(), &vector(&x), &along);
    let by_hand = |[x, y, z]: [f64; 3]| {
        let [a, b, c] = [along[0], along[1], along[2]];
        [z * b + y * c, z * a + x * c, y * a + x * b]
    };
    for x in [[0.0, 2.0, 3.0], [0.0, 2.0, 0.0], [0.0; 3], [1.0, 2.0, 3.0]] {
        close(&hessian(x), &by_hand(x), 1e-15);
    }
    smooth(|_, x| x.prod_over(0), &arr2(&[[0.0, 2.0], [3.0, 0.0], [0.0, -1.0]]).into_dyn());
}

#[test]
fn extremes_are_the_first() {
    let t = Trace::eager();
    let x = t.constant(arr2(&[[2.0, 7.0, 7.0], [NAN, 7.0, -1.0]]));
    assert_eq!(x.argmax(1).array().unwrap().to_f64_vec(), [1.0, 0.0]);
    assert_eq!(x.argmin(0).array().unwrap().to_f64_vec(), [1.0, 0.0, 1.0]);
    assert_eq!(x.argmax_flat().item::<i64>().unwrap(), 3);
    assert_eq!(x.nanargmax(1).array().unwrap().to_f64_vec(), [1.0, 1.0]);
    assert_eq!(x.nanargmin(0).array().unwrap().to_f64_vec(), [0.0, 0.0, 1.0]);
    let low = t.constant(arr1(&[NAN, f64::NEG_INFINITY]));
    assert_eq!(low.nanargmax(0).item::<i64>().unwrap(), 1);
    let n = t.constant(arr1(&[3, 9, 9]));
    assert_eq!(n.argmax(0).item::<i64>().unwrap(), 1);
    assert_eq!(n.nanargmin(0).item::<i64>().unwrap(), 0);
}

#[test]
fn what_is_nan_is_left_out() {
    let x = arr2(&[[1.0, NAN, 3.0], [NAN, NAN, NAN], [5.0, -2.0, 2.0]]);
    let row = |f: for<'t> fn(Tensor<'t>) -> Tensor<'t>| value(|_, x| f(x), x.clone());
    close(&row(|x| x.nansum_over(1)), &[4.0, 0.0, 5.0], 0.0);
    close(&row(|x| x.nanprod_over(1)), &[3.0, 1.0, -20.0], 0.0);
    close(&row(|x| x.nanmax_over(1)), &[3.0, NAN, 5.0], 0.0);
    close(&row(|x| x.nanmin_over(1)), &[1.0, NAN, -2.0], 0.0);
    close(&row(|x| x.nanmean_over(1)), &[2.0, NAN, 5.0 / 3.0], 1e-15);
    close(&row(|x| x.nanvar_over(1)), &[1.0, NAN, 74.0 / 9.0], 1e-15);
    close(&row(|x| x.nanvar_with(1, 1)), &[2.0, NAN, 37.0 / 3.0], 1e-15);
    close(&row(|x| x.nanvar_with(1, 2)), &[NAN, NAN, 74.0 / 3.0], 1e-15);
    close(&row(|x| x.nanstd_keep(1)), &[1.0, NAN, (74f64 / 9.0).sqrt()], 1e-15);

    let x = vector(&[1.0, NAN, 3.0]);
    assert_eq!(gradient(|_, x| x.nansum(), &x), [1.0, 0.0, 1.0]);
    assert_eq!(gradient(|_, x| x.nanmean(), &x), [0.5, 0.0, 0.5]);
    assert_eq!(gradient(|_, x| x.nanmax(), &x), [0.0, 0.0, 1.0]);
    assert_eq!(gradient(|_, x| x.nanprod(), &x), [3.0, 0.0, 1.0]);
    assert_eq!(gradient(|_, x| x.nanvar(), &x), [-1.0, 0.0, 1.0]);
    assert_eq!(gradient(|_, x| x.nanstd(), &x), [-0.5, 0.0, 0.5]);
    assert_eq!(gradient(|_, x| x.nanstd(), &vector(&[2.0, NAN, 2.0])), [0.0; 3]);
    let along = vector(&[1.0, 1.0, 0.0]);
    assert_eq!(second(|_, x| x.nanvar(), &x, &along), [0.5, 0.0, -0.5]);
    smooth(|_, x| x.nanstd_with(1, 1), &noise(&[2, 4], 3));
    smooth(|_, x| x.nanprod_over(0) + x.nanmax_over(0), &noise(&[2, 4], 3));
}

#[test]
fn reductions_of_nothing_and_of_no_axis() {
    let t = Trace::eager();
    let none = t.zeros(DType::F64, [0, 2]);
    let read = |x: Tensor<'_>| x.array().unwrap().to_f64_vec();
    assert_eq!(read(none.sum_over(0)), [0.0, 0.0]);
    assert_eq!(read(none.prod()), [1.0]);
    close(&read(none.mean_over(0)), &[NAN, NAN], 0.0);
    close(&read(none.var_over(0)), &[NAN, NAN], 0.0);
    assert_eq!(read(none.norm_over(0)), [0.0, 0.0]);
    assert_eq!(read(none.logsumexp_over(0)), [f64::NEG_INFINITY; 2]);
    assert_eq!(read(none.count_nonzero()), [0.0]);
    assert_eq!(read(none.max_over(1)), [0.0; 0]);
    let x = t.constant(arr1(&[-3.0, 4.0]));
    assert_eq!(read(x.sum_over([])), [-3.0, 4.0]);
    assert_eq!(read(x.norm_over([])), [3.0, 4.0]);
    assert_eq!(read(x.var_over([])), [0.0, 0.0]);
    assert_eq!(x.sum_keep([-1]).shape().dims(), [1]);
    assert_eq!(t.constant(arr1(&[5i32, 6])).ptp().item::<i32>().unwrap(), 1);
    assert!(t.check().is_ok());
}

#[test]
fn what_has_no_reduction_is_a_mistake() {
    let t = Trace::eager();
    let (x, none) = (t.ones(DType::F64, [2, 3]), t.zeros(DType::F64, [0, 3]));
    let (n, b) = (t.ones(DType::I32, [2]), t.ones(DType::Bool, [2]));
    let wrong = [
        (none.max_over(0), Problem::Shape),
        (none.nanmin_over(0), Problem::Shape),
        (none.ptp_over(0), Problem::Shape),
        (none.argmax(0), Problem::Shape),
        (none.argmin_flat(), Problem::Shape),
        (x.argmax(2), Problem::Axis),
        (x.nanargmax(-3), Problem::Axis),
        (b.argmax(0), Problem::DType),
        (b.sum(), Problem::DType),
        (b.nansum(), Problem::DType),
        (n.mean(), Problem::DType),
        (n.nanmean(), Problem::DType),
        (n.var(), Problem::DType),
        (n.nanstd(), Problem::DType),
        (n.norm(), Problem::DType),
        (n.normalize(0, 1.0), Problem::DType),
        (x.normalize(2, 1.0), Problem::Axis),
        (x.cosine_similarity(x.index(0, 0), 1, 1.0), Problem::Shape),
        (x.cosine_similarity(x.to_f32(), 1, 1.0), Problem::Shape),
        (x.norm_over([0, 0]), Problem::Axis),
        (x.count_nonzero_keep(7), Problem::Axis),
        (x.var_with(2, 1), Problem::Axis),
        (x.nanvar_with(2, 1), Problem::Axis),
    ];
    for (i, (x, _)) in wrong.iter().enumerate() {
        assert!(x.array().is_err(), "case {i}");
    }
    let e = t.check().unwrap_err();
    assert_eq!(e.mistakes.len(), wrong.len(), "{e}");
    for (m, (_, problem)) in e.mistakes.iter().zip(wrong) {
        assert_eq!((m.problem, m.place.file()), (problem, file!()), "{m}");
    }
}

#[test]
fn shapes_of_rank_zero_reduce_too() {
    let x = ArrayD::from_elem(IxDyn(&[]), -2.0);
    let f = |f: for<'t> fn(Tensor<'t>) -> Tensor<'t>| value(|_, x| f(x), x.clone())[0];
    assert_eq!(
        [f(|x| x.sum()), f(|x| x.norm()), f(|x| x.std()), f(|x| x.max())],
        [-2., 2., 0., -2.]
    );
}
