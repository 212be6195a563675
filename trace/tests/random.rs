//! Distributions: their moments, their gradients, and what they refuse.
#![allow(missing_docs)]

use backstitch_trace::{DType, Tensor, Trace};

const COUNT: usize = 40_000;

/// Mean and variance, compared with those of the distribution; a deviation of five
/// standard errors is an error.
fn moments(x: Tensor<'_>, mean: f64, variance: f64) {
    let x = x.cast(DType::F64);
    let at = |x: Tensor<'_>| x.item::<f64>().unwrap();
    let slack = 5.0 * (variance / COUNT as f64).sqrt();
    assert!((at(x.mean()) - mean).abs() < slack, "mean {} is not {mean}", at(x.mean()));
    let ratio = at(x.var()) / variance;
    assert!((ratio - 1.0).abs() < 0.06, "variance is {ratio} times too large");
}

#[test]
fn moments_are_those_of_the_distributions() {
    let t = Trace::eager();
    for dtype in [DType::F32, DType::F64] {
        let keys: [_; 8] = t.key(11).split();
        moments(keys[0].normal(dtype, [COUNT]), 0.0, 1.0);
        moments(keys[1].normal_with(-3.0, 0.5, dtype, [COUNT]), -3.0, 0.25);
        moments(keys[2].uniform_between(2, 6, dtype, [COUNT]), 4.0, 16.0 / 12.0);
        moments(keys[3].exponential(dtype, [COUNT]), 1.0, 1.0);
        let (euler, pi) = (0.577_215_664_901_532_9, std::f64::consts::PI);
        moments(keys[4].gumbel(dtype, [COUNT]), euler, pi * pi / 6.0);
        // Symmetric bounds, then the half-normal distribution.
        moments(keys[5].truncated_normal(-2, 2, dtype, [COUNT]), 0.0, 0.773_741_303_5);
        let half = keys[6].truncated_normal(0, f64::INFINITY, dtype, [COUNT]);
        moments(half, (2.0 / pi).sqrt(), 1.0 - 2.0 / pi);
        let p = t.full(dtype, [COUNT], 0.3);
        moments(keys[7].bernoulli(p, [COUNT]), 0.3, 0.21);
    }
    moments(t.key(12).integers(-2..3, [COUNT]), 0.0, 2.0);
    moments(t.key(13).bits([COUNT]).cast(DType::F64) * 0.5f64.powi(32), 0.0, 1.0 / 12.0);
}

#[test]
fn choices_follow_their_probabilities() {
    let t = Trace::eager();
    let p = [0.5, 0.2, 0.3, 0.0];
    let logits = t.constant(ndarray::arr1(&p)).log().stretch_rows(COUNT);
    let drawn = t.key(3).categorical(logits, -1);
    assert_eq!((drawn.dtype(), drawn.shape().dims().to_vec()), (DType::I64, vec![COUNT]));
    for (i, p) in p.into_iter().enumerate() {
        let share = drawn.eq(i as i64).to_f64().mean().item::<f64>().unwrap();
        assert!((share - p).abs() < 0.0125, "{share} of {i}");
    }
}

trait Rows<'t> {
    fn stretch_rows(self, n: usize) -> Tensor<'t>;
}

impl<'t> Rows<'t> for Tensor<'t> {
    /// The same row `n` times.
    fn stretch_rows(self, n: usize) -> Tensor<'t> {
        self + self.trace().zeros(self.dtype(), [n, 1])
    }
}

#[test]
fn gradients_reach_the_parameters() {
    let t = Trace::eager();
    let (a, b) = (t.constant(-1.0), t.constant(1.5));
    let tape = t.tape().persistent();
    tape.watch(&a);
    tape.watch(&b);
    let slopes = |y: Tensor<'_>| -> [f64; 2] {
        [a, b].map(|x| tape.gradient(&y, &x).or_zeros().item::<f64>().unwrap())
    };
    let key = t.key(5);

    let z = key.normal(DType::F64, []).item::<f64>().unwrap();
    assert_eq!(slopes(key.normal_with(a, b, DType::F64, [])), [1.0, z]);
    let u = key.uniform(DType::F64, []).item::<f64>().unwrap();
    assert_eq!(slopes(key.uniform_between(a, b, DType::F64, [])), [1.0 - u, u]);

    // dx/da = (1 - u)·φ(a)/φ(x), dx/db = u·φ(b)/φ(x)
    let y = key.truncated_normal(a, b, DType::F64, []);
    let x = y.item::<f64>().unwrap();
    let ratio = |c: f64| ((x * x - c * c) / 2.0).exp();
    let want = [(1.0 - u) * ratio(-1.0), u * ratio(1.5)];
    for (got, want) in slopes(y).into_iter().zip(want) {
        assert!((got - want).abs() < 1e-14, "{got} is not {want}");
    }
}

#[test]
fn extreme_bounds_stay_finite() {
    let t = Trace::eager();
    for dtype in [DType::F32, DType::F64] {
        for (lo, hi) in [(0.9, f64::INFINITY), (f64::NEG_INFINITY, f64::INFINITY), (3.0, 3.0)] {
            let x = t.key(8).truncated_normal(lo, hi, dtype, [COUNT]).cast(DType::F64);
            let most = x.abs().max().item::<f64>().unwrap();
            assert!(most < 9.0 && x.min().item::<f64>().unwrap() >= lo, "{lo} to {hi}: {most}");
        }
        let x = t.key(8).gumbel(dtype, [COUNT]).cast(DType::F64);
        assert!(x.abs().max().item::<f64>().unwrap() < 40.0);
    }
}

#[test]
fn what_is_dropped_leaks_nothing() {
    let t = Trace::eager();
    let x = t.full(DType::F32, [1000], f64::NAN);
    let tape = t.tape();
    tape.watch(&x);
    let y = x.dropout(t.key(2), 0.75);
    let slope = tape.gradient(&y.sum(), &x).or_zeros();
    let (y, slope) = (y.array().unwrap().to_f64_vec(), slope.array().unwrap().to_f64_vec());
    let dropped = y.iter().filter(|y| **y == 0.0).count();
    assert!((700..800).contains(&dropped));
    assert!(y.iter().zip(slope).all(|(y, s)| s == if y.is_nan() { 4.0 } else { 0.0 }));
    let same = t.ones(DType::F64, [3]).dropout(t.key(2), 0.0).array().unwrap();
    assert_eq!(same.to_f64_vec(), [1.0; 3]);
}

#[test]
fn mistakes_are_told() {
    let t = Trace::eager();
    let (x, n) = (t.ones(DType::F64, [3]), t.zeros(DType::I32, [3]));
    let wrong = [
        x.dropout(t.key(0), 1.0),
        x.dropout(t.key(0), f64::NAN),
        n.dropout(t.key(0), 0.5),
        t.key(0).integers(3..3, [2]),
        t.key(0).integers(i64::MIN..i64::MAX, [2]),
        t.key(0).categorical(n, 0),
        t.key(0).categorical(x, 1),
        t.key(0).uniform_between(x, 1, DType::F64, [2]),
        t.key(0).normal_with(x, 1, DType::F32, [3]),
        t.key(0).exponential(DType::I64, [3]),
        t.key(0).bits([usize::MAX, 2]),
    ];
    for (i, x) in wrong.into_iter().enumerate() {
        assert!(x.array().is_err(), "case {i} is wrong");
    }
    assert_eq!(t.check().unwrap_err().mistakes.len(), wrong.len(), "{}", t.check().unwrap_err());
}

#[test]
fn empty_arrays_have_random_numbers_too() {
    let t = Trace::eager();
    let [a, b] = t.key(0).split();
    assert_eq!(a.truncated_normal(-1, 1, DType::F32, [0, 3]).shape().dims(), [0, 3]);
    assert_eq!(b.integers(0..2, [0]).array().unwrap().dims(), [0]);
}
