//! Random programs of loops and branches inside each other: every stage gives what the
//! stage before gives, and derivatives are those of differences.
#![allow(missing_docs)]

#[path = "common/nested.rs"]
mod nested;
#[path = "common/random.rs"]
#[allow(dead_code)]
mod random;

use std::sync::{Arc, Mutex};

use backstitch::DType;
use backstitch::ir::eval::eval_arrays;
use backstitch::ir::ops::Trip;
use backstitch::ir::text::parse_graph;
use backstitch::ir::{Array, Graph, Op, Type};
use backstitch::passes::{Options, prepare};
use backstitch::prelude::*;
use backstitch::runtime::{ArrayRef, Backend, Executable};
use nested::{Params, program};
use random::{Rng, filled};

/// A program of three parameters and an integer.
type Scalar = Traced<Params<Spec>, Spec, Spec>;

fn traced(seed: u64, dtype: DType, depth: usize, steps: usize) -> Scalar {
    let [a, b, c]: [&[usize]; 3] = [&[], &[3], &[2, 3]];
    let params = (Spec::new(dtype, a), Spec::new(dtype, b), Spec::new(dtype, c));
    let f = trace(params, Spec::i64([]), |t, p, n| program((seed, depth, steps), t, p, n));
    f.unwrap_or_else(|e| panic!("seed {seed}: {e}"))
}

/// Arguments for the inputs of a graph.
fn arguments(seed: u64, g: &Graph) -> Vec<Array> {
    let mut rng = Rng(seed ^ 0xa5a5);
    let argument = |ty: &Type| {
        if ty.is_float() {
            return rng.array(ty, -1.0, 1.0);
        }
        filled(ty, &[rng.below(9) as f64])
    };
    let types: Vec<&Type> = g.inputs().iter().map(|&v| g.ty(v)).collect();
    types.into_iter().map(argument).collect()
}

fn agree(what: &str, seed: u64, g: &Graph, want: &[Array], got: &[Array], tol: f64) {
    assert_eq!(want.len(), got.len(), "{what}, seed {seed}\n{g}");
    for (i, (w, x)) in want.iter().zip(got).enumerate() {
        assert_eq!(w.ty(), x.ty(), "{what}, seed {seed}, output {i}\n{g}");
        for (a, b) in w.to_f64_vec().into_iter().zip(x.to_f64_vec()) {
            assert!(a.is_finite(), "seed {seed}, output {i}: {a}\n{g}");
            let near = (a - b).abs() <= tol * a.abs().max(1.0);
            assert!(near, "{what}, seed {seed}, output {i}: {a} and {b}\n{g}");
        }
    }
}

fn run(g: &Graph, options: &Options, backend: Backend, inputs: &[Array]) -> Vec<Array> {
    let f = Executable::new(prepare(g, options).lowered.plan, backend).expect("it compiles");
    let views: Vec<ArrayRef<'_>> =
        inputs.iter().map(|a| ArrayRef::try_from(a).expect("contiguous")).collect();
    f.call(&views).expect("it runs")
}

/// All stages on a graph: text, each pass, plans, machine code. What it gives.
fn stages(what: &str, seed: u64, g: &Graph, tol: f64) -> Vec<Array> {
    let text = g.to_string();
    let again = parse_graph(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(again == *g, "{what}, seed {seed}: another graph in text\n{text}");
    let inputs = arguments(seed, g);
    let want = eval_arrays(g, &inputs);
    let passed: Arc<Mutex<Vec<(String, Graph)>>> = Arc::default();
    let seen = Arc::clone(&passed);
    let observe = move |name: &str, g: &Graph| {
        seen.lock().expect("no panic").push((name.to_owned(), g.clone()));
    };
    let observed = Options { observe: Some(Arc::new(observe)), ..Options::default() };
    let fused = run(g, &observed, Backend::Interpreter, &inputs);
    let mut before: Option<Graph> = None;
    for (pass, after) in passed.lock().expect("no panic").drain(..) {
        if before.as_ref() != Some(&after) {
            let found = eval_arrays(&after, &inputs);
            agree(&format!("{what} after {pass}"), seed, &after, &want, &found, tol);
        }
        before = Some(after);
    }
    agree(&format!("{what}, nests"), seed, g, &want, &fused, tol);
    let code = run(g, &Options::default(), Backend::Cpu, &inputs);
    for (a, b) in fused.iter().zip(&code) {
        assert!(a.same_bits(b), "{what}, machine code, seed {seed}: {a:?} and {b:?}\n{g}");
    }
    let plain = Options { optimise: false, ..Options::default() };
    let plain = run(g, &plain, Backend::Cpu, &inputs);
    agree(&format!("{what}, not optimised"), seed, g, &want, &plain, tol);
    let rolled = Options { unroll: 0, ..Options::default() };
    let rolled = run(g, &rolled, Backend::Cpu, &inputs);
    agree(&format!("{what}, loops not written out"), seed, g, &want, &rolled, tol);
    want
}

/// What there is in a graph, and in the graphs inside.
#[derive(Default, Debug)]
struct Seen {
    /// How deep loops and branches are inside each other.
    depth: usize,
    /// Loops that count, to a constant or by data; loops with a predicate; branches.
    constant: usize,
    counted: usize,
    tested: usize,
    branches: usize,
}

impl Seen {
    fn look(&mut self, g: &Graph, depth: usize) {
        self.depth = self.depth.max(depth);
        for n in g.nodes() {
            let inside: [Option<&Graph>; 2] = match g.op(n) {
                Op::Loop(l) => {
                    match &l.trip {
                        Trip::While(_) => self.tested += 1,
                        _ if g.as_splat(g.args(n)[0]).is_some() => self.constant += 1,
                        _ => self.counted += 1,
                    }
                    [Some(&l.body), None]
                }
                Op::Cond(c) => {
                    self.branches += 1;
                    [Some(&c.then), Some(&c.els)]
                }
                Op::Region(r) => [Some(&r.body), None],
                _ => continue,
            };
            inside.into_iter().flatten().for_each(|g| self.look(g, depth + 1));
        }
    }
}

#[test]
fn every_stage_agrees_on_values_and_gradients() {
    let (mut deep, mut all) = (0, Seen::default());
    for seed in 0..40 {
        let (dtype, tol) = if seed % 4 == 3 { (DType::F32, 2e-4) } else { (DType::F64, 1e-10) };
        let f = traced(seed, dtype, 3, 2 + seed as usize % 3);
        stages("gradient", seed, f.value_and_grad().unwrap().graph(), tol);
        let mut seen = Seen::default();
        seen.look(f.graph(), 0);
        deep += usize::from(seen.depth == 3);
        all.look(f.graph(), 0);
    }
    // A generator that forgets something tests nothing.
    let least = [deep, all.constant, all.counted, all.tested, all.branches].into_iter().min();
    assert!(least >= Some(20), "{deep} are as deep as can be; {all:?}");
}

#[test]
fn every_stage_agrees_on_second_derivatives() {
    for seed in 100..116 {
        let f = traced(seed, DType::F64, 2, 2);
        // Forward over reverse, and reverse over reverse.
        let hvp = f.hvp().unwrap();
        let rows = f.grad().unwrap().vjp().unwrap();
        let found = stages("forward over reverse", seed, hvp.graph(), 1e-9);
        let others = stages("reverse over reverse", seed, rows.graph(), 1e-9);
        agree("either second derivative", seed, hvp.graph(), &found, &others[3..], 1e-9);
    }
}

/// Parameters moved along a direction.
fn moved(at: &[Array], by: &[Array], h: f64) -> Vec<Array> {
    let along = |(x, v): (&Array, &Array)| {
        let moved = x.to_f64_vec().into_iter().zip(v.to_f64_vec()).map(|(x, v)| x + h * v);
        filled(&x.ty(), &moved.collect::<Vec<_>>())
    };
    at.iter().zip(by).map(along).collect()
}

fn dot(a: &[Array], b: &[Array]) -> f64 {
    let both = a.iter().zip(b).flat_map(|(a, b)| a.to_f64_vec().into_iter().zip(b.to_f64_vec()));
    both.map(|(a, b)| a * b).sum()
}

/// The derivative of `f` along a direction by differences; `None` if a decision is too
/// near for them to agree among each other.
fn difference(f: impl Fn(f64) -> f64) -> Option<f64> {
    let slope = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    let (wide, narrow) = (slope(2e-4), slope(1e-4));
    let best = (4.0 * narrow - wide) / 3.0;
    let sure = (wide - narrow).abs() <= 1e-5 * best.abs().max(1.0);
    (sure && (f(1e-9) - f(-1e-9)).abs() < 1e-6).then_some(best)
}

#[test]
fn derivatives_of_either_mode_are_those_of_differences() {
    let (mut compared, mut passed_over) = (0, 0);
    for seed in 200..240 {
        let f = traced(seed, DType::F64, 3, 3);
        let forward = f.jvp().unwrap().compile().unwrap();
        let (f, g) = (f.compile().unwrap(), f.value_and_grad().unwrap().compile().unwrap());
        let inputs = arguments(seed, f.graph());
        let (at, n) = inputs.split_at(3);
        let mut rng = Rng(seed ^ 0x77);
        let by: Vec<Array> = at.iter().map(|x| rng.array(&x.ty(), -1.0, 1.0)).collect();
        let three = |x: Vec<Array>| <[Array; 3]>::try_from(x).expect("three").into();
        let value = |h: f64| {
            let p: Params<Array> = three(moved(at, &by, h));
            f.call(&p, &n[0]).unwrap().item::<f64>().expect("a scalar")
        };
        let p: Params<Array> = three(at.to_vec());
        let (found, (a, b, c)) = g.call(&p, &n[0]).unwrap();
        // What else is computed beside a sum may change the order in which it is added.
        let (found, alone) = (found.item::<f64>().expect("a scalar"), value(0.0));
        assert!(
            (found - alone).abs() < 1e-12 * alone.abs().max(1.0),
            "seed {seed}: {found}, {alone}"
        );
        let got = dot(&[a, b, c], &by);
        let along: Params<Array> = three(by.clone());
        let (_, slope) = forward.call(&p, &(&n[0], &along)).unwrap();
        let slope = slope.item::<f64>().expect("a scalar");
        assert!((got - slope).abs() < 1e-10 * got.abs().max(1.0), "seed {seed}: {got}, {slope}");
        let t = Trace::eager();
        let [x, y, z] = [0, 1, 2].map(|i| t.constant(at[i].clone()));
        let eager = program((seed, 3, 3), &t, (x, y, z), t.constant(n[0].clone()));
        let eager = eager.item::<f64>().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!((eager - value(0.0)).abs() < 1e-11 * eager.abs().max(1.0), "seed {seed}, eager");
        let Some(want) = difference(value) else {
            passed_over += 1;
            continue;
        };
        assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "seed {seed}: {got}, not {want}");
        compared += 1;
    }
    assert!(compared > 4 * passed_over, "{compared} compared, {passed_over} passed over");
}
