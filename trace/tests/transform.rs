//! Transformations of traced programs, and that both modes agree.

use backstitch_trace::{
    Array, DType, Key, Spec, Status, Tensor, Trace, TraceError, Traced, Tree, trace, trace_tree,
};
use ndarray::{Array1, arr1, arr2};

type Outcome = Result<(), TraceError>;

#[derive(Tree, Clone, Debug)]
#[tree(crate = backstitch_trace)]
struct Linear<T> {
    w: T,
    b: T,
}

fn model<'t>(_: &'t Trace, p: Linear<Tensor<'t>>, x: Tensor<'t>) -> Tensor<'t> {
    (x.matmul(p.w) + p.b).tanh()
}

fn traced() -> Traced<Linear<Spec>, Spec, Spec> {
    trace(Linear { w: Spec::f64([2]), b: Spec::f64([]) }, Spec::f64([3, 2]), model).unwrap()
}

fn params() -> Linear<Array1<f64>> {
    Linear { w: arr1(&[0.3, -0.2]), b: arr1(&[0.1]) }
}

fn arguments() -> (Linear<Array>, Array) {
    let p = params();
    let b = Array::from(p.b[0]);
    (Linear { w: p.w.into(), b }, arr2(&[[1.0, 2.0], [-1.0, 0.5], [0.0, 3.0]]).into())
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-12, "{a} and {b}");
    }
}

#[test]
fn vjp_and_jvp_are_adjoint() -> Outcome {
    let (p, x) = arguments();
    let dot = Linear { w: arr1(&[0.7, -1.1]).into(), b: Array::from(0.4) };
    let ct = arr1(&[1.0, -2.0, 0.5]);
    let (_, tangent) = traced().jvp()?.eval(&p, &(&x, &dot))?;
    let (_, gradient) = traced().vjp()?.eval(&p, &(&x, &ct))?;
    let left: f64 = tangent.to_f64_vec().iter().zip(&ct).map(|(a, b)| a * b).sum();
    let inner = |a: &Array, b: &Array| -> f64 {
        a.to_f64_vec().iter().zip(b.to_f64_vec()).map(|(a, b)| a * b).sum()
    };
    close(&[left], &[inner(&gradient.w, &dot.w) + inner(&gradient.b, &dot.b)]);
    Ok(())
}

#[test]
fn a_jacobian_has_a_structure_of_parameters_for_each_output() -> Outcome {
    let (p, x) = arguments();
    let j: Linear<Array> = traced().jacobian()?.eval(&p, &x)?;
    assert_eq!((j.w.dims(), j.b.dims()), (&[3, 2][..], &[3][..]));
    // Column by column, it is the jvp.
    let dot = Linear { w: arr1(&[1.0, 0.0]).into(), b: Array::from(0.0) };
    let (_, column) = traced().jvp()?.eval(&p, &(&x, &dot))?;
    let w = j.w.to_f64_vec();
    close(&column.to_f64_vec(), &[w[0], w[2], w[4]]);
    assert_eq!(traced().jacobian()?.outputs().w, Spec::f64([3, 2]));
    Ok(())
}

#[test]
fn a_jacobian_of_a_tree_is_a_tree_of_trees() -> Outcome {
    let program = trace_tree(Linear { w: Spec::f64([2]), b: Spec::f64([]) }, (), |t, p, ()| {
        t.outputs(&(p.w * p.b, [p.b.sin()]))
    })?;
    let j = program
        .jacobian()?
        .eval(&Linear { w: arr1(&[2.0, 3.0]).into_dyn(), b: ndarray::arr0(0.5).into_dyn() }, &())?;
    let (of_product, [of_sine]): (Linear<Array>, [Linear<Array>; 1]) = j;
    assert_eq!(of_product.w.to_f64_vec(), [0.5, 0.0, 0.0, 0.5]);
    assert_eq!(of_product.b.to_f64_vec(), [2.0, 3.0]);
    assert_eq!((of_sine.w.to_f64_vec(), of_sine.w.dims()), (vec![0.0, 0.0], &[2][..]));
    Ok(())
}

fn rosenbrock<'t>(_: &'t Trace, x: Tensor<'t>, (): ()) -> Tensor<'t> {
    let (a, b) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
    (100.0 * (b - a.square()).square() + (1.0 - a).square()).sum()
}

#[test]
fn a_hessian_times_a_vector_is_the_hvp() -> Outcome {
    let program = trace(Spec::f64([4]), (), rosenbrock)?;
    let x = arr1(&[0.5, -1.0, 2.0, 0.3]);
    let v = arr1(&[1.0, 2.0, -1.0, 0.5]);
    let h = program.hessian()?.eval(&x, &())?;
    assert_eq!(h.dims(), [4, 4]);
    let h = h.to_f64_vec();
    let product: Vec<f64> =
        h.chunks(4).map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum()).collect();
    close(&program.hvp()?.eval(&x, &((), &v))?.to_f64_vec(), &product);
    for i in 0..4 {
        for j in 0..4 {
            close(&[h[4 * i + j]], &[h[4 * j + i]]);
        }
    }
    assert_eq!(h[0], 1200.0 * 0.25 + 400.0 + 2.0);
    Ok(())
}

#[test]
fn transformations_compose() -> Outcome {
    // Derivatives of x⁵ by turns in both modes.
    let program = trace(Spec::f64([]), (), |_, x, ()| x.powi(5))?;
    let second = program.grad()?.grad()?;
    let third = second.jvp()?;
    let (value, third) = third.eval(&2.0, &((), 1.0))?;
    assert_eq!((value.item::<f64>(), third.item::<f64>()), (Some(160.0), Some(240.0)));
    let fourth = second.hessian()?.eval(&2.0, &())?;
    assert_eq!(fourth.item::<f64>(), Some(240.0));
    let name = program.hvp()?.graph().name.clone();
    assert!(name.ends_with(".hvp"), "{name}");
    Ok(())
}

#[test]
fn unused_parameters_have_zeros_and_a_reason() -> Outcome {
    let program = trace((Spec::f64([2]), Spec::f64([3])), (), |_, (a, _), ()| a.sum())?;
    let (_, unused) = program.gradient_status();
    assert!(matches!(unused, Status::Unconnected(_)));
    let (_, (a, b)) =
        program.value_and_grad()?.eval(&(arr1(&[1.0, 2.0]), arr1(&[1.0, 2.0, 3.0])), &())?;
    assert_eq!((a.to_f64_vec(), b.to_f64_vec()), (vec![1.0; 2], vec![0.0; 3]));
    Ok(())
}

#[test]
fn a_carry_is_connected_through_the_carries_that_it_becomes() -> Outcome {
    // a, b and c move on by one place in each iteration; d stays by itself.
    fn step<'t>(_: Tensor<'t>, [a, b, c, d]: [Tensor<'t>; 4]) -> [Tensor<'t>; 4] {
        [a, a, b + c.floor(), d * 2.0]
    }
    let connected = |which: usize| -> Result<Vec<&'static str>, TraceError> {
        let program =
            trace([(); 4].map(|()| Spec::f64([])), (), |t, x, ()| t.for_loop(3, x, step)[which])?;
        let name = |status: &Status| match status {
            Status::Connected => "connected",
            Status::Flat(_) => "flat",
            _ => "unconnected",
        };
        Ok(program.gradient_status().iter().map(name).collect())
    };
    assert_eq!(connected(0)?, ["connected", "unconnected", "unconnected", "unconnected"]);
    assert_eq!(connected(1)?, ["connected", "connected", "unconnected", "unconnected"]);
    assert_eq!(connected(2)?, ["connected", "connected", "connected", "unconnected"]);
    assert_eq!(connected(3)?, ["unconnected", "unconnected", "unconnected", "connected"]);
    Ok(())
}

#[test]
fn each_result_of_a_branch_has_paths_of_its_own() -> Outcome {
    let program = trace((Spec::f64([]), Spec::f64([])), (), |t, (a, b), ()| {
        let [x, y] = t.cond(a.gt(0.0), || [a.exp(), b.exp()], || [a, b]);
        x + y.stop_gradient()
    })?;
    let (a, b) = program.gradient_status();
    assert!(matches!(a, Status::Connected));
    assert!(b.to_string().contains("stop_gradient"), "{b}");
    Ok(())
}

/// A program that uses a bit of everything.
fn everything<'t>(t: &'t Trace, x: Tensor<'t>, (key, ids): (Tensor<'t>, Tensor<'t>)) -> Tensor<'t> {
    let [a, b] = Key::from_tensor(key).split();
    let noise = a.normal(x.dtype(), [4, 3]) * 0.1 + b.uniform(x.dtype(), [3]);
    let h = (x + noise).softmax(-1).matmul(x.transpose());
    let (total, rows) =
        t.scan(t.zeros(x.dtype(), [4]), h, |sum, row| (sum + row, sum.maximum(row)));
    let picked = x.take(ids, 0).segment_sum(ids, 4).norm_over(1);
    let grown = t.while_loop(picked, |p| p.sum().lt(100.0), |p| p * 2.0);
    let gate = t.cond(total.sum().gt(3.0), || grown.log(), || grown);
    (rows.cumsum(0) * gate).sum() + x.pad([(1, 0), (0, 2)], 1).tril(0).logsumexp()
}

#[test]
fn both_modes_give_the_same_bits() -> Outcome {
    for dtype in [DType::F32, DType::F64] {
        let spec = Spec::new(dtype, [4, 3]);
        let program = trace(spec, (Spec::i32([2]), Spec::i64([4])), everything)?;
        let t = Trace::eager();
        let x = t.linspace(-1.0, 2.0, 12).reshape([4, 3]).cast(dtype);
        let (key, ids) = (t.key(99).to_tensor(), t.constant(arr1(&[2i64, 0, 2, 1])));
        let tape = t.tape();
        tape.watch(&x);
        let y = everything(&t, x, (key, ids));
        let dx = tape.gradient(&y, &x).expect_connected();
        let arguments = (key.array()?, ids.array()?);
        let (value, gradient) = program.value_and_grad()?.eval(&x.array()?, &arguments)?;
        assert!(value.same_bits(&y.array()?));
        assert!(gradient.same_bits(&dx.array()?), "{gradient} and {dx}");
    }
    Ok(())
}

#[test]
fn bodies_see_tensors_around_them_at_any_depth() -> Outcome {
    let program = trace(Spec::f64([]), Spec::f64([]), |t, x, y| {
        t.for_loop(2, t.scalar(0.0), |i, c| {
            let i = i.cast(DType::F64);
            t.cond(
                c.lt(y),
                || t.while_loop(c, |c| c.lt(x + y), |c| c + x * (i + 1.0)),
                || c * x + y,
            )
        })
    })?;
    // i = 0: c goes 0, 2, 4, 6 (< 2 + 3 no more); i = 1: 6 is not below 3, so 6·2 + 3.
    let (value, slope) = program.value_and_grad()?.eval(&2.0, &3.0)?;
    assert_eq!(value.item::<f64>(), Some(15.0));
    // 3x · x + y
    assert_eq!(slope.item::<f64>(), Some(12.0));
    Ok(())
}
