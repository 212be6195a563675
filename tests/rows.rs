//! Programs about many small things, each in a row: they run in one loop over the rows, in
//! which nothing is put together in memory that is taken apart again.
#![allow(missing_docs)]

use backstitch::passes::explain::{Explained, Explanation};
use backstitch::prelude::*;
use backstitch::{Array, DType, Options};

/// Rows: enough for several chunks.
const N: usize = 3001;

/// Parameters of a camera, coordinates of a point, and a weight.
const WIDTHS: [usize; 3] = [7, 3, 1];

/// Where a camera sees a point, in operations on numbers.
fn by_numbers<'t>(t: &'t Trace, p: Tensor<'t>, seen: Tensor<'t>) -> Tensor<'t> {
    let [a, b, c, x0, y0, z0, focal, x, y, z, w] = p.unstack(-1)[..] else {
        unreachable!("eleven numbers")
    };
    let [u, v] = seen.unstack(-1)[..] else { unreachable!("two numbers") };
    let (x, y, z) = (x - x0, y - y0, z - z0);
    let (x, y, z) = (x + b * z - c * y, y + c * x - a * z, z + a * y - b * x);
    let (x, y) = (x / z, y / z);
    let stretch = (1.0 + x * x + y * y).sqrt() * focal;
    t.stack([w * (x * stretch - u), w * (y * stretch - v)], -1)
}

/// The same in operations on vectors.
fn by_vectors<'t>(_: &'t Trace, p: Tensor<'t>, seen: Tensor<'t>) -> Tensor<'t> {
    let [turn, place, focal, point, w] = p.split(-1, [3, 3, 1, 3, 1])[..] else {
        unreachable!("five parts")
    };
    let from = point - place;
    let from = from + turn.cross(from);
    let flat = from.slice(-1, ..2, 1) / from.slice(-1, 2.., 1);
    let stretch = (1.0 + (flat * flat).sum_over(-1).expand_dims(-1)).sqrt() * focal;
    w * (flat * stretch - seen)
}

type Residuals = for<'t> fn(&'t Trace, Tensor<'t>, Tensor<'t>) -> Tensor<'t>;

const FORMULAS: [(&str, Residuals); 2] = [("numbers", by_numbers), ("vectors", by_vectors)];

/// Residuals and their Jacobian, of parts that stand beside each other.
fn jacobian(f: Residuals, n: usize) -> Traced<Vec<Spec>, Spec, (Spec, Spec)> {
    let all = Spec::f64([n, WIDTHS.iter().sum()]);
    let seen = Spec::f64([n, 2]);
    let f = trace(all, seen.clone(), f).unwrap();
    let j = f.batch_jacobian().unwrap();
    let parts = WIDTHS.map(|width| Spec::f64([n, width])).to_vec();
    trace_tree(parts, seen, |t, p: Vec<Tensor<'_>>, seen: Tensor<'_>| {
        let all = t.concat(&p, 1);
        t.outputs(&(f.apply(t, all, seen), j.apply(t, all, seen)))
    })
    .unwrap()
}

fn numbers(dims: &[usize], seed: f64) -> Array {
    let mut i = seed;
    ndarray::ArrayD::from_shape_simple_fn(dims, || {
        i += 1.0;
        (i * 12.9898).sin() + 0.2
    })
    .into()
}

fn assert_close(a: &Array, b: &Array, what: &str) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    for (a, b) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()) {
        assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{what}: {a} instead of {b}");
    }
}

/// That all is one kernel that moves what has to be moved.
fn assert_one_kernel(e: &Explanation, what: &str) {
    assert_eq!((e.kernels(), e.steps.len()), (1, 1), "{what}\n{e}");
    assert!(e.total.bytes().sum() <= e.least.sum() * 101 / 100, "{what}\n{e}");
}

#[test]
fn residuals_and_their_jacobian_are_one_kernel() {
    for (name, f) in FORMULAS {
        let compiled = jacobian(f, N).compile().unwrap();
        let e = compiled.explain();
        assert_one_kernel(&e, name);
        assert_eq!(e.workspace, 0, "{name}\n{e}");
    }
}

#[test]
fn jacobians_of_rows_agree_in_every_mode() {
    let n = 700;
    let parts: Vec<Array> = (WIDTHS.iter().zip([1.0, 2e4, 4e4]))
        .map(|(&width, seed)| numbers(&[n, width], seed))
        .collect();
    let seen = numbers(&[n, 2], 6e4);
    let mut first: Option<(Array, Array)> = None;
    for (name, f) in FORMULAS {
        let traced = jacobian(f, n);
        let want = traced.eval(&parts, &seen).unwrap();
        let apart = Options::default().optimise(false);
        for options in [Options::default(), Options::default().threads(2).share_all(64), apart] {
            let got = traced.compile_with(&options).unwrap().call(&parts, &seen).unwrap();
            assert_close(&got.0, &want.0, name);
            assert_close(&got.1, &want.1, name);
        }
        let (value, matrix) = first.get_or_insert(want.clone());
        assert_close(&want.0, value, name);
        assert_close(&want.1, matrix, name);
    }
}

/// Cameras and points that many observations share, looked up by index.
#[test]
fn rows_that_are_looked_up_are_in_the_same_kernel() {
    let (cameras, points) = (20, 300);
    for (name, f) in FORMULAS {
        let all = Spec::f64([N, WIDTHS.iter().sum()]);
        let seen = Spec::f64([N, 2]);
        let f = trace(all, seen.clone(), f).unwrap();
        let j = f.batch_jacobian().unwrap();
        let params = (Spec::f64([cameras, 7]), Spec::f64([points, 3]), Spec::f64([N, 1]));
        let index = || Spec::new(DType::I64, [N]);
        let data = (index(), index(), seen);
        let traced = trace_tree(params, data, |t, (c, p, w), (of_c, of_p, seen)| {
            let rows: [Tensor<'_>; 3] = [c.take(of_c, 0), p.take(of_p, 0), w];
            let all = t.concat(rows, 1);
            t.outputs(&(f.apply(t, all, seen), j.apply(t, all, seen)))
        })
        .unwrap();
        let compiled = traced.compile().unwrap();
        let e = compiled.explain();
        assert_eq!((e.kernels(), e.steps.len()), (1, 1), "{name}\n{e}");
        let which = |n: usize, k: usize| {
            Array::from(ndarray::Array1::from_iter((0..N).map(|i| (i * k % n) as i64)))
        };
        let params =
            (numbers(&[cameras, 7], 1.0), numbers(&[points, 3], 2e4), numbers(&[N, 1], 4e4));
        let data = (which(cameras, 7), which(points, 11), numbers(&[N, 2], 6e4));
        let (got, want) =
            (compiled.call(&params, &data).unwrap(), traced.eval(&params, &data).unwrap());
        assert_close(&got.0, &want.0, name);
        assert_close(&got.1, &want.1, name);
    }
}

/// What puts arrays together and does nothing else.
fn assembles(e: &[Explained]) -> usize {
    e.iter()
        .map(|step| match step {
            Explained::Kernel { origin, .. } => {
                usize::from(origin.operations.iter().any(|o| o.name == "assemble"))
            }
            Explained::Loop { body, .. } => assembles(body),
            _ => 0,
        })
        .sum()
}

#[test]
fn gradients_of_gates_are_stored_beside_each_other() {
    let params = [Spec::f32([8, 64]), Spec::f32([16, 64])].to_vec();
    let f = trace(params, Spec::f32([50, 4, 8]), |t, p: Vec<Tensor<'_>>, xs| {
        let start = t.zeros(DType::F32, [4, 16]);
        let ((h, _), ()) = t.scan((start, start), xs, |(h, c), x| {
            let gates = (x.matmul(p[0]) + h.matmul(p[1])).split_into(1, 4);
            let [i, f, g, o] = gates[..] else { unreachable!("four parts") };
            let c = f.sigmoid() * c + i.sigmoid() * g.tanh();
            ((o.sigmoid() * c.tanh(), c), ())
        });
        h.square().mean()
    });
    let e = f.unwrap().value_and_grad().unwrap().compile().unwrap().explain();
    assert_eq!(assembles(&e.steps), 0, "{e}");
}

#[test]
fn a_dense_second_derivative_is_made_where_it_is_wanted() {
    let n = 100;
    let f = trace(Spec::f64([n]), (), |_, x, ()| {
        let (x, next) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
        (100.0 * (next - x.square()).square() + (1.0 - x).square()).sum()
    });
    let f = f.unwrap().hessian().unwrap().compile().unwrap();
    let e = f.explain();
    assert!(e.workspace < (n * n * 8) as u64, "{e}");
}
