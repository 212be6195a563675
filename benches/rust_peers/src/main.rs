//! Value and gradients of Backstitch's workloads in other Rust systems, as far as these
//! can express them: run by `peers/compare.py`.
//!
//!     rust-peers --json --seconds S --inputs DIR --threads N WORKLOAD
//!
//! Prints a line of JSON for each system. What is timed is a call: tensors in, value and
//! gradients out.

mod arrays;
mod with_burn;
mod with_candle;
mod with_num_dual;

use std::time::{Duration, Instant};

use arrays::Arrays;

/// A value, and gradients in the order of the parameters.
type Results = (f64, Vec<Vec<f64>>);

/// Something to be timed, and what it gave last.
trait Program {
    fn run(&mut self);
    fn results(&self) -> Results;
}

/// A [`Program`] of a call, and of what reads its result.
struct Call<T, F, R> {
    call: F,
    read: R,
    last: Option<T>,
}

impl<T, F: FnMut() -> T, R: Fn(&T) -> Results> Program for Call<T, F, R> {
    #[inline(never)]
    fn run(&mut self) {
        self.last = Some(std::hint::black_box((self.call)()));
    }

    fn results(&self) -> Results {
        (self.read)(self.last.as_ref().expect("it has been run"))
    }
}

fn program<'a, T: 'a>(
    call: impl FnMut() -> T + 'a,
    read: impl Fn(&T) -> Results + 'a,
) -> Box<dyn Program + 'a> {
    Box::new(Call { call, read, last: None })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|a| a == name).map(|at| args[at + 1].as_str());
    let usage = "--inputs DIR --seconds S WORKLOAD";
    let (Some(folder), Some(workload)) = (option("--inputs"), args.last()) else {
        panic!("{usage}")
    };
    let seconds: f64 = option("--seconds").map_or(1.0, |s| s.parse().expect(usage));
    let arrays = Arrays::read(folder, workload);
    let number = workload.split('_').next().expect("a name");
    let systems = [
        ("candle", "candle 0.11.1", with_candle::program(number, &arrays)),
        ("burn", "burn 0.22.1 (ndarray)", with_burn::program(number, &arrays)),
        ("num-dual", "num-dual 0.15.1", with_num_dual::program(number, &arrays)),
    ];
    for (mode, version, program) in systems {
        if let Some(mut program) = program {
            let ns = measure(&mut *program, Duration::from_secs_f64(seconds));
            let (value, grads) = program.results();
            let grads: Vec<String> = grads.iter().map(|g| norms(g)).collect();
            let grads = grads.join(", ");
            println!(
                r#"{{"workload": "{workload}", "mode": "{mode}", "version": "{version}", "per_call_ns": {{"median": {ns}}}, "value": {value}, "grads": [{grads}]}}"#
            );
        }
    }
}

fn norms(gradient: &[f64]) -> String {
    let sum: f64 = gradient.iter().sum();
    let l2 = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
    format!(r#"{{"sum": {sum}, "l2": {l2}, "len": {}}}"#, gradient.len())
}

/// The median of nanoseconds per call.
fn measure(program: &mut dyn Program, each: Duration) -> f64 {
    let mut calls = 1u32;
    let mut time = |calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| program.run());
        start.elapsed()
    };
    loop {
        let spent = time(calls);
        if spent > Duration::from_micros(200) {
            calls = ((f64::from(calls) * 3e-4 / spent.as_secs_f64()) as u32).max(1);
            break;
        }
        calls *= 2;
    }
    let (begin, mut samples) = (Instant::now(), vec![]);
    while begin.elapsed() < each || samples.len() < 2 {
        samples.push(time(calls).as_secs_f64() * 1e9 / f64::from(calls));
    }
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() - 1) / 2]
}
