//! Loops over arrays in all layouts: transposed, broadcast, strided, reduced over any
//! axis, narrow.
//!
//! `cargo bench --bench layouts -- [NAME…]` times each program compiled, written by hand
//! (plain loops, built for the same 128-bit vectors), and with ndarray, in turns; and checks
//! that all give the same numbers.

mod cases;
#[path = "../workloads/timing.rs"]
#[allow(dead_code)]
mod timing;

use std::hint::black_box;
use std::time::Duration;

use backstitch::prelude::*;
use backstitch::{Compiled, DType, Element, Options};
use ndarray::{ArrayD, LinalgScalar, ScalarOperand};

use cases::Case;
use timing::{Contender, measure};

/// What the arrays hold.
pub trait Real: Element + LinalgScalar + ScalarOperand + PartialOrd + std::ops::AddAssign {
    /// That number.
    fn of(x: f64) -> Self;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as Self
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    println!(
        "{:34} {:>5} {:>10} {:>10} {:>10}  {:>6} {:>6}",
        "", "", "compiled", "by hand", "ndarray", "÷hand", "÷nd"
    );
    for case in cases::cases::<f32>() {
        if wanted(&case.name) {
            run::<f32>(&case, DType::F32);
        }
    }
    for case in cases::cases::<f64>() {
        if wanted(&case.name) {
            run::<f64>(&case, DType::F64);
        }
    }
}

/// Numbers that are small integers, so that sums are the same in any order.
fn numbers<T: Real>(dims: &[usize], seed: usize) -> ArrayD<T> {
    let mut state = seed as u32 * 77 + 5;
    ArrayD::from_shape_simple_fn(dims, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::of(f64::from((state >> 16) % 8))
    })
}

fn run<T: Real>(case: &Case<T>, dtype: DType) {
    let inputs: Vec<ArrayD<T>> =
        case.inputs.iter().enumerate().map(|(i, dims)| numbers(dims, i)).collect();
    let specs: Vec<Spec> = case.inputs.iter().map(|dims| Spec::new(dtype, dims)).collect();
    let program: Compiled<Vec<Spec>, (), Spec> = trace(specs, (), |t, x, ()| (case.program)(t, &x))
        .expect("a program")
        .compile_with(&Options::default())
        .expect("machine code");
    if std::env::var_os("LAYOUTS_PLAN").is_some() {
        println!("{program}");
    }
    let want = (case.ndarray)(&inputs);
    let mut ws = program.workspace().expect("memory");
    let mut out = want.map(|_| T::of(-1.0));
    let slices: Vec<&[T]> = inputs.iter().map(|x| x.as_slice().expect("rows")).collect();
    let mut by_hand = vec![T::of(-1.0); want.len()];
    program.call_into(&mut ws, &inputs, &(), &mut out).expect("a call");
    (case.by_hand)(&slices, &mut by_hand);
    assert!(want == out, "{}: not what ndarray gives", case.name);
    assert!(want.iter().eq(&by_hand), "{}: not what the loops by hand give", case.name);
    let mut contenders = [
        Contender {
            name: "compiled",
            call: Box::new(|| {
                program.call_into(&mut ws, black_box(&inputs), &(), &mut out).expect("a call");
                black_box(&out);
            }),
        },
        Contender {
            name: "by hand",
            call: Box::new(|| {
                (case.by_hand)(black_box(&slices), &mut by_hand);
                black_box(&by_hand);
            }),
        },
        Contender {
            name: "ndarray",
            call: Box::new(|| {
                black_box((case.ndarray)(black_box(&inputs)));
            }),
        },
    ];
    let times = measure(&mut contenders, Duration::from_millis(60));
    let us = |i: usize| times[i].min / 1e3;
    println!(
        "{:34} {:>5} {:>10.2} {:>10.2} {:>10.2}  {:>6.2} {:>6.2}",
        case.name,
        dtype.name(),
        us(0),
        us(1),
        us(2),
        us(0) / us(1),
        us(0) / us(2),
    );
}
