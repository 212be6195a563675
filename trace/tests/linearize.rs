//! Linearisation: the parts of a derivative that are computed once and many times.

use backstitch_trace::{Spec, TraceError, Traced, trace, trace_tree};
use ndarray::{arr1, arr2};

type Outcome = Result<(), TraceError>;

#[track_caller]
fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} and {b}");
    }
}

#[test]
fn tangents_are_those_of_the_jvp() -> Outcome {
    let f = trace_tree((Spec::f64([2, 2]), Spec::f64([2])), Spec::f64([2]), |t, (w, b), x| {
        let h = (x.matmul(w) + b).tanh();
        t.outputs(&(h, (h * b.exp()).sum(), x))
    })?;
    let p = (arr2(&[[0.1, -0.4], [0.7, 0.2]]), arr1(&[0.3, -0.1]));
    let x = arr1(&[1.0, 2.0]);
    let linear = f.linearize()?;
    let (y, residuals) = linear.primal.eval(&p, &x)?;
    for dot in [(arr2(&[[1.0, 0.0], [0.0, 0.0]]), arr1(&[0.0, 0.0])), p.clone()] {
        let (want, moved) = f.jvp()?.eval(&p, &(&x, &dot))?;
        let got = linear.tangent.eval(&dot, &residuals)?;
        close(&y.0.to_f64_vec(), &want.0.to_f64_vec());
        close(&got.0.to_f64_vec(), &moved.0.to_f64_vec());
        close(&got.1.to_f64_vec(), &moved.1.to_f64_vec());
        close(&got.2.to_f64_vec(), &[0.0, 0.0]);
    }
    let text = linear.tangent.graph().to_string();
    assert!(!text.contains("tanh") && !text.contains("exp"), "computed again: {text}");
    Ok(())
}

#[test]
fn the_transpose_of_the_linear_part_is_the_gradient() -> Outcome {
    let f = trace(Spec::f64([3]), (), |_, x, ()| x.sin().cumsum(0) * x)?;
    let (x, ct) = (arr1(&[0.5, -1.0, 2.0]), arr1(&[1.0, 10.0, -3.0]));
    let linear = f.linearize()?;
    let (_, residuals) = linear.primal.eval(&x, &())?;
    let (_, got) = linear.tangent.vjp()?.eval(&arr1(&[0.0; 3]), &(&residuals, &ct))?;
    let (_, want) = f.vjp()?.eval(&x, &((), &ct))?;
    close(&got.to_f64_vec(), &want.to_f64_vec());
    Ok(())
}

fn loops() -> Traced<Spec, Spec, Spec> {
    let f = trace(Spec::f64([2]), Spec::i64([]), |t, x, n| {
        let grown = t.while_loop(x, |y| y.sum().lt(10.0), |y| y * 1.5 + x.sin());
        let counted = t.for_loop(n, grown, |i, y| (y * i.to_f64()).sin() + x);
        let branch = t.cond(x.max().lt(1.0), || counted.exp(), || counted);
        t.checkpoint(|| branch * x).sum() + t.scan(x, x, |c, x| (c * x, c.sum())).1.sum()
    });
    f.unwrap()
}

#[test]
fn control_flow() -> Outcome {
    let f = loops();
    let linear = f.linearize()?;
    for x in [[0.3, 0.9], [-0.2, 1.9], [30.0, 1.0]] {
        let (x, dot) = (arr1(&x), arr1(&[1.0, -0.3]));
        let (value, want) = f.jvp()?.eval(&x, &(3i64, &dot))?;
        let (y, residuals) = linear.primal.eval(&x, &3i64)?;
        close(&y.to_f64_vec(), &value.to_f64_vec());
        close(&linear.tangent.eval(&dot, &residuals)?.to_f64_vec(), &want.to_f64_vec());
    }
    Ok(())
}

#[test]
fn the_linear_part_is_batched() -> Outcome {
    use backstitch_trace::Lanes;
    let f = trace(Spec::f64([2]), (), |_, x, ()| x * x.sin().sum())?;
    let linear = f.linearize()?;
    let x = arr1(&[0.3, 0.8]);
    let (_, residuals) = linear.primal.eval(&x, &())?;
    let all = linear.tangent.vmap_with(2, &Lanes::Axis(0), &Lanes::Shared, &Lanes::Axis(1))?;
    let jacobian = all.eval(&arr2(&[[1.0, 0.0], [0.0, 1.0]]), &residuals)?;
    close(&jacobian.to_f64_vec(), &f.jacobian()?.eval(&x, &())?.to_f64_vec());
    Ok(())
}

#[test]
fn only_floats_have_tangents() -> Outcome {
    let f = trace(Spec::i64([2]), (), |_, x, ()| x.sum().to_f64())?;
    assert!(f.linearize().unwrap_err().to_string().contains("linearize: parameter"));
    Ok(())
}
