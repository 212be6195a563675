//! Fixed points and roots: values, and derivatives by the implicit function theorem.

use backstitch_trace::{
    DType, Problem, Solver, Spec, Status, Tensor, Trace, TraceError, Traced, trace, trace_tree,
};
use ndarray::{arr1, arr2};

type Outcome = Result<(), TraceError>;

#[track_caller]
fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} and {b}");
    }
}

/// x = tanh(W·x + b) / 2: contractive for the W below.
fn network<'t>(t: &'t Trace, w: Tensor<'t>, b: Tensor<'t>) -> Tensor<'t> {
    let start = t.zeros(DType::F64, [3]);
    t.fixed_point(start, |x| (w.matmul(x) + b).tanh() * 0.5, &Solver::default())
}

/// The same by so many iterations that no digit is missing.
fn unrolled<'t>(t: &'t Trace, w: Tensor<'t>, b: Tensor<'t>) -> Tensor<'t> {
    t.for_loop(80, t.zeros(DType::F64, [3]), |_, x| (w.matmul(x) + b).tanh() * 0.5)
}

type Program = Traced<(Spec, Spec), (), Spec>;

fn programs() -> (Program, Program) {
    let types = || (Spec::f64([3, 3]), Spec::f64([3]));
    let f = trace(types(), (), |t, (w, b), ()| network(t, w, b).exp().sum());
    let g = trace(types(), (), |t, (w, b), ()| unrolled(t, w, b).exp().sum());
    (f.unwrap(), g.unwrap())
}

fn point() -> (ndarray::Array2<f64>, ndarray::Array1<f64>) {
    let w = arr2(&[[0.5, -0.3, 0.2], [0.1, 0.4, -0.6], [-0.2, 0.7, 0.3]]);
    (w, arr1(&[0.3, -0.5, 0.8]))
}

#[test]
fn gradients_are_those_of_the_iterations() -> Outcome {
    let (f, g) = programs();
    let (p, q) =
        (f.value_and_grad()?.eval(&point(), &())?, g.value_and_grad()?.eval(&point(), &())?);
    close(&p.0.to_f64_vec(), &q.0.to_f64_vec());
    close(&p.1.0.to_f64_vec(), &q.1.0.to_f64_vec());
    close(&p.1.1.to_f64_vec(), &q.1.1.to_f64_vec());
    assert!(f.check_gradients(&point(), &())?.is_ok());
    Ok(())
}

#[test]
fn second_derivatives_in_any_order_of_modes() -> Outcome {
    let (f, g) = programs();
    let want = g.hessian()?.eval(&point(), &())?;
    for h in [
        f.grad()?.jacobian_reverse()?,
        f.grad()?.jacobian_forward()?,
        f.jacobian_forward()?.jacobian_forward()?,
        f.jacobian_forward()?.jacobian_reverse()?,
    ] {
        let got = h.eval(&point(), &())?;
        close(&got.0.1.to_f64_vec(), &want.0.1.to_f64_vec());
        close(&got.1.0.to_f64_vec(), &want.1.0.to_f64_vec());
        close(&got.1.1.to_f64_vec(), &want.1.1.to_f64_vec());
    }
    assert!(f.grad()?.check_gradients(&point(), &())?.is_ok());
    Ok(())
}

#[test]
fn third_derivatives() -> Outcome {
    // x = cos(a·x).
    let f = trace(Spec::f64([]), (), |t, a, ()| {
        t.fixed_point(t.scalar(0.5), |x| (a * x).cos(), &Solver::default())
    })?;
    let g =
        trace(Spec::f64([]), (), |t, a, ()| t.for_loop(200, t.scalar(0.5), |_, x| (a * x).cos()))?;
    let third = |f: &Traced<Spec, (), Spec>| -> Result<f64, TraceError> {
        Ok(f.grad()?.grad()?.grad()?.eval(&0.8, &())?.item().unwrap())
    };
    close(&[third(&f)?], &[third(&g)?]);
    Ok(())
}

#[test]
fn lanes_of_fixed_points() -> Outcome {
    let f = trace(Spec::f64([]), Spec::f64([]), |t, a, b| {
        t.fixed_point(t.scalar(0.5), |x| (a * x).cos() * b, &Solver::default())
    })?;
    let (a, b) = ([0.1, 0.8, 1.1], [1.0, 0.3, 0.7]);
    for f in [f.clone(), f.grad()?, f.hessian()?] {
        let one: Vec<f64> =
            a.iter().zip(&b).map(|(a, b)| f.eval(a, b).unwrap().item().unwrap()).collect();
        close(&f.vmap(3)?.eval(&arr1(&a), &arr1(&b))?.to_f64_vec(), &one);
    }
    let one: Vec<f64> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| f.grad().unwrap().eval(a, b).unwrap().item().unwrap())
        .collect();
    let (_, pulled) = f.vmap(3)?.vjp()?.eval(&arr1(&a), &(arr1(&b), arr1(&[1.0; 3])))?;
    close(&pulled.to_f64_vec(), &one);
    close(&f.vmap(3)?.batch_jacobian()?.eval(&arr1(&a), &arr1(&b))?.to_f64_vec(), &one);
    Ok(())
}

#[test]
fn inside_of_loops_branches_and_checkpoints() -> Outcome {
    let f = |implicit: bool| {
        trace(Spec::f64([]), (), move |t, a, ()| {
            t.for_loop(3, a, |i, y| {
                let c = i.to_f64() * 0.2 + 0.3;
                let solved = t.checkpoint(|| {
                    if implicit {
                        t.fixed_point(y, |x| (x * c + y * a).sin(), &Solver::default())
                    } else {
                        t.for_loop(100, y, |_, x| (x * c + y * a).sin())
                    }
                });
                t.cond(solved.gt(0.0), || solved * 1.1, || y)
            })
        })
    };
    let (f, g) = (f(true)?, f(false)?);
    for order in [f.grad()?, f.hessian()?].iter().zip([g.grad()?, g.hessian()?]) {
        let (got, want) = (order.0.eval(&0.4, &())?, order.1.eval(&0.4, &())?);
        close(&got.to_f64_vec(), &want.to_f64_vec());
    }
    Ok(())
}

#[test]
fn roots_of_systems() -> Outcome {
    // u² + v = a, u·v = b for trees, which is a cubic for u.
    let f = trace_tree((Spec::f64([2]), Spec::f64([2])), (), |t, (a, b), ()| {
        let start = (t.ones(DType::F64, [2]) * 2.0, t.ones(DType::F64, [2]));
        let found = t.root(start, |(u, v)| (u.square() + v - a, u * v - b), &Solver::default());
        t.outputs(&found)
    })?;
    let p = (arr1(&[5.0, 3.0]), arr1(&[1.0, 0.5]));
    let (u, v) = f.eval(&p, &())?;
    for i in 0..2 {
        let (u, v) = (u.to_f64_vec()[i], v.to_f64_vec()[i]);
        close(&[u * u + v, u * v], &[p.0[i], p.1[i]]);
    }
    assert!(f.check_gradients(&p, &())?.is_ok());
    let report = f.jacobian_forward()?.check_gradients(&p, &())?;
    assert!(report.is_ok(), "{report}");
    let lanes = f.vmap(1)?.eval(&(arr2(&[[5.0, 3.0]]), arr2(&[[1.0, 0.5]])), &())?;
    close(&lanes.0.to_f64_vec(), &u.to_f64_vec());
    Ok(())
}

#[test]
fn both_modes_agree() -> Outcome {
    let (w, b) = point();
    let t = Trace::eager();
    let (w_t, b_t) = (t.variable(w.clone()), t.variable(b.clone()));
    let tape = t.tape();
    let y = network(&t, w_t, b_t).exp().sum();
    let (dw, db) = tape.gradient(&y, &(w_t, b_t));
    let (value, (gw, gb)) = programs().0.value_and_grad()?.eval(&(w, b), &())?;
    assert_eq!(y.array()?.to_f64_vec(), value.to_f64_vec());
    close(&dw.expect_connected().array()?.to_f64_vec(), &gw.to_f64_vec());
    close(&db.expect_connected().array()?.to_f64_vec(), &gb.to_f64_vec());
    Ok(())
}

#[test]
fn where_it_starts_makes_no_difference() -> Outcome {
    let f = trace(Spec::f64([]), Spec::f64([]), |t, x, a| {
        t.fixed_point(x, |x| x * 0.5 + a, &Solver::default())
    })?;
    assert_eq!(f.grad()?.eval(&7.0, &1.0)?.item::<f64>(), Some(0.0));
    close(&f.eval(&7.0, &1.0)?.to_f64_vec(), &[2.0]);
    assert!(matches!(f.gradient_status(), Status::Unconnected(_)));
    Ok(())
}

#[test]
fn limits_and_single_precision() -> Outcome {
    let t = Trace::eager();
    let few = Solver::default().limit(3);
    let x = t.fixed_point(t.scalar(1.0), |x| x * 2.0, &few);
    assert_eq!(x.item::<f64>()?, 8.0);
    let nan = t.fixed_point(t.scalar(f64::NAN), |x| x * 2.0, &Solver::default());
    assert!(nan.item::<f64>()?.is_nan());
    let rough = t.fixed_point(t.scalar(1.0), |x| x * 0.5, &Solver::default().tolerance(0.1));
    assert_eq!(rough.item::<f64>()?, 0.0625);
    let a = t.variable(2.0f32);
    let tape = t.tape();
    let x = t.fixed_point(t.constant(1.0f32), |x| (x + a / x) * 0.5, &Solver::default());
    let slope = tape.gradient(&x, &a).expect_connected().item::<f32>()?;
    assert!((slope - 0.5 / 2f32.sqrt()).abs() < 1e-5, "{slope}");
    let empty = t.root(t.zeros(DType::F64, [0]), |x| x.square(), &Solver::default());
    assert_eq!(empty.array()?.dims(), [0]);
    t.check()
}

#[test]
fn mistakes_are_told_with_the_line() {
    let wrong = trace(Spec::f64([2]), (), |t, x, ()| {
        t.fixed_point(x, |x| x.sum(), &Solver::default()).sum()
    });
    let error = wrong.err().unwrap();
    let text = error.to_string();
    assert_eq!((error.mistakes.len(), error.first().problem), (1, Problem::Control));
    assert!(
        text.contains("fixed_point: the carry starts as f64[2] but the body gives f64[]"),
        "{text}"
    );
    assert!(text.contains("tests/fixed_point.rs"), "{text}");
    let wrong =
        trace(Spec::i64([2]), (), |t, x, ()| t.fixed_point(x, |x| x, &Solver::default()).sum());
    let text = wrong.err().unwrap().to_string();
    assert!(text.contains("expected floats to solve for, got i64[2]"), "{text}");
    let wrong =
        trace(Spec::f64([2]), (), |t, x, ()| t.root(x, |x| x.sum(), &Solver::default()).sum());
    assert_eq!(wrong.err().unwrap().mistakes.len(), 1);
}
