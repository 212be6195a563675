//! Loops as machine code: long ones, in bounded memory, again and again, from several
//! threads; and what they cost to compile.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::runtime::Error as RuntimeError;
use backstitch::{Array, Backend, Compiled, Options};
use ndarray::{Array1, arr1};

/// `x ← a·x + x²/1000` while there is something left to do; the derivative takes every x.
type Iterated = Compiled<(Spec, Spec), Spec, (Spec, (Spec, Spec))>;

fn iterated(options: &Options) -> Iterated {
    let f = trace((Spec::f64([]), Spec::f64([])), Spec::f64([]), |t, (a, x), n| {
        let (_, x) = t.while_loop(
            (t.scalar(0.0), x),
            |(i, _)| i.lt(n),
            |(i, x)| (i + 1.0, a * x + x * x * 1e-3),
        );
        x
    });
    f.unwrap().value_and_grad().unwrap().compile_with(options).unwrap()
}

/// The same by hand: value, and derivatives by a and x.
fn by_hand(a: f64, start: f64, n: usize) -> [f64; 3] {
    let (mut x, mut da, mut dx) = (start, 0.0, 1.0);
    for _ in 0..n {
        let slope = a + 2e-3 * x;
        (da, dx) = (slope * da + x, slope * dx);
        x = a * x + x * x * 1e-3;
    }
    [x, da, dx]
}

fn call(f: &Iterated, ws: &mut Workspace, n: usize) -> Result<[f64; 3], RuntimeError> {
    let (mut y, mut da, mut dx) = (0.0, 0.0, 0.0);
    let outputs = &mut (&mut y, (&mut da, &mut dx));
    match f.call_into(ws, &(0.999f64, 0.7f64), &(n as f64), outputs) {
        Ok(()) => Ok([y, da, dx]),
        Err(backstitch::Error::Runtime(e)) => Err(e),
        Err(e) => panic!("{e}"),
    }
}

fn close(got: [f64; 3], want: [f64; 3]) -> bool {
    got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-9 * w.abs().max(1e-3))
}

#[test]
fn ten_million_iterations_back() {
    let f = iterated(&Options::default());
    let mut ws = f.workspace().unwrap();
    let n = 10_000_000;
    let got = call(&f, &mut ws, n).unwrap();
    assert!(close(got, by_hand(0.999, 0.7, n)), "{got:?}");
    assert!(ws.bytes() >= 8 * n, "{}", ws.bytes());
}

#[test]
fn a_workspace_serves_calls_of_any_length() {
    let f = iterated(&Options::default());
    let reference = iterated(&Options::default().backend(Backend::Interpreter));
    let mut ws = f.workspace().unwrap();
    for n in [0, 1, 2, 511, 512, 513, 3, 5000, 0, 5000, 1] {
        let got = call(&f, &mut ws, n).unwrap();
        assert!(close(got, by_hand(0.999, 0.7, n)), "{n}: {got:?}");
        if n < 1000 {
            let same = call(&reference, &mut reference.workspace().unwrap(), n).unwrap();
            assert_eq!(got.map(f64::to_bits), same.map(f64::to_bits), "{n}");
        }
    }
}

#[test]
fn stacks_have_a_limit() {
    let f = iterated(&Options::default());
    let mut ws = f.workspace().unwrap();
    ws.limit_stacks(80_000);
    assert!(call(&f, &mut ws, 10_000).is_ok());
    let e = call(&f, &mut ws, 10_001).unwrap_err();
    let message = "a loop keeps 80008 bytes for its reverse on one stack, expected at most 80000, \
                   the limit of the workspace";
    assert_eq!(e.to_string(), message);
    // Whoever never stops does so here.
    assert!(matches!(call(&f, &mut ws, usize::MAX), Err(RuntimeError::StackLimit { .. })));
    ws.limit_stacks(1 << 20);
    let got = call(&f, &mut ws, 10_001).unwrap();
    assert!(close(got, by_hand(0.999, 0.7, 10_001)), "{got:?}");
}

#[test]
fn threads_have_stacks_of_their_own() {
    let f = iterated(&Options::default());
    std::thread::scope(|s| {
        for k in 0..4 {
            let f = &f;
            s.spawn(move || {
                let mut ws = f.workspace().unwrap();
                for i in 0..50 {
                    let n = 37 * (k + 1) * i;
                    let got = call(f, &mut ws, n).unwrap();
                    assert!(close(got, by_hand(0.999, 0.7, n)), "{n}: {got:?}");
                }
            });
        }
    });
}

/// Small arrays as carries, with kernels that have loops, and with branches: the bits of
/// the interpreter.
#[test]
fn small_arrays_are_carried_like_scalars() {
    type Program = Compiled<Spec, (Spec, Spec), (Spec, Spec)>;
    let compile = |backend| -> Program {
        let f = trace(Spec::f64([4]), (Spec::f64([2]), Spec::i64([])), |t, p, (start, n)| {
            let z = t.for_loop(n, (start, t.scalar(0.5)), |i, (z, s)| {
                let (x, y) = (z.index(0, 0), z.index(0, 1));
                let drift = p.slice(0, ..2, 1) * z.flip(0) - p.slice(0, 2.., 1) * z * 0.1;
                let turn = t.cond(
                    (x * y).gt(s),
                    || z * 0.9 + z.take(i - 1, 0) * 0.01,
                    || z + drift.tanh() * 0.05,
                );
                (turn, s * 0.99 + (turn * turn).sum() * 0.001 + turn.max() * 1e-4)
            });
            z.0.sum() + z.1
        });
        let options = Options::default().backend(backend);
        f.unwrap().value_and_grad().unwrap().compile_with(&options).unwrap()
    };
    let (machine, reference) = (compile(Backend::Cpu), compile(Backend::Interpreter));
    let p: Array1<f64> = arr1(&[0.3, -0.8, 1.1, 0.6]);
    for n in [0i64, 1, 2, 40] {
        let data = (arr1(&[0.9, -0.4]), n);
        let bits = |f: &Program| -> Vec<u64> {
            let (value, grad): (Array, Array) = f.call(&p, &data).unwrap();
            value.to_f64_vec().into_iter().chain(grad.to_f64_vec()).map(f64::to_bits).collect()
        };
        assert_eq!(bits(&machine), bits(&reference), "{n}");
    }
}

/// What is compiled is the body, once, however often it is to run.
#[test]
fn compiling_a_loop_takes_no_longer_for_more_iterations() {
    let compile = |n: i64| {
        let start = Instant::now();
        let f = trace(Spec::f64([]), Spec::f64([]), |t, a, x| {
            t.for_loop(n, x, |_, y| (a * y).sin() * 1.5 + y * 0.1)
        });
        let f = f.unwrap().value_and_grad().unwrap();
        let f = f.compile_with(&Options::default().unroll(0)).unwrap();
        (f.executable().stats().code_bytes, start.elapsed())
    };
    let best = |n: i64| -> (usize, Duration) {
        (0..7).map(|_| compile(n)).min_by_key(|c| c.1).expect("some")
    };
    let (bytes, time) = best(100);
    for n in [1_000, 10_000, 100_000, 1_000_000] {
        let (more_bytes, more_time) = best(n);
        assert!(more_bytes.abs_diff(bytes) <= 64, "{n}: {more_bytes} bytes instead of {bytes}");
        assert!(more_time < 4 * time, "{n}: {more_time:?} instead of {time:?}");
    }
}
