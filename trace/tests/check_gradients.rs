//! The check of derivatives finds what is wrong, says where, and lets pass what is right.

use backstitch_trace::{
    Comparison, GradientCheck, Spec, Tensor, Trace, TraceError, Tree, trace, trace_tree,
};
use ndarray::{Array1, arr1, arr2};

type Outcome = Result<(), TraceError>;

#[derive(Tree, Clone, Debug)]
#[tree(crate = backstitch_trace)]
struct Linear<T> {
    w: T,
    b: T,
}

/// `x²` for each element, with a derivative that is wrong where `wrong` is 1.
fn square<'t>(t: &'t Trace, x: Tensor<'t>, wrong: Tensor<'t>) -> Tensor<'t> {
    t.custom(x, |x| x.square()).vjp(|x, ct| ct * x * (2.0 + wrong)).call()
}

#[test]
fn a_wrong_rule_is_found_with_leaf_and_index() -> Outcome {
    let mut wrong = ndarray::Array2::<f64>::zeros((2, 3));
    wrong[[1, 2]] = 0.01;
    let spec = Linear { w: Spec::f64([2, 3]), b: Spec::f64([3]) };
    let f =
        trace(spec, (), |t, p, ()| (square(t, p.w, t.constant(wrong.clone())) + p.b.exp()).sin())?;
    let p = Linear {
        w: arr2(&[[0.1, 0.2, 0.3], [-1.0, 2.0, 0.7]]).into_dyn(),
        b: arr1(&[0.0, 1.0, -1.0]).into_dyn(),
    };
    let report = f.check_gradients(&p, &())?;
    assert!(!report.is_ok(), "{report}");
    let worst = report.worst.clone().unwrap();
    assert_eq!((worst.leaf.as_str(), worst.index.as_slice()), ("w", &[1, 2][..]));
    assert!((worst.derivative / worst.reference - 1.005).abs() < 1e-8, "{worst}");
    let text = report.into_result().unwrap_err().to_string();
    assert!(text.contains("`w` at [1, 2]") && text.contains("by differences"), "{text}");
    Ok(())
}

#[test]
fn a_wrong_entry_of_a_large_array_is_searched_for() -> Outcome {
    let mut wrong = Array1::<f64>::zeros(1000);
    wrong[617] = 0.5;
    let f = trace(Spec::f64([1000]), (), |t, x, ()| square(t, x, t.constant(wrong.clone())).sum())?;
    let x = Array1::from_shape_fn(1000, |i| 1.0 + (i as f64).sin());
    let report = f.check_gradients(&x, &())?;
    assert_eq!(report.worst.as_ref().unwrap().index, [617], "{report}");
    assert!(!report.is_ok() && report.compared < 10, "{report}");
    Ok(())
}

#[test]
fn rules_that_contradict_each_other() -> Outcome {
    let f = trace(Spec::f64([4]), (), |t, x, ()| {
        let f = t.custom(x, |x| x.square()).vjp(|x, ct| ct * x * 2.0);
        f.jvp(|x, dot| dot * x * t.constant(arr1(&[2.0, 2.0, 3.0, 2.0]))).call()
    })?;
    let report = f.check_gradients(&arr1(&[1.0, 2.0, 3.0, 4.0]), &())?;
    let worst = report.worst.as_ref().unwrap();
    assert_eq!(worst.comparison, Comparison::ForwardWithReverse, "{report}");
    assert_eq!(worst.index, [2]);
    assert!((worst.derivative / worst.reference - 1.5).abs() < 1e-12);
    Ok(())
}

#[test]
fn what_is_right_passes_however_it_is_scaled() -> Outcome {
    let f = trace_tree((Spec::f64([5]), Spec::f64([])), Spec::f64([]), |t, (x, a), scale| {
        let y = t.while_loop(x, |y| y.norm().lt(50.0), |y| y * 1.5 + a.exp());
        t.outputs(&(y.log() * scale, [x.softmax(0), (x * 1e-7).sin() + 1.0]))
    })?;
    let x = arr1(&[1e-4, 0.3, 1.0, 20.0, 3.0]);
    for scale in [1.0, 1e-9, 1e12] {
        let report = f.check_gradients(&(&x, 0.2), &scale)?;
        assert!(report.is_ok(), "{scale:e}: {report}");
        assert!(report.compared >= 6);
    }
    let empty = trace(Spec::f64([0]), (), |_, x, ()| x.sum())?;
    assert!(empty.check_gradients(&arr1::<f64>(&[]), &())?.is_ok());
    Ok(())
}

#[test]
fn a_missing_factor_is_found_at_any_scale() -> Outcome {
    for scale in [1e-9, 1.0, 1e9] {
        let f = trace(Spec::f64([2]), (), |t, x, ()| {
            t.custom(x, |x| x.sin() * scale).vjp(|x, ct| -ct * x.cos() * scale).call()
        })?;
        let report = f.check_gradients(&arr1(&[0.3, 1.0]), &())?;
        assert!(report.worst.as_ref().is_some_and(|w| w.error > 1.0), "{report}");
    }
    Ok(())
}

#[test]
fn a_kink_is_called_one() -> Outcome {
    let f = trace(Spec::f64([2]), (), |_, x, ()| x.relu().sum())?;
    let report = f.check_gradients(&arr1(&[1.0, 0.0]), &())?;
    let worst = report.worst.as_ref().unwrap();
    assert_eq!(worst.index, [1]);
    let (left, right) = worst.kink.expect("a kink");
    assert!(left == 0.0 && (right.abs() - worst.reference.abs() * 2.0).abs() < 1e-6, "{report}");
    assert!(report.to_string().contains("a kink"), "{report}");
    assert!(f.check_gradients(&arr1(&[1.0, 0.001]), &())?.is_ok());
    Ok(())
}

#[test]
fn what_cannot_be_compared_is_told() -> Outcome {
    let f = trace(Spec::f32([2]), (), |_, x, ()| x.sum())?;
    let text = f.check_gradients(&arr1(&[1.0f32, 2.0]), &()).unwrap_err().to_string();
    assert!(
        text.contains("check_gradients.rs") && text.contains("the parameter is f32[2]"),
        "{text}"
    );
    let f = trace(Spec::f64([2]), (), |_, x, ()| x.sum())?;
    let how = GradientCheck::default().seed(3);
    assert!(f.check_gradients_with(&how, &arr1(&[1.0]), &()).is_err());
    Ok(())
}
