//! Losses: far from 0, at their kinks, and where logarithms of 0 meet a 0.

use backstitch_trace::{DType, Problem, Spec, Tensor, Trace, trace};
use ndarray::{ArrayD, arr1, arr2};

use super::{close, gradient, mistakes, noise, second, smooth, value};

type Loss = for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>;

/// Per element, with the second derivative at a difference, or score, of 0.
const BY_ELEMENT: [(Loss, f64); 9] = [
    (|p, y| p.squared_error(y), 2.0),
    (|p, y| p.absolute_error(y), 0.0),
    (|p, y| p.huber(y, 0.3), 1.0),
    (|p, y| p.log_cosh(y), 1.0),
    (|p, y| p.quantile_loss(y, 0.2), 0.0),
    (|p, y| p.poisson_nll(y), 1.0),
    (|p, y| p.hinge(y), 0.0),
    (|p, y| p.squared_hinge(y), 0.0),
    (|p, y| p.bce_with_logits(y), 0.25),
];

const BY_ROW: [Loss; 4] = [
    |p, y| p.cross_entropy(y.softmax(-1)),
    |p, y| p.softmax(-1).kl_div(y.softmax(-1)),
    |p, y| p.cosine_distance(y, 1e-9),
    |p, y| p.triplet(y, p * 0.5 - y, 0.7),
];

#[test]
fn losses_are_per_element_or_per_row_with_both_derivatives() {
    let (x, y) = (noise(&[3, 4], 1), noise(&[3, 4], 2));
    let losses = BY_ELEMENT.iter().map(|l| (l.0, vec![3, 4]));
    for (f, shape) in losses.chain(BY_ROW.map(|f| (f, vec![3]))) {
        let t = Trace::eager();
        assert_eq!(f(t.constant(x.clone()), t.constant(y.clone())).shape().dims(), shape);
        smooth(|t, x| f(x, t.constant(y.clone())), &x);
        smooth(|t, y| f(t.constant(x.clone()), y), &y);
    }
    for (f, bend) in BY_ELEMENT {
        let (zero, one) = (arr1(&[0.0]).into_dyn(), arr1(&[1.0]).into_dyn());
        close(&second(|_, x| f(x, x.zeros_like()), &zero, &one), &[bend], 1e-14);
    }
    let classes = arr1(&[3, 0, 2]);
    smooth(|t, x| x.sparse_cross_entropy(t.constant(classes.clone())), &x);
    smooth(|t, x| x.sparse_cross_entropy_except(t.constant(classes.clone()), 0), &x);
    let pairs = arr1(&[true, false, false]);
    smooth(|t, x| x.contrastive(t.constant(y.clone()), t.constant(pairs.clone()), 1.5), &x);
}

#[test]
fn losses_are_finite_where_they_should_be() {
    let far = arr1(&[-1e4, -800.0, 800.0, 1e4]);
    let one = |f: Loss| value(|_, x| f(x, x.ones_like()), far.clone());
    close(&one(|p, y| p.bce_with_logits(y)), &[1e4, 800.0, 0.0, 0.0], 0.0);
    close(
        &one(|p, y| p.log_cosh(y))[2..],
        &[799.0 - std::f64::consts::LN_2, 9999.0 - std::f64::consts::LN_2],
        1e-15,
    );
    close(&one(|p, y| p.huber(y, 1.0))[..1], &[10000.5], 1e-15);
    let slopes = gradient(|_, x| x.log_cosh(x.zeros_like()), &far.into_dyn());
    close(&slopes, &[-1.0, -1.0, 1.0, 1.0], 0.0);

    // log cosh is tanh's integral, to the last digits on both sides of its seam.
    for x in [1e-8f64, 0.3, 0.999_999, 1.000_001, 3.0] {
        let slope = gradient(|_, x| x.log_cosh(x.zeros_like()), &arr1(&[x]).into_dyn());
        close(&slope, &[x.tanh()], 1e-15);
    }
}

#[test]
fn what_has_probability_zero_has_no_part() {
    let z = arr2(&[[0.0, f64::NEG_INFINITY, 0.0]]);
    let labels = arr2(&[[0.5, 0.0, 0.5]]);
    let loss = value(|t, z| z.cross_entropy(t.constant(labels.clone())), z.clone());
    close(&loss, &[std::f64::consts::LN_2], 1e-15);
    let slopes =
        gradient(|t, z| z.cross_entropy(t.constant(labels.clone())), &z.clone().into_dyn());
    close(&slopes, &[0.0; 3], 1e-15);
    let slopes = gradient(|t, z| z.sparse_cross_entropy(t.constant(arr1(&[0]))), &z.into_dyn());
    close(&slopes, &[-0.5, 0.0, 0.5], 1e-15);
    // The gradient with respect to labels is there where labels are 0, too.
    let slopes = gradient(|_, y| y.zeros_like().cross_entropy(y), &arr2(&[[0.0, 1.0]]).into_dyn());
    close(&slopes, &[std::f64::consts::LN_2; 2], 1e-15);
    let (p, q) = (arr1(&[0.0, 1.0]), arr1(&[0.0, 1.0]));
    assert_eq!(value(|t, p| p.kl_div(t.constant(q.clone())), p.clone()), [0.0]);
    let slopes = gradient(|t, q| t.constant(p.clone()).kl_div(q), &q.clone().into_dyn());
    assert_eq!(slopes, [0.0, -1.0]);
}

#[test]
fn at_equal_points_distances_are_flat() {
    let x: ArrayD<f64> = noise(&[2, 3], 1);
    let zero = [0.0; 6];
    assert_eq!(gradient(|_, x| x.triplet(x.stop_gradient(), x.stop_gradient(), 1.0), &x), zero);
    let apart = gradient(
        |t, x| x.contrastive(x.stop_gradient(), t.constant(arr1(&[true, false])), 1.0),
        &x,
    );
    assert_eq!(apart, zero);
    assert_eq!(gradient(|_, x| x.absolute_error(x.stop_gradient()), &x), zero);
    assert_eq!(gradient(|_, x| x.quantile_loss(x.stop_gradient(), 0.9), &x), zero);
}

#[test]
fn rows_of_one_class_are_left_out() {
    let z = noise(&[3, 2], 1);
    let classes = arr1(&[1, 7, 0]);
    let all =
        value(|t, z| z.sparse_cross_entropy_except(t.constant(classes.clone()), 7), z.clone());
    let rows = value(|t, z| z.sparse_cross_entropy(t.constant(arr1(&[1, 0, 0]))), z.clone());
    assert_eq!(all, [rows[0], 0.0, rows[2]]);
    let slopes = gradient(|t, z| z.sparse_cross_entropy_except(t.constant(classes.clone()), 7), &z);
    assert_eq!(slopes[2..4], [0.0, 0.0]);
    assert!(slopes[0] != 0.0 && slopes[5] != 0.0);
}

#[test]
fn losses_of_what_does_not_fit_are_mistakes() {
    let t = Trace::eager();
    let (x, y) = (t.ones(DType::F64, [3]), t.ones(DType::F64, [3, 1]));
    let (n, c) = (t.ones(DType::I64, [3]), t.zeros(DType::I64, []));
    let mut wrong: Vec<(Tensor<'_>, Problem)> = Vec::new();
    for (f, _) in BY_ELEMENT {
        wrong.push((f(x, y), Problem::Shape));
        wrong.push((f(x, x.to_f32()), Problem::DType));
        wrong.push((f(n, n), Problem::DType));
    }
    let single = t.scalar(1.0);
    wrong.extend([
        (x.kl_div(y), Problem::Shape),
        (single.kl_div(single), Problem::Shape),
        (single.cross_entropy(single), Problem::Shape),
        (single.triplet(single, single, 1.0), Problem::Shape),
        (x.triplet(x, y, 1.0), Problem::Shape),
        (x.contrastive(x, c, 1.0), Problem::Shape),
        (x.cosine_distance(y, 1.0), Problem::Shape),
        (x.cross_entropy(n), Problem::DType),
        (x.sparse_cross_entropy(n), Problem::Shape),
        (single.sparse_cross_entropy(c), Problem::Shape),
        (x.sparse_cross_entropy(single), Problem::DType),
        (n.sparse_cross_entropy(c), Problem::DType),
        (x.sparse_cross_entropy_except(single, 0), Problem::DType),
        (x.quantile_loss(x, 1.5), Problem::Parameter),
        (n.smooth_labels(0.1), Problem::DType),
    ]);
    mistakes(&t, &wrong);
}

#[test]
fn a_loss_of_nothing_is_nothing() {
    let f = trace(Spec::f64([0, 3]), Spec::f64([0, 3]), |_, p, y| p.cross_entropy(y).sum());
    let none = ndarray::Array2::<f64>::zeros((0, 3));
    let (value, slope) = f.unwrap().value_and_grad().unwrap().eval(&none, &none).unwrap();
    assert_eq!((value.item::<f64>(), slope.dims()), (Some(0.0), &[0usize, 3][..]));
}
