//! What leaves a loop: invariants, products of rows, sums of products.
#![allow(missing_docs)]

use backstitch::Gradients as _;
use backstitch::ir::plan::{Plan, Step};
use backstitch::ir::{Graph, Op};
use backstitch::prelude::*;
use backstitch::{Array, Compiled, DType, Options, Traced, Tree};
use ndarray::{ArrayD, IxDyn};

/// A recurrent network as in the benchmark: gates in, forget, cell, out.
fn lstm<'t>(t: &'t Trace, p: &[Tensor<'t>], xs: Tensor<'t>) -> Tensor<'t> {
    let (wx, wh, b) = (p[0], p[1], p[2]);
    let start = t.zeros(wh.dtype(), [xs.shape().dims()[1], wh.shape().dims()[0]]);
    let ((h, _), ()) = t.scan((start, start), xs, |(h, c), x| {
        let gates = (x.matmul(wx) + h.matmul(wh) + b).split_into(1, 4);
        let [i, f, g, o] = gates[..] else { unreachable!("four parts") };
        let c = f.sigmoid() * c + i.sigmoid() * g.tanh();
        ((o.sigmoid() * c.tanh(), c), ())
    });
    h.square().mean()
}

type Network = Traced<Vec<Spec>, Spec, Spec>;

/// Steps, batch, extents of input and state.
fn network(dtype: DType, [steps, batch, inputs, state]: [usize; 4]) -> Network {
    let spec = |dims: &[usize]| Spec::new(dtype, dims);
    let params = vec![spec(&[inputs, 4 * state]), spec(&[state, 4 * state]), spec(&[4 * state])];
    trace(params, spec(&[steps, batch, inputs]), |t, p, xs| lstm(t, &p, xs)).unwrap()
}

/// Numbers between -1 and 1, each time the same.
fn numbers(dims: &[usize], seed: usize) -> ArrayD<f64> {
    let mut at = seed;
    ArrayD::from_shape_simple_fn(IxDyn(dims), || {
        at += 1;
        (at as f64 * 12.9898 + 0.3).sin()
    })
}

fn close(got: &[f64], want: &[f64], tolerance: f64) -> bool {
    let scale = want.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
    got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() <= tolerance * scale)
}

/// Nothing written out, so that loops are loops.
fn rolled() -> Options {
    Options::default().unroll(0)
}

fn leaves<T: Tree<Array>>(found: T) -> Vec<Vec<f64>> {
    found.leaves().into_iter().map(Array::to_f64_vec).collect()
}

/// How many operations of a kind are in bodies of loops of the program as it was lowered.
fn in_loops(g: &Graph, is: &dyn Fn(&Op) -> bool) -> usize {
    let body = |b: &Graph| {
        let own = b.nodes().filter(|&n| is(b.op(n))).count();
        own + in_loops(b, is)
    };
    g.nodes()
        .map(|n| match g.op(n) {
            Op::Loop(l) => body(&l.body),
            _ => 0,
        })
        .sum()
}

fn products(g: &Graph) -> usize {
    in_loops(g, &|op| matches!(op, Op::Contract(_)))
}

fn gemms(steps: &[Step]) -> usize {
    let each = |s: &Step| match s {
        Step::Gemm(_) => 1,
        Step::If { then, els, .. } => gemms(then) + gemms(els),
        Step::While { head, body, .. } => gemms(head) + gemms(body),
        Step::Repeat { body, .. } | Step::Scan { body, .. } => gemms(body),
        _ => 0,
    };
    steps.iter().map(each).sum()
}

#[test]
fn a_recurrent_network_keeps_one_product_in_each_of_its_loops() {
    let f = network(DType::F32, [100, 16, 64, 64]).value_and_grad().unwrap();
    let compiled = f.compile_with(&rolled()).unwrap();
    assert_eq!(products(compiled.graph()), 2, "{}", compiled.graph());
    // Before: X·Wx. After: the gradients of both weights.
    assert_eq!(gemms(&compiled.executable().plan().steps), 5);
}

#[test]
fn gradients_of_a_recurrent_network_are_those_of_the_interpreter() {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
        for steps in [0, 1, 2, 7, 20] {
            let f = network(dtype, [steps, 3, 4, 5]);
            let arrays = [&[4, 20][..], &[5, 20], &[20]].map(|dims| numbers(dims, dims.len()));
            let x = numbers(&[steps, 3, 4], 5);
            let cast = |a: &ArrayD<f64>| match dtype {
                DType::F32 => Array::from(a.mapv(|x| x as f32).into_shared()),
                _ => Array::from(a.clone().into_shared()),
            };
            let (p, x) = (arrays.each_ref().map(cast).to_vec(), cast(&x));
            let f = f.value_and_grad().unwrap();
            let want = leaves(f.eval(&p, &x).unwrap());
            for options in [rolled(), Options::default(), rolled().optimise(false)] {
                let got = leaves(f.compile_with(&options).unwrap().call(&p, &x).unwrap());
                for (got, want) in got.iter().zip(&want) {
                    assert!(close(got, want, tolerance), "{steps} steps: {got:?} and {want:?}");
                }
            }
            let t = Trace::eager();
            let v: Vec<Tensor<'_>> = p.iter().map(|p| t.variable(p.clone())).collect();
            let tape = t.tape();
            let loss = lstm(&t, &v, t.constant(x.clone()));
            for (grad, want) in tape.gradient(&loss, &v).or_zeros().iter().zip(&want[1..]) {
                assert!(close(&grad.array().unwrap().to_f64_vec(), want, tolerance));
            }
        }
    }
}

#[test]
fn second_derivatives_through_rewritten_loops() {
    let f = network(DType::F64, [6, 2, 3, 4]);
    let p: Vec<ArrayD<f64>> = [&[3, 16][..], &[4, 16], &[16]].map(|d| numbers(d, d.len())).into();
    let v: Vec<ArrayD<f64>> = p.iter().map(|a| numbers(a.shape(), 77)).collect();
    let x = numbers(&[6, 2, 3], 9);
    let hvp = f.hvp().unwrap();
    let data = (x.clone(), v.clone());
    let want = leaves(hvp.eval(&p, &data).unwrap());
    let got = leaves(hvp.compile_with(&rolled()).unwrap().call(&p, &data).unwrap());
    // The slope of the gradient along v.
    let gradient = f.grad().unwrap().compile_with(&rolled()).unwrap();
    let moved = |by: f64| {
        let p: Vec<ArrayD<f64>> = p.iter().zip(&v).map(|(p, v)| p + &(v * by)).collect();
        leaves(gradient.call(&p, &x).unwrap())
    };
    let (up, down) = (moved(1e-5), moved(-1e-5));
    for i in 0..3 {
        assert!(close(&got[i], &want[i], 1e-11));
        let slope: Vec<f64> = up[i].iter().zip(&down[i]).map(|(a, b)| (a - b) / 2e-5).collect();
        assert!(close(&got[i], &slope, 1e-7), "{:?} and {slope:?}", got[i]);
    }
}

#[test]
fn the_program_of_a_recurrent_network_does_not_grow_with_its_steps() {
    fn count(steps: &[Step]) -> usize {
        let each = |s: &Step| match s {
            Step::Scan { body, .. } => 1 + count(body),
            _ => 1,
        };
        steps.iter().map(each).sum()
    }
    let program = |steps: usize| {
        let f = network(DType::F32, [steps, 16, 64, 64]).value_and_grad().unwrap();
        let compiled = f.compile().unwrap();
        let plan = compiled.executable().plan();
        (plan.kernels.len(), count(&plan.steps), plan.stores.len())
    };
    let want = program(10);
    assert_eq!([program(100), program(1000)], [want; 2]);
}

fn arena(plan: &Plan) -> usize {
    plan.arena_bytes
}

#[test]
fn the_memory_of_a_recurrent_network_is_its_rows() {
    // Of each step is kept, in the order of the gates: the state before, the cell before,
    // sigmoid i, sigmoid f, tanh g, sigmoid o, tanh c; not the input, which is there. The
    // products with the inputs are as long as the cotangents of the gates, and are gone
    // when these come.
    let (batch, state, float) = (16, 64, 4);
    for steps in [10, 100, 1000] {
        let f = network(DType::F32, [steps, batch, 64, state]).value_and_grad().unwrap();
        let compiled = f.compile_with(&rolled()).unwrap();
        let row = batch * state * float;
        let rows = steps * (7 + 4) * row;
        // What an iteration works in does not depend on their number.
        let working = 40 * row;
        let got = arena(compiled.executable().plan());
        assert!((rows..rows + working).contains(&got), "{steps}: {got} and {rows}");
    }
}

#[test]
fn under_a_budget_no_rows_are_kept_for_products() {
    let f = network(DType::F32, [200, 16, 32, 32]).value_and_grad().unwrap();
    let free = f.compile_with(&rolled()).unwrap();
    let bytes = free.memory().bytes.unwrap() / 8;
    let bound = f.compile_with(&rolled().memory(bytes)).unwrap();
    assert!(bound.memory().bytes.unwrap() <= bytes);
    let p: Vec<ArrayD<f32>> = [&[32, 128][..], &[32, 128], &[128]]
        .map(|dims| numbers(dims, dims.len()).mapv(|x| 0.2 * x as f32))
        .into();
    let x = numbers(&[200, 16, 32], 3).mapv(|x| x as f32);
    let (want, got) = (free.call(&p, &x).unwrap(), bound.call(&p, &x).unwrap());
    for (got, want) in leaves(got).iter().zip(&leaves(want)) {
        assert!(close(got, want, 1e-4));
    }
}

#[test]
fn many_sequences_at_once_are_rewritten_too() {
    // vmap over sequences of a scan, with weights that all share.
    let f = trace(Spec::f64([3, 3]), Spec::f64([4, 6, 3]), |t, w, xs| {
        let ys = t.vmap(xs, |xs| {
            let start = t.zeros(DType::F64, [3]);
            t.scan(start, xs, |h, x| ((h + x.matmul(w)).tanh(), ())).0
        });
        (ys * ys).sum()
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let (w, x) = (numbers(&[3, 3], 1), numbers(&[4, 6, 3], 2));
    let want = leaves(f.eval(&w, &x).unwrap());
    let compiled = f.compile_with(&rolled()).unwrap();
    assert_eq!(products(compiled.graph()), 0, "{}", compiled.graph());
    for (got, want) in leaves(compiled.call(&w, &x).unwrap()).iter().zip(&want) {
        assert!(close(got, want, 1e-12));
    }
}

/// A recurrence over the rows of rows.
fn twice<'t>(t: &'t Trace, back: bool, w: Tensor<'t>, xs: Tensor<'t>) -> Tensor<'t> {
    let step = |h: Tensor<'t>, x: Tensor<'t>| ((h * 0.5 + x.matmul(w)).tanh(), x.matmul(w).sum());
    let start = t.zeros(DType::F64, [2, 3]);
    let (h, sums) =
        t.scan(
            start,
            xs,
            |h: Tensor<'t>, x: Tensor<'t>| {
                if back { t.scan_back(h, x, step) } else { t.scan(h, x, step) }
            },
        );
    (h * h).sum() + (sums * sums).sum()
}

#[test]
fn loops_inside_loops_over_rows() {
    // Each row of the outer loop is a sequence; the state goes through all of them. Once
    // forwards and once backwards.
    for back in [false, true] {
        let f = trace(Spec::f64([3, 3]), Spec::f64([5, 4, 2, 3]), |t, w, x| twice(t, back, w, x));
        let f = f.unwrap();
        let (w, x) = (numbers(&[3, 3], 1), numbers(&[5, 4, 2, 3], 2));
        let first = f.value_and_grad().unwrap();
        let want = leaves(first.eval(&w, &x).unwrap());
        let compiled = first.compile_with(&rolled()).unwrap();
        for (got, want) in leaves(compiled.call(&w, &x).unwrap()).iter().zip(&want) {
            assert!(close(got, want, 1e-12), "{compiled}");
        }
        assert_eq!(products(compiled.graph()), 0, "{}", compiled.graph());
        let second = f.hessian().unwrap();
        let want = second.eval(&w, &x).unwrap().to_f64_vec();
        let got = second.compile_with(&rolled()).unwrap().call(&w, &x).unwrap().to_f64_vec();
        assert!(close(&got, &want, 1e-11));
    }
}

#[test]
fn sums_of_products_start_from_what_the_carry_was() {
    // A Gram matrix by a loop, onto one that is there; two products and a sum that stays.
    let f = trace(Spec::f64([3, 3]), Spec::f64([7, 4, 3]), |t, start, xs| {
        let (gram, _) = t.scan(start, xs, |sum, x| {
            let y = x.sin();
            (sum + x.swap_axes(0, 1).matmul(y) + y.swap_axes(0, 1).matmul(x) + x.sum(), ())
        });
        gram
    });
    let f = f.unwrap();
    let (start, x) = (numbers(&[3, 3], 1), numbers(&[7, 4, 3], 2));
    let want = f.eval(&start, &x).unwrap().to_f64_vec();
    let compiled = f.compile_with(&rolled()).unwrap();
    assert_eq!(products(compiled.graph()), 0, "{}", compiled.graph());
    assert!(close(&compiled.call(&start, &x).unwrap().to_f64_vec(), &want, 1e-12));
}

#[test]
fn rows_that_a_counter_names_are_rows() {
    let f = trace(Spec::f64([3, 3]), Spec::f64([6, 2, 3]), |t, w, xs| {
        let start = t.zeros(DType::F64, [2, 3]);
        t.for_loop(6, start, |i, h| (h + xs.take(i, 0).matmul(w)).tanh())
    });
    let f = f.unwrap();
    let compiled = f.compile_with(&rolled()).unwrap();
    assert_eq!(products(compiled.graph()), 0, "{}", compiled.graph());
    let (w, x) = (numbers(&[3, 3], 1), numbers(&[6, 2, 3], 2));
    let want = f.eval(&w, &x).unwrap().to_f64_vec();
    assert!(close(&compiled.call(&w, &x).unwrap().to_f64_vec(), &want, 1e-13));
}

#[test]
fn what_a_product_with_a_constant_is_of_is_added_up_before_it() {
    // The input of an equilibrium: W·z changes, U·x does not. Known number of iterations,
    // and not.
    fn step<'t>(z: Tensor<'t>, p: &[Tensor<'t>]) -> Tensor<'t> {
        (z.matmul(p[0]) + p[2].matmul(p[1])).tanh()
    }
    let spec = |dims: &[usize]| Spec::f64(dims);
    let p: Vec<ArrayD<f64>> =
        [&[8, 8][..], &[6, 8], &[5, 6]].map(|dims| numbers(dims, dims[0]) * 0.5).into();
    for counted in [true, false] {
        let params = vec![spec(&[8, 8]), spec(&[6, 8]), spec(&[5, 6])];
        let f = trace(params, (), |t, p, ()| {
            let start = t.zeros(DType::F64, [5, 8]);
            let z = if counted {
                t.for_loop(30, start, |_, z| step(z, &p))
            } else {
                t.while_loop((t.scalar(0), start), |(i, _)| i.lt(30), |(i, z)| (i + 1, step(z, &p)))
                    .1
            };
            (z * z).sum()
        });
        let f = f.unwrap().value_and_grad().unwrap();
        let compiled = f.compile_with(&rolled()).unwrap();
        // z·W and its adjoint; without a count, also the sum that is the gradient of W.
        let want = if counted { 2 } else { 3 };
        assert_eq!(products(compiled.graph()), want, "{}", compiled.graph());
        let want = leaves(f.eval(&p, &()).unwrap());
        for (got, want) in leaves(compiled.call(&p, &()).unwrap()).iter().zip(&want) {
            assert!(close(got, want, 1e-12));
        }
    }
}

fn exponentials(g: &Graph) -> usize {
    in_loops(g, &|op| matches!(op, Op::Map(m) if m.f.name() == "exp"))
}

#[test]
fn what_no_iteration_changes_is_computed_once() {
    // In the body and in the predicate; with and without iterations.
    let f = trace(Spec::f64([3]), Spec::f64([]), |t, k, x| {
        t.while_loop(x, |y| y.lt(k.exp().sum()), |y| y + 1.0 + (k + 0.5).exp().sum())
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let compiled = f.compile_with(&rolled()).unwrap();
    assert_eq!(exponentials(compiled.graph()), 0, "{}", compiled.graph());
    let k = numbers(&[3], 1);
    for x in [-5.0, 1e3] {
        let want = leaves(f.eval(&k, &x).unwrap());
        assert_eq!(leaves(compiled.call(&k, &x).unwrap()), want);
    }
}

#[test]
fn an_invariant_that_is_larger_than_what_it_is_made_of_stays() {
    // 1000 × 1000 of 1000 and 1000: in the loop it is never in memory.
    let f = trace(Spec::f64([1000]), Spec::f64([]), |t, k, x| {
        t.for_loop(50, x, |_, y| y + (k.expand_dims(1) * k).exp().sum() * 1e-9)
    });
    let compiled: Compiled<Spec, Spec, Spec> = f.unwrap().compile().unwrap();
    assert!(arena(compiled.executable().plan()) < 1 << 20, "{compiled}");
}

#[test]
fn a_factor_that_may_not_exist_is_asked_for_only_in_loops_that_run() {
    let f = trace(Spec::f64([2, 2]), Spec::i64([]), |t, a, n| {
        t.for_loop(n, t.scalar(0.0), |_, y| y + a.cholesky().sum())
    });
    let compiled = f.unwrap().compile_with(&rolled()).unwrap();
    let a = ndarray::arr2(&[[-1.0, 0.0], [0.0, 1.0]]);
    assert_eq!(compiled.call(&a, &0i64).unwrap().item::<f64>(), Some(0.0));
    assert!(compiled.call(&a, &1i64).is_err());
}

#[test]
fn a_sum_that_decides_how_long_its_loop_runs_starts_from_nothing() {
    let f = trace(Spec::f64([]), (), |t, a, ()| {
        t.for_loop(5, t.scalar(0.0), |k, s| {
            let step = a + 0.25 * k.cast(DType::F64);
            s + t.while_loop(t.scalar(0.0), |r| r.lt(10.0), |r| r + step)
        })
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let (value, slope) = f.eval(&1.0, &()).unwrap();
    for options in [rolled(), Options::default()] {
        let got = f.compile_with(&options).unwrap().call(&1.0, &()).unwrap();
        assert!(got.0.same_bits(&value) && got.1.same_bits(&slope), "{got:?}");
    }
}
