//! Loops that end by a predicate of arrays: it is computed at the end of the body, once
//! before the loop and once after each iteration, of the same numbers as before.
#![allow(missing_docs)]

use std::sync::{Arc, Mutex};

use backstitch::ir::eval::eval_arrays;
use backstitch::ir::plan::{Plan, Step};
use backstitch::ir::{Array, Graph};
use backstitch::passes::prepare;
use backstitch::prelude::*;
use backstitch::runtime::{ArrayRef, Backend, Error as RuntimeError, Executable};
use backstitch::{DType, Error, LoopOptions, Options};
use ndarray::Array1;

/// Elements of the arrays: vectors of any width, and some left over.
const N: usize = 37;

type Program = for<'t> fn(&'t Trace, Tensor<'t>, Tensor<'t>) -> Tensor<'t>;

/// Programs of an array of numbers from 1 to 8 and a number of about 1.
const PROGRAMS: &[(&str, Program)] = &[
    ("newton", |t, a, _| cube_roots(t, a.ones_like(), a)),
    // No iteration: all is well from the beginning.
    ("none", |t, a, _| t.while_loop(a, |x| x.lt(0.0).any(), |x| x * a.sin())),
    // Sums, and the largest.
    ("sum", |t, a, s| {
        t.while_loop(a, |x| x.square().sum().lt(1e4), |x| x * (1.2 + s * 0.1) + x.flip([0]) * 0.1)
    }),
    ("largest", |t, a, s| t.while_loop(a, |x| x.max().gt(s), |x| x * 0.7)),
    ("all", |t, a, s| t.while_loop(a, |x| x.gt(0.1 * s).all(), |x| x * 0.7 - a * 0.01)),
    // What one iteration made is what another carry is in the next.
    ("exchanged", |t, a, s| {
        let (x, y) = t.while_loop(
            (a, a.sin()),
            |(x, y)| (x + y * 0.5).abs().gt(0.3).any(),
            |(x, y)| (y * 0.9, x * (0.5 + 0.1 * s)),
        );
        x + y * a
    }),
    // Only some carries and constants are asked for.
    ("other", |t, a, s| {
        let (x, y, n) = t.while_loop(
            (a, a, t.scalar(0i64)),
            |(_, y, n)| y.gt(2.0).any().and(n.lt(9i64)),
            |(x, y, n)| ((x * s).sin() + y, y * 0.8, n + 1i64),
        );
        x * y + n.cast(DType::F64)
    }),
    ("constant", |t, a, s| {
        t.while_loop(a, |x| (x - a * 0.1).gt(s * 0.1).any(), |x| x * 0.8 - 0.01 * a)
    }),
    ("stopped", |t, a, _| {
        t.while_loop(
            a,
            |x| x.stop_gradient().gt(0.5).any(),
            |x| x * 0.6 + a.stop_gradient() * x * 0.01,
        )
    }),
    // In a loop that counts, in a branch, in a loop of its own kind.
    ("counted", |t, a, s| t.for_loop(4, a, |_, x| cube_roots(t, x.ones_like(), x) + s)),
    ("branched", |t, a, s| t.cond(s.gt(0.9), || cube_roots(t, a.ones_like(), a), || a * 2.0)),
    ("inside", |t, a, s| {
        t.while_loop(
            a,
            |x| x.gt(1.2).any(),
            |x| t.while_loop(x * 1.5, |y| (y - 0.7 * x).gt(0.0).any(), |y| y * (0.8 - 0.01 * s)),
        )
    }),
    // A predicate with a loop in it stays where it is.
    ("predicates", |t, a, s| {
        t.while_loop(
            a,
            |x| t.while_loop(x, |y| y.gt(3.0).any(), |y| y * 0.5).sum().gt(s),
            |x| x * 0.9,
        )
    }),
    ("rows", |t, a, _| {
        let x = a.reshape([37, 1]) * a.sin();
        t.while_loop(x, |x| x.sum_over(0).abs().gt(0.2).any(), |x| x * 0.6).mean_over(1)
    }),
];

/// Newton's method for cube roots.
fn cube_roots<'t>(t: &'t Trace, start: Tensor<'t>, a: Tensor<'t>) -> Tensor<'t> {
    let far = |x: Tensor<'t>| (x * x * x - a).abs().ge(1e-10).any();
    t.while_loop(start, far, |x| x - (x * x * x - a) / (3.0 * x * x))
}

fn numbers() -> Vec<Array> {
    let a = Array1::linspace(1.0, 8.0, N);
    vec![a.into(), ndarray::arr0(1.1).into()]
}

fn run(g: &Graph, options: &backstitch::passes::Options, backend: Backend) -> Vec<Array> {
    let f = Executable::new(prepare(g, options).lowered.plan, backend).expect("it compiles");
    let inputs = numbers();
    let views: Vec<ArrayRef<'_>> =
        inputs.iter().map(|a| ArrayRef::try_from(a).expect("contiguous")).collect();
    f.call(&views).expect("it runs")
}

fn agree(what: &str, want: &[Array], found: &[Array]) {
    assert_eq!(want.len(), found.len(), "{what}");
    for (a, b) in want.iter().zip(found) {
        for (a, b) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()) {
            assert!(a.is_finite() && (a - b).abs() <= 1e-9 * a.abs().max(1.0), "{what}: {a}, {b}");
        }
    }
}

/// What a graph gives, after each pass and as code.
fn stages(what: &str, g: &Graph) {
    let want = eval_arrays(g, &numbers());
    let seen: Arc<Mutex<Vec<(String, Graph)>>> = Arc::default();
    let passed = Arc::clone(&seen);
    let observe = move |name: &str, g: &Graph| {
        passed.lock().expect("no panic").push((name.to_owned(), g.clone()));
    };
    let all = backstitch::passes::Options { unroll: 0, ..Default::default() };
    let observed = backstitch::passes::Options { observe: Some(Arc::new(observe)), ..all.clone() };
    let fused = run(g, &observed, Backend::Interpreter);
    for (pass, after) in seen.lock().expect("no panic").drain(..) {
        agree(&format!("{what} after {pass}"), &want, &eval_arrays(&after, &numbers()));
    }
    agree(&format!("{what}, nests"), &want, &fused);
    for (a, b) in fused.iter().zip(&run(g, &all, Backend::Cpu)) {
        assert!(a.same_bits(b), "{what}: {a:?} and {b:?}\n{g}");
    }
    let plain = backstitch::passes::Options { optimise: false, ..Default::default() };
    agree(&format!("{what}, not optimised"), &want, &run(g, &plain, Backend::Cpu));
}

#[test]
fn every_stage_agrees_on_values_and_derivatives() {
    for &(name, program) in PROGRAMS {
        let f = trace((Spec::f64([N]), Spec::f64([])), (), |t, (a, s), ()| {
            (program(t, a, s) * a.cos()).sum()
        });
        let f = f.unwrap_or_else(|e| panic!("{name}: {e}"));
        stages(name, f.graph());
        let g = f.value_and_grad().unwrap();
        stages(&format!("gradient of {name}"), g.graph());
        let twice = f.grad().unwrap();
        let twice = trace((Spec::f64([N]), Spec::f64([])), (), |t, p, ()| {
            let (a, s) = twice.apply(t, p, ());
            a.sum() + s
        });
        let twice = twice.unwrap_or_else(|e| panic!("{name}: {e}")).grad().unwrap();
        stages(&format!("second derivative of {name}"), twice.graph());
    }
}

#[test]
fn lanes_that_end_at_different_times_end_all_the_same() {
    let f = trace(Spec::f64([]), (), |t, a, ()| {
        t.while_loop(a, |x| x.gt(0.3), |x| x * 0.8 - 0.01 * a).sin()
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let lanes = f.vmap(N).unwrap().compile().unwrap();
    let (one, a) = (f.compile().unwrap(), Array1::linspace(0.1, 5.0, N));
    assert!(whiles(lanes.executable().plan()).iter().all(|head| *head == 0), "{lanes}");
    let (values, slopes) = lanes.call(&a, &()).unwrap();
    for (i, a) in a.iter().enumerate() {
        let (value, slope) = one.call(a, &()).unwrap();
        for (lanes, one) in [(&values, value), (&slopes, slope)] {
            let (found, want) = (lanes.to_f64_vec()[i], one.item::<f64>().unwrap());
            assert!((found - want).abs() < 1e-14 * want.abs().max(1.0), "{a}: {found}, {want}");
        }
    }
}

/// For each loop with a predicate, the steps it takes to ask.
fn whiles(plan: &Plan) -> Vec<usize> {
    fn look(steps: &[Step], found: &mut Vec<usize>) {
        for s in steps {
            match s {
                Step::While { head, body, .. } => {
                    found.push(head.len());
                    look(body, found);
                }
                Step::Repeat { body, .. } | Step::Scan { body, .. } => look(body, found),
                Step::If { then, els, .. } => {
                    look(then, found);
                    look(els, found);
                }
                _ => {}
            }
        }
    }
    let mut found = vec![];
    look(&plan.steps, &mut found);
    found
}

#[test]
fn the_body_asks_what_it_has_in_registers() {
    let f = trace(Spec::f64([1000]), (), |t, a, ()| cube_roots(t, a.ones_like(), a).sum());
    let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    let plan = f.executable().plan();
    let of_loop = plan.steps.iter().find_map(|s| match s {
        Step::While { head, body, .. } => Some((head.len(), body.len())),
        _ => None,
    });
    assert_eq!(of_loop, Some((0, 1)), "{plan}");
    // A predicate of numbers is asked by those who jump.
    let f = trace(Spec::f64([]), (), |t, a, ()| t.while_loop(a, |x| x.lt(9.0), |x| x * 1.5));
    let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    assert_eq!(whiles(f.executable().plan()), [1], "{f}");
}

#[test]
fn a_limit_counts_the_same_iterations() -> Result<(), Error> {
    let limited = |limit: usize| {
        trace(Spec::f64([N]), (), move |t, x, ()| {
            let loops = t.loops(LoopOptions::new().limit(limit));
            loops.while_loop(x, |x| x.lt(100.0).any(), |x| x * 2.0).sum()
        })
    };
    // The least, 1, is 128 after seven iterations.
    let a = Array1::linspace(1.0, 8.0, N);
    for options in [Options::default(), Options::default().backend(Backend::Interpreter)] {
        let enough = limited(7)?.value_and_grad()?.compile_with(&options)?;
        assert_eq!(enough.call(&a, &())?.1.to_f64_vec(), vec![128.0; N]);
        let few = limited(6)?.value_and_grad()?.compile_with(&options)?;
        let e = few.call(&a, &()).unwrap_err();
        assert!(matches!(e, Error::Runtime(RuntimeError::LoopLimit { limit: 6, .. })), "{e}");
        assert!(few.call(&(a.clone() + 1.0), &()).is_ok());
    }
    Ok(())
}

#[test]
fn under_a_budget_the_bits_are_the_same() {
    for (name, asked) in [
        ("truth", (|x| x.lt(200.0).any()) as for<'t> fn(Tensor<'t>) -> Tensor<'t>),
        ("sum", |x| x.square().sum().lt(1e6)),
    ] {
        let f = trace(Spec::f64([N]), (), |t, a, ()| {
            t.while_loop(a, asked, |x| x * 1.1 + x.flip([0]).sin() * 0.01).sum()
        });
        let f = f.unwrap().value_and_grad().unwrap();
        let all = f.compile().unwrap();
        let few = f.compile_with(&Options::default().memory(16 * 1024)).unwrap();
        assert!(few.memory().bytes.is_some_and(|b| b <= 16 * 1024), "{name}");
        let a = Array1::linspace(1.0, 8.0, N);
        let (want, found) = (all.call(&a, &()).unwrap(), few.call(&a, &()).unwrap());
        assert!(want.0.same_bits(&found.0) && want.1.same_bits(&found.1), "{name}");
    }
}
