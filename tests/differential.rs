//! The ladder: reference interpreter, passes, plans, machine code, on random
//! graphs with gradients through random control flow. Each rung is compared with
//! the one above, so a failure names the stage.
#![allow(missing_docs)]

#[path = "common/random.rs"]
mod random;

use std::collections::BTreeMap;

use backstitch::ir::eval::eval_arrays;
use backstitch::ir::{Array, DType, Graph};
use backstitch::passes::{Options, prepare};
use backstitch::runtime::{ArrayRef, Backend, Executable};
use random::{Rng, graph, operations, with_gradients};

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

fn run(g: &Graph, backend: Backend, optimise: bool, inputs: &[Array]) -> Vec<Array> {
    let options = Options { optimise, ..Options::default() };
    let plan = prepare(g, &options).lowered.plan;
    let f = Executable::new(plan, backend).expect("it compiles");
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
        let inputs: Vec<Array> =
            g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.5, 1.5)).collect();
        let want = eval_arrays(&g, &inputs);
        let plain = run(&g, Backend::Interpreter, false, &inputs);
        agree("plan without optimisation", seed, &g, &want, &plain, tol);
        let fused = run(&g, Backend::Interpreter, true, &inputs);
        agree("optimised plan", seed, &g, &want, &fused, tol);
        let code = run(&g, Backend::Cpu, true, &inputs);
        // Products are summed in another order by the library.
        let exact = !seen_in(&g, "contract");
        for (a, b) in fused.iter().zip(&code) {
            assert!(!exact || a.same_bits(b), "machine code, seed {seed}: {a:?} and {b:?}\n{g}");
        }
        agree("machine code", seed, &g, &want, &code, tol);
    }
    // A generator that forgets an operation tests nothing.
    for op in backstitch::ir::Op::NAMES.iter().filter(|&&n| n != "map").chain(&["cond", "loop"]) {
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
