//! Checkpoints and functions with derivatives of their own, compiled.
#![allow(missing_docs)]

use backstitch::prelude::*;

/// A few functions, of which the reverse wants the arguments.
fn step<'t>(x: Tensor<'t>, w: Tensor<'t>) -> Tensor<'t> {
    let y = (x * w).sin();
    let z = (y + x).tanh();
    (z * y).exp() * 0.5 + z
}

fn repeated<'t>(t: &'t Trace, w: Tensor<'t>, x: Tensor<'t>, save: bool) -> Tensor<'t> {
    t.for_loop(50, x, |_, x| if save { t.checkpoint(|| step(x, w)) } else { step(x, w) }).sum()
}

#[test]
fn a_checkpoint_saves_memory_and_changes_no_bit() {
    let n = 64;
    let program = |save| {
        let f = if save {
            trace(Spec::f64([n]), Spec::f64([n]), |t, w, x| repeated(t, w, x, true))
        } else {
            trace(Spec::f64([n]), Spec::f64([n]), |t, w, x| repeated(t, w, x, false))
        };
        f.unwrap()
    };
    let (plain, saving) = (program(false), program(true));
    let w = ndarray::Array1::from_shape_fn(n, |i| 0.2 + 0.01 * i as f64);
    let x = ndarray::Array1::from_shape_fn(n, |i| 1.0 - 0.03 * i as f64);
    let run = |f: &Traced<Spec, Spec, Spec>| {
        let compiled = f.value_and_grad().unwrap().compile().unwrap();
        let (value, gradient) = compiled.call(&w, &x).unwrap();
        let bytes = compiled.executable().plan().arena_bytes;
        (value.to_f64_vec(), gradient.to_f64_vec(), bytes)
    };
    let ((v, g, all), (w_v, w_g, less)) = (run(&plain), run(&saving));
    assert_eq!((v, g), (w_v, w_g));
    // Of each of the 50 steps nothing but the carry is kept, one row of n numbers.
    assert!(less < 50 * n * 8 + 20 * n * 8, "{less} bytes");
    assert!(less * 2 < all, "{less} and {all} bytes");
}

#[test]
fn checkpoints_inside_checkpoints_have_second_derivatives() {
    let f = trace(Spec::f64([3]), (), |t, x, ()| {
        t.checkpoint(|| {
            let y = t.checkpoint(|| x.sin() * x);
            t.checkpoint(|| (y * x).tanh())
        })
        .sum()
    });
    let g = trace(Spec::f64([3]), (), |_, x, ()| (x.sin() * x * x).tanh().sum());
    let x = ndarray::arr1(&[0.3, -0.8, 1.1]);
    let (f, g) = (f.unwrap(), g.unwrap());
    let want = g.hessian().unwrap().eval(&x, &()).unwrap().to_f64_vec();
    for h in [f.hessian().unwrap(), f.grad().unwrap().jacobian().unwrap()] {
        close(&h.compile().unwrap().call(&x, &()).unwrap().to_f64_vec(), &want);
        close(&h.eval(&x, &()).unwrap().to_f64_vec(), &want);
    }
    let v = ndarray::arr1(&[1.0, 0.0, 0.0]);
    let got = f.hvp().unwrap().compile().unwrap().call(&x, &((), v)).unwrap();
    close(&got.to_f64_vec(), &want[..3]);
}

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{got:?} and {want:?}");
    }
}

/// x³ with the derivative 3x² said in one or the other way, and w · x³ by it.
fn cube<'t>(t: &'t Trace, x: Tensor<'t>, w: Tensor<'t>, rules: (bool, bool)) -> Tensor<'t> {
    let mut f = t.custom((x, w), |(x, w)| x * x * x * w);
    if rules.0 {
        f = f.jvp(|(x, w), (dx, dw)| 3.0 * x.square() * w * dx + x * x * x * dw);
    }
    if rules.1 {
        f = f.vjp(|(x, w), ct| (3.0 * x.square() * w * ct, x * x * x * ct));
    }
    f.call()
}

fn with_rules(rules: (bool, bool)) -> Traced<Spec, Spec, Spec> {
    let f = trace(Spec::f64([3]), Spec::f64([]), |t, x, w| {
        let w = w.broadcast_to([3]);
        let y = match rules {
            (true, false) => cube(t, x, w, (true, false)),
            (false, true) => cube(t, x, w, (false, true)),
            _ => cube(t, x, w, (true, true)),
        };
        (y * x.max_keep(0)).sum() * x.sum()
    });
    f.unwrap()
}

#[test]
fn either_rule_is_derived_from_the_other() {
    let x = ndarray::arr1(&[0.5, -2.0, 3.0]);
    let w = 2.0;
    let plain = trace(Spec::f64([3]), Spec::f64([]), |_, x, w| {
        (x * x * x * x.max_keep(0) * w).sum() * x.sum()
    });
    let plain = plain.unwrap();
    let gradient = plain.grad().unwrap().eval(&x, &w).unwrap().to_f64_vec();
    let hessian = plain.hessian().unwrap().eval(&x, &w).unwrap().to_f64_vec();
    for rules in [(true, false), (false, true), (true, true)] {
        let f = with_rules(rules);
        close(&f.grad().unwrap().compile().unwrap().call(&x, &w).unwrap().to_f64_vec(), &gradient);
        let h = f.hessian().unwrap();
        close(&h.compile().unwrap().call(&x, &w).unwrap().to_f64_vec(), &hessian);
        close(&h.eval(&x, &w).unwrap().to_f64_vec(), &hessian);
        let v = ndarray::arr1(&[0.0, 1.0, 0.0]);
        let (_, dot) = f.jvp().unwrap().compile().unwrap().call(&x, &(w, v)).unwrap();
        close(&dot.to_f64_vec(), &gradient[1..2]);
    }
}

#[test]
fn a_rule_holds_in_loops_and_keeps_what_it_captures_constant() {
    // A straight-through rounding: value ⌊x⌉ · a, slope a for x and none for a.
    let f = trace((Spec::f64([]), Spec::f64([])), (), |t, (x, a), ()| {
        t.for_loop(3, x, |_, y| t.custom(y, |y| y.round() * a).vjp(|_, ct| ct * a).call())
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let (x, a) = (1.4, 2.5);
    let (value, slopes) = f.compile().unwrap().call(&(x, a), &()).unwrap();
    assert_eq!(value.item::<f64>(), Some(12.5));
    // 1 -> 2.5, 2 -> 5 (half to even), 5 -> 12.5
    assert_eq!(slopes.0.item::<f64>(), Some(2.5f64.powi(3)));
    assert_eq!(slopes.1.item::<f64>(), Some(0.0));
}

#[test]
fn whole_numbers_beside_floats_have_no_part_in_rules() {
    let f = trace(Spec::f64([4]), Spec::i64([2]), |t, x, i| {
        let (picked, count) = t
            .custom((x, i), |(x, i)| (x.take(i, 0), i.sum()))
            .jvp(|(_, i), (dx, di)| (dx.take(i, 0) * 10.0, di.sum()))
            .call();
        (picked * count.cast(backstitch::DType::F64)).sum()
    });
    let x = ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]);
    let i = ndarray::arr1(&[3i64, 1]);
    let g = f.unwrap().grad().unwrap().compile().unwrap().call(&x, &i).unwrap();
    assert_eq!(g.to_f64_vec(), [0.0, 40.0, 0.0, 40.0]);
}

#[test]
fn a_rule_that_does_not_fit_is_a_mistake_at_its_line() {
    fn error(found: Result<Traced<Spec, (), Spec>, backstitch::TraceError>) -> String {
        match found {
            Ok(_) => panic!("a mistake is found"),
            Err(e) => e.to_string(),
        }
    }
    let e = error(trace(Spec::f64([3]), (), |t, x, ()| {
        t.custom(x, |x| x.sum()).vjp(|_, ct| ct).call()
    }));
    assert!(
        e.contains("expected (f64[3]), the rule gives (f64[])") && e.contains("regions.rs"),
        "{e}"
    );
    let e = error(trace(Spec::f64([3]), (), |t, x, ()| {
        t.custom(x, |x| x.sum()).jvp(|_, dx| dx.cast(backstitch::DType::F32).sum()).call()
    }));
    assert!(e.contains("expected (f64[]), the rule gives (f32[])"), "{e}");
    let e = error(trace(Spec::f64([3]), (), |t, x, ()| t.custom(x, |x| x.sum()).call()));
    assert!(e.contains("expected a `jvp` or a `vjp` rule"), "{e}");
}

#[test]
fn derivatives_of_a_batch_of_custom_functions() {
    // A Jacobian runs the rule for all rows at once; `a` is shared by all of them.
    let f = trace(Spec::f64([2]), Spec::f64([2, 2]), |t, x, a| {
        let y = t.custom((x, a), |(x, a)| a.matmul(x.sin()));
        y.vjp(|(x, a), ct| (ct.matmul(a) * x.cos(), ct.outer(x.sin()))).call()
    });
    let g = trace(Spec::f64([2]), Spec::f64([2, 2]), |_, x, a| a.matmul(x.sin()));
    let x = ndarray::arr1(&[0.4, -1.2]);
    let a = ndarray::arr2(&[[1.0, 2.0], [-3.0, 0.5]]);
    let want = g.unwrap().jacobian().unwrap().eval(&x, &a).unwrap().to_f64_vec();
    let j = f.unwrap().jacobian().unwrap();
    close(&j.eval(&x, &a).unwrap().to_f64_vec(), &want);
    close(&j.compile().unwrap().call(&x, &a).unwrap().to_f64_vec(), &want);
}
