//! What is kept between forward and reverse: counted, and without a change of a bit.
#![allow(missing_docs)]

use backstitch::ir::{Graph, Op, Scalar};
use backstitch::prelude::*;
use backstitch::{DType, Options};

/// Bytes that each loop pushes per iteration (its inner loops aside), where there is any.
fn pushed(g: &Graph) -> Vec<usize> {
    let loops = g.nodes().filter_map(|n| match g.op(n) {
        Op::Loop(l) => Some(l),
        _ => None,
    });
    let bytes = loops.map(|l| {
        let pushed = &l.body.outputs()[l.carries..];
        pushed.iter().map(|&v| l.body.ty(v).bytes()).sum()
    });
    bytes.filter(|&bytes| bytes > 0).collect()
}

const N: usize = 6;

fn numbers() -> ndarray::Array1<f64> {
    ndarray::Array1::from_shape_fn(N, |i| 0.7 - 0.23 * i as f64)
}

type Program = Traced<Spec, (), Spec>;

/// The gradient of a program with loops: with the same bits as that of a program that has
/// none, optimised or not; gives what its loops push.
#[track_caller]
fn same_bits(looped: &Program, straight: &Program) -> Vec<usize> {
    let x = numbers();
    let options =
        [Options::default(), Options::default().unroll(0), Options::default().optimise(false)];
    let run = |f: &Program, options: &Options| {
        f.compile_with(options).unwrap().call(&x, &()).unwrap().to_f64_vec()
    };
    let (f, g) = (looped.grad().unwrap(), straight.grad().unwrap());
    let want = run(&g, &options[0]);
    assert!(want.iter().all(|v| v.is_finite()) && want.iter().any(|&v| v != 0.0), "{want:?}");
    for options in &options {
        assert_eq!(run(&f, options), want);
    }
    let (second, want) = (looped.hessian().unwrap(), straight.hessian().unwrap());
    let (got, want) = (run(&second, &options[1]), run(&want, &options[1]));
    let size = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-11 * size), "{got:?} {want:?}");
    pushed(f.graph())
}

fn cheap<'t>(i: Tensor<'t>, y: Tensor<'t>) -> Tensor<'t> {
    let a = y * 1.01 - 0.3;
    let b = a.square() + i.cast(DType::F64) * 0.01;
    let c = (a * b).maximum(b * 0.5);
    (c * a - b * y) * 0.1 + a / (b + 2.0)
}

#[test]
fn chains_of_cheap_operations_are_run_again() {
    let looped = trace(Spec::f64([N]), (), |t, x, ()| t.for_loop(9, x, cheap).sum());
    let straight = trace(Spec::f64([N]), (), |t, x, ()| {
        (0..9).fold(x, |y, i| cheap(t.scalar(i as i64), y)).sum()
    });
    // The carry; the counter is counted back.
    assert_eq!(same_bits(&looped.unwrap(), &straight.unwrap()), [N * 8]);
}

#[test]
fn dear_functions_are_kept() {
    fn step(y: Tensor<'_>) -> Tensor<'_> {
        (y * 0.9 + 0.1).tanh().exp() - 1.0
    }
    let looped = trace(Spec::f64([N]), (), |t, x, ()| t.for_loop(9, x, |_, y| step(y)).sum());
    let straight = trace(Spec::f64([N]), (), |_, x, ()| (0..9).fold(x, |y, _| step(y)).sum());
    let pushed = same_bits(&looped.unwrap(), &straight.unwrap());
    // Both results; the arguments are nowhere asked for.
    assert_eq!(pushed, [2 * N * 8]);
}

#[test]
fn a_truth_value_is_kept_rather_than_what_it_tells() {
    fn step(y: Tensor<'_>) -> Tensor<'_> {
        (y * 1.5 - 0.1).relu() - 0.2
    }
    let looped = trace(Spec::f64([N]), (), |t, x, ()| t.for_loop(9, x, |_, y| step(y)).sum());
    let straight = trace(Spec::f64([N]), (), |_, x, ()| (0..9).fold(x, |y, _| step(y)).sum());
    assert_eq!(same_bits(&looped.unwrap(), &straight.unwrap()), [N]);
}

#[test]
fn rows_that_a_loop_runs_through_are_not_copied() {
    for back in [false, true] {
        fn step<'t>(h: Tensor<'t>, row: Tensor<'t>) -> Tensor<'t> {
            h * row + row.square() * 0.5
        }
        let looped = trace(Spec::f64([N]), (), |t, x, ()| {
            let rows = x.reshape([N / 2, 2]) + 0.5;
            let start = t.ones(DType::F64, [2]);
            let f = |h, row| (step(h, row), ());
            let last = if back { t.scan_back(start, rows, f).0 } else { t.scan(start, rows, f).0 };
            last.prod()
        });
        let straight = trace(Spec::f64([N]), (), |t, x, ()| {
            let rows = x.reshape([N / 2, 2]) + 0.5;
            let order: Vec<usize> = (0..N / 2).collect();
            let at = |i: &usize| if back { N / 2 - 1 - i } else { *i };
            let start = t.ones(DType::F64, [2]);
            order.iter().map(at).fold(start, |h, i| step(h, rows.index(0, i as i64))).prod()
        });
        // The carry; and, in the reverse, the cotangents of the rows.
        assert_eq!(same_bits(&looped.unwrap(), &straight.unwrap()), [2 * 8, 2 * 8]);
    }
}

#[test]
fn what_is_taken_at_a_counter_needs_no_stack() {
    // One counter up from 1 by 2, one down from 9, in a loop whose length is found out.
    let looped = trace(Spec::f64([N]), (), |t, x, ()| {
        let start = (t.scalar(9i64), t.scalar(1i64), t.scalar(1.0));
        let (_, _, s) = t.while_loop(
            start,
            |(n, i, _)| n.gt(0).and(i.lt(N as i64)),
            |(n, i, s)| (n - 1, i + 2, s + x.take(i, 0).square() * n.cast(DType::F64)),
        );
        s
    });
    let straight = trace(Spec::f64([N]), (), |t, x, ()| {
        [(1, 9.0), (3, 8.0), (5, 7.0)]
            .iter()
            .fold(t.scalar(1.0), |s, &(i, n)| s + x.index(0, i).square() * n)
    });
    assert_eq!(same_bits(&looped.unwrap(), &straight.unwrap()), [0usize; 0]);
}

/// A branch with dear operations, and one that wants other things kept.
fn branchy<'t>(t: &'t Trace, y: Tensor<'t>) -> Tensor<'t> {
    let m = y.reshape([2, 3]);
    t.cond(
        y.sum().gt(0.0),
        || {
            let z = m.matmul(m.transpose()).tanh();
            t.cond(z.sum().lt(1.5), || (z.matmul(m) * 0.3).exp(), || z.matmul(m).sin()).flatten()
        },
        || (y * 0.5).tanh() + y.square().sum().exp() * 0.01 + 0.4,
    )
}

/// How often a function stands in a graph and in what is inside of it.
fn count(g: &Graph, f: Scalar) -> usize {
    let inside = |n| match g.op(n) {
        Op::Cond(c) => count(&c.then, f) + count(&c.els, f),
        Op::Loop(l) => count(&l.body, f),
        Op::Map(m) => usize::from(m.f == f),
        _ => 0,
    };
    g.nodes().map(inside).sum()
}

#[test]
fn what_is_dear_in_a_branch_is_computed_once() {
    type Step = for<'t> fn(&'t Trace, Tensor<'t>) -> Tensor<'t>;
    let programs: [Step; 3] = [
        |t, x| branchy(t, x).sum(),
        |t, x| branchy(t, branchy(t, x) - 0.8).sum(),
        |t, x| t.for_loop(4, x, |i, y| branchy(t, y) - i.cast(DType::F64) * 0.3).sum(),
    ];
    for (k, program) in programs.into_iter().enumerate() {
        for sign in [1.0, -1.0] {
            let f = trace(Spec::f64([N]), (), move |t, x, ()| program(t, x * sign)).unwrap();
            let x = numbers();
            let gradient = f.grad().unwrap();
            let options = Options::default();
            let compiled = gradient.compile_with(&options).unwrap();
            let prepared = backstitch::passes::prepare(gradient.graph(), &Default::default());
            // Each branch once, and its reverse; `tanh` stands in both branches.
            let calls = [1, 2, 1][k];
            assert_eq!(count(&prepared.graph, Scalar::Tanh), 2 * calls, "{}", prepared.graph);
            let got = compiled.call(&x, &()).unwrap().to_f64_vec();
            let rest = [
                gradient.compile_with(&options.clone().unroll(0)).unwrap(),
                gradient.compile_with(&options.clone().optimise(false)).unwrap(),
            ];
            for other in rest {
                // Sums round their products or not, by what else is in the kernel.
                let other = other.call(&x, &()).unwrap().to_f64_vec();
                let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-14 * b.abs();
                assert!(other.iter().zip(&got).all(near), "{other:?} {got:?}");
            }
            f.check_gradients(&x, &()).unwrap().into_result().unwrap();
            let hessian = f.hessian().unwrap();
            let by_columns = f.grad().unwrap().jacobian_reverse().unwrap();
            let want = hessian.eval(&x, &()).unwrap().to_f64_vec();
            for second in [hessian, by_columns] {
                let got = second.compile().unwrap().call(&x, &()).unwrap().to_f64_vec();
                for (a, b) in got.iter().zip(&want) {
                    assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{got:?} {want:?}");
                }
            }
        }
    }
}

#[test]
fn a_cheap_branch_is_run_again() {
    let f = trace(Spec::f64([N]), (), |t, x, ()| {
        t.cond(x.sum().gt(0.0), || x * x + 1.0, || (x - 1.0) / (x + 9.0)).sum()
    });
    let f = f.unwrap().grad().unwrap();
    let conds = |g: &Graph| g.nodes().filter(|&n| matches!(g.op(n), Op::Cond(_))).count();
    // The reverse, and what the loss would want, which a gradient does not.
    assert_eq!(conds(&backstitch::passes::prune(f.graph())), 1, "{}", f.graph());
}

#[test]
fn lanes_that_take_different_branches_keep_what_they_need() {
    let f = trace(Spec::f64([3, N]), (), |t, x, ()| {
        t.vmap(x, |row| branchy(t, branchy(t, row) - 0.7)).square().sum()
    });
    let one_by_one = trace(Spec::f64([3, N]), (), |t, x, ()| {
        t.map_rows(x, |row| branchy(t, branchy(t, row) - 0.7)).square().sum()
    });
    let x = ndarray::Array2::from_shape_fn((3, N), |(i, j)| {
        (0.4 - 0.5 * i as f64) * (1.0 + 0.3 * j as f64)
    });
    let run = |f: &Traced<Spec, (), Spec>| {
        f.grad().unwrap().compile().unwrap().call(&x, &()).unwrap().to_f64_vec()
    };
    let (all, each) = (run(&f.unwrap()), run(&one_by_one.unwrap()));
    for (a, b) in all.iter().zip(&each) {
        assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{all:?} {each:?}");
    }
    let row = trace(Spec::f64([N]), (), |t, x, ()| branchy(t, branchy(t, x) - 0.7).square().sum());
    let batch = row.unwrap().grad().unwrap().vmap(3).unwrap();
    let got = batch.compile().unwrap().call(&x, &()).unwrap().to_f64_vec();
    for (a, b) in got.iter().zip(&each) {
        assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{got:?} {each:?}");
    }
}

#[test]
fn loops_inside_of_branches_inside_of_loops() {
    let f = trace(Spec::f64([N]), (), |t, x, ()| {
        let start = (t.scalar(0i64), x);
        let (_, y) = t.while_loop(
            start,
            |(i, y)| i.lt(4).and(y.sum().lt(100.0)),
            |(i, y)| {
                let next = t.cond(
                    y.sum().lt(2.0),
                    || t.for_loop(i + 1, y, |_, y| (y * 0.9).tanh() + 0.4),
                    || t.while_loop(y, |y| y.norm().gt(1.0), |y| y.sin() * 0.7),
                );
                (i + 1, next)
            },
        );
        y.square().sum()
    });
    let f = f.unwrap();
    let x = numbers();
    let gradient = f.grad().unwrap();
    let want = gradient.eval(&x, &()).unwrap().to_f64_vec();
    f.check_gradients(&x, &()).unwrap().into_result().unwrap();
    for options in [Options::default(), Options::default().optimise(false)] {
        let got = gradient.compile_with(&options).unwrap().call(&x, &()).unwrap().to_f64_vec();
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-12 * (1.0 + b.abs())));
    }
    let hessian = f.hessian().unwrap();
    let want = hessian.eval(&x, &()).unwrap().to_f64_vec();
    let got = hessian.compile().unwrap().call(&x, &()).unwrap().to_f64_vec();
    assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + b.abs())));
}
