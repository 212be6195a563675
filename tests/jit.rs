//! Programs that are compiled when they are called.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};

use backstitch::prelude::*;
use backstitch::{Array, CacheMiss, Error, Options, jit, runtime};
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
    assert_eq!(f.misses(), [CacheMiss::First]);
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

#[test]
fn parameters_are_changed_in_place() {
    let step =
        jit(|w: Spec, x: Spec| trace_tree(w, x, |t, w, x| t.outputs(&(w + x, (w * x).sum()))));
    let donating = step.options(Options::default().donate_parameters());
    let mut ws = Workspace::new();
    for n in [2, 3, 2] {
        let (mut w, mut sum) = (Array1::from_elem(n, 1.0), 0.0);
        let x = Array1::from_elem(n, 10.0);
        donating.update_into(&mut ws, &mut w, &x, &mut sum).unwrap();
        assert_eq!((w, sum), (Array1::from_elem(n, 11.0), 10.0 * n as f64));
    }
    let info = donating.cache_info();
    assert_eq!((info.hits, info.misses), (1, 2));
    // Into arrays of its own, the parameters stay as they are.
    let w = arr1(&[1.0, 2.0]);
    assert_eq!(donating.call(&w, &w).unwrap().0.to_f64_vec(), [2.0, 4.0]);
    let error = donating.call_into(&mut ws, &w, &w, &mut 0.0).unwrap_err();
    assert!(matches!(error, Error::Runtime(runtime::Error::Donated { index: 0 })), "{error}");
    // What is not donated is an input like others, also where it could be changed.
    let plain = jit(|w: Spec, (): ()| trace(w, (), |_, w, ()| w.sum()));
    let (mut w, mut sum) = (arr1(&[1.0, 2.0]), 0.0);
    plain.update_into(&mut ws, &mut w, &(), &mut sum).unwrap();
    assert_eq!((w, sum), (arr1(&[1.0, 2.0]), 3.0));
}

type OfVectors = Box<dyn Fn(usize) -> Result<f64, Error> + Send + Sync>;

#[test]
fn a_program_that_is_made_by_itself_is_an_error() {
    static SELF: OnceLock<OfVectors> = OnceLock::new();
    let error: Arc<Mutex<Option<Error>>> = Arc::default();
    let seen = error.clone();
    let f = jit(move |x: Spec, (): ()| {
        // Smaller ones are other programs, and asked for as such; the last asks for itself.
        let n = x.dims()[0];
        let inner = SELF.get().expect("set before the call")(n.saturating_sub(1).max(1));
        let constant = inner.unwrap_or_else(|e| {
            *seen.lock().unwrap() = Some(e);
            100.0
        });
        trace(x, (), |_, x, ()| x.sum() + constant)
    });
    let call =
        move |n: usize| Ok(f.call(&Array1::<f64>::ones(n), &())?.item::<f64>().expect("a scalar"));
    SELF.get_or_init(|| Box::new(call));
    let call = SELF.get().unwrap();
    assert_eq!(call(3).unwrap(), 106.0);
    let text = "jit: the program for params: f64[1] is asked for while it is made, and cannot wait";
    assert_eq!(error.lock().unwrap().take().expect("an error").to_string(), text);
    // All are there now, and nothing is left of the attempt.
    assert_eq!((call(1).unwrap(), call(2).unwrap()), (101.0, 103.0));
    assert!(error.lock().unwrap().is_none());
}

#[test]
fn programs_that_wait_for_each_other_on_two_threads_are_an_error() {
    static SELF: OnceLock<OfVectors> = OnceLock::new();
    static BOTH: Barrier = Barrier::new(2);
    let f = jit(|x: Spec, (): ()| {
        let n = x.dims()[0];
        BOTH.wait();
        let inner = SELF.get().expect("set before the call")(3 - n);
        let constant = match inner {
            Ok(value) => value,
            Err(Error::Recursion { .. }) => 100.0,
            Err(other) => panic!("{other}"),
        };
        trace(x, (), |_, x, ()| x.sum() + constant)
    });
    let call =
        move |n: usize| Ok(f.call(&Array1::<f64>::ones(n), &())?.item::<f64>().expect("a scalar"));
    SELF.get_or_init(|| Box::new(call));
    let [a, b] = std::thread::scope(|scope| {
        let threads = [1, 2].map(|n| scope.spawn(move || SELF.get().unwrap()(n).unwrap()));
        threads.map(|thread| thread.join().unwrap())
    });
    // One of them got the error, and the other one waited for what it made without.
    assert!((a, b) == (101.0, 103.0) || (a, b) == (103.0, 102.0), "{a} {b}");
}

#[test]
fn a_panic_while_tracing_is_not_kept() {
    let tries = AtomicUsize::new(0);
    let f = jit(|x: Spec, (): ()| {
        if tries.fetch_add(1, Ordering::Relaxed) < 2 {
            panic!("not yet");
        }
        trace(x, (), |_, x, ()| x.sum())
    });
    let x = arr1(&[1.0, 2.0]);
    let call = || f.call(&x, &()).map(|sum| sum.item::<f64>());
    for _ in 0..2 {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err();
        assert!(panicked);
        assert_eq!(f.cache_info().len, 0);
    }
    // Others that waited go on, each with its own turn.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(call().unwrap(), Some(3.0)));
        }
    });
    assert_eq!((tries.load(Ordering::Relaxed), f.cache_info().len), (3, 1));
}

#[test]
fn who_waited_for_an_error_compiles_for_all() {
    let (tries, both) = (AtomicUsize::new(0), Barrier::new(2));
    let f = jit(|x: Spec, (): ()| {
        let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
        if first {
            both.wait();
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        trace(x, (), |_, x, ()| if first { x.matmul(x.reshape([1, 1])) } else { x.sum() })
    });
    let x = arr1(&[1.0, 2.0]);
    std::thread::scope(|scope| {
        let fails = scope.spawn(|| f.call(&x, &()).is_err());
        both.wait();
        assert_eq!(f.call(&x, &()).unwrap().item(), Some(3.0));
        assert!(fails.join().unwrap());
    });
    assert_eq!(f.call(&x, &()).unwrap().item(), Some(3.0));
    assert_eq!((tries.load(Ordering::Relaxed), f.cache_info().len), (2, 1));
}
