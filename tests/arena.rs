//! The workspace is hardly larger than what has to be in it at once, results are written
//! where they belong, and kernels work in place where they can.
#![allow(missing_docs)]

#[path = "common/random.rs"]
#[allow(dead_code)]
mod random;

use backstitch::ir::plan::{Plan, Step};
use backstitch::passes::{self, Lowered, prepare};
use backstitch::prelude::*;
use backstitch::{Array, DType};
use random::{Rng, graph, graph_of_loops, with_gradients};

/// The workspace beside the bytes in use at once: of arrays that fill cache lines, as the
/// workspace has them.
fn ratio(lowered: &Lowered) -> f64 {
    lowered.plan.arena_bytes as f64 / lowered.padded_bytes.max(1) as f64
}

#[test]
fn the_workspace_is_hardly_larger_than_what_is_in_use_at_once() {
    let mut worst = (0.0f64, String::new());
    let mut sum = (0usize, 0usize);
    for seed in 0..600u64 {
        let mut rng = Rng(seed ^ 0xa2e4a);
        let dtype = if seed % 2 == 0 { DType::F64 } else { DType::F32 };
        let g = match seed % 3 {
            0 => graph_of_loops(&mut rng, dtype, 6 + (seed % 14) as usize, true, 40),
            _ => graph(&mut rng, dtype, 4 + (seed % 40) as usize, seed % 3 == 1),
        };
        let g = with_gradients(&g);
        for optimise in [true, false] {
            let options = passes::Options { optimise, ..passes::Options::default() };
            let lowered = prepare(&g, &options).lowered;
            assert!(lowered.plan.arena_bytes >= lowered.live_bytes, "seed {seed}");
            sum.0 += lowered.plan.arena_bytes;
            sum.1 += lowered.padded_bytes;
            let ratio = ratio(&lowered);
            if ratio > worst.0 {
                worst = (ratio, format!("seed {seed}, optimise {optimise}\n{}", lowered.plan));
            }
        }
    }
    println!("worst {:.3}; {} bytes for {}", worst.0, sum.0, sum.1);
    assert!(worst.0 <= 1.2, "{} of {}", worst.0, worst.1);
}

fn plan_of<P, D, O>(f: &Traced<P, D, O>) -> Lowered
where
    P: Tree<Spec>,
    D: Tree<Spec>,
    O: Tree<Spec>,
{
    prepare(f.graph(), &passes::Options::default()).lowered
}

/// Copies of whole buffers, wherever they are.
fn copies(plan: &Plan) -> usize {
    fn count(steps: &[Step]) -> usize {
        let each = |step: &Step| match step {
            Step::Copy { .. } => 1,
            Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => {
                count(a) + count(b)
            }
            Step::Repeat { body, .. } | Step::Scan { body, .. } => count(body),
            _ => 0,
        };
        steps.iter().map(each).sum()
    }
    count(&plan.steps)
}

#[test]
fn a_chain_of_products_needs_two_arrays() {
    // Each product is read once, by a kernel that can work in its place.
    let f = trace(Spec::f64([64, 64]), (), |_, w, ()| {
        let mut x = w;
        for _ in 0..6 {
            x = w.matmul(x).tanh();
        }
        x
    });
    let lowered = plan_of(&f.unwrap());
    assert_eq!(lowered.live_bytes, 2 * 64 * 64 * 8, "{}", lowered.plan);
    assert_eq!(lowered.plan.arena_bytes, lowered.live_bytes);
}

#[test]
fn what_a_loop_makes_is_made_in_its_carry() {
    let f = trace(Spec::f64([100]), (), |t, x, ()| t.for_loop(1000, x, |_, y| (y * 1.01).sin()));
    let lowered = plan_of(&f.unwrap());
    // The carry begins as the input; it is the output.
    assert_eq!(copies(&lowered.plan), 1, "{}", lowered.plan);
    assert!(lowered.plan.arena_bytes <= 128, "{}", lowered.plan);
}

#[test]
fn branches_write_to_the_output() {
    let f = trace(Spec::f64([50]), (), |t, x, ()| {
        let y = x.sin();
        t.cond(x.sum().gt(0.0), || y.cumsum(0).exp(), || y.cumsum(0).tanh())
    });
    let lowered = plan_of(&f.unwrap());
    assert_eq!(copies(&lowered.plan), 0, "{}", lowered.plan);
}

/// Elements that are wanted elsewhere are not stored over.
#[test]
fn what_is_read_elsewhere_stays() {
    type Program = for<'t> fn(&'t Trace, Tensor<'t>) -> Tensor<'t>;
    let programs: [(&str, Program); 9] = [
        ("transposed", |t, x| {
            let y = t.checkpoint(|| x.matmul(x));
            (y + y.transpose()).tanh()
        }),
        ("shifted", |_, x| {
            let y = x.matmul(x);
            y + y.flip([1])
        }),
        ("rows", |_, x| {
            let y = x.matmul(x);
            y.softmax(1)
        }),
        ("columns", |_, x| {
            let y = x.matmul(x);
            y.softmax(0)
        }),
        ("row of each", |_, x| {
            let y = x.matmul(x);
            y * y.index(0, 0)
        }),
        ("gathered", |t, x| {
            let y = x.matmul(x);
            y + y.take(t.constant(Array::from(ndarray::arr1(&[4i64, 2, 0, 1, 3]))), 0)
        }),
        ("normalised", |_, x| {
            let y = x.matmul(x);
            (y - y.mean()) / (y.var() + 1e-3).sqrt()
        }),
        ("in a loop", |t, x| {
            t.for_loop(7, x.matmul(x), |_, y| (y + y.transpose() * 0.5).sin().matmul(x).softmax(1))
        }),
        ("two carries", |t, x| {
            let (a, b) = t.for_loop(5, (x, x * 2.0), |_, (a, b)| (b.sin(), a.cos()));
            a.matmul(b)
        }),
    ];
    let x =
        ndarray::Array2::from_shape_fn((5, 5), |(i, j)| (1.3 * i as f64 + 0.7 * j as f64).sin());
    for (name, program) in programs {
        let f = trace(Spec::f64([5, 5]), (), move |t, x, ()| program(t, x)).unwrap();
        let want = f.eval(&x, &()).unwrap();
        let got = f.compile().unwrap().call(&x, &()).unwrap();
        for (a, b) in want.to_f64_vec().into_iter().zip(got.to_f64_vec()) {
            assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()), "{name}: {a} and {b}");
        }
    }
}
