//! Loops that index arrays cost what they index: work that is counted, not timed.
#![allow(missing_docs)]

#[path = "common/work.rs"]
mod work;

use backstitch::prelude::*;
use backstitch::{Array, DType, Options};
use work::work;

/// `f` of a vector of each of these lengths: its work grows as the length does, and its
/// gradient is that of the interpreter.
fn grows_with_its_length(f: impl for<'t> Fn(&'t Trace, Tensor<'t>, i64) -> Tensor<'t>) {
    let program = |n: usize| {
        trace(Spec::f64([n]), (), |t, x, ()| f(t, x, n as i64)).unwrap().value_and_grad().unwrap()
    };
    let counted = [1_000, 10_000, 100_000].map(|n| {
        let compiled = program(n).compile().unwrap();
        work(compiled.executable().plan())
    });
    for pair in counted.windows(2) {
        assert!(pair[1] <= 12 * pair[0], "{counted:?}: {}", program(1000).compile().unwrap());
    }
    for n in [1, 2, 5, 200] {
        let x = ndarray::Array1::from_shape_fn(n, |i| (i as f64 * 0.7).sin());
        let f = program(n);
        let (value, gradient) = f.eval(&x, &()).unwrap();
        for options in [Options::default(), Options::default().unroll(0)] {
            let found = f.compile_with(&options).unwrap().call(&x, &()).unwrap();
            let close = |got: &Array, want: &Array| {
                let (got, want) = (got.to_f64_vec(), want.to_f64_vec());
                got.len() == want.len()
                    && got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs()))
            };
            assert!(close(&found.0, &value) && close(&found.1, &gradient), "{n}: {found:?}");
        }
    }
}

#[test]
fn a_loop_that_reads_one_element_per_iteration() {
    grows_with_its_length(|t, x, n| {
        t.for_loop(n, t.scalar(0.5), |i, s| (s * 0.9 + x.take(i, 0)).sin())
    });
}

#[test]
fn a_loop_that_reads_an_element_and_its_neighbour() {
    grows_with_its_length(|t, x, n| {
        t.for_loop(n, t.scalar(0.5), |i, s| (s * 0.9 + x.take(i, 0) * x.take(i + 1, 0).cos()).sin())
    });
}

#[test]
fn a_loop_that_reads_the_same_few_elements_in_each_iteration() {
    grows_with_its_length(|t, x, n| {
        t.for_loop(n, t.scalar(0.5), |_, s| {
            (s * 0.9 + x.index(0, 0) * x.slice(0, ..1, 1).sum()).sin()
        })
    });
}

#[test]
fn a_loop_in_a_loop_that_reads_one_element_per_iteration() {
    grows_with_its_length(|t, x, n| {
        let rows = (n / 100).max(1);
        t.for_loop(rows, t.scalar(0.5), |i, s| {
            t.for_loop(100, s, |j, s| (s * 0.9 + x.take(i * 100 + j, 0)).sin())
        })
    });
}

#[test]
fn a_loop_that_adds_to_one_element_per_iteration() {
    grows_with_its_length(|t, x, n| {
        let y = t.for_loop(n, t.zeros(DType::F64, [n as usize]), |i, y| {
            let before = y.take(i - 1, 0);
            y.scatter_add(i, (before + x.take(i, 0)).sin(), 0)
        });
        (y * y).sum()
    });
}

#[test]
fn a_carry_that_is_read_after_it_was_added_to_keeps_its_old_value() {
    // The old array goes out as a row, and into the other carry.
    let f = trace(Spec::f64([4]), (), |t, x, ()| {
        let ((y, z), rows) = t.scan((x, x * 2.0), x, |(y, z), r| {
            let i = (r * 10.0).cast(DType::I64) - 1;
            let next = y.scatter_add(i, r.sin(), 0);
            ((next, y * z), y)
        });
        (y * z).sum() + (rows * rows).sum()
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let x = ndarray::arr1(&[0.1, 0.2, 0.3, 0.4]);
    let want = f.eval(&x, &()).unwrap();
    let got = f.compile_with(&Options::default().unroll(0)).unwrap().call(&x, &()).unwrap();
    assert!((got.0.item::<f64>().unwrap() - want.0.item::<f64>().unwrap()).abs() < 1e-12);
    for (a, b) in got.1.to_f64_vec().iter().zip(want.1.to_f64_vec()) {
        assert!((a - b).abs() < 1e-12);
    }
}
