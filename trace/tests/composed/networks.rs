//! Activations, attention, and layers that normalise.

use backstitch_trace::{DType, Problem, Tensor, Trace};
use ndarray::arr1;

use super::{close, gradient, mistakes, noise, second, smooth, value};

type Activation = for<'t> fn(Tensor<'t>) -> Tensor<'t>;

/// Each with its first and second derivative at 0.
const ACTIVATIONS: [(Activation, f64, f64); 14] = [
    (|x| x.relu(), 0.0, 0.0),
    (|x| x.leaky_relu(0.2), 0.2, 0.0),
    (|x| x.prelu(0.25), 0.25, 0.0),
    (|x| x.elu(1.5), 1.0, 0.0),
    (|x| x.celu(1.5), 1.0, 0.0),
    (|x| x.selu(), 1.050_700_987_355_480_5, 0.0),
    (|x| x.softplus(), 0.5, 0.25),
    (|x| x.log_sigmoid(), 0.5, -0.25),
    (|x| x.silu(), 0.5, 0.5),
    (|x| x.mish(), 0.6, 0.64),
    (|x| x.relu6(), 0.0, 0.0),
    (|x| x.hard_tanh(), 1.0, 0.0),
    (|x| x.hard_sigmoid(), 1.0 / 6.0, 0.0),
    (|x| x.hard_silu(), 0.5, 1.0 / 3.0),
];

#[test]
fn activations_have_both_derivatives() {
    let x = noise(&[3, 4], 5) * 5.0;
    for (f, slope, bend) in ACTIVATIONS {
        smooth(|_, x| f(x), &x);
        let (zero, one) = (arr1(&[0.0]).into_dyn(), arr1(&[1.0]).into_dyn());
        close(&gradient(|_, x| f(x), &zero), &[slope], 1e-15);
        close(&second(|_, x| f(x), &zero, &one), &[bend], 1e-15);
        // Nothing is lost far away, where one side is out of the range of `exp`.
        let far = value(|_, x| f(x), arr1(&[-1e6, 1e6]));
        assert!(far.iter().all(|y| y.is_finite()), "{far:?}");
        let slopes = gradient(|_, x| f(x), &arr1(&[-1e6, 1e6]).into_dyn());
        assert!(slopes.iter().all(|y| y.is_finite()), "{slopes:?}");
    }
    smooth(|_, x| x.softsign(), &x);
    smooth(|_, x| x.glu(1), &x);
    smooth(|_, x| x.prelu(x.index(0, 0)), &x);
    smooth(|_, x| x.softmax(0) + x.log_softmax(1), &x);
    let ends =
        |f: Activation| gradient(|_, x| f(x), &arr1(&[-3.0, -1.0, 1.0, 3.0, 6.0]).into_dyn());
    assert_eq!(ends(|x| x.relu6()), [0.0, 0.0, 1.0, 1.0, 0.0]);
    assert_eq!(ends(|x| x.hard_tanh()), [0.0; 5]);
    close(&ends(|x| x.hard_sigmoid()), &[0.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0], 1e-15);
}

#[test]
fn attention_is_a_weighted_mean() {
    let t = Trace::eager();
    let array = |dims: &[usize], seed| t.constant(noise(dims, seed));
    let (q, k, v) = (array(&[2, 3, 4], 1), array(&[2, 5, 4], 2), array(&[2, 5, 3], 3));
    let weights = (q.matmul(k.swap_axes(1, 2)) / 2.0).softmax(-1);
    let read = |x: Tensor<'_>| x.array().unwrap_or_else(|e| panic!("{e}")).to_f64_vec();
    close(&read(q.attention(k, v, None)), &read(weights.matmul(v)), 1e-14);
    let all = t.ones(DType::Bool, [5]);
    close(&read(q.attention(k, v, all)), &read(weights.matmul(v)), 1e-14);
    // Keys behind a query do not matter.
    let causal = q.causal_attention(k, v);
    close(&read(causal.index(1, 0)), &read(v.index(1, 0)), 1e-14);
    let two = q.slice(1, 1..2, 1).attention(k.slice(1, ..2, 1), v.slice(1, ..2, 1), None);
    close(&read(causal.slice(1, 1..2, 1)), &read(two), 1e-14);
    // A single query and stretched keys.
    assert_eq!(q.attention(k.index(0, 0), v.index(0, 1), None).shape().dims(), [2, 3, 3]);
    assert!(t.check().is_ok());
}

#[test]
fn a_query_that_sees_nothing_gets_nothing() {
    let x = noise(&[2, 3], 1);
    let masked = |f: for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>| {
        let mask = ndarray::arr2(&[[true, false], [false, false]]);
        gradient(move |t, x| f(x, t.constant(mask.clone())), &x)
    };
    let seen = value(
        |t, x| x.attention(x, x, t.constant(ndarray::arr2(&[[true, false], [false, false]]))),
        x.clone(),
    );
    close(&seen[..3], &x.as_slice().unwrap()[..3], 1e-15);
    assert_eq!(seen[3..], [0.0; 3]);
    // All of the first value is taken, whatever the query; the second row has no part.
    let slopes = masked(|x, mask| x.attention(x, x, mask));
    close(&slopes, &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 1e-15);
}

#[test]
fn layers_normalise() {
    let x = noise(&[2, 4, 3], 1);
    let t = Trace::eager();
    let array = |dims: &[usize], seed| t.constant(noise(dims, seed));
    let read = |x: Tensor<'_>| x.array().unwrap_or_else(|e| panic!("{e}")).to_f64_vec();
    let tensor = t.constant(x.clone());
    let (scale, shift) = (array(&[4], 2), array(&[4], 3));
    let instance = tensor.instance_norm(scale, shift, 1e-5);
    close(&read(instance), &read(tensor.group_norm(4, scale, shift, 1e-5)), 0.0);
    let by_hand =
        |axes: &[i32]| (tensor - tensor.mean_keep(axes)) / (tensor.var_keep(axes) + 1e-5).sqrt();
    let (factor, offset) = (scale.reshape([4, 1]), shift.reshape([4, 1]));
    close(&read(instance), &read(by_hand(&[2]) * factor + offset), 1e-13);
    let batch = tensor.batch_norm(scale, shift, 1e-5);
    close(&read(batch), &read(by_hand(&[0, 2]) * factor + offset), 1e-13);
    let (mean, var) = (tensor.mean_over([0, 2]), tensor.var_over([0, 2]));
    let given = tensor.batch_norm_with(mean, var, scale, shift, 1e-5);
    close(&read(given), &read(batch), 1e-13);
    let groups = tensor.group_norm(2, scale, shift, 1e-5);
    let halves = tensor.reshape([2, 2, 6]);
    let halves = (halves - halves.mean_keep(2)) / (halves.var_keep(2) + 1e-5).sqrt();
    close(&read(groups), &read(halves.reshape([2, 4, 3]) * factor + offset), 1e-13);

    let with = |f: for<'t> fn(&'t Trace, Tensor<'t>, Tensor<'t>) -> Tensor<'t>, n: usize| {
        smooth(move |t, x| f(t, x, t.constant(noise(&[n], 4))), &x);
    };
    with(|_, x, s| x.layer_norm(s, s * 2.0, 1e-5), 3);
    with(|_, x, s| x.rms_norm(s, 1e-5), 3);
    with(|_, x, s| x.batch_norm(s, s * 2.0, 1e-5), 4);
    with(|_, x, s| x.group_norm(2, s, s * 2.0, 1e-5), 4);
    with(|_, x, s| x.batch_norm_with(s, s.square(), x.index(2, 0).index(0, 0), s, 1e-5), 4);
    smooth(|t, x| x.layer_norm(t.ones(DType::F64, [4]), x.index(0, 0), 1e-5), &noise(&[2, 4], 6));
    smooth(|_, x| x.attention(x.sin(), x.square(), None), &x);
    smooth(|_, x| x.causal_attention(x.sin(), x.square()), &x);
}

#[test]
fn layers_that_do_not_fit_are_mistakes() {
    let t = Trace::eager();
    let (x, s) = (t.ones(DType::F64, [2, 4, 3]), t.ones(DType::F64, [4]));
    let (single, flags) = (t.ones(DType::F64, []), t.ones(DType::Bool, [3, 3]));
    let wrong = [
        (x.layer_norm(s, s, 0.1), Problem::Shape),
        (x.rms_norm(s, 0.1), Problem::Shape),
        (single.layer_norm(single, single, 0.1), Problem::Shape),
        (s.batch_norm(s, s, 0.1), Problem::Shape),
        (x.batch_norm(s, s.to_f32(), 0.1), Problem::Shape),
        (x.batch_norm_with(s, s, s, x, 0.1), Problem::Shape),
        (x.group_norm(3, s, s, 0.1), Problem::Parameter),
        (x.group_norm(0, s, s, 0.1), Problem::Parameter),
        (x.cast(DType::I32).instance_norm(s, s, 0.1), Problem::DType),
        (x.glu(2), Problem::Shape),
        (x.glu(3), Problem::Axis),
        (x.softmax(3), Problem::Axis),
        (flags.softmax(0), Problem::DType),
        (x.attention(s, s, None), Problem::Shape),
        (x.attention(x.swap_axes(1, 2), x, None), Problem::Shape),
        (x.attention(x, x, flags), Problem::Shape),
        (x.attention(x, x, x), Problem::Shape),
        (flags.attention(flags, flags, None), Problem::DType),
        (x.causal_attention(s, s), Problem::Shape),
        (x.prelu(t.ones(DType::F64, [2])), Problem::Shape),
    ];
    mistakes(&t, &wrong);
}
