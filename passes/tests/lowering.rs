//! The interpreter of graphs against passes and the interpreter of plans, on
//! random graphs with their gradients.
#![allow(missing_docs)]

#[path = "../../tests/common/random.rs"]
#[allow(dead_code)]
mod random;

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::eval_plan::eval_plan;
use backstitch_ir::{Array, DType, Graph};
use backstitch_passes::pipeline::PIPELINE;
use backstitch_passes::{Options, prepare};
use random::{Rng, graph, with_gradients};

fn agree(what: &str, seed: u64, g: &Graph, want: &[Array], got: &[Array], tol: f64) {
    for (i, (w, x)) in want.iter().zip(got).enumerate() {
        assert_eq!(w.ty(), x.ty(), "{what}, seed {seed}, output {i}\n{g}");
        let scale = w.to_f64_vec().iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in w.to_f64_vec().iter().zip(x.to_f64_vec()) {
            let same = (a - b).abs() <= tol * scale || (a.is_nan() && b.is_nan()) || *a == b;
            assert!(same, "{what}, seed {seed}, output {i}: {a} and {b}\n{g}");
        }
    }
}

#[test]
fn plans_mean_what_graphs_mean() {
    for seed in 0..300u64 {
        let mut rng = Rng(seed);
        let dtype = if seed % 2 == 0 { DType::F64 } else { DType::F32 };
        let g = with_gradients(&graph(&mut rng, dtype, 4 + (seed % 20) as usize, seed % 3 == 0));
        let inputs: Vec<Array> =
            g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.5, 1.5)).collect();
        let want = eval_arrays(&g, &inputs);
        let tol = if dtype == DType::F64 { 1e-10 } else { 2e-4 };
        let mut now = g.clone();
        for pass in PIPELINE {
            now = (pass.run)(&now, &Options::default());
            agree(pass.name, seed, &now, &want, &eval_arrays(&now, &inputs), tol);
        }
        for optimise in [false, true] {
            let options = Options { optimise, verify: true, ..Options::default() };
            let plan = prepare(&g, &options).lowered.plan;
            let what = if optimise { "fused plan" } else { "plain plan" };
            agree(what, seed, &g, &want, &eval_plan(&plan, &inputs), tol);
        }
    }
}
