//! What a call costs: a scalar function of two inputs and three outputs.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use backstitch_runtime::{Backend, Executable};
use common::{SCALAR, plan};

/// The least of several means.
fn measure(name: &str, mut f: impl FnMut()) {
    const CALLS: u32 = 100_000;
    let samples = (0..30).map(|_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| f());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    });
    println!("{name}: {:.1} ns", samples.fold(f64::INFINITY, f64::min));
}

fn main() {
    let exe = Executable::new(plan(SCALAR), Backend::Cpu).expect("a plan that compiles");
    let mut ws = exe.workspace().expect("memory");
    let (w1, w2) = (5f32, 3f32);
    let [mut y, mut a, mut b] = [0f32; 3];

    measure("call_into", || {
        let inputs = [black_box(&w1).into(), black_box(&w2).into()];
        let outputs = &mut [(&mut y).into(), (&mut a).into(), (&mut b).into()];
        exe.call_into(&mut ws, &inputs, outputs).expect("a call");
        black_box((y, a, b));
    });
    let inputs = [(&raw const w1).cast(), (&raw const w2).cast()];
    let outputs = [&raw mut y, &raw mut a, &raw mut b].map(<*mut f32>::cast);
    measure("call_unchecked", || {
        // SAFETY: two inputs and three outputs, each one `f32`.
        unsafe { exe.call_unchecked(&mut ws, black_box(&inputs), &outputs) }.expect("a call");
    });
    measure("call", || {
        black_box(exe.call(&[(&w1).into(), (&w2).into()]).expect("a call"));
    });
}
