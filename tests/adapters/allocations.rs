//! What solvers call again and again allocates nothing but what their traits return.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use backstitch::adapters::Memo;
use backstitch::prelude::*;
use ndarray::arr1;

/// Counts allocations of each thread: other tests run at the same time.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate after its count is gone.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
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

/// Allocations in ten calls, with points that differ, after a first one.
fn allocations(mut f: impl FnMut(f64)) -> usize {
    f(-1.0);
    let before = COUNT.get();
    (0..10).for_each(|i| f(f64::from(i)));
    COUNT.get() - before
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|x| drop(std::hint::black_box(vec![x]))), 10);
}

#[test]
fn points_allocate_nothing() {
    let f = trace(Spec::f64([3]), Spec::f64([3]), |_, x, a| (a * x).square().sum()).unwrap();
    let (program, a) = (f.value_and_grad().unwrap().compile().unwrap(), arr1(&[1.0, 2.0, 3.0]));
    let mut memo = Memo::new(program.bind::<f64, _>(&a).unwrap());
    let n = allocations(|x| {
        let point = [x; 3];
        assert_eq!(memo.value(&point).unwrap(), 14.0 * x * x);
        assert_eq!(memo.gradient(&point).unwrap()[2], 18.0 * x);
        assert!(memo.value(&point[1..]).is_err());
    });
    assert_eq!(n, 0);

    #[cfg(feature = "argmin")]
    {
        use ::argmin::core::{CostFunction, Gradient};
        let objective = backstitch::adapters::argmin::Objective::new(program.bind(&a).unwrap());
        let mut point = vec![0.0; 3];
        let n = allocations(|x| {
            point.fill(x);
            assert_eq!(objective.cost(&point).unwrap(), 14.0 * x * x);
        });
        assert_eq!(n, 0);
        // The vector that is returned.
        let n = allocations(|x| {
            point.fill(x);
            assert_eq!(objective.gradient(&point).unwrap()[2], 18.0 * x);
        });
        assert_eq!(n, 10);
    }

    #[cfg(feature = "nuts")]
    {
        use nuts_rs::CpuLogpFunc;
        let bound = program.bind(&a).unwrap();
        let mut density = backstitch::adapters::nuts::LogDensity::from_negative_log_density(bound);
        let mut gradient = [0.0; 3];
        let n = allocations(|x| {
            assert_eq!(density.logp(&[x; 3], &mut gradient).unwrap(), -14.0 * x * x);
            assert_eq!(gradient[2], -18.0 * x);
        });
        assert_eq!(n, 0);
    }
}
