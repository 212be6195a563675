//! `call_into` allocates nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use backstitch_runtime::{Backend, Executable};
use common::{FACTORED, MEAN, SCALAR, SORTED, SQUARING, plan};
use ndarray::Array2;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate when it has no counter any more.
    _ = COUNT.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: all is passed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(mut f: impl FnMut()) -> usize {
    // Once before: a stack takes its memory in the first call.
    f();
    let before = COUNT.get();
    for _ in 0..10 {
        f();
    }
    COUNT.get() - before
}

/// Counts what the thread of the test allocates: others, of the test harness, do when they like.
#[test]
fn calls_allocate_nothing() {
    let load = |text| Executable::new(plan(text), Backend::Cpu).unwrap();

    let exe = load(SCALAR);
    let mut ws = exe.workspace().unwrap();
    let (mut y, mut a, mut b) = (0f32, 0f32, 0f32);
    let n = allocations(|| {
        let outputs = &mut [(&mut y).into(), (&mut a).into(), (&mut b).into()];
        exe.call_into(&mut ws, &[(&5f32).into(), (&3f32).into()], outputs).unwrap();
    });
    assert_eq!((n, y, a, b), (0, 105.0, 36.0, 10.0));

    let exe = load(MEAN);
    let mut ws = exe.workspace().unwrap();
    let x = Array2::<f64>::zeros((2, 5));
    let (mut value, mut gradient) = (0f64, x.clone());
    let n = allocations(|| {
        let outputs = &mut [(&mut value).into(), (&mut gradient).try_into().unwrap()];
        exe.call_into(&mut ws, &[(&x).try_into().unwrap()], outputs).unwrap();
    });
    assert_eq!(n, 0);

    let exe = load(SQUARING);
    let mut ws = exe.workspace().unwrap();
    let (mut y, mut dy, mut steps) = (0f64, 0f64, 0i64);
    let n = allocations(|| {
        let outputs = &mut [(&mut y).into(), (&mut dy).into(), (&mut steps).into()];
        exe.call_into(&mut ws, &[(&1.001f64).into(), (&1e9f64).into()], outputs).unwrap();
    });
    assert_eq!(n, 0);
    assert!(steps > 10);

    let exe = load(SORTED);
    let mut ws = exe.workspace().unwrap();
    let x = ndarray::Array1::from_iter((0..1000).map(|i| f64::from(i * 7 % 1000)));
    let mut first = ndarray::Array1::<i64>::zeros(10);
    let n = allocations(|| {
        let outputs = &mut [(&mut first).try_into().unwrap()];
        exe.call_into(&mut ws, &[(&x).try_into().unwrap()], outputs).unwrap();
    });
    assert_eq!(n, 0);
    assert!(first.iter().enumerate().all(|(i, &at)| at * 7 % 1000 == i as i64), "{first}");

    let exe = load(FACTORED);
    let mut ws = exe.workspace().unwrap();
    let a = Array2::from_shape_fn((96, 96), |(i, j)| {
        1.0 / (1.0 + (i as f64 - j as f64).abs()) + if i == j { 96.0 } else { 0.0 }
    });
    let b = Array2::from_shape_fn((96, 3), |(i, j)| (i + j) as f64);
    let (mut l, mut x) = (a.clone(), b.clone());
    let n = allocations(|| {
        let inputs = [(&a).try_into().unwrap(), (&b).try_into().unwrap()];
        let outputs = &mut [(&mut l).try_into().unwrap(), (&mut x).try_into().unwrap()];
        exe.call_into(&mut ws, &inputs, outputs).unwrap();
    });
    assert_eq!(n, 0);
    assert!((l.dot(&l.t()) - &a).iter().chain(&(a.dot(&x) - &b)).all(|e| e.abs() < 1e-10));
}
