//! Batching: lanes along any axis, loops that end at different times, and that
//! batching and derivatives may be taken in any order.

use backstitch_trace::{
    Lane, Lanes, Problem, Spec, Tensor, Trace, TraceError, Traced, Tree, trace, trace_tree,
};
use ndarray::{arr1, arr2};

type Outcome = Result<(), TraceError>;

#[track_caller]
fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} and {b}");
    }
}

/// Halves `x` until it is below `a`: 0 to 6 times for what follows.
fn halving<'t>(t: &'t Trace, x: Tensor<'t>, a: Tensor<'t>) -> Tensor<'t> {
    let end = t.while_loop((x, t.scalar(0.0)), |c| c.0.gt(a), |c| (c.0 * 0.5, c.1 + x * c.0));
    end.0.sin() * a + end.1
}

fn lanes() -> ([f64; 4], [f64; 4]) {
    ([0.5, 3.0, 40.0, 1.5], [1.0, 0.7, 0.9, 2.0])
}

fn one_by_one<O>(
    f: &Traced<Spec, Spec, O>,
    leaf: impl Fn(O::With<backstitch_trace::Array>) -> Vec<f64>,
) -> Vec<f64>
where
    O: Tree<Spec>,
{
    let (x, a) = lanes();
    x.iter().zip(&a).flat_map(|(x, a)| leaf(f.eval(x, a).unwrap())).collect()
}

#[test]
fn lanes_of_a_loop_end_when_they_should() -> Outcome {
    let f = trace(Spec::f64([]), Spec::f64([]), halving)?;
    let (x, a) = lanes();
    let all = f.vmap(4)?.eval(&arr1(&x), &arr1(&a))?;
    close(&all.to_f64_vec(), &one_by_one(&f, |y| y.to_f64_vec()));
    Ok(())
}

#[test]
fn the_gradient_of_lanes_is_the_gradient_on_each_lane() -> Outcome {
    let f = trace(Spec::f64([]), Spec::f64([]), halving)?;
    let (x, a) = lanes();
    let (x, a) = (arr1(&x), arr1(&a));
    let want = one_by_one(&f.grad()?, |g| g.to_f64_vec());
    close(&f.grad()?.vmap(4)?.eval(&x, &a)?.to_f64_vec(), &want);
    let (_, pulled) = f.vmap(4)?.vjp()?.eval(&x, &(&a, arr1(&[1.0; 4])))?;
    close(&pulled.to_f64_vec(), &want);
    let (_, pushed) = f.vmap(4)?.jvp()?.eval(&x, &(&a, arr1(&[1.0; 4])))?;
    close(&pushed.to_f64_vec(), &want);
    let summed = trace(Spec::f64([4]), Spec::f64([4]), |t, x, a| {
        t.vmap((x, a), |(x, a)| halving(t, x, a)).sum()
    })?;
    close(&summed.grad()?.eval(&x, &a)?.to_f64_vec(), &want);
    let rows = trace(Spec::f64([4]), Spec::f64([4]), |t, x, a| {
        t.map_rows((x, a), |(x, a)| halving(t, x, a)).sum()
    })?;
    close(&rows.grad()?.eval(&x, &a)?.to_f64_vec(), &want);
    let second = one_by_one(&f.hessian()?, |g| g.to_f64_vec());
    let each = f.grad()?.vmap(4)?.batch_jacobian()?.eval(&x, &a)?;
    close(&each.to_f64_vec(), &second);
    close(&f.hessian()?.vmap(4)?.eval(&x, &a)?.to_f64_vec(), &second);
    Ok(())
}

#[test]
fn counts_that_differ_between_lanes() -> Outcome {
    let f = trace(Spec::f64([]), Spec::i64([]), |t, x, n| {
        t.for_loop(n, x, |i, x| x.sin() + x * i.to_f64())
    })?;
    let (x, n) = ([0.3, 1.2, -0.4, 2.0], [3i64, 0, 5, 1]);
    let each = |g: &Traced<Spec, Spec, Spec>| -> Vec<f64> {
        x.iter().zip(&n).map(|(x, n)| g.eval(x, n).unwrap().item().unwrap()).collect()
    };
    let all = f.vmap(4)?.eval(&arr1(&x), &arr1(&n))?;
    close(&all.to_f64_vec(), &each(&f));
    for f in [f.grad()?, f.hessian()?, f.hessian()?.grad()?] {
        let all = f.vmap(4)?.eval(&arr1(&x), &arr1(&n))?;
        close(&all.to_f64_vec(), &each(&f));
    }
    let (_, all) = f.vmap(4)?.vjp()?.eval(&arr1(&x), &(arr1(&n), arr1(&[1.0; 4])))?;
    close(&all.to_f64_vec(), &each(&f.grad()?));
    Ok(())
}

#[test]
fn lanes_along_any_axis() -> Outcome {
    let f = trace_tree((Spec::f64([2]), Spec::f64([])), Spec::f64([2, 2]), |t, (w, b), x| {
        t.outputs(&(x.matmul(w) + b, b * 2.0))
    })?;
    let params = Lanes::Each((Lane::Axis(1), Lane::Shared));
    let outputs = Lanes::Each((Lane::Axis(-1), Lane::Shared));
    let g = f.vmap_with(3, &params, &Lanes::Axis(-2), &outputs)?;
    assert_eq!(*g.params(), (Spec::f64([2, 3]), Spec::f64([])));
    assert_eq!(*g.data(), Spec::f64([2, 3, 2]));
    assert_eq!(*g.outputs(), (Spec::f64([2, 3]), Spec::f64([])));
    let w = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let x = ndarray::Array3::from_shape_fn((2, 3, 2), |(i, k, j)| (i * 6 + k * 2 + j) as f64);
    let (y, twice) = g.eval(&(&w, 0.5), &x)?;
    assert_eq!(twice.item::<f64>(), Some(1.0));
    let mut want = Vec::new();
    for i in 0..2 {
        for k in 0..3 {
            want.push(x[[i, k, 0]] * w[[0, k]] + x[[i, k, 1]] * w[[1, k]] + 0.5);
        }
    }
    close(&y.to_f64_vec(), &want);
    Ok(())
}

#[test]
fn batching_twice_and_no_lane_at_all() -> Outcome {
    let f = trace(Spec::f64([2]), Spec::f64([]), |_, x, a| (x * a).cumsum(0).max())?;
    let g = f.vmap_with(3, &Lanes::Axis(0), &Lanes::Shared, &Lanes::Axis(0))?.vmap_with(
        2,
        &Lanes::Shared,
        &Lanes::Axis(0),
        &Lanes::Axis(1),
    )?;
    assert_eq!((g.params(), g.data()), (&Spec::f64([3, 2]), &Spec::f64([2])));
    let x = arr2(&[[1.0, 2.0], [3.0, -4.0], [0.0, 0.5]]);
    let y = g.eval(&x, &arr1(&[1.0, -1.0]))?;
    assert_eq!(y.dims(), [3, 2]);
    close(&y.to_f64_vec(), &[3.0, -1.0, 3.0, 1.0, 0.5, 0.0]);
    let none = f.vmap(0)?;
    assert_eq!(none.eval(&ndarray::Array2::<f64>::zeros((0, 2)), &arr1::<f64>(&[]))?.dims(), [0]);
    Ok(())
}

#[test]
fn jacobians_of_lanes_are_lanes_of_jacobians() -> Outcome {
    let f = trace(Spec::f64([2]), (), |_, x, ()| x * x.sin().sum())?;
    let x = arr2(&[[0.1, 0.2], [1.0, -2.0], [0.5, 3.0]]);
    let want = f.jacobian()?.vmap(3)?.eval(&x, &())?;
    assert_eq!(want.dims(), [3, 2, 2]);
    let got = f.vmap(3)?.batch_jacobian()?.eval(&x, &())?;
    close(&got.to_f64_vec(), &want.to_f64_vec());
    for (j, x) in want.to_f64_vec().chunks(4).zip(x.rows()) {
        close(&f.jacobian_forward()?.eval(&x, &())?.to_f64_vec(), j);
        close(&f.jacobian_reverse()?.eval(&x, &())?.to_f64_vec(), j);
    }
    Ok(())
}

#[test]
fn both_modes_and_branches() -> Outcome {
    fn f<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
        let y = t.vmap(x, |row| {
            let scale = x.max();
            t.cond(row.sum().gt(0.0), || row.log() * scale, || row * row)
        });
        t.checkpoint(|| y.sin()).sum()
    }
    let t = Trace::eager();
    let x = t.constant(arr2(&[[1.0, 2.0], [-3.0, -4.0]]));
    let tape = t.tape();
    tape.watch(&x);
    let y = f(&t, x);
    let dx = tape.gradient(&y, &x).expect_connected();
    t.check()?;
    let traced = trace(Spec::f64([2, 2]), (), |t, x, ()| f(t, x))?;
    let (value, gradient) = traced.value_and_grad()?.eval(&x.array()?, &())?;
    assert!(value.same_bits(&y.array()?));
    assert!(gradient.same_bits(&dx.array()?));
    assert!(dx.array()?.to_f64_vec().iter().all(|d| d.is_finite()), "{dx}");
    Ok(())
}

#[test]
fn custom_rules_are_batched() -> Outcome {
    let f = trace((Spec::f64([]), Spec::f64([])), (), |t, p, ()| {
        t.custom(p, |(x, w)| x * w).vjp(|(x, w), ct| (2.0 * ct * w, 3.0 * ct * x)).call()
    })?;
    let shared = Lanes::Each((Lane::Axis(0), Lane::Shared));
    let f = f.vmap_with(2, &shared, &Lanes::Shared, &Lanes::Axis(0))?;
    let (_, (x, w)) = f.vjp()?.eval(&(arr1(&[5.0, 7.0]), 2.0), &((), arr1(&[1.0, 10.0])))?;
    close(&x.to_f64_vec(), &[4.0, 40.0]);
    close(&w.to_f64_vec(), &[15.0 + 210.0]);
    Ok(())
}

#[test]
fn programs_are_parts_of_programs() -> Outcome {
    let f = trace(Spec::f64([]), Spec::f64([]), |_, x, a| x.powi(3) * a)?;
    let df = f.grad()?;
    // d/dx of a · (3 x²)² where x > 0, and of x elsewhere.
    let g = trace(Spec::f64([]), Spec::f64([]), |t, x, a| {
        t.cond(x.gt(0.0), || df.apply(t, x, t.scalar(1.0)).square() * a, || x)
    })?;
    let slope = |x: f64| g.grad().unwrap().eval(&x, &2.0).unwrap().item::<f64>().unwrap();
    close(&[slope(1.5), slope(-1.0)], &[2.0 * 36.0 * 1.5f64.powi(3), 1.0]);
    let t = Trace::eager();
    let y = df.apply(&t, t.constant(2.0), t.constant(0.5));
    assert_eq!(y.item::<f64>()?, 6.0);
    Ok(())
}

fn message<T>(found: Result<T, TraceError>) -> String {
    found.err().unwrap().to_string()
}

#[test]
fn mistakes_are_told_with_the_leaf() -> Outcome {
    let f = trace((Spec::f64([2]), Spec::f64([])), (), |_, (w, b), ()| w + b)?;
    let text = message(f.vmap_with(3, &Lanes::Axis(1), &Lanes::Shared, &Lanes::Axis(0)));
    assert!(text.contains("vmap: parameters: `1`, f64[] on all lanes has no axis 1"), "{text}");
    assert!(text.contains("tests/vmap.rs"), "{text}");
    let text = message(f.vmap_with(3, &Lanes::Axis(0), &Lanes::Shared, &Lanes::Shared));
    assert!(text.contains("the output differs between lanes"), "{text}");
    let text = message(f.vmap(usize::MAX / 2));
    assert!(text.contains("more than memory can hold"), "{text}");
    let text = message(f.batch_jacobian());
    assert!(text.contains("parameter `1` is f64[], without an axis of examples"), "{text}");
    let g = trace((Spec::f64([2]), Spec::f64([3])), (), |_, (w, b), ()| w.sum() + b)?;
    let text = message(g.batch_jacobian());
    assert!(text.contains("2 examples in the parameter `0` and 3 in the parameter `1`"), "{text}");
    let huge = trace(Spec::f64([1 << 40]), (), |_, x, ()| x.sum())?;
    assert!(message(huge.jacobian_reverse()).contains("more than memory can hold"));
    let list = trace(vec![Spec::f64([])], (), |_, w, ()| w[0])?;
    let lanes = Lanes::Each(vec![Lane::Shared, Lane::Shared]);
    let text = message(list.vmap_with(3, &lanes, &Lanes::Shared, &Lanes::Shared));
    assert!(text.contains("expected lanes for the leaves `0`, not for `0`, `1`"), "{text}");
    Ok(())
}

#[test]
fn mistakes_inside_of_programs() -> Outcome {
    let f = trace(Spec::f64([2]), (), |_, x, ()| x.sum())?;
    let wrong = trace(Spec::f64([3]), (), |t, x, ()| f.apply(t, x, ()) + 1.0);
    let error = wrong.expect_err("a mistake");
    assert_eq!((error.mistakes.len(), error.first().problem), (1, Problem::Arguments));
    assert!(error.to_string().contains("the program takes (f64[2]), not (f64[3])"), "{error}");
    let wrong =
        trace(Spec::f64([3]), Spec::f64([2]), |t, x, y| t.vmap((x, y), |(x, y)| x + y).sum());
    let error = wrong.expect_err("a mistake");
    assert_eq!(error.mistakes.len(), 1, "{error}");
    assert!(error.to_string().contains("the same number of rows"), "{error}");
    let wrong = trace(Spec::f64([]), (), |t, x, ()| t.vmap(x, |x| x));
    assert_eq!(wrong.expect_err("a mistake").mistakes.len(), 1);
    let wrong = trace(Spec::f64([2, 3]), (), |t, x, ()| t.vmap(x, |x| x.reshape([2])).sum());
    let error = wrong.expect_err("a mistake");
    assert_eq!(error.mistakes.len(), 1, "{error}");
    Ok(())
}
