//! Indices that are known only when a compiled program runs: whatever they are, nothing
//! outside of an array is read or written.
#![allow(missing_docs)]

use backstitch::prelude::*;
use backstitch::{DType, Options};

const WILD: [i64; 6] = [i64::MIN, -1, 0, 2, 3, i64::MAX];
/// The same, moved to the nearest index of three.
const TAME: [i64; 6] = [0, 0, 0, 2, 2, 2];

fn indices(of: [i64; 6]) -> ndarray::Array1<i64> {
    ndarray::arr1(&of)
}

fn rows() -> ndarray::Array2<f64> {
    ndarray::Array2::from_shape_fn((3, 2), |(i, j)| 1.0 + i as f64 * 10.0 + j as f64)
}

/// Value and gradient by wild indices are those by the nearest ones in range, with and
/// without optimisation.
#[track_caller]
fn clamps(
    f: impl for<'t> FnOnce(&'t Trace, Tensor<'t>, Tensor<'t>) -> Tensor<'t>,
    index: impl Fn([i64; 6]) -> ndarray::ArrayD<i64>,
) {
    let shape = index(WILD).shape().to_vec();
    let f = trace(Spec::f64([3, 2]), Spec::new(DType::I64, shape), f).unwrap();
    let f = f.value_and_grad().unwrap();
    for optimise in [true, false] {
        let compiled = f.compile_with(&Options::default().optimise(optimise)).unwrap();
        let (value, slope) = compiled.call(&rows(), &index(WILD)).unwrap();
        let (want, want_slope) = compiled.call(&rows(), &index(TAME)).unwrap();
        assert_eq!(value.to_f64_vec(), want.to_f64_vec());
        assert_eq!(slope.to_f64_vec(), want_slope.to_f64_vec());
        assert!(want.to_f64_vec()[0] != 0.0);
    }
}

fn plain(of: [i64; 6]) -> ndarray::ArrayD<i64> {
    indices(of).into_dyn()
}

#[test]
fn taking() {
    clamps(|_, x, i| x.take(i, 0).square().sum(), plain);
    clamps(|_, x, i| x.transpose().take(i, 1).square().sum(), plain);
    clamps(
        |_, x, i| x.take_along_axis(i, 0).square().sum(),
        |of| indices(of).into_shape_with_order((3, 2)).unwrap().into_dyn(),
    );
    clamps(|_, x, i| x.embedding(i).square().sum(), plain);
    // The second number of each pair has two places: it is moved to the nearest of those.
    clamps(
        |_, x, i| x.gather_nd(i.minimum(1)).square().sum(),
        |of| indices(of).into_shape_with_order((3, 2)).unwrap().into_dyn(),
    );
}

#[test]
fn adding() {
    clamps(
        |t, x, i| {
            let updates = t.iota(DType::F64, [6, 2], 0) + 1.0;
            x.scatter_add(i, updates, 0).square().sum()
        },
        plain,
    );
    clamps(
        |t, x, i| {
            let spread = t.concat([x, x], 0);
            spread.segment_sum(i, 3).square().sum()
        },
        plain,
    );
}

#[test]
fn a_class_that_is_none_has_no_place_in_one_hot() {
    let f = trace((), Spec::i64([6]), |_, (), i| i.one_hot(3, DType::F64)).unwrap();
    let hot = f.compile().unwrap().call(&(), &indices(WILD)).unwrap().to_f64_vec();
    let ones: Vec<usize> = (0..hot.len()).filter(|&i| hot[i] != 0.0).collect();
    // Of the six rows of three, 0 and 2 are classes.
    assert_eq!(ones, [2 * 3, 3 * 3 + 2]);
}
