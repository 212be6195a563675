use backstitch_ir::eval::eval_arrays;
use backstitch_ir::{DType, Monoid, Scalar};
use smallvec::smallvec;

use super::*;

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
            assert!((x - y).abs() < 1e-12, "{x} {y}\n{g}\n{after}");
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
