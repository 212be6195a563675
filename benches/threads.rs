//! From which length a second thread pays: one thread beside two, of calls that follow
//! each other and of calls with a pause between them, in which helpers go to sleep.
//!
//!     cargo bench --bench threads
//!
//! Everything is shared here, however short. What programs share when nothing else is
//! said (`PROGRAM` and `KERNEL` in `jit/src/work.rs`) is what gains in both columns, with
//! a margin. Contenders take turns; times are the least of many.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Compiled, Options};
use ndarray::Array1;

type Gradient = Compiled<Spec, (), (Spec, Spec)>;

/// Longer than helpers stay awake.
const PAUSE: Duration = Duration::from_micros(300);

const ROUNDS: usize = 100;

fn compiled(n: usize, threads: usize, light: bool) -> Gradient {
    let f = trace(Spec::f32([n]), (), |_, x, ()| match light {
        true => (x * x * 0.5 - x).sum(),
        false => (x.tanh() * (-x * x).exp()).sum(),
    });
    let mut options = Options::default().threads(threads);
    options.share_all = true;
    let f = f.and_then(|f| f.value_and_grad()).expect("a scalar");
    f.compile_with(&options).expect("compiles")
}

/// The least time of a call, in microseconds, with and without a pause before it.
fn times(n: usize, light: bool) -> [[f64; 2]; 2] {
    let programs = [1, 2].map(|threads| compiled(n, threads, light));
    let x = Array1::<f32>::from_iter((0..n).map(|i| (i as f32 * 0.37).sin()));
    let (mut value, mut gradient) = (0.0f32, x.clone());
    let mut spaces = programs.each_ref().map(|f| f.workspace().expect("memory"));
    let mut least = [[f64::INFINITY; 2]; 2];
    for round in 0..2 * ROUNDS {
        let (which, pause) = (round % 2, round / 2 % 2);
        let (f, ws) = (&programs[which], &mut spaces[which]);
        let mut call = || {
            let start = Instant::now();
            f.call_into(ws, black_box(&x), &(), &mut (&mut value, &mut gradient)).expect("fits");
            start.elapsed().as_secs_f64() * 1e6
        };
        // In a row, the first calls wake whoever sleeps.
        let calls = if pause == 1 { 1 } else { 20 };
        if pause == 1 {
            call();
            std::thread::sleep(PAUSE);
        }
        let best = (0..calls).map(|_| call()).fold(f64::INFINITY, f64::min);
        least[pause][which] = least[pause][which].min(best);
    }
    least
}

fn main() {
    println!("microseconds:        in a row                  after a pause");
    println!("             n       1       2   ratio           1       2   ratio");
    for light in [false, true] {
        println!("{}", if light { "polynomial" } else { "tanh and exp" });
        for n in [17_000, 33_000, 66_000, 131_000, 262_000, 524_000, 1_048_000, 4_194_000] {
            let [row, paused] = times(n, light);
            let text = |[one, two]: [f64; 2]| format!("{one:8.1}{two:8.1}{:8.2}", one / two);
            println!("{n:14}{}    {}", text(row), text(paused));
        }
    }
}
