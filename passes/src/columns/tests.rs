use backstitch_ir::eval::eval_arrays;
use backstitch_ir::{DType, Monoid, Scalar};
use smallvec::smallvec;

use super::*;
use crate::random;

const N: usize = 300;

fn numbers(dims: &[usize], seed: f64) -> Array {
    let len = dims.iter().product();
    let data = (0..len).map(|i| (i as f64 * 0.37 + seed).sin()).collect::<Vec<f64>>();
    Array::from_vec(&Shape::from(dims), data).unwrap()
}

/// The graph as columns, after both have been seen to give the same.
fn same_as_columns(g: &Graph) -> Graph {
    let after = crate::prune(&columns(g));
    backstitch_ir::verify::verify_graph(&after).unwrap();
    let args: Vec<Array> = g
        .inputs()
        .iter()
        .enumerate()
        .map(|(i, &v)| match g.ty(v).dtype {
            DType::I64 => {
                let index = (0..g.ty(v).len() as i64).map(|i| i * 7 % 50 - 3).collect::<Vec<_>>();
                Array::from_vec(&g.ty(v).shape, index).unwrap()
            }
            _ => numbers(g.ty(v).dims(), i as f64),
        })
        .collect();
    let (x, y) = (eval_arrays(g, &args), eval_arrays(&after, &args));
    for (x, y) in x.iter().zip(&y) {
        assert_eq!(x.ty(), y.ty());
        for i in 0..x.ty().len() {
            let (x, y) = (x.get(i).unwrap().to_f64(), y.get(i).unwrap().to_f64());
            assert!((x - y).abs() < 1e-12 * x.abs().max(1.0) * 10.0, "{x} {y}\n{g}\n{after}");
        }
    }
    after
}

fn count(g: &Graph, is: impl Fn(&Op) -> bool) -> usize {
    g.nodes().filter(|&n| is(g.op(n))).count()
}

#[test]
fn what_is_put_together_and_taken_apart_is_neither() {
    let mut g = Graph::new("f");
    let x = g.input(Type::new(DType::F64, [N, 3]), None);
    let y = g.input(Type::new(DType::F64, [N, 2]), None);
    let both = g.push(Concat { axis: 1 }, &[x, y]);
    let all = |len| SliceAxis { start: 0, len, step: 1 };
    let back = SliceAxis { start: 4, len: 4, step: -1 };
    let part = g.push(Slice { axes: smallvec![all(N), back] }, &[both]);
    let turned = g.push(Permute { perm: smallvec![1, 0] }, &[part]);
    let pairs = g.reshape(turned, [2, 2, N]);
    let z = g.map(Scalar::Sin, &[pairs]);
    let sum = g.reduce(Monoid::Sum, z, &[0]);
    g.set_outputs([sum, z]);
    let after = same_as_columns(&g);
    // Only where the results are put together.
    assert_eq!(count(&after, |op| matches!(op, Op::Concat(_))), 2, "{after}");
    assert_eq!(count(&after, |op| matches!(op, Op::Reduce(_))), 0, "{after}");
}

#[test]
fn unit_vectors_leave_nothing_but_what_is_one() {
    let mut g = Graph::new("f");
    let x = g.input(Type::new(DType::F64, [N, 2]), None);
    let square = Type::new(DType::I64, [2, 2]);
    let i = g.push(backstitch_ir::ops::Iota { ty: square.clone(), axis: 0 }, &[]);
    let j = g.push(backstitch_ir::ops::Iota { ty: square, axis: 1 }, &[]);
    let unit = g.map(Scalar::Eq, &[i, j]);
    let unit = g.cast(unit, DType::F64);
    let ct = g.broadcast(unit, &Shape::from([2, N, 2]), &[0, 2]);
    let x = g.broadcast(x, &Shape::from([2, N, 2]), &[1, 2]);
    let cos = g.map(Scalar::Cos, &[x]);
    g.set_origin(Origin { adjoint: true, ..Origin::default() });
    let product = g.map(Scalar::Mul, &[ct, cos]);
    let axes = smallvec![
        backstitch_ir::ops::PadAxis::NONE,
        backstitch_ir::ops::PadAxis::NONE,
        backstitch_ir::ops::PadAxis { lo: 1, hi: 0, inner: 1 }
    ];
    let value = backstitch_ir::Const::of_float(DType::F64, 0.0);
    let padded = g.push(backstitch_ir::ops::Pad { axes, value }, &[product]);
    let rows = g.push(Permute { perm: smallvec![1, 0, 2] }, &[padded]);
    g.set_outputs([rows]);
    let after = same_as_columns(&g);
    assert_eq!(count(&after, |op| matches!(op, Op::Map(m) if m.f == Scalar::Mul)), 0, "{after}");
    assert_eq!(count(&after, |op| matches!(op, Op::Map(m) if m.f == Scalar::Cos)), 2, "{after}");
}

#[test]
fn products_and_gathers_of_columns() {
    let mut g = Graph::new("f");
    let table = g.input(Type::new(DType::F64, [40, 4]), None);
    let index = g.input(Type::new(DType::I64, [N]), None);
    let m = g.input(Type::new(DType::F64, [N, 2, 3]), None);
    let shared = g.input(Type::new(DType::F64, [2]), None);
    let found = g.push(backstitch_ir::ops::Gather { axis: 0 }, &[table, index]);
    let cut = smallvec![SliceAxis::all(N), SliceAxis { start: 1, len: 3, step: 1 }];
    let v = g.push(Slice { axes: cut }, &[found]);
    let product = backstitch_ir::ops::Contract {
        batch: [smallvec![0], smallvec![0]],
        over: [smallvec![2], smallvec![1]],
    };
    let turned = g.push(product, &[m, v]);
    let offset = g.broadcast(shared, &Shape::from([N, 2]), &[1]);
    let moved = g.map(Scalar::Add, &[turned, offset]);
    let both = g.push(Concat { axis: 1 }, &[moved, v]);
    let z = g.map(Scalar::Square, &[both]);
    let largest = g.reduce(Monoid::Max, z, &[1]);
    g.set_outputs([largest]);
    let after = same_as_columns(&g);
    assert_eq!(count(&after, |op| matches!(op, Op::Concat(_) | Op::Contract(_))), 0, "{after}");
}

#[test]
fn what_is_only_put_together_at_the_end_stays() {
    let mut g = Graph::new("f");
    let x = g.input(Type::new(DType::F64, [N, 3]), None);
    let y = g.map(Scalar::Exp, &[x]);
    let both = g.push(Concat { axis: 1 }, &[x, y]);
    g.set_outputs([both]);
    assert_eq!(columns(&g), g);
}

/// Quadratic forms of many points about many centres, as mixtures of Gaussians have them:
/// `Σ_i (Σ_j L[k,i,j] (x[n,j] - m[k,j]))²`, where `L` is made of the numbers below its diagonal.
fn quadratic_forms(k: usize, d: usize) -> Graph {
    let below = d * (d - 1) / 2;
    let f64s = |dims: &[usize]| Type::new(DType::F64, Shape::from(dims));
    let mut g = Graph::new("f");
    let x = g.input(f64s(&[N, d]), None);
    let m = g.input(f64s(&[k, d]), None);
    let low = g.input(f64s(&[k, below]), None);
    let places = (0..d).flat_map(|i| (0..i).map(move |j| (i * d + j) as i64)).collect::<Vec<_>>();
    let places = g.constant(Array::from_vec(&Shape::from([below]), places).unwrap());
    let zeros = g.splat(&f64s(&[k, d * d]), 0.0);
    let l = g.push(backstitch_ir::ops::ScatterAdd { axis: 1 }, &[zeros, places, low]);
    let l = g.reshape(l, [k, d, d]);
    let shape = Shape::from([N, k, d]);
    let (x, m) = (g.broadcast(x, &shape, &[0, 2]), g.broadcast(m, &shape, &[1, 2]));
    let centred = g.map(Scalar::Sub, &[x, m]);
    let product = backstitch_ir::ops::Contract {
        batch: [smallvec![0], smallvec![1]],
        over: [smallvec![2], smallvec![2]],
    };
    let turned = g.push(product, &[l, centred]);
    let square = g.map(Scalar::Square, &[turned]);
    let forms = g.reduce(Monoid::Sum, square, &[1]);
    let product = backstitch_ir::ops::Contract {
        batch: [smallvec![0], smallvec![1]],
        over: [smallvec![2], smallvec![0]],
    };
    // As the adjoint of the product does.
    let slopes = g.push(product, &[turned, centred]);
    let slopes = g.reshape(slopes, [k, d * d]);
    let picked = g.push(backstitch_ir::ops::Gather { axis: 1 }, &[slopes, places]);
    g.set_outputs([forms, picked]);
    g
}

#[test]
fn products_of_many_small_matrices_become_columns() {
    for (k, d) in [(5, 3), (7, 7), (3, 10)] {
        let after = same_as_columns(&quadratic_forms(k, d));
        let is = |op: &Op| matches!(op, Op::Contract(_) | Op::ScatterAdd(_) | Op::Gather(_));
        assert_eq!(count(&after, is), 0, "{k} {d}\n{after}");
        // Of the adjoint only what is asked for.
        let sums = count(&after, |op| matches!(op, Op::Reduce(_)));
        assert_eq!(sums, d * (d - 1) / 2, "{k} {d}\n{after}");
    }
}

#[test]
fn rows_and_columns_of_one_extent_are_told_apart() {
    // As many centres as coordinates, and both as many as an axis that is summed over.
    let after = same_as_columns(&quadratic_forms(6, 6));
    assert_eq!(count(&after, |op| matches!(op, Op::Contract(_))), 0, "{after}");
}

#[test]
fn an_array_with_an_axis_of_rows_twice_is_none_of_columns() {
    let mut g = quadratic_forms(4, 3);
    let forms = g.outputs()[0];
    // `[N, N]`: each point with each.
    let product = backstitch_ir::ops::Contract {
        batch: [smallvec![], smallvec![]],
        over: [smallvec![0], smallvec![0]],
    };
    let gram = g.push(product, &[forms, forms]);
    let all = g.reduce(Monoid::Max, gram, &[0, 1]);
    let mut outputs = g.outputs().to_vec();
    outputs.push(all);
    g.set_outputs(outputs);
    same_as_columns(&g);
}

#[test]
fn an_index_outside_is_clamped_before_columns_are_picked() {
    let mut g = Graph::new("f");
    let x = g.input(Type::new(DType::F64, [N, 4]), None);
    let y = g.input(Type::new(DType::F64, [N, 1]), None);
    let both = g.push(Concat { axis: 1 }, &[x, y]);
    let index = Array::from_vec(&Shape::from([3]), vec![-7i64, 2, i64::MAX]).unwrap();
    let index = g.constant(index);
    let picked = g.push(backstitch_ir::ops::Gather { axis: 1 }, &[both, index]);
    let added = g.push(backstitch_ir::ops::ScatterAdd { axis: 1 }, &[both, index, picked]);
    let z = g.map(Scalar::Exp, &[added]);
    g.set_outputs([z]);
    let after = same_as_columns(&g);
    assert_eq!(count(&after, |op| matches!(op, Op::Gather(_) | Op::ScatterAdd(_))), 0, "{after}");
}

#[test]
fn random_programs_are_the_same_as_columns() {
    let mut changed = 0;
    for seed in 0..1500u64 {
        let mut rng = random::Rng(seed ^ 77 << 32);
        let g = random::graph(&mut rng, DType::F64, 4 + (seed % 24) as usize, false);
        let g = if seed % 4 == 0 { g } else { random::with_gradients(&g) };
        let after = crate::prune(&of_rows(&g, 2));
        backstitch_ir::verify::verify_graph(&after).unwrap();
        if after == crate::prune(&g) {
            continue;
        }
        changed += 1;
        let inputs: Vec<Array> =
            g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.5, 1.5)).collect();
        let (want, got) = (eval_arrays(&g, &inputs), eval_arrays(&after, &inputs));
        for (i, (want, got)) in want.iter().zip(&got).enumerate() {
            assert_eq!(want.ty(), got.ty(), "seed {seed}, output {i}");
            let (a, b) = (want.to_f64_vec(), got.to_f64_vec());
            let scale = a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
            for (a, b) in a.into_iter().zip(b) {
                let same = (a - b).abs() <= 1e-9 * scale || a == b || a.is_nan() && b.is_nan();
                assert!(same, "seed {seed}, output {i}: {a} and {b}\n{g}\n{after}");
            }
        }
    }
    assert!(changed > 150, "{changed}");
}

#[test]
fn products_of_integers_are_sums_of_products() {
    let mut g = Graph::new("f");
    let int = |dims: [usize; 2]| Type::new(DType::I64, dims);
    let x = g.input(int([N, 3]), None);
    let y = g.input(int([N, 2]), None);
    let w = g.input(int([5, 2]), None);
    let both = g.push(Concat { axis: 1 }, &[x, y]);
    let product = backstitch_ir::ops::Contract {
        batch: [smallvec![], smallvec![]],
        over: [smallvec![1], smallvec![0]],
    };
    let z = g.push(product, &[both, w]);
    g.set_outputs([z]);
    let after = same_as_columns(&g);
    assert_eq!(count(&after, |op| matches!(op, Op::Contract(_))), 0, "{after}");
}

#[test]
fn what_may_fail_is_not_computed_ahead() {
    let mut g = Graph::new("f");
    let x = g.input(Type::new(DType::F64, [N, 2]), None);
    let m = Array::from_vec(&Shape::from([2, 2]), vec![-1.0, 0.0, 0.0, -1.0]).unwrap();
    let m = g.constant(m);
    let root = g.push(backstitch_ir::ops::Cholesky, &[m]);
    let product = backstitch_ir::ops::Contract {
        batch: [smallvec![], smallvec![]],
        over: [smallvec![1], smallvec![0]],
    };
    let z = g.push(product, &[x, root]);
    g.set_outputs([z]);
    let after = crate::prune(&columns(&g));
    assert_eq!(count(&after, |op| matches!(op, Op::Cholesky(_))), 1, "{after}");
}
