//! The last point is remembered, and nothing else.

use backstitch::adapters::Memo;
use backstitch::prelude::*;
use backstitch::{BindError, Compiled, Error, runtime};
use ndarray::{Array1, arr1};

type ValueAndGrad<D> = Compiled<Spec, D, (Spec, Spec)>;

fn squares() -> ValueAndGrad<Spec> {
    let f = trace(Spec::f64([3]), Spec::f64([3]), |_, x, a| (a * x.square()).sum());
    f.unwrap().value_and_grad().unwrap().compile().unwrap()
}

#[test]
fn one_run_for_each_point() {
    let (program, a) = (squares(), arr1(&[1.0, 2.0, 3.0]));
    let mut f = Memo::new(program.bind::<f64, _>(&a).unwrap());
    let (x, y) = ([1.0, -1.0, 2.0], [0.5, 0.0, 0.0]);
    assert_eq!(f.runs(), 0);
    for _ in 0..3 {
        assert_eq!(f.value(&x).unwrap(), 15.0);
        assert_eq!(f.gradient(&x).unwrap(), [2.0, -4.0, 12.0]);
        assert_eq!(f.value_and_gradient(&x).unwrap(), (15.0, &[2.0, -4.0, 12.0][..]));
    }
    assert_eq!(f.runs(), 1);
    assert_eq!(f.gradient(&y).unwrap(), [1.0, 0.0, 0.0]);
    assert_eq!(f.value(&y).unwrap(), 0.25);
    assert_eq!(f.runs(), 2);
    // One point, no more: the one before is forgotten.
    assert_eq!(f.value(&x).unwrap(), 15.0);
    assert_eq!(f.runs(), 3);
    // The point is copied: who changes theirs gets another answer.
    let mut z = x;
    assert_eq!(f.value(&z).unwrap(), 15.0);
    z[0] = 2.0;
    assert_eq!(f.value(&z).unwrap(), 18.0);
    assert_eq!(f.runs(), 4);
    // What was bound comes back, and is as good as before.
    assert_eq!(f.into_bound().call(&x).unwrap().0, 15.0);
}

#[test]
fn points_are_compared_by_their_bits() {
    let f = trace(Spec::f64([]), (), |_, x, ()| 1.0 / x).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let mut f = Memo::new(program.bind::<f64, _>(&()).unwrap());
    assert_eq!(f.value(&[0.0]).unwrap(), f64::INFINITY);
    assert_eq!(f.value(&[-0.0]).unwrap(), f64::NEG_INFINITY);
    assert_eq!(f.runs(), 2);
    for _ in 0..2 {
        assert!(f.value(&[f64::NAN]).unwrap().is_nan());
    }
    assert_eq!(f.runs(), 3);
}

#[test]
fn a_vector_of_another_length_is_refused_and_changes_nothing() {
    let (program, a) = (squares(), arr1(&[1.0, 2.0, 3.0]));
    let mut f = Memo::new(program.bind::<f64, _>(&a).unwrap());
    // Nothing was asked yet: a vector without elements is not the point there is none of.
    for x in [&[][..], &[1.0; 2], &[1.0; 4]] {
        let error = f.value(x).unwrap_err();
        assert!(matches!(error, Error::Bind(BindError::Length { expected: 3, .. })), "{error}");
    }
    f.value(&[1.0; 3]).unwrap();
    let error = f.gradient(&[1.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "expected a vector of 3 elements, got 2");
    assert_eq!((f.value(&[1.0; 3]).unwrap(), f.runs()), (6.0, 1));
}

#[test]
fn nothing_to_choose_is_one_point() {
    let f = trace(Spec::f64([0]), (), |_, x, ()| x.sum() + 1.0).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let mut f = Memo::new(program.bind::<f64, _>(&()).unwrap());
    assert_eq!(f.value_and_gradient(&[]).unwrap(), (1.0, &[][..]));
    assert_eq!(f.value_and_gradient(&[]).unwrap(), (1.0, &[][..]));
    assert_eq!(f.runs(), 1);
}

#[test]
fn a_call_that_fails_is_not_remembered() {
    let f = trace(Spec::f64([2, 2]), (), |_, a, ()| a.cholesky().sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let mut f = Memo::new(program.bind::<f64, _>(&()).unwrap());
    let (good, bad) = ([4.0, 0.0, 0.0, 9.0], [-1.0, 0.0, 0.0, 1.0]);
    assert_eq!(f.value(&good).unwrap(), 5.0);
    for runs in [2, 3] {
        let error = f.value(&bad).unwrap_err();
        let is_it = matches!(error, Error::Runtime(runtime::Error::NotPositiveDefinite { .. }));
        assert!(is_it, "{error}");
        assert_eq!(f.runs(), runs);
    }
    // What there was before is gone with it: the gradient has been written over.
    assert_eq!(f.value(&good).unwrap(), 5.0);
    assert_eq!(f.runs(), 4);
}

#[test]
fn floats_are_remembered_like_doubles() {
    let f = trace(Spec::f32([2]), (), |_, x, ()| x.square().sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let mut f = Memo::new(program.bind::<f32, _>(&()).unwrap());
    assert_eq!(f.value(&[3.0, 4.0]).unwrap(), 25.0);
    assert_eq!(f.gradient(&[3.0, 4.0]).unwrap(), [6.0, 8.0]);
    assert_eq!(f.runs(), 1);
    let bound = f.bound();
    assert_eq!(bound.flatten(&Array1::from_vec(vec![3.0f32, 4.0])).unwrap(), [3.0, 4.0]);
}

#[test]
fn memories_go_to_other_threads() {
    let (program, a) = (squares(), arr1(&[1.0, 2.0, 3.0]));
    std::thread::scope(|scope| {
        for i in 0..2 {
            let mut f = Memo::new(program.bind::<f64, _>(&a).unwrap());
            scope.spawn(move || {
                for n in 0..100 {
                    let x = f64::from(n + i);
                    assert_eq!(f.value(&[x; 3]).unwrap(), 6.0 * x * x);
                    assert_eq!(f.gradient(&[x; 3]).unwrap(), [2.0 * x, 4.0 * x, 6.0 * x]);
                }
                assert_eq!(f.runs(), 100);
            });
        }
    });
}
