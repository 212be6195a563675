//! The ladder: reference interpreter, passes, plans, machine code, on random
//! graphs with gradients through random control flow. Each rung is compared with
//! the one above, so a failure names the stage.
#![allow(missing_docs)]

#[path = "common/random.rs"]
mod random;

use std::collections::BTreeMap;

use backstitch::Vectors;
use backstitch::ir::eval::eval_arrays;
use backstitch::ir::text::{parse_graph, parse_plan};
use backstitch::ir::{Array, DType, Graph, Monoid, Op, Scalar, Shape, Type, Value};
use backstitch::passes::{Options, prepare};
use backstitch::runtime::{ArrayRef, Backend, Executable, jit};
use random::{Rng, filled, graph, operations, with_gradients};

/// Graphs per element type.
const GRAPHS: u64 = 500;

fn agree(what: &str, seed: u64, g: &Graph, want: &[Array], got: &[Array], tol: f64) {
    for (i, (w, x)) in want.iter().zip(got).enumerate() {
        assert_eq!(w.ty(), x.ty(), "{what}, seed {seed}, output {i}\n{g}");
        let (a, b) = (w.to_f64_vec(), x.to_f64_vec());
        let scale = a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in a.into_iter().zip(b) {
            let same = (a - b).abs() <= tol * scale || (a.is_nan() && b.is_nan()) || a == b;
            assert!(same, "{what}, seed {seed}, output {i}: {a} and {b}\n{g}");
        }
    }
}

/// How wide the vectors of machine code may be.
const VECTORS: [Vectors; 3] = [Vectors::Widest, Vectors::Bits256, Vectors::Bits128];

fn run(g: &Graph, backend: Backend, optimise: bool, inputs: &[Array]) -> Vec<Array> {
    let options = Options { optimise, ..Options::default() };
    let plan = prepare(g, &options).lowered.plan;
    let text = plan.to_string();
    let again = parse_plan(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(again.to_string(), text, "a plan survives text");
    call(&Executable::new(plan, backend).expect("it compiles"), inputs)
}

/// Optimised, as machine code with such vectors.
fn run_with(g: &Graph, vectors: Vectors, inputs: &[Array]) -> Vec<Array> {
    let plan = prepare(g, &Options::default()).lowered.plan;
    let options = jit::Options { vectors, ..jit::Options::default() };
    call(&Executable::with_options(plan, Backend::Cpu, options).expect("it compiles"), inputs)
}

fn call(f: &Executable, inputs: &[Array]) -> Vec<Array> {
    let views: Vec<ArrayRef<'_>> =
        inputs.iter().map(|a| ArrayRef::try_from(a).expect("contiguous")).collect();
    f.call(&views).expect("it runs")
}

fn ladder(dtype: DType, tol: f64) {
    let mut seen = BTreeMap::new();
    for seed in 0..GRAPHS {
        let mut rng = Rng(seed ^ (dtype.size() as u64) << 32);
        let control = seed % 3 == 0;
        let g = with_gradients(&graph(&mut rng, dtype, 4 + (seed % 24) as usize, control));
        operations(&g, &mut seen);
        let text = g.to_string();
        let again = parse_graph(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again, g, "a graph survives text");
        let inputs: Vec<Array> =
            g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.5, 1.5)).collect();
        let want = eval_arrays(&g, &inputs);
        let plain = run(&g, Backend::Interpreter, false, &inputs);
        agree("plan without optimisation", seed, &g, &want, &plain, tol);
        let fused = run(&g, Backend::Interpreter, true, &inputs);
        agree("optimised plan", seed, &g, &want, &fused, tol);
        // Products are summed in another order by the library.
        let exact = !seen_in(&g, "contract");
        for vectors in VECTORS {
            let code = run_with(&g, vectors, &inputs);
            let what = format!("machine code, {vectors:?}");
            for (a, b) in fused.iter().zip(&code) {
                assert!(!exact || a.same_bits(b), "{what}, seed {seed}: {a:?} and {b:?}\n{g}");
            }
            agree(&what, seed, &g, &want, &code, tol);
        }
    }
    // A generator that forgets an operation tests nothing.
    for op in Op::NAMES.iter().filter(|&&n| n != "map").chain(&["cond", "loop"]) {
        assert!(seen.contains_key(op), "no random graph has `{op}`");
    }
}

fn seen_in(g: &Graph, op: &str) -> bool {
    let mut seen = BTreeMap::new();
    operations(g, &mut seen);
    seen.contains_key(op)
}

#[test]
fn every_stage_agrees_in_f64() {
    ladder(DType::F64, 1e-10);
}

#[test]
fn every_stage_agrees_in_f32() {
    ladder(DType::F32, 3e-4);
}

/// Matrices with something added to the diagonal.
fn positive_definite(a: &Array) -> Array {
    let n = a.dims()[a.dims().len() - 1];
    let numbers = a.to_f64_vec().into_iter().enumerate();
    let shifted = numbers.map(|(i, x)| if i / n % n == i % n { x + 4.0 } else { x });
    let shifted = ndarray::ArrayD::from_shape_vec(a.dims(), shifted.collect()).expect("as many");
    if a.dtype() == DType::F32 { shifted.mapv(|x| x as f32).into() } else { shifted.into() }
}

/// Every instance of every definition, every element type, through the whole
/// house.
#[test]
fn every_definition_compiles_to_what_it_means() {
    let mut rng = Rng(7);
    for sample in Op::samples() {
        if matches!(sample.op, Op::Input(_)) {
            continue;
        }
        let mut g = Graph::new("sample");
        let args: Vec<Value> = sample.args.iter().map(|t| g.input(t.clone(), None)).collect();
        let results = g.add(sample.op.clone(), &args).expect("samples are well-typed");
        g.set_outputs(results);
        let inputs: Vec<Array> = sample
            .args
            .iter()
            .zip(&sample.domain)
            .map(|(t, &(lo, hi))| rng.array(t, lo, hi + f64::from(u8::from(!t.is_float()))))
            .collect();
        let mut inputs = inputs;
        if matches!(sample.op, Op::Cholesky(_)) {
            inputs[0] = positive_definite(&inputs[0]);
        }
        if matches!(sample.op, Op::LoopLimit(_)) {
            // All loops have come to their ends.
            inputs[0] = filled(&sample.args[0], &vec![0.0; sample.args[0].len()]);
        }
        let want = eval_arrays(&g, &inputs);
        let tol = |a: &Array| if a.dtype() == DType::F32 { 1e-5 } else { 1e-13 };
        for optimise in [false, true] {
            for backend in [Backend::Interpreter, Backend::Cpu] {
                let got = run(&g, backend, optimise, &inputs);
                agree(&format!("{:?}", sample.op), 0, &g, &want, &got, tol(&want[0]));
            }
        }
    }
}

/// What soft-max, layer norm, regressions and their gradients are made of, over an
/// array long enough for chunks.
fn reductions(dims: &[usize], dtype: DType) -> Graph {
    let mut g = Graph::new("reductions");
    let ty = Type::new(dtype, dims);
    let x = g.input(ty.clone(), Some("x"));
    let y = g.input(Type::new(dtype, [*dims.last().expect("rank 1 at least")]), Some("y"));
    let wide = g.broadcast(y, &ty.shape, &[dims.len() - 1]);
    let p = g.map(Scalar::Mul, &[x, wide]);
    let all: Vec<usize> = (0..dims.len()).collect();
    let mut outs = Vec::new();
    for axes in [&all[..], &all[..1], &all[dims.len() - 1..]] {
        let kept: Vec<usize> = all.iter().copied().filter(|a| !axes.contains(a)).collect();
        let most = g.reduce(Monoid::Max, x, axes);
        let back = g.broadcast(most, &ty.shape, &kept);
        let z = g.map(Scalar::Sub, &[x, back]);
        let e = g.map(Scalar::Exp, &[z]);
        let s = g.reduce(Monoid::Sum, e, axes);
        let log = g.map(Scalar::Log, &[s]);
        let sum = g.reduce(Monoid::Sum, p, axes);
        let spread = g.broadcast(sum, &ty.shape, &kept);
        let back = g.map(Scalar::Tanh, &[spread]);
        let q = g.map(Scalar::Mul, &[back, x]);
        let rest: Vec<usize> = (0..kept.len()).collect();
        let total = g.reduce(Monoid::Sum, log, &rest);
        let across = g.reduce(Monoid::Min, q, &all[..1]);
        outs.extend([total, sum, across]);
    }
    g.set_outputs(outs);
    g
}

#[test]
fn long_reductions_are_cut_into_chunks_with_the_same_result() {
    let shapes: [&[usize]; 8] = [
        &[16385],
        &[100_003],
        &[1, 40_000],
        &[40_000, 1],
        &[257, 101],
        &[7, 5003],
        &[5003, 7],
        &[13, 41, 67],
    ];
    for dims in shapes {
        for dtype in [DType::F32, DType::F64] {
            let g = with_gradients(&reductions(dims, dtype));
            let mut rng = Rng(dims.len() as u64);
            let inputs: Vec<Array> =
                g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.0, 1.0)).collect();
            let want = eval_arrays(&g, &inputs);
            let fused = run(&g, Backend::Interpreter, true, &inputs);
            let tol = if dtype == DType::F32 { 2e-3 } else { 1e-9 };
            agree("optimised plan", 0, &g, &want, &fused, tol);
            for vectors in VECTORS {
                let code = run_with(&g, vectors, &inputs);
                for (a, b) in fused.iter().zip(&code) {
                    assert!(a.same_bits(b), "machine code of {}, {vectors:?}", Shape::from(dims));
                }
            }
        }
    }
}
