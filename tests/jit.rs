//! Programs that are compiled when they are called.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backstitch::prelude::*;
use backstitch::{Array, Error, Miss, Options, jit};
use ndarray::{Array1, arr1, arr2};

#[derive(Tree, Clone, PartialEq)]
struct Model<T> {
    w: T,
    layers: Vec<T>,
    #[tree(skip)]
    times: usize,
}

#[test]
fn a_miss_says_why() {
    let f = jit(|m: Model<Spec>, x: Spec| {
        trace(m, x, |_, m, x| {
            let sum = m.layers.iter().fold(m.w, |sum, layer| sum + layer.sum());
            (0..m.times).fold(x * sum, |y, _| y * 2.0).sum()
        })
    });
    let array = |x: &[f64]| Array::from(arr1(x));
    let model = |n: usize, times| Model { w: array(&[1.0]), layers: vec![array(&[2.0]); n], times };
    let call = |m: &Model<Array>, x: &Array1<f64>| f.call(m, x).unwrap().item::<f64>().unwrap();
    assert_eq!(call(&model(1, 1), &arr1(&[1.0, 2.0])), 18.0);
    assert_eq!(call(&model(1, 1), &arr1(&[2.0, 2.0])), 24.0);
    assert_eq!(call(&model(1, 1), &arr1(&[1.0])), 6.0);
    assert_eq!(call(&model(1, 2), &arr1(&[1.0])), 12.0);
    assert_eq!(call(&model(2, 2), &arr1(&[1.0])), 20.0);
    assert_eq!(call(&model(1, 2), &arr1(&[1.0])), 12.0);
    let half = Model { w: Array::from(arr1(&[1i64])), ..model(1, 2) };
    assert!(f.call(&half, &arr1(&[1.0])).is_err());
    let reasons: Vec<String> = f.misses().iter().map(ToString::to_string).collect();
    let arrays = "arrays params.w, params.layers.0, data before, now";
    assert_eq!(
        reasons,
        [
            "the first call".to_owned(),
            "data: f64[2] before, now f64[1]".into(),
            "a part that is not an array is different".into(),
            format!("{arrays} params.w, params.layers.0, params.layers.1, data"),
            "params.w: f64[1] before, now i64[1]".into(),
        ]
    );
    let info = f.cache_info();
    // What could not be traced is a miss, but not there.
    assert_eq!((info.hits, info.misses, info.len, info.evictions), (2, 5, 4, 0));
}

#[test]
fn the_one_called_the_longest_ago_goes() {
    let f = jit(|x: Spec, (): ()| trace(x, (), |_, x, ()| x.sum())).limit(2);
    let call = |n: usize| f.call(&Array1::<f64>::ones(n), &()).unwrap().item::<f64>().unwrap();
    for n in [1, 2, 1, 3, 1, 2] {
        assert_eq!(call(n), n as f64);
    }
    let info = f.cache_info();
    assert_eq!((info.hits, info.misses, info.evictions, info.len, info.limit), (2, 4, 2, 2, 2));
    f.cache_clear();
    assert_eq!(f.cache_info().len, 0);
    assert_eq!(call(1), 1.0);
}

#[test]
fn an_error_is_not_kept() {
    let tries = AtomicUsize::new(0);
    let f = jit(|x: Spec, y: Spec| {
        tries.fetch_add(1, Ordering::Relaxed);
        trace(x, y, |_, x, y| x.matmul(y))
    });
    let (x, y) = (arr2(&[[1.0, 2.0]]), arr2(&[[1.0, 2.0]]));
    for _ in 0..2 {
        assert!(matches!(f.call(&x, &y), Err(Error::Trace(_))));
    }
    assert_eq!(f.call(&x, &y.t()).unwrap().to_f64_vec(), [5.0]);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    assert_eq!((f.cache_info().len, f.cache_info().misses), (1, 3));
}

#[test]
fn threads_that_miss_together_compile_once() {
    let tries = AtomicUsize::new(0);
    let f = jit(|x: Spec, (): ()| {
        tries.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(50));
        trace(x, (), |_, x, ()| (x * x).sum())?.grad()
    });
    let x = arr1(&[1.0, 2.0, 3.0]);
    let all: Vec<Arc<_>> = std::thread::scope(|scope| {
        let each = || f.compiled(&x, &()).unwrap();
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(each)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(all.windows(2).all(|w| Arc::ptr_eq(&w[0], &w[1])));
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    assert_eq!((f.cache_info().hits, f.cache_info().misses), (5, 1));
    assert_eq!(f.misses(), [Miss::First]);
}

#[test]
fn options_and_workspaces() {
    let step =
        jit(|w: Spec, x: Spec| trace_tree(w, x, |t, w, x| t.outputs(&(w + x, (w * x).sum()))));
    let step = step.options(Options::default().donate_parameters());
    let (mut w, mut sum) = (arr1(&[1.0, 2.0]), 0.0);
    let x = arr1(&[10.0, 20.0]);
    let compiled = step.compiled(&w, &x).unwrap();
    let mut ws = compiled.workspace().unwrap();
    compiled.update_into(&mut ws, &mut w, &x, &mut sum).unwrap();
    assert_eq!((w.to_vec(), sum), (vec![11.0, 22.0], 50.0));

    let f = jit(|x: Spec, (): ()| trace(x, (), |_, x, ()| x * 2.0));
    let mut out = arr1(&[0.0, 0.0]);
    f.call_into(&mut ws, &w, &(), &mut out).unwrap();
    assert_eq!(out.to_vec(), [22.0, 44.0]);
}
