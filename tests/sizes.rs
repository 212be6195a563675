//! Programs of growing size: what compiling and running them takes grows as they do, and
//! what they repeat is compiled once.
#![allow(missing_docs)]

#[path = "common/sizes.rs"]
mod sizes;
#[path = "common/work.rs"]
mod work;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backstitch::Array;
use backstitch::prelude::*;
use sizes::{SIZED, Sized};
use work::work;

/// Counts how often and how much is allocated.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is passed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(new_size, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Held by whoever counts: tests run at the same time.
static COUNTING: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How large everything is that a program of some size takes.
const COUNTED: [&str; 7] =
    ["nodes", "kernels", "arena bytes", "code bytes", "work", "allocations", "bytes allocated"];

struct Measured {
    counts: [usize; COUNTED.len()],
    time: Duration,
}

fn measure(program: &Sized, n: usize) -> Measured {
    let (calls, bytes) = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let start = Instant::now();
    let compiled = program.forward(n).value_and_grad().unwrap().compile().unwrap();
    let time = start.elapsed();
    let (calls, bytes) =
        (CALLS.load(Ordering::Relaxed) - calls, BYTES.load(Ordering::Relaxed) - bytes);
    let executable = compiled.executable();
    let stats = executable.stats();
    let nodes = compiled.graph().node_count();
    let counts = [
        nodes,
        stats.kernels,
        stats.arena_bytes,
        stats.code_bytes,
        work(executable.plan()),
        calls,
        bytes,
    ];
    Measured { counts, time }
}

/// What ten times the program may take, as a multiple. Small programs are one kernel and one
/// function and need no arena; what is quadratic takes a hundred times as much.
const GROWTH: usize = 20;

/// And so many of anything may be added.
const ADDED: usize = 10_000;

#[test]
fn what_compiling_takes_grows_as_programs_do() {
    let _alone = alone();
    let mut wrong = vec![];
    for program in SIZED {
        let sizes = [1, 10, 100].map(|k| k * program.least);
        let measured = sizes.map(|n| measure(program, n));
        for pair in measured.windows(2) {
            for (i, what) in COUNTED.iter().enumerate() {
                let (less, more) = (pair[0].counts[i], pair[1].counts[i]);
                if more > GROWTH * less + ADDED {
                    wrong.push(format!("{}: {what} {less} → {more}", program.name));
                }
            }
        }
        // Time is not ours alone: it has several chances.
        let is_slow = |less: &Measured, more: &Measured| more.time > less.time * 50;
        let again = || is_slow(&measure(program, sizes[1]), &measure(program, sizes[2]));
        if is_slow(&measured[1], &measured[2]) && (0..4).all(|_| again()) {
            wrong.push(format!("{}: time", program.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn program(name: &str) -> &'static Sized {
    SIZED.iter().find(|p| p.name == name).expect("a program")
}

#[test]
fn what_repeats_is_compiled_once() {
    let _alone = alone();
    for (name, n, functions) in [("layers", 50, 12), ("steps", 100, 24), ("kernels", 50, 16)] {
        let program = program(name);
        let traced = program.forward(n).value_and_grad().unwrap();
        let compiled = traced.compile().unwrap();
        let stats = compiled.executable().stats();
        assert!(stats.functions <= functions && stats.kernels >= n, "{name}: {stats:?}");

        let params = program.arguments(n);
        let (got, want) =
            (compiled.call(&params, &()).unwrap(), traced.eval(&params, &()).unwrap());
        let close = |a: &Array, b: &Array| {
            let same = a.dims() == b.dims();
            let (a, b) = (a.to_f64_vec(), b.to_f64_vec());
            same && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs()))
        };
        assert!(close(&got.0, &want.0), "{name}: {} {}", got.0, want.0);
        assert_eq!((got.1.len(), want.1.len()), (params.len(), params.len()), "{name}");
        assert!(got.1.iter().zip(&want.1).all(|(a, b)| close(a, b)), "{name}");
    }
}
