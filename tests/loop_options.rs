//! What is said of single loops: how far they are written out, how often they may run.
#![allow(missing_docs)]

use backstitch::ir::ops::Loop;
use backstitch::ir::plan::Step;
use backstitch::ir::text::parse_graph;
use backstitch::ir::{Array, Graph, Op};
use backstitch::passes::prepare;
use backstitch::prelude::*;
use backstitch::runtime::Error as RuntimeError;
use backstitch::{Backend, DType, Error, LoopOptions, Options, Problem, Unroll};
use ndarray::{Array2, arr1};

const KINDS: [Unroll; 8] = [
    Unroll::Auto,
    Unroll::Never,
    Unroll::Fully,
    Unroll::UpTo(20),
    Unroll::UpTo(10_000),
    Unroll::By(1),
    Unroll::By(2),
    Unroll::By(5),
];

fn unrolled(t: &Trace, unroll: Unroll) -> backstitch::Loops<'_> {
    t.loops(LoopOptions::new().unroll(unroll))
}

/// A recurrence over rows, with a carry that is an integer.
fn recurrence<'t>(
    t: &'t Trace,
    (unroll, back): (Unroll, bool),
    w: Tensor<'t>,
    rows: Tensor<'t>,
) -> Tensor<'t> {
    let loops = unrolled(t, unroll);
    let step = |(i, h): (Tensor<'t>, Tensor<'t>), row: Tensor<'t>| {
        let h = (w * h + row).tanh();
        ((i + 1, h), h * (i + 1).cast(DType::F64))
    };
    let start = (t.scalar(0), w * 0.5);
    let ((_, last), all) =
        if back { loops.scan_back(start, rows, step) } else { loops.scan(start, rows, step) };
    let halves = loops.map_rows(all, |row| row.sum().sin());
    let n = rows.shape().dims()[0];
    let power = loops.for_loop(n as i64, last, |i, x| x * w + i.cast(DType::F64));
    power.sum() + halves.sum()
}

fn bits(found: &[Array], want: &[Array], what: &str) {
    for (a, b) in found.iter().zip(want) {
        assert!(a.same_bits(b), "{what}: {a:?} and {b:?}");
    }
}

#[test]
fn results_are_the_same_bits_however_a_loop_is_written_out() {
    for (rows, back) in [(0, false), (1, true), (4, false), (5, true), (7, false), (10, true)] {
        let w = arr1(&[0.5, -1.5]);
        let x = Array2::from_shape_fn((rows, 2), |(i, j)| (i * 3 + j) as f64 / 7.0 - 1.0);
        let run = |unroll: Unroll| {
            let f =
                trace(Spec::of(&w), Spec::of(&x), |t, w, x| recurrence(t, (unroll, back), w, x));
            let f = f.unwrap().value_and_grad().unwrap();
            let eager = f.eval(&w, &x).unwrap();
            let mut all = vec![vec![eager.0, eager.1]];
            for backend in [Backend::Cpu, Backend::Interpreter] {
                let f = f.compile_with(&Options::default().backend(backend)).unwrap();
                let (value, gradient) = f.call(&w, &x).unwrap();
                all.push(vec![value, gradient]);
            }
            all
        };
        let want = run(Unroll::Never);
        for kind in KINDS {
            for (found, want) in run(kind).iter().zip(&want) {
                bits(found, want, &format!("{kind:?}, {rows} rows"));
            }
        }
    }
}

#[test]
fn a_loop_of_a_count_that_is_data_takes_several_steps_at_a_time() {
    let program = |unroll| {
        trace(Spec::f64([3]), Spec::i64([]), move |t, x, n| {
            unrolled(t, unroll).for_loop(n, x, |i, x| x * 0.9 + i.cast(DType::F64)).sum()
        })
        .unwrap()
    };
    let (plain, by_four) = (program(Unroll::Never), program(Unroll::By(4)));
    let [plain, by_four] = [plain, by_four].map(|f| f.compile().unwrap());
    assert!(repeats(&by_four.executable().plan().steps) == 2, "{by_four}");
    let x = arr1(&[0.1, 0.2, -0.3]);
    for n in [-5i64, -4, -1, 0, 1, 3, 4, 5, 8, 11] {
        let [a, b] = [&plain, &by_four].map(|f| f.call(&x, &n).unwrap());
        assert!(a.same_bits(&b), "{n} iterations: {a:?} and {b:?}");
    }
    // Residuals on stacks of unknown length: the loops stay as they are.
    let gradient = program(Unroll::By(4)).grad().unwrap().compile().unwrap();
    let want = program(Unroll::Never).grad().unwrap().compile().unwrap();
    for n in [0i64, 1, 6] {
        assert!(gradient.call(&x, &n).unwrap().same_bits(&want.call(&x, &n).unwrap()));
    }
}

/// Loops among the steps.
fn repeats(steps: &[Step]) -> usize {
    let one = |step: &Step| match step {
        Step::Repeat { .. } | Step::While { .. } | Step::Scan { .. } => 1,
        _ => 0,
    };
    steps.iter().map(one).sum()
}

/// Iterations of the loops among the steps.
fn counts(steps: &[Step]) -> Vec<usize> {
    let count = |step: &Step| match step {
        Step::Scan { count, .. } => Some(*count),
        _ => None,
    };
    steps.iter().filter_map(count).collect()
}

#[test]
fn what_is_said_of_a_loop_overrides_the_options() {
    let program = |unroll| {
        trace(Spec::f64([]), (), move |t, x, ()| {
            unrolled(t, unroll).for_loop(11, x, |_, y| (y * x).sin())
        })
        .unwrap()
    };
    let counts_of = |unroll: Unroll, options: usize| {
        let f = program(unroll).compile_with(&Options::default().unroll(options)).unwrap();
        counts(&f.executable().plan().steps)
    };
    let none: [usize; 0] = [];
    assert_eq!(counts_of(Unroll::Auto, 1000), none);
    assert_eq!(counts_of(Unroll::Auto, 0), [11]);
    assert_eq!(counts_of(Unroll::Never, 1000), [11]);
    assert_eq!(counts_of(Unroll::Fully, 0), none);
    assert_eq!(counts_of(Unroll::UpTo(1000), 0), none);
    assert_eq!(counts_of(Unroll::UpTo(5), 1000), [11]);
    assert_eq!(counts_of(Unroll::By(3), 0), [3]);
    assert_eq!(counts_of(Unroll::By(20), 0), none);
}

fn loops(g: &Graph) -> Vec<&Loop> {
    let all = g.nodes().filter_map(|n| match g.op(n) {
        Op::Loop(l) => Some(&**l),
        _ => None,
    });
    all.collect()
}

#[test]
fn hints_survive_text_derivatives_and_merging() {
    for unroll in KINDS {
        let f = trace(Spec::f64([]), Spec::i64([]), move |t, x, n| {
            unrolled(t, unroll).for_loop(n, x, |_, y| (y * x).sin())
        });
        let f = f.unwrap().value_and_grad().unwrap();
        let text = f.graph().to_string();
        assert_eq!(parse_graph(&text).unwrap(), *f.graph(), "{text}");
        assert!(loops(f.graph()).iter().all(|l| l.unroll == unroll), "{text}");
        let merged = prepare(f.graph(), &Options::default().unroll(0).passes).graph;
        // Forward once, with residuals, and back.
        assert_eq!(loops(&merged).len(), 2, "{merged}");
    }
}

/// Doubles until it is large.
fn doubled<'t>(t: &'t Trace, x: Tensor<'t>, limit: usize) -> Tensor<'t> {
    t.loops(LoopOptions::new().limit(limit)).while_loop(x, |x| x.lt(100.0), |x| x * 2.0)
}

#[test]
fn a_loop_that_ends_in_time_is_none_the_worse_for_its_limit() -> Result<(), Error> {
    let plain = trace(Spec::f64([]), (), |t, x, ()| {
        t.while_loop(x, |x| x.lt(100.0), |x| x * 2.0).square()
    })?;
    // 1 becomes 128 in seven steps.
    let limited = trace(Spec::f64([]), (), |t, x, ()| doubled(t, x, 7).square())?;
    for x in [1.0, 1.1, 90.0, 100.0, 1e9] {
        for (f, g) in [
            (plain.value_and_grad()?.compile()?, limited.value_and_grad()?.compile()?),
            (
                plain.grad()?.value_and_grad()?.compile()?,
                limited.grad()?.value_and_grad()?.compile()?,
            ),
        ] {
            let (want, found) = (f.call(&x, &())?, g.call(&x, &())?);
            assert!(want.0.same_bits(&found.0) && want.1.same_bits(&found.1), "{x}");
        }
        assert!(limited.value_and_grad()?.eval(&x, &()).is_ok());
    }
    Ok(())
}

fn told(e: &Error, line: u32) {
    let text = e.to_string();
    assert!(text.contains("tests/loop_options.rs"), "{text}");
    assert!(text.contains("the loop goes on after 6 iterations, its limit"), "{text}");
    let Error::Runtime(RuntimeError::LoopLimit { operation, limit, place }) = e else {
        panic!("{e}")
    };
    assert_eq!((*operation, *limit), ("loop_limit", 6));
    assert_eq!(place.map(|p| p.line()), Some(line), "{text}");
}

#[test]
fn a_loop_that_goes_on_is_told_in_either_mode() -> Result<(), Error> {
    let t = Trace::eager();
    let x = t.variable(1.0);
    let tape = t.tape();
    let limit = LoopOptions::new().limit(6);
    let line = line!() + 1;
    let y = t.loops(limit).while_loop(x, |x| x.lt(100.0), |x| x * 2.0);
    assert!(y.item::<f64>().is_err());
    let dx = tape.gradient(&y, &x).or_zeros();
    assert!(dx.item::<f64>().is_err());
    let e = t.check().unwrap_err();
    assert_eq!((e.mistakes.len(), e.first().problem), (1, Problem::Value), "{e}");
    assert_eq!(e.first().place.line(), line);
    assert_eq!(e.first().message, "the loop goes on after 6 iterations, its limit");

    let line = line!() + 2;
    let f = trace(Spec::f64([]), (), |t, x, ()| {
        t.loops(limit).while_loop(x, |x| x.lt(100.0), |x| x * 2.0)
    })?;
    let e = f.eval(&1.0, &()).unwrap_err();
    assert_eq!((e.mistakes.len(), e.first().place.line()), (1, line), "{e}");
    assert!(f.grad()?.eval(&1.0, &()).is_err());
    for backend in [Backend::Cpu, Backend::Interpreter] {
        for optimise in [true, false] {
            let options = Options::default().backend(backend).optimise(optimise);
            let value = f.compile_with(&options)?;
            told(&value.call(&1.0, &()).unwrap_err(), line);
            let gradient = f.grad()?.compile_with(&options)?;
            told(&gradient.call(&1.0, &()).unwrap_err(), line);
            // The next call is none the worse.
            assert_eq!(value.call(&2.0, &())?.item::<f64>(), Some(128.0));
            assert_eq!(gradient.call(&2.0, &())?.item::<f64>(), Some(64.0));
            // Nobody takes what is not the result for it.
            let mut y = 0f64;
            assert!(value.call_into(&mut value.workspace()?, &1.0, &(), &mut y).is_err());
            assert!(y.is_nan());
        }
    }
    Ok(())
}

#[test]
fn each_lane_has_the_limit_for_itself() -> Result<(), Error> {
    let f = trace(Spec::f64([]), (), |t, x, ()| doubled(t, x, 6))?.value_and_grad()?;
    let f = f.vmap(3)?.compile()?;
    let (values, slopes) = f.call(&arr1(&[2.0, 50.0, 300.0]), &())?;
    assert_eq!(values.to_f64_vec(), [128.0, 100.0, 300.0]);
    assert_eq!(slopes.to_f64_vec(), [64.0, 2.0, 1.0]);
    let bad = f.call(&arr1(&[50.0, 1.0, 300.0]), &()).unwrap_err();
    assert!(matches!(bad, Error::Runtime(RuntimeError::LoopLimit { limit: 6, .. })), "{bad}");
    Ok(())
}

#[test]
fn a_limit_inside_of_loops_and_branches_is_told() -> Result<(), Error> {
    // Of second derivatives too.
    let f = trace(Spec::f64([]), (), |t, x, ()| doubled(t, x, 6).square())?;
    for f in [f.hessian()?.compile()?, f.hessian()?.compile_with(&Options::default().unroll(0))?] {
        assert_eq!(f.call(&2.0, &())?.item::<f64>(), Some(2.0 * 64.0 * 64.0));
        assert!(f.call(&1.0, &()).is_err());
    }
    let f = trace(Spec::f64([3]), (), |t, x, ()| {
        t.map_rows(x, |x| t.cond(x.gt(0.0), || doubled(t, x, 5), || x)).sum()
    })?;
    for f in [f.compile()?, f.compile_with(&Options::default().unroll(0))?] {
        assert_eq!(f.call(&arr1(&[-1.0, 50.0, 25.0]), &())?.item::<f64>(), Some(199.0));
        assert!(f.call(&arr1(&[-1.0, 50.0, 1.0]), &()).is_err());
    }
    let gradient = f.grad()?.compile()?;
    assert_eq!(gradient.call(&arr1(&[-1.0, 50.0, 25.0]), &())?.to_f64_vec(), [1.0, 2.0, 4.0]);
    assert!(gradient.call(&arr1(&[-1.0, 50.0, 1.0]), &()).is_err());
    Ok(())
}

#[test]
fn loops_that_carry_no_floats_have_limits() -> Result<(), Error> {
    // The number of steps of Collatz' sequence.
    let f = trace_tree((), Spec::i64([]), |t, (), n| {
        let (_, steps, odd) = t.loops(LoopOptions::new().limit(20)).while_loop(
            (n, t.scalar(0), t.scalar(false)),
            |(n, ..)| n.gt(1),
            |(n, steps, _)| {
                let odd = n.modulo(2).eq(1);
                (odd.select(n * 3 + 1, n.floor_divide(2)), steps + 1, odd)
            },
        );
        t.outputs(&(steps, odd))
    })?;
    let g = f.compile()?;
    assert_eq!(g.call(&(), &7i64)?.0.to_f64_vec(), [16.0]);
    assert!(g.call(&(), &27i64).is_err() && f.eval(&(), &27i64).is_err());
    Ok(())
}

#[control_flow]
fn walk<'t>(x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    while y.sum().lt(100.0) {
        y = y * 2.0;
    }
    loop {
        if y.sum().lt(1.0) {
            break;
        }
        y = y * 0.5;
    }
    for i in 0..3 {
        y = y + i as f64;
    }
    y
}

#[test]
fn options_hold_for_all_loops_that_are_recorded_within() -> Result<(), Error> {
    let f = |limit| {
        trace(Spec::f64([]), (), move |t, x, ()| {
            t.loops(LoopOptions::new().limit(limit)).within(|| walk(x))
        })
    };
    // The iteration that is left by `break` counts.
    assert_eq!(f(9)?.compile()?.call(&1.0, &())?.item::<f64>(), Some(3.5));
    assert!(f(8)?.compile()?.call(&1.0, &()).is_err());
    // What is said of the loop itself comes first, and what was said before holds after.
    let t = Trace::eager();
    let few = LoopOptions::new().limit(2);
    t.loops(few).within(|| assert_eq!(doubled(&t, t.scalar(2.0), 6).item::<f64>().unwrap(), 128.0));
    assert_eq!(walk(t.scalar(1.0)).item::<f64>()?, 3.5);
    // Of the loop alone, not of the loops inside of it.
    let nested = t.loops(few).while_loop(
        t.scalar(1.0),
        |x| x.lt(100.0),
        |x| t.while_loop(x, |x| x.lt(100.0), |x| x * 2.0),
    );
    assert_eq!(nested.item::<f64>()?, 128.0);
    Ok(())
}

#[test]
fn a_limit_of_nothing_is_a_mistake() {
    let t = Trace::eager();
    let line = line!() + 2;
    let none = t.loops(LoopOptions::new().limit(0));
    let x = none.while_loop(t.scalar(1.0), |x| x.lt(100.0), |x| x * 2.0);
    let e = x.item::<f64>().unwrap_err();
    assert_eq!((e.first().operation, e.first().problem), ("while_loop", Problem::Control));
    assert_eq!(e.first().message, "expected a limit of at least 1 iteration, got 0");
    assert_eq!(e.first().place.line(), line);
}

#[test]
fn long_loops_by_a_factor_have_the_derivatives_of_loops() -> Result<(), Error> {
    // d/dx of xⁿ, and again.
    let f = trace(Spec::f64([2]), (), |t, x, ()| {
        unrolled(t, Unroll::By(8)).for_loop(1003, t.ones(DType::F64, [2]), |_, y| y * x).sum()
    })?;
    let x = arr1(&[1.0f64, 0.999]);
    let gradient = f.grad()?.compile()?.call(&x, &())?.to_f64_vec();
    let hessian = f.hessian()?.compile()?.call(&x, &())?.to_f64_vec();
    for (i, x) in x.iter().enumerate() {
        let want = 1003.0 * x.powi(1002);
        assert!((gradient[i] / want - 1.0).abs() < 1e-12);
        let want = 1003.0 * 1002.0 * x.powi(1001);
        assert!((hessian[3 * i] / want - 1.0).abs() < 1e-12, "{hessian:?}");
    }
    Ok(())
}
