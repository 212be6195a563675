//! Sparse Jacobians and Hessians: against dense ones, in every way to run a program,
//! and how their cost grows.
#![allow(missing_docs)]

#[path = "common/random.rs"]
#[allow(dead_code, reason = "what other tests need")]
mod random;

use std::time::{Duration, Instant};

use backstitch::ir::eval::eval_arrays;
use backstitch::ir::{Graph, Value};
use backstitch::passes::{Pattern, forward, sparsity};
use backstitch::prelude::*;
use backstitch::{Args, Options};
use backstitch::{Array, DType, Direction, Problem, Solver, Sparse};
use ndarray::{Array1, Array2, arr0, arr1};

/// Some numbers, none of them zero, none like another.
fn numbers(n: usize) -> Array1<f64> {
    (0..n).map(|i| 0.3 + (i as f64 * 0.7).sin().abs() + i as f64 * 1e-3).collect()
}

/// The blocks of a dense derivative as one matrix.
fn assembled(blocks: &[&Array], rows: &[usize], columns: &[usize]) -> Array2<f64> {
    let total = (rows.iter().sum(), columns.iter().sum());
    let mut all = Array2::zeros(total);
    let mut block = blocks.iter();
    let mut top = 0;
    for &m in rows {
        let mut left = 0;
        for &n in columns {
            let part = block.next().unwrap().to_f64_vec();
            let part = Array2::from_shape_vec((m, n), part).unwrap();
            all.slice_mut(ndarray::s![top..top + m, left..left + n]).assign(&part);
            left += n;
        }
        top += m;
    }
    all
}

fn lens(tree: &impl Tree<Spec>) -> Vec<usize> {
    tree.leaves().iter().map(|spec| spec.dims().iter().product()).collect()
}

/// Evaluates in every way, and compares with the dense matrix.
#[track_caller]
fn agrees<P, D>(
    sparse: &Traced<P, D, Sparse<Spec>>,
    params: &impl Args,
    data: &impl Args,
    want: &Array2<f64>,
    tolerance: f64,
) where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
{
    let plain = Options::default().optimise(false);
    for got in [
        sparse.eval(params, data).unwrap(),
        sparse.compile().unwrap().call(params, data).unwrap(),
        sparse.compile_with(&plain).unwrap().call(params, data).unwrap(),
    ] {
        assert_eq!((got.rows(), got.columns()), want.dim());
        assert_eq!(got.values().dims(), [got.nnz()]);
        let dense = got.to_dense();
        assert_eq!(dense.dims(), [got.rows(), got.columns()]);
        for ((at, want), got) in want.indexed_iter().zip(dense.to_f64_vec()) {
            let close = (got - want).abs() <= tolerance * (1.0 + want.abs());
            assert!(close, "{got} at {at:?} instead of {want}");
        }
    }
}

/// The sparse Jacobian, after it was compared with the dense one.
#[track_caller]
fn jacobian<P, D, O>(
    traced: &Traced<P, D, O>,
    params: &impl Args,
    data: &impl Args,
    tolerance: f64,
) -> Sparse<Spec>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    let dense = traced.jacobian_forward().unwrap().eval(params, data).unwrap();
    let want = assembled(&dense.leaves(), &lens(traced.outputs()), &lens(traced.params()));
    let sparse = traced.jacobian_sparse().unwrap();
    agrees(&sparse, params, data, &want, tolerance);
    sparse.outputs().clone()
}

/// The sparse Hessian, after it was compared with the dense one.
#[track_caller]
fn hessian<P, D>(
    traced: &Traced<P, D, Spec>,
    params: &impl Args,
    data: &impl Args,
    tolerance: f64,
) -> Sparse<Spec>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
{
    let dense = traced.grad().unwrap().jacobian_reverse().unwrap().eval(params, data).unwrap();
    let lens = lens(traced.params());
    let want = assembled(&dense.leaves(), &lens, &lens);
    let sparse = traced.hessian_sparse().unwrap();
    agrees(&sparse, params, data, &want, tolerance);
    let all = sparse.outputs();
    assert_eq!(all.pattern().transposed(), *all.pattern(), "a symmetric pattern");
    all.clone()
}

fn rosenbrock<'t>(_: &'t Trace, x: Tensor<'t>, (): ()) -> Tensor<'t> {
    let (x, next) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
    (100.0 * (next - x.square()).square() + (1.0 - x).square()).sum()
}

/// One explicit step of diffusion with a reaction.
fn diffusion<'t>(_: &'t Trace, u: Tensor<'t>, (): ()) -> Tensor<'t> {
    let inner =
        u.slice(0, 2.., 1) - 2.0 * u.slice(0, 1.., 1).slice(0, ..-1, 1) + u.slice(0, ..-2, 1);
    u + 0.1 * inner.pad([(1, 1)], 0.0) - u.powi(3)
}

#[test]
fn dense_derivatives_that_are_mostly_zeros_take_few_sweeps() {
    let close = |a: &Array, b: &Array| {
        let (a, b) = (a.to_f64_vec(), b.to_f64_vec());
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs())));
    };
    let x = numbers(60);
    let f = trace(Spec::f64([60]), (), diffusion).unwrap();
    let j = f.jacobian().unwrap();
    close(
        &j.compile().unwrap().call(&x, &()).unwrap(),
        &f.jacobian_reverse().unwrap().eval(&x, &()).unwrap(),
    );
    let f = trace((Spec::f64([40]), Spec::f64([20])), (), |t, (x, y), ()| {
        rosenbrock(t, x, ()) + (x.slice(0, ..20, 1) * y.sin()).sum()
    })
    .unwrap();
    let args = (numbers(40), numbers(20));
    let h = f.hessian().unwrap();
    let want = f.grad().unwrap().jacobian_forward().unwrap().eval(&args, &()).unwrap();
    for got in [h.eval(&args, &()).unwrap(), h.compile().unwrap().call(&args, &()).unwrap()] {
        got.leaves().into_iter().zip(want.leaves()).for_each(|(a, b)| close(a, b));
    }
    // Where nothing is zero, a pattern is of no use.
    let dense = trace(Spec::f64([60]), (), |_, x, ()| x * x.sum()).unwrap();
    let want = dense.jacobian_forward().unwrap().eval(&x, &()).unwrap();
    close(&dense.jacobian().unwrap().compile().unwrap().call(&x, &()).unwrap(), &want);
}

#[test]
fn unit_vectors_stay_diagonals_through_scaling() {
    let a = Array2::from_shape_fn((12, 9), |(i, j)| 0.1 * (i as f64 - 0.5 * j as f64));
    let programs = [
        trace(Spec::f64([9]), Spec::f64([12, 9]), |_, x, a| a.matmul(x).tanh()).unwrap(),
        trace(Spec::f64([9]), Spec::f64([12, 9]), |_, x, a| {
            let y = a.matmul(x.sin()).tanh();
            y.slice(0, ..9, 1) * x - x.square() * 0.5
        })
        .unwrap(),
        trace(Spec::f64([9]), Spec::f64([12, 9]), |t, x, a| {
            t.for_loop(2, x, |_, x| a.transpose().matmul(a.matmul(x).sin()) * x)
        })
        .unwrap(),
        trace(Spec::f64([9]), Spec::f64([12, 9]), |_, x, a| {
            x.reshape([3, 3]).matmul(a.slice(0, ..3, 1)) * 2.0
        })
        .unwrap(),
    ];
    let x = numbers(9);
    for f in programs {
        let [one, other] = [f.jacobian_reverse().unwrap(), f.jacobian_forward().unwrap()];
        let want = one.eval(&x, &a).unwrap().to_f64_vec();
        for j in [&one, &other] {
            let compiled = j.compile().unwrap().call(&x, &a).unwrap();
            for got in [j.eval(&x, &a).unwrap(), compiled] {
                let got = got.to_f64_vec();
                let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * (1.0 + b.abs());
                assert!(got.iter().zip(&want).all(close), "{got:?} and {want:?}");
            }
        }
        // Column by column.
        let n = want.len() / 9;
        for k in 0..9 {
            let unit: Array1<f64> = (0..9).map(|i| if i == k { 1.0 } else { 0.0 }).collect();
            let (_, column) = f.jvp().unwrap().eval(&x, &(&a, &unit)).unwrap();
            for (i, got) in column.to_f64_vec().into_iter().enumerate() {
                assert!((got - want[i * 9 + k]).abs() <= 1e-12 * (1.0 + got.abs()), "{n} rows");
            }
        }
    }
}

#[test]
fn rosenbrock_is_tridiagonal() {
    for n in [2, 3, 10, 100] {
        let f = trace(Spec::f64([n]), (), rosenbrock).unwrap();
        let h = hessian(&f, &numbers(n), &(), 1e-10);
        assert_eq!(h.nnz(), n + 2 * (n - 1));
        assert_eq!(h.colours(), if n <= 3 { 2 } else { 3 });
    }
    let f = trace(Spec::f32([20]), (), rosenbrock).unwrap();
    let h = hessian(&f, &numbers(20).mapv(|x| x as f32), &(), 1e-5);
    assert_eq!(h.values().dtype(), DType::F32);
}

#[test]
fn bands_take_as_many_sweeps_whatever_their_length() {
    for n in [8, 80, 800] {
        let f = trace(Spec::f64([n]), (), diffusion).unwrap();
        let j = f.jacobian_sparse().unwrap();
        assert_eq!((j.outputs().colours(), j.outputs().nnz()), (3, 3 * n - 4));
        let f = trace(Spec::f64([n]), (), rosenbrock).unwrap();
        assert_eq!(f.hessian_sparse().unwrap().outputs().colours(), 3);
    }
    let f = trace(Spec::f64([17]), (), diffusion).unwrap();
    jacobian(&f, &numbers(17), &(), 1e-12);
    let f = trace(Spec::f32([17]), (), diffusion).unwrap();
    jacobian(&f, &numbers(17).mapv(|x| x as f32), &(), 1e-5);
}

#[test]
fn arrows_take_two_sweeps() {
    let f =
        trace(Spec::f64([30]), (), |_, x, ()| (x.index(0, 0) * x.square().sin()).sum()).unwrap();
    let h = hessian(&f, &numbers(30), &(), 1e-12);
    assert_eq!((h.nnz(), h.colours()), (30 + 2 * 29, 2));
}

#[test]
fn a_dense_row_is_found_by_a_reverse_sweep() {
    let f = trace_tree(Spec::f64([12]), (), |t, x, ()| t.outputs(&(x.sum().sin(), x * 2.0)));
    let j = jacobian(&f.unwrap(), &numbers(12), &(), 1e-12);
    assert_eq!((j.direction(), j.colours(), j.nnz()), (Direction::Reverse, 2, 24));
    assert_eq!((j.rows_of(0), j.rows_of(1)), (0..1, 1..13));
    let f = trace(Spec::f64([12]), (), |_, x, ()| x.index(0, 3) * x.square()).unwrap();
    let j = jacobian(&f, &numbers(12), &(), 1e-12);
    assert_eq!((j.direction(), j.colours(), j.nnz()), (Direction::Forward, 2, 23));
}

#[test]
fn blocks_on_the_diagonal() {
    let f = trace(Spec::f64([5, 3]), Spec::f64([3, 3]), |_, x, a| x.matmul(a).tanh()).unwrap();
    let a = Array2::from_shape_fn((3, 3), |(i, j)| 0.3 + i as f64 - 0.2 * j as f64);
    let x = numbers(15).into_shape_with_order((5, 3)).unwrap();
    let j = jacobian(&f, &x, &a, 1e-12);
    assert_eq!((j.nnz(), j.colours()), (5 * 9, 3));
    // Zeros of a constant factor are seen.
    let f = trace(Spec::f64([40]), (), |t, x, ()| {
        let band = t.eye(DType::F64, 40, 40) - 0.5 * t.eye(DType::F64, 40, 40).roll(1, 0);
        x.matmul(band).sin()
    });
    let j = jacobian(&f.unwrap(), &numbers(40), &(), 1e-12);
    assert_eq!((j.nnz(), j.colours()), (80, 2));
}

#[test]
fn several_parameters_and_outputs() {
    let params = (Spec::f64([4]), vec![Spec::f64([]), Spec::f64([2, 2])]);
    let f = trace_tree(params.clone(), Spec::f64([4]), |t, (x, p), d| {
        t.outputs(&((x * d).sin() * p[0], p[1].square() + p[0], x.slice(0, ..2, 1)))
    })
    .unwrap();
    let args = (numbers(4), (arr0(0.7), numbers(4).into_shape_with_order((2, 2)).unwrap()));
    let j = jacobian(&f, &args, &numbers(4), 1e-12);
    assert_eq!([j.columns_of(0), j.columns_of(1), j.columns_of(2)], [0..4, 4..5, 5..9]);
    assert_eq!([j.rows_of(0), j.rows_of(1), j.rows_of(2)], [0..4, 4..8, 8..10]);
    assert_eq!((j.nnz(), j.colours()), (8 + 8 + 2, 2));
    let g = trace(params, Spec::f64([4]), |_, (x, p), d| {
        (x * d).square().sum() * p[0] + (p[1].square() * x.index(0, 0)).sum()
    });
    let h = hessian(&g.unwrap(), &args, &numbers(4), 1e-12);
    // Two hubs, p[0] and x[0].
    assert_eq!(h.nnz(), 4 + 2 * 4 + 4 + 2 * 4);
    assert!(h.colours() <= 3);
}

#[test]
fn element_types_that_differ() {
    let params = (Spec::f32([3]), Spec::f64([3]));
    let f = trace_tree(params.clone(), (), |t, (x, y), ()| {
        t.outputs(&(x.square(), y.sin() * x.cast(DType::F64)))
    });
    let args = (arr1(&[0.5f32, 1.5, -2.0]), numbers(3));
    let j = jacobian(&f.unwrap(), &args, &(), 1e-6);
    assert_eq!((j.values().dtype(), j.nnz()), (DType::F64, 9));
    let f = trace(params, (), |_, (x, y), ()| (y * x.cast(DType::F64)).square().sum());
    hessian(&f.unwrap(), &args, &(), 1e-6);
}

#[test]
fn elements_picked_by_index() {
    let index = arr1(&[3i64, 0, 3, 5]);
    let constant = trace(Spec::f64([6]), (), |t, x, ()| {
        x.take(t.constant(arr1(&[3i64, 0, 3, 5])), 0).square()
    });
    let j = jacobian(&constant.unwrap(), &numbers(6), &(), 1e-12);
    assert_eq!((j.nnz(), j.colours()), (4, 1));
    assert_eq!(j.indices(), [3, 0, 3, 5]);
    // What is known when the program runs might pick any element.
    let data = trace(Spec::f64([6]), Spec::i64([4]), |_, x, i| x.take(i, 0).square()).unwrap();
    let j = jacobian(&data, &numbers(6), &index, 1e-12);
    assert_eq!(j.nnz(), 24);
    let sums = trace(Spec::f64([6]), (), |t, x, ()| {
        x.sin().segment_sum(t.constant(arr1(&[0i64, 1, 1, 0, 2, 2])), 4)
    });
    let j = jacobian(&sums.unwrap(), &numbers(6), &(), 1e-12);
    assert_eq!((j.nnz(), j.rows(), j.colours()), (6, 4, 1));
    let added = trace(Spec::f64([6]), Spec::i64([2]), |_, x, i| {
        x.scatter_add(i, x.slice(0, ..2, 1).square(), 0)
    });
    jacobian(&added.unwrap(), &numbers(6), &arr1(&[4i64, 4]), 1e-12);
    // Summed over sorted elements, the order is cut.
    let sorted = trace(Spec::f64([5]), (), |_, x, ()| x.sort(0).square()).unwrap();
    jacobian(&sorted, &numbers(5), &(), 1e-12);
}

#[test]
fn what_carries_no_derivative_is_no_entry() {
    let f = trace(Spec::f64([4]), (), |t, x, ()| {
        let mask = t.constant(arr1(&[true, false, true, false]));
        let kept = t.constant(arr1(&[1.0, 0.0, 0.0, 2.0]));
        x.floor()
            + x.stop_gradient().sum()
            + mask.select(x, x.flip(0)) * kept
            + x.cast(DType::I64).cast(DType::F64)
    });
    let j = jacobian(&f.unwrap(), &numbers(4), &(), 1e-12);
    assert_eq!(j.coordinates().collect::<Vec<_>>(), [(0, 0), (3, 0)]);
    assert_eq!(j.colours(), 1);
    let nothing = trace(Spec::f64([3]), (), |_, x, ()| x.floor()).unwrap();
    let j = jacobian(&nothing, &numbers(3), &(), 0.0);
    assert_eq!((j.nnz(), j.colours()), (0, 0));
    let linear = trace(Spec::f64([3]), (), |_, x, ()| (x * 2.0).sum()).unwrap();
    assert_eq!(hessian(&linear, &numbers(3), &(), 0.0).nnz(), 0);
}

#[test]
fn empty_arrays_and_scalars() {
    let empty = trace(Spec::f64([0, 3]), (), |_, x, ()| x.square()).unwrap();
    let j = jacobian(&empty, &Array2::<f64>::zeros((0, 3)), &(), 0.0);
    assert_eq!((j.rows(), j.columns(), j.nnz()), (0, 0, 0));
    let mixed = trace((Spec::f64([0]), Spec::f64([2])), (), |t, (a, b), ()| {
        t.concat([a, b.sin(), a * 2.0], 0)
    });
    jacobian(&mixed.unwrap(), &(Array1::<f64>::zeros(0), numbers(2)), &(), 1e-12);
    let scalar = trace(Spec::f64([]), (), |_, x, ()| x.sin()).unwrap();
    assert_eq!(jacobian(&scalar, &0.5, &(), 1e-12).nnz(), 1);
    assert_eq!(hessian(&scalar, &0.5, &(), 1e-12).nnz(), 1);
}

#[test]
fn loops() {
    // Followed through: after three steps of diffusion the band is seven wide.
    let f = trace(Spec::f64([40]), (), |t, u, ()| t.for_loop(3, u, |_, u| diffusion(t, u, ())));
    let j = jacobian(&f.unwrap(), &numbers(40).mapv(|x| 0.3 * x), &(), 1e-11);
    assert_eq!(j.colours(), 7);
    // The counter picks an element.
    let f = trace(Spec::f64([5]), (), |t, x, ()| {
        t.for_loop(4, x.index(0, 0) * 0.0, |i, sum| sum + x.take(i, 0).square())
    });
    let j = jacobian(&f.unwrap(), &numbers(5), &(), 1e-12);
    assert_eq!(j.indices(), [0, 1, 2, 3]);
    // Of a number of iterations that is not known.
    let f = trace((Spec::f64([4]), Spec::f64([])), Spec::i64([]), |t, (x, a), n| {
        t.for_loop(n, x, |_, x| (x * 0.5).sin() * a)
    });
    let j = jacobian(&f.unwrap(), &(numbers(4), 0.9), &3i64, 1e-12);
    assert_eq!((j.nnz(), j.colours()), (8, 2));
    let f = trace(Spec::f64([6]), Spec::f64([]), |t, x, bound| {
        t.while_loop(x, |x| x.sum().gt(bound), |x| (x * 0.5).roll(1, 0))
    });
    jacobian(&f.unwrap(), &numbers(6), &0.4, 1e-12);
    // Rows of a scan.
    let f = trace(Spec::f64([6]), (), |t, x, ()| {
        let (_, rows) = t.scan(t.scalar(0.0), x, |before, x| (x, x * before));
        rows.square().sum()
    });
    let h = hessian(&f.unwrap(), &numbers(6), &(), 1e-11);
    assert_eq!((h.nnz(), h.colours()), (6 - 1 + 2 * 5 + 1, 3));
}

#[test]
fn branches() {
    let f = trace(Spec::f64([5]), Spec::bool([]), |t, x, c| {
        t.cond(c, || x.square(), || x.flip(0).sin())
    })
    .unwrap();
    for c in [true, false] {
        let j = jacobian(&f, &numbers(5), &c, 1e-12);
        assert_eq!(j.nnz(), 9);
    }
    let f = trace(Spec::f64([5]), Spec::bool([]), |t, x, c| {
        t.cond(c, || rosenbrock(t, x, ()), || x.powi(3).sum())
    })
    .unwrap();
    for c in [true, false] {
        assert_eq!(hessian(&f, &numbers(5), &c, 1e-10).nnz(), 13);
    }
}

#[test]
fn regions_with_rules_of_their_own() {
    let f = trace(Spec::f64([5]), (), |t, x, ()| {
        let y = t.checkpoint(|| x.sin() * 2.0);
        y + t.custom(x, |x| x.exp()).vjp(|x, ct| ct * x.exp()).call()
            + t.custom(x, |x| x.cos()).jvp(|x, dot| -dot * x.sin()).call()
    });
    assert_eq!(jacobian(&f.unwrap(), &numbers(5), &(), 1e-12).nnz(), 5);
    let f = trace(Spec::f64([5]), (), |t, x, ()| {
        (t.checkpoint(|| rosenbrock(t, x, ()))
            + t.custom(x, |x| x.exp()).vjp(|x, ct| ct * x.exp()).call().sum())
        .sin()
    });
    hessian(&f.unwrap(), &(numbers(5) * 0.1), &(), 1e-9);
    let f = trace(Spec::f64([5]), (), |t, a, ()| {
        t.fixed_point(t.zeros(DType::F64, [5]), |x| (a * x).cos() * 0.5, &Solver::default())
    });
    assert_eq!(jacobian(&f.unwrap(), &numbers(5), &(), 1e-8).nnz(), 5);
}

#[test]
fn routines_and_running_sums() {
    let f = trace(Spec::f64([2, 3, 3]), Spec::f64([2, 3, 1]), |t, a, b| {
        (a + 4.0 * t.eye(DType::F64, 3, 3)).solve(b)
    });
    let a = numbers(18).into_shape_with_order((2, 3, 3)).unwrap();
    let j = jacobian(&f.unwrap(), &a, &numbers(6).into_shape_with_order((2, 3, 1)).unwrap(), 1e-10);
    assert_eq!((j.nnz(), j.colours()), (2 * 3 * 9, 3));
    let f = trace(Spec::f64([6]), (), |_, x, ()| x.sin().cumsum(0)).unwrap();
    assert_eq!(jacobian(&f, &numbers(6), &(), 1e-12).nnz(), 21);
}

#[test]
fn transformations_of_sparse_derivatives() {
    let f = trace(Spec::f64([6]), (), diffusion).unwrap().jacobian_sparse().unwrap();
    let lanes = f.vmap(2).unwrap();
    let x = Array2::from_shape_fn((2, 6), |(i, j)| 0.2 * i as f64 + 0.1 * j as f64);
    let all = lanes.compile().unwrap().call(&x, &()).unwrap();
    assert_eq!(all.to_dense().dims(), [2, 6, 6]);
    for i in 0..2 {
        let one = f.eval(&x.row(i), &()).unwrap().to_dense().to_f64_vec();
        let of = all.to_dense().to_array::<f64>().unwrap();
        assert_eq!(of.index_axis(ndarray::Axis(0), i).iter().copied().collect::<Vec<_>>(), one);
    }
    // The values are an output like any other, written in place.
    let compiled = f.compile().unwrap();
    let mut ws = compiled.workspace().unwrap();
    let mut values = Array1::<f64>::zeros(compiled.outputs().nnz());
    compiled.call_into(&mut ws, &x.row(1), &(), &mut values).unwrap();
    assert_eq!(values.to_vec(), f.eval(&x.row(1), &()).unwrap().values().to_f64_vec());
}

#[test]
fn mistakes_are_told() {
    let f = trace(Spec::f64([3]), (), |_, x, ()| x.square()).unwrap();
    let e = f.hessian_sparse().unwrap_err();
    assert_eq!((e.first().operation, e.first().problem), ("hessian_sparse", Problem::Gradient));
    assert!(e.to_string().contains("one float scalar") && e.to_string().contains("sparse.rs"));
    let f = trace(Spec::i64([3]), (), |_, x, ()| x.cast(DType::F64).sum()).unwrap();
    let e = f.hessian_sparse().unwrap_err();
    assert!(e.to_string().contains("only floats have derivatives"), "{e}");
    assert_eq!(f.jacobian_sparse().unwrap_err().first().operation, "jacobian_sparse");
    let f = trace(Spec::f64([3]), (), |_, x, ()| x.cast(DType::I32)).unwrap();
    let e = f.jacobian_sparse().unwrap_err();
    assert!(e.to_string().contains("an output is i32[3]"), "{e}");
    assert!(!e.to_string().contains("make it data"), "{e}");
    let f = trace(Spec::f64([1 << 20, 1 << 13]), (), |_, x, ()| x * 2.0).unwrap();
    let e = f.jacobian_sparse().unwrap_err();
    assert_eq!(e.first().problem, Problem::Shape);
}

/// The Jacobian of a graph by its inputs, column by column.
fn columns_of(g: &Graph, inputs: &[Array]) -> Array2<f64> {
    let sources = g.inputs().to_vec();
    let mut h = g.clone();
    let dots: Vec<Value> = sources.iter().map(|&v| h.input(g.ty(v).clone(), None)).collect();
    let moved: Vec<(Value, Value)> = sources.iter().copied().zip(dots).collect();
    let outs = g.outputs().to_vec();
    let tangents = forward(&mut h, &moved, &outs);
    let tangents: Vec<Value> =
        tangents.iter().zip(&outs).map(|(t, &v)| t.unwrap_or_else(|| h.like(v, 0.0))).collect();
    h.set_outputs(tangents);
    let columns: usize = sources.iter().map(|&v| g.ty(v).len()).sum();
    let rows: usize = outs.iter().map(|&v| g.ty(v).len()).sum();
    let mut all = Array2::zeros((rows, columns));
    for j in 0..columns {
        let mut arguments = inputs.to_vec();
        let mut first = 0;
        for &v in &sources {
            let ty = g.ty(v);
            let unit: Vec<f64> =
                (0..ty.len()).map(|i| if first + i == j { 1.0 } else { 0.0 }).collect();
            arguments.push(random::filled(ty, &unit));
            first += ty.len();
        }
        let found = eval_arrays(&h, &arguments);
        let found: Vec<f64> = found.iter().flat_map(Array::to_f64_vec).collect();
        all.column_mut(j).assign(&Array1::from(found));
    }
    all
}

#[test]
fn no_entry_of_a_random_program_is_missed() {
    let (mut programs, mut entries, mut others) = (0, 0, 0);
    for seed in 0..400 {
        let mut rng = random::Rng(seed ^ 0x51ab);
        let mut g = random::graph(&mut rng, DType::F64, 3 + (seed % 14) as usize, seed % 3 == 0);
        if seed % 4 == 0 {
            g = random::with_gradients(&g);
        }
        let columns: usize = g.inputs().iter().map(|&v| g.ty(v).len()).sum();
        let rows: usize = g.outputs().iter().map(|&v| g.ty(v).len()).sum();
        if columns > 60 || rows > 2000 {
            continue;
        }
        programs += 1;
        let pattern: Pattern = sparsity(&g, g.outputs(), g.inputs());
        let arguments: Vec<Array> =
            g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.5, 1.5)).collect();
        let dense = columns_of(&g, &arguments);
        assert_eq!(dense.dim(), (pattern.rows(), pattern.columns()));
        for ((i, j), x) in dense.indexed_iter() {
            let may = pattern.row(i).binary_search(&j).is_ok();
            assert!(may || *x == 0.0, "seed {seed}: {x} at {i}, {j}\n{g}");
            entries += usize::from(*x != 0.0);
            others += usize::from(may && *x == 0.0);
        }
    }
    assert!(programs > 100 && entries > 10_000, "{programs} programs, {entries} entries");
    // Branches not taken, ties, and zeros by accident; not everything.
    assert!(others < 2 * entries, "{others} entries that are zero, of {entries} that are not");
}

/// The shortest of a few runs.
fn time(mut f: impl FnMut()) -> Duration {
    let run = |_| {
        let start = Instant::now();
        f();
        start.elapsed()
    };
    (0..3).map(run).min().unwrap()
}

#[test]
fn finding_the_pattern_takes_time_linear_in_the_length() {
    let cost = |n: usize| {
        let f = trace(Spec::f64([n]), (), rosenbrock).unwrap();
        time(|| {
            assert_eq!(f.hessian_sparse().unwrap().outputs().nnz(), 3 * n - 2);
        })
    };
    let (short, long) = (cost(1_000), cost(100_000));
    // Quadratic would be a factor of 10 000; beyond caches a linear one is some hundreds.
    assert!(long < 2000 * short, "{short:?} for 1000, {long:?} for 100 000");
}
