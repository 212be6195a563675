//! Transformations, compiled: whatever the order in which they are composed, machine
//! code and the reference interpreter agree, and so do different ways to one number.

use backstitch::{Array, Compile, DType, Lanes, Solver, Spec, Tensor, Trace, trace};
use ndarray::{arr1, arr2};

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{got:?} and {want:?}");
    }
}

/// Halves `x` until it is below `a`.
fn halving<'t>(t: &'t Trace, x: Tensor<'t>, a: Tensor<'t>) -> Tensor<'t> {
    let end = t.while_loop((x, t.scalar(0.0)), |c| c.0.gt(a), |c| (c.0 * 0.5, c.1 + x * c.0));
    end.0.sin() * a + end.1
}

#[test]
fn lanes_of_loops_and_their_derivatives() {
    let f = trace(Spec::f64([]), Spec::f64([]), halving).unwrap();
    let (x, a) = ([0.5, 3.0, 40.0, 1.5, 7.0], [1.0, 0.7, 0.9, 2.0, 0.1]);
    let hessian = f.hessian().unwrap();
    for g in [f.vmap(5).unwrap(), f.grad().unwrap().vmap(5).unwrap(), hessian.vmap(5).unwrap()] {
        let want = g.eval(&arr1(&x), &arr1(&a)).unwrap();
        let got = g.compile().unwrap().call(&arr1(&x), &arr1(&a)).unwrap();
        close(&got.to_f64_vec(), &want.to_f64_vec());
    }
    let one: Vec<f64> = x
        .iter()
        .zip(&a)
        .map(|(x, a)| f.grad().unwrap().eval(x, a).unwrap().item().unwrap())
        .collect();
    let pulled = f.vmap(5).unwrap().vjp().unwrap().compile().unwrap();
    let (_, pulled) = pulled.call(&arr1(&x), &(arr1(&a), arr1(&[1.0; 5]))).unwrap();
    close(&pulled.to_f64_vec(), &one);
}

#[test]
fn counts_that_differ_between_lanes() {
    let f = trace(Spec::f64([]), Spec::i64([]), |t, x, n| {
        t.for_loop(n, x, |i, x| x.sin() + x * i.to_f64())
    })
    .unwrap();
    let (x, n) = ([0.3, 1.2, -0.4, 2.0], [3i64, 0, 5, 1]);
    for f in [f.clone(), f.grad().unwrap(), f.hessian().unwrap()] {
        let one: Vec<f64> =
            x.iter().zip(&n).map(|(x, n)| f.eval(x, n).unwrap().item().unwrap()).collect();
        let all = f.vmap(4).unwrap().compile().unwrap().call(&arr1(&x), &arr1(&n)).unwrap();
        close(&all.to_f64_vec(), &one);
    }
}

#[test]
fn a_gradient_for_each_example() {
    let loss = trace(Spec::f64([2]), (Spec::f64([2]), Spec::f64([])), |_, w, (x, y)| {
        (x.dot(w) - y).square()
    });
    let each = loss.unwrap().grad().unwrap();
    let each = each.vmap_with(3, &Lanes::Shared, &Lanes::Axis(0), &Lanes::Axis(1)).unwrap();
    let x = arr2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
    let y = arr1(&[0.0, 0.0, 1.0]);
    let got = each.compile().unwrap().call(&arr1(&[1.0, 2.0]), &(x, y)).unwrap();
    assert_eq!(got.dims(), [2, 3]);
    close(&got.to_f64_vec(), &[2.0, 0.0, 4.0, 0.0, 4.0, 4.0]);
}

fn each<'t>(t: &'t Trace, row: Tensor<'t>, s: Tensor<'t>) -> Tensor<'t> {
    (row * s).sin().sum() + halving(t, row.max(), s.sum())
}

#[test]
fn rows_one_by_one_and_all_at_once() {
    let f = |at_once: bool| {
        let f = trace(Spec::f64([3, 2]), Spec::f64([2]), move |t, x, s| {
            if at_once {
                t.vmap(x, |row| each(t, row, s)).sum()
            } else {
                t.map_rows(x, |row| each(t, row, s)).sum()
            }
        });
        f.unwrap().value_and_grad().unwrap()
    };
    let (x, s) = (arr2(&[[1.0, 0.2], [5.0, 6.0], [0.1, -1.0]]), arr1(&[0.4, 0.9]));
    let want = f(true).eval(&x, &s).unwrap();
    for f in [f(true), f(false)] {
        let (value, gradient) = f.compile().unwrap().call(&x, &s).unwrap();
        close(&value.to_f64_vec(), &want.0.to_f64_vec());
        close(&gradient.to_f64_vec(), &want.1.to_f64_vec());
    }
}

#[test]
fn fixed_points_and_roots_to_second_order() {
    let f = trace((Spec::f64([2, 2]), Spec::f64([2])), (), |t, (w, b), ()| {
        let start = t.zeros(DType::F64, [2]);
        let x = t.fixed_point(start, |x| (w.matmul(x) + b).tanh() * 0.5, &Solver::default());
        let r = t.root(x, |y| y.powi(3) + y * 2.0 - x.exp(), &Solver::default());
        (x * r).sum()
    });
    let f = f.unwrap();
    let p = (arr2(&[[0.5, -0.3], [0.1, 0.4]]), arr1(&[0.3, -0.5]));
    let gradient = f.grad().unwrap();
    let (w, b) = gradient.compile().unwrap().call(&p, &()).unwrap();
    let (want_w, want_b) = gradient.eval(&p, &()).unwrap();
    close(&w.to_f64_vec(), &want_w.to_f64_vec());
    close(&b.to_f64_vec(), &want_b.to_f64_vec());
    let product = f.hvp().unwrap();
    let (w, b) = product.compile().unwrap().call(&p, &((), &p)).unwrap();
    let hessian = f.hessian().unwrap().compile().unwrap().call(&p, &()).unwrap();
    let v: Vec<f64> = p.0.iter().chain(&p.1).copied().collect();
    let times = |ww: &Array, wb: &Array| -> Vec<f64> {
        let rows = ww.to_f64_vec();
        let rest = wb.to_f64_vec();
        let rows = rows.chunks(4).zip(rest.chunks(2));
        rows.map(|(a, b)| a.iter().chain(b).zip(&v).map(|(a, b)| a * b).sum()).collect()
    };
    close(&w.to_f64_vec(), &times(&hessian.0.0, &hessian.0.1));
    close(&b.to_f64_vec(), &times(&hessian.1.0, &hessian.1.1));
    assert!(f.grad().unwrap().check_gradients(&p, &()).unwrap().is_ok());
}

#[test]
fn many_tangents_at_one_point() {
    let f = trace(Spec::f64([2]), Spec::i64([]), |t, x, n| {
        let grown = t.while_loop(x, |y| y.sum().lt(10.0), |y| y * 1.5 + x.sin());
        t.for_loop(n, grown, |i, y| (y * i.to_f64()).sin() + x) * x.exp()
    });
    let f = f.unwrap();
    let linear = f.linearize().unwrap();
    let (primal, tangent) = (linear.primal.compile().unwrap(), linear.tangent.compile().unwrap());
    let x = arr1(&[0.3, 0.9]);
    let (_, residuals) = primal.call(&x, &3i64).unwrap();
    for dot in [[1.0, 0.0], [0.0, 1.0], [0.3, -2.0]] {
        let (_, want) = f.jvp().unwrap().eval(&x, &(3i64, arr1(&dot))).unwrap();
        let got = tangent.call(&arr1(&dot), &residuals).unwrap();
        close(&got.to_f64_vec(), &want.to_f64_vec());
    }
}
