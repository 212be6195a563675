//! Matrix products: read as they lie, added up where they are, of any shape.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "common/random.rs"]
mod random;

use backstitch::Gradients as _;
use backstitch::ir::nest::{Nest, ScalarOp, Stmt};
use backstitch::ir::plan::{Plan, Step};
use backstitch::prelude::*;
use backstitch::{Array, DType, Options, Tree};
use random::Rng;

/// Steps that do nothing but to put an array somewhere else, and those that multiply:
/// how many write a product, and how many add one.
#[derive(PartialEq, Eq, Debug)]
struct Steps {
    copies: usize,
    products: [usize; 2],
}

fn steps(plan: &Plan) -> Steps {
    fn computes(body: &[Stmt]) -> bool {
        body.iter().any(|s| match s {
            Stmt::Let { op, .. } => !matches!(op, ScalarOp::Const(_)),
            Stmt::For(l) => !l.accs.is_empty() || computes(&l.body),
            _ => false,
        })
    }
    fn reads(nest: &Nest) -> bool {
        nest.params.iter().any(|p| p.access != backstitch::ir::nest::Access::Out)
    }
    let mut found = Steps { copies: 0, products: [0, 0] };
    for step in &plan.steps {
        match step {
            Step::Copy { .. } => found.copies += 1,
            Step::Run { kernel, .. } => {
                let nest = &plan.kernels[*kernel];
                found.copies += usize::from(reads(nest) && !computes(&nest.body));
            }
            Step::Gemm(g) => found.products[usize::from(g.add)] += 1,
            _ => {}
        }
    }
    found
}

type Loss = for<'t> fn(&'t Trace, &[Tensor<'t>]) -> Tensor<'t>;

fn plan(f: Loss, dims: &[&[usize]]) -> Plan {
    let specs: Vec<Spec> = dims.iter().map(|dims| Spec::f32(*dims)).collect();
    let traced = trace(specs, (), |t, p: Vec<Tensor<'_>>, ()| f(t, &p)).unwrap();
    traced.value_and_grad().unwrap().compile().unwrap().executable().plan().clone()
}

fn dense<'t>(_: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let h = (p[0].matmul(p[1]) + p[2]).tanh();
    (h.matmul(p[3]) + p[4]).square().mean()
}

fn attention<'t>(_: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let [q, k, v] = [1, 2, 3].map(|i| p[0].matmul(p[i]));
    let weights = (q.matmul(k.swap_axes(1, 2)) * 0.25).softmax(-1);
    weights.matmul(v).matmul(p[4]).square().mean()
}

/// Heads between the axes: nothing is transposed in memory for it.
fn heads<'t>(t: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let [q, k, v] = [1, 2, 3].map(|i| p[0].matmul(p[i]).reshape([2, 24, 3, 16]));
    let weights = (t.einsum("bqhd,bkhd->bhqk", [q, k]) * 0.25).softmax(-1);
    let mixed = t.einsum("bhqk,bkhd->bqhd", [weights, v]).reshape([2, 24, 48]);
    mixed.matmul(p[4]).square().mean()
}

#[test]
fn no_factor_is_copied() {
    let layers: [&[usize]; 5] = [&[32, 48], &[48, 64], &[64], &[64, 16], &[16]];
    let found = steps(&plan(dense, &layers));
    assert_eq!(found, Steps { copies: 0, products: [6, 0] }, "dense layers");
    // Three gradients of the input are one array.
    let found =
        steps(&plan(attention, &[&[2, 24, 16], &[16, 16], &[16, 16], &[16, 16], &[16, 16]]));
    assert_eq!(found, Steps { copies: 0, products: [16, 2] }, "attention");
    let several: [&[usize]; 5] = [&[2, 24, 48], &[48, 48], &[48, 48], &[48, 48], &[48, 48]];
    let found = steps(&plan(heads, &several));
    assert_eq!(found, Steps { copies: 0, products: [16, 2] }, "heads");
}

#[test]
fn a_sum_of_products_is_added_up_where_it_is() {
    let dims: [&[usize]; 6] = [&[9, 12], &[12, 11], &[9, 15], &[15, 11], &[9, 20], &[20, 11]];
    let specs = || dims.iter().map(|dims| Spec::f64(*dims)).collect::<Vec<_>>();
    type Sum = for<'t> fn(&[Tensor<'t>]) -> Vec<Tensor<'t>>;
    let sums: [(Sum, [usize; 2]); 5] = [
        (|p| vec![p[0].matmul(p[1]) + p[2].matmul(p[3])], [1, 1]),
        (|p| vec![p[0].matmul(p[1]) + (p[2].matmul(p[3]) + p[4].matmul(p[5]))], [1, 2]),
        (|p| vec![p[0].matmul(p[1]) + p[2].matmul(p[3]) + p[4].matmul(p[5])], [1, 2]),
        // Who else wants a term gets it.
        (
            |p| {
                let x = p[0].matmul(p[1]);
                vec![x + p[2].matmul(p[3]), x.exp()]
            },
            [2, 0],
        ),
        (
            |p| {
                let x = p[0].matmul(p[1]);
                vec![x + x, p[2].matmul(p[3])]
            },
            [2, 0],
        ),
    ];
    let mut rng = Rng(3);
    let inputs: Vec<Array> = specs().iter().map(|s| rng.array(s.ty(), -1.0, 1.0)).collect();
    for (i, (f, products)) in sums.into_iter().enumerate() {
        let traced =
            trace_tree(specs(), (), |t, p: Vec<Tensor<'_>>, ()| t.outputs(&f(&p))).unwrap();
        let want = leaves(traced.eval(&inputs, &()).unwrap());
        let compiled = traced.compile().unwrap();
        assert_eq!(steps(compiled.executable().plan()).products, products, "sum {i}");
        close(&leaves(compiled.call(&inputs, &()).unwrap()), &want, 1e-13, &format!("sum {i}"));
    }
}

fn leaves<T: Tree<Array>>(found: T) -> Vec<Vec<f64>> {
    found.leaves().into_iter().map(Array::to_f64_vec).collect()
}

fn close(got: &[Vec<f64>], want: &[Vec<f64>], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * (1.0 + b.abs());
        let all = got.len() == want.len() && got.iter().zip(want).all(near);
        assert!(all, "{what}: {got:?} instead of {want:?}");
    }
}

/// A matrix with batch axes, and how a program gets it from an input.
#[derive(Clone, Copy, Debug)]
enum Look {
    AsItIs,
    Turned,
    /// Every other row and column of something larger.
    Sliced,
    /// From the last row to the first.
    Back,
}

fn input(batch: &[usize], rows: usize, cols: usize, look: Look) -> Vec<usize> {
    let matrix = match look {
        Look::AsItIs | Look::Back => [rows, cols],
        Look::Turned => [cols, rows],
        Look::Sliced => [2 * rows, 2 * cols],
    };
    [batch, &matrix].concat()
}

fn look<'t>(x: Tensor<'t>, look: Look) -> Tensor<'t> {
    match look {
        Look::AsItIs => x,
        Look::Turned => x.swap_axes(-2, -1),
        Look::Sliced => x.slice(-2, .., 2).slice(-1, .., 2),
        Look::Back => x.slice(-2, .., -1),
    }
}

fn of_looks<'t>(p: &[Tensor<'t>], kinds: [Look; 2]) -> Tensor<'t> {
    let y = look(p[0], kinds[0]).matmul(look(p[1], kinds[1]));
    (y * y.tanh()).sum()
}

#[test]
fn products_of_any_shape_agree_in_every_mode() {
    let mut rng = Rng(11);
    let looks = [Look::AsItIs, Look::Turned, Look::Sliced, Look::Back];
    let batches: [[&[usize]; 2]; 6] =
        [[&[], &[]], [&[2], &[2]], [&[2, 3], &[2, 3]], [&[2, 1], &[3]], [&[0], &[0]], [&[4], &[]]];
    for case in 0..60 {
        let dtype = rng.pick(&[DType::F32, DType::F64]);
        let mut extent = || rng.pick(&[0, 1, 2, 3, 4, 5, 8, 17, 40]);
        let [m, n, k] = [extent(), extent(), extent()];
        let (kinds, batch) = ([rng.pick(&looks), rng.pick(&looks)], rng.pick(&batches));
        let dims = [input(batch[0], m, k, kinds[0]), input(batch[1], k, n, kinds[1])];
        let what = format!("{case}: {dtype} {m}·{n}·{k} {kinds:?} {batch:?}");
        let specs: Vec<Spec> = dims.iter().map(|dims| Spec::new(dtype, &dims[..])).collect();
        let inputs: Vec<Array> = specs.iter().map(|s| rng.array(s.ty(), -1.0, 1.0)).collect();
        let tolerance = if dtype == DType::F32 { 2e-4 } else { 1e-12 };
        let traced = trace(specs, (), |_, p: Vec<Tensor<'_>>, ()| of_looks(&p, kinds)).unwrap();
        let traced = traced.value_and_grad().unwrap();
        let want = leaves(traced.eval(&inputs, &()).unwrap());
        for options in [Options::default(), Options::default().optimise(false)] {
            let compiled = traced.compile_with(&options).unwrap();
            close(&leaves(compiled.call(&inputs, &()).unwrap()), &want, tolerance, &what);
        }
        let t = Trace::eager();
        let p: Vec<Tensor<'_>> = inputs.iter().map(|a| t.variable(a.clone())).collect();
        let tape = t.tape();
        let loss = of_looks(&p, kinds);
        let grads = tape.gradient(&loss, &p).or_zeros();
        let got: Vec<Vec<f64>> =
            [loss].iter().chain(&grads).map(|x| x.array().unwrap().to_f64_vec()).collect();
        close(&got, &want, tolerance, &what);
    }
}
