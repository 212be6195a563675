//! What a gradient tape does, claim by claim. Numbers that are not obvious are
//! TensorFlow's.

use std::collections::BTreeMap;

use backstitch_trace::{
    Activation, Array, DType, Dense, Gradients, Problem, Spec, Status, Tensor, Trace, TraceError,
    Tree, Unconnected, trace, trace_tree,
};
use ndarray::{arr1, arr2};

type Outcome = Result<(), TraceError>;

fn item(x: Tensor<'_>) -> f64 {
    x.cast(DType::F64).item::<f64>().unwrap()
}

fn all(x: Tensor<'_>) -> Vec<f64> {
    x.array().unwrap().to_f64_vec()
}

#[test]
fn a_watched_tensor_has_a_gradient() -> Outcome {
    let t = Trace::eager();
    let x = t.constant(3.0);
    let tape = t.tape();
    tape.watch(&x);
    let y = x * x;
    assert_eq!(item(tape.gradient(&y, &x).expect_connected()), 6.0);
    t.check()
}

#[test]
fn a_tensor_that_is_not_watched_has_none() -> Outcome {
    let t = Trace::eager();
    let (x, c) = (t.constant(3.0), t.constant(2.0));
    let tape = t.tape();
    tape.watch(&x);
    let y = x * c;
    let (dx, dc) = tape.gradient(&y, &(x, c));
    assert_eq!(item(dx.expect_connected()), 2.0);
    assert!(dc.value().is_none());
    assert_eq!(dc.status().to_string(), "unconnected: the tape does not watch it");
    t.check()
}

#[test]
fn equal_constants_are_two_sources() -> Outcome {
    let t = Trace::eager();
    let (x, y) = (t.constant(2.0), t.constant(2.0));
    let tape = t.tape();
    tape.watch(&[x, y]);
    let z = x * x * y;
    let [dx, dy] = tape.gradient(&z, &[x, y]);
    assert_eq!((item(dx.expect_connected()), item(dy.expect_connected())), (8.0, 4.0));
    t.check()
}

#[test]
fn equal_constants_of_a_compiled_program_are_two_sources() -> Outcome {
    let traced = trace_tree(Spec::f64([]), (), |t, p, ()| {
        let (x, y) = (t.constant(2.0), t.constant(2.0));
        let tape = t.tape();
        tape.watch(&[x, y]);
        let z = x * x * y * p;
        t.outputs(&tape.gradient(&z, &[x, y]).expect_connected())
    })?;
    let [dx, dy] = traced.eval(&1.0, &())?;
    assert_eq!((dx.item::<f64>(), dy.item::<f64>()), (Some(8.0), Some(4.0)));
    assert_eq!(traced.graph().inputs().len(), 1);
    Ok(())
}

#[test]
fn variables_are_watched_when_they_are_used() -> Outcome {
    let t = Trace::eager();
    let (a, b, c) = (t.variable(1.0), t.variable(2.0), t.variable(3.0));
    let tape = t.tape().persistent();
    let y = c * a;
    let names: Vec<f64> = tape.watched_variables().into_iter().map(item).collect();
    assert_eq!(names, [3.0, 1.0]);
    let (da, db) = tape.gradient(&y, &(a, b));
    assert_eq!(item(da.expect_connected()), 3.0);
    assert_eq!(db.status().to_string(), "unconnected: the target does not depend on it");
    tape.reset();
    assert!(tape.watched_variables().is_empty());
    t.check()
}

#[test]
fn watching_variables_can_be_switched_off() -> Outcome {
    let t = Trace::eager();
    let (w, b) = (t.variable(2.0), t.variable(1.0));
    let tape = t.tape().watch_accessed_variables(false);
    tape.watch(&w);
    let y = w * w + b;
    let (dw, db) = tape.gradient(&y, &(w, b));
    assert_eq!(item(dw.expect_connected()), 4.0);
    assert!(db.value().is_none());
    t.check()
}

#[test]
fn intermediate_values_are_sources() -> Outcome {
    let t = Trace::eager();
    let x = t.constant(3.0);
    let tape = t.tape().persistent();
    tape.watch(&x);
    let y = x * x;
    let z = y * y;
    assert_eq!(item(tape.gradient(&z, &y).expect_connected()), 18.0);
    assert_eq!(item(tape.gradient(&z, &x).expect_connected()), 108.0);
    // y does not depend on z.
    assert!(matches!(tape.gradient(&y, &z).status(), Status::Unconnected(_)));
    t.check()
}

#[test]
fn a_target_that_is_a_source_counts_itself() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(2.0);
    let tape = t.tape();
    let y = x * x;
    assert_eq!(item(tape.gradient(&[x, y], &x).expect_connected()), 5.0);
    t.check()
}

#[test]
fn several_targets_are_summed() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(2.0);
    let tape = t.tape();
    let targets = BTreeMap::from([("y0", x.square()), ("y1", 1.0 / x)]);
    let dx = tape.gradient(&targets, &x).expect_connected();
    assert_eq!(item(dx), 3.75);
    t.check()
}

#[test]
fn a_target_that_is_no_scalar_is_summed() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(2.0);
    let tape = t.tape();
    let y = x * t.constant(arr1(&[3.0, 4.0]));
    assert_eq!(item(tape.gradient(&y, &x).expect_connected()), 7.0);
    t.check()
}

#[test]
fn output_gradients_weight_the_targets() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(arr1(&[1.0, 2.0]));
    let tape = t.tape();
    let y = x * x;
    let seed = t.constant(arr1(&[10.0, 100.0]));
    assert_eq!(all(tape.gradient_with(&y, &seed, &x).expect_connected()), [20.0, 400.0]);
    t.check()
}

#[test]
fn output_gradients_have_the_targets_shapes() {
    let t = Trace::eager();
    let x = t.variable(arr1(&[1.0, 2.0]));
    let tape = t.tape();
    let dx = tape.gradient_with(&(x * x), &t.constant(1.0), &x).expect_connected();
    let error = dx.array().unwrap_err().to_string();
    assert!(error.contains("f64[2]") && error.contains("f64[]"), "{error}");
}

#[derive(Tree, Clone, Debug)]
#[tree(crate = backstitch_trace)]
struct Linear<T> {
    w: T,
    b: T,
}

#[test]
fn gradients_have_the_structure_of_the_sources() -> Outcome {
    let t = Trace::eager();
    let model = Linear { w: t.variable(arr2(&[[1.0], [2.0]])), b: t.variable(arr1(&[0.5])) };
    let x = t.constant(arr2(&[[1.0, 2.0]]));
    let tape = t.tape();
    let loss = (x.matmul(model.w) + model.b).square().mean();
    let d: Linear<Tensor<'_>> = tape.gradient(&loss, &model).expect_connected();
    assert_eq!(all(d.w), [11.0, 22.0]);
    assert_eq!(all(d.b), [11.0]);
    t.check()
}

#[test]
fn nested_tapes_give_higher_orders() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(1.0);
    let outer = t.tape();
    let inner = t.tape();
    let y = 5.0 * x.pow(3.0);
    let dy = inner.gradient(&y, &x).expect_connected();
    let d2y = outer.gradient(&dy, &x).expect_connected();
    assert_eq!((item(dy), item(d2y)), (15.0, 30.0));
    t.check()
}

#[test]
fn three_orders_through_a_transcendental_function() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(0.3);
    let (a, b, c) = (t.tape(), t.tape(), t.tape());
    let d1 = c.gradient(&x.sin(), &x).expect_connected();
    let d2 = b.gradient(&d1, &x).expect_connected();
    let d3 = a.gradient(&d2, &x).expect_connected();
    assert!((item(d3) + 0.3f64.cos()).abs() < 1e-15);
    t.check()
}

#[test]
fn second_derivatives_of_softplus_are_right_at_its_bend() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(0.0);
    let (outer, inner) = (t.tape(), t.tape());
    let d1 = inner.gradient(&x.softplus(), &x).expect_connected();
    let d2 = outer.gradient(&d1, &x).expect_connected();
    assert_eq!((item(d1), item(d2)), (0.5, 0.25));
    t.check()
}

#[test]
fn what_is_computed_while_stopped_is_constant() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(3.0);
    let tape = t.tape();
    let (a, b) = tape.stop_recording(|| (x * x, x.sin()));
    let y = a * x + b;
    assert_eq!(item(tape.gradient(&y, &x).expect_connected()), 9.0);
    // The same expression outside is not affected.
    let tape = t.tape();
    assert_eq!(item(tape.gradient(&(x * x), &x).expect_connected()), 6.0);
    t.check()
}

#[test]
fn stop_gradient_leaves_a_reason() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(3.0);
    let tape = t.tape();
    let y = x.stop_gradient() * 2.0;
    let dx = tape.gradient(&y, &x);
    assert!(dx.value().is_none());
    let text = dx.status().to_string();
    assert!(text.contains("stop_gradient") && text.contains("tape.rs"), "{text}");
    t.check()
}

#[test]
fn flat_functions_give_zeros_and_say_so() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(1.5);
    let tape = t.tape();
    let dx = tape.gradient(&x.floor(), &x);
    assert!(matches!(dx.status(), Status::Flat(_)));
    assert_eq!(item(dx.value().unwrap()), 0.0);
    t.check()
}

#[test]
fn a_missing_gradient_is_what_you_say() {
    let t = Trace::eager();
    let (x, y) = (t.variable(1.5), t.variable(1.0));
    let tape = t.tape();
    let dy = tape.gradient(&(x * x), &y);
    assert!(dy.under(Unconnected::None).is_none());
    assert_eq!(item(dy.under(Unconnected::Zero).unwrap()), 0.0);
    assert!(t.check().is_ok());
    let error = dy.under(Unconnected::Error).unwrap().item::<f64>().unwrap_err();
    assert!(error.to_string().contains("does not depend on it"), "{error}");
    assert!(t.check().is_err());
}

#[test]
fn integer_sources_are_refused() {
    let t = Trace::eager();
    let n = t.variable(3);
    let tape = t.tape();
    let y = n.cast(DType::F64) * 2.0;
    let dn = tape.gradient(&y, &n);
    assert!(dn.or_zeros().array().is_err());
    assert!(t.check().unwrap_err().to_string().contains("only floats have gradients"));
}

#[test]
fn jacobians_have_the_targets_axes_first() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(arr1(&[1.0, 2.0, 3.0]));
    let w = t.variable(arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]));
    let tape = t.tape().persistent();
    let y = w.matmul(x).sin();
    let (jx, jw) = tape.jacobian(&y, &(x, w));
    let c: Vec<f64> = [14.0f64, 32.0].iter().map(|z| z.cos()).collect();
    let expect: Vec<f64> = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
        .iter()
        .zip(&c)
        .flat_map(|(r, c)| r.map(|w| w * c))
        .collect();
    for (got, want) in all(jx.expect_connected()).iter().zip(&expect) {
        assert!((got - want).abs() < 1e-14);
    }
    assert_eq!(jw.expect_connected().shape().dims(), [2, 2, 3]);
    t.check()
}

#[test]
fn jacobians_go_forward_for_few_sources() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(2.0);
    let tape = t.tape();
    let y = x.pow(t.constant(arr1(&[1.0, 2.0, 3.0])));
    assert_eq!(all(tape.jacobian(&y, &x).expect_connected()), [1.0, 4.0, 12.0]);
    t.check()
}

#[test]
fn batch_jacobians_are_the_diagonal_blocks() -> Outcome {
    let t = Trace::eager();
    let x = t.variable(arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]));
    let tape = t.tape().persistent();
    let y = x * x.sum_keep(1);
    let blocks = tape.batch_jacobian(&y, &x).expect_connected();
    assert_eq!(blocks.shape().dims(), [3, 2, 2]);
    let whole = tape.jacobian(&y, &x).expect_connected();
    for i in 0..3 {
        assert_eq!(all(blocks.index(0, i)), all(whole.index(0, i).index(1, i)));
    }
    t.check()
}

#[test]
fn a_tape_works_inside_a_compiled_program() -> Outcome {
    let traced = trace(Spec::f64([2]), (), |t, x, ()| {
        let tape = t.tape();
        tape.watch(&x);
        let y = (x * x * x).sum();
        tape.gradient(&y, &x).expect_connected().sum()
    })?;
    let x = arr1(&[1.0, 2.0]);
    assert_eq!(traced.eval(&x, &())?.item::<f64>(), Some(15.0));
    assert_eq!(traced.grad()?.eval(&x, &())?.to_f64_vec(), [6.0, 12.0]);
    Ok(())
}

#[test]
fn a_tape_works_inside_a_loop_body() -> Outcome {
    // Gradient descent on (x - 3)², in the program.
    let traced = trace(Spec::f64([]), (), |t, x, ()| {
        t.for_loop(50, x, |_, x| {
            let tape = t.tape();
            tape.watch(&x);
            let loss = (x - 3.0).square();
            x - 0.25 * tape.gradient(&loss, &x).expect_connected()
        })
    })?;
    let found = traced.eval(&10.0, &())?.item::<f64>().unwrap();
    assert!((found - 3.0).abs() < 1e-12);
    // Each step halves the distance.
    let slope = traced.grad()?.eval(&10.0, &())?.item::<f64>().unwrap();
    assert!((slope - 0.5f64.powi(50)).abs() < 1e-18);
    Ok(())
}

#[test]
fn host_loops_and_branches_are_recorded_as_they_run() -> Outcome {
    let t = Trace::eager();
    let a = t.variable(-0.3);
    let tape = t.tape();
    let mut b = a * 2.0;
    while b.norm().lt(1000.0).is_true()? {
        b = b * 2.0;
    }
    let d = if b.sum().gt(0.0).is_true()? { b } else { 100.0 * b };
    let slope = tape.gradient(&d, &a).expect_connected();
    assert_eq!(item(slope), item(d) / -0.3);
    t.check()
}

#[test]
fn traced_loops_and_branches_give_the_same_as_host_ones() -> Outcome {
    let traced = trace(Spec::f64([]), (), |t, a, ()| {
        let b = t.while_loop(a * 2.0, |b| b.norm().lt(1000.0), |b| b * 2.0);
        t.cond(b.gt(0.0), || b, || 100.0 * b)
    })?;
    for a in [-0.3, 0.7, 12.0, -900.0] {
        let (value, slope) = traced.value_and_grad()?.eval(&a, &())?;
        assert_eq!(slope.item::<f64>().unwrap(), value.item::<f64>().unwrap() / a);
    }
    Ok(())
}

#[test]
fn a_dense_layer_learns() -> Outcome {
    let t = Trace::eager();
    let layer = Dense::init(t.key(3), DType::F64, 2, 1, Activation::Tanh).variables()?;
    let x = t.constant(arr2(&[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]));
    let y = t.constant(arr2(&[[0.5], [-0.5], [0.0]]));
    let mut last = f64::INFINITY;
    for _ in 0..60 {
        let tape = t.tape();
        let loss = layer.call(x).squared_error(y).mean();
        let d = tape.gradient(&loss, &layer).expect_connected();
        layer.kernel.assign(layer.kernel - 0.5 * d.kernel);
        layer.bias.assign(layer.bias - 0.5 * d.bias);
        assert!(item(loss) < last);
        last = item(loss);
    }
    assert!(last < 1e-3);
    let names: Vec<String> = layer.parameters().into_iter().map(|p| p.0).collect();
    assert_eq!(names, ["kernel", "bias"]);
    t.check()
}

#[test]
fn gradients_of_a_model_are_arrays_of_the_same_structure() -> Outcome {
    fn loss<'t>(
        _: &'t Trace,
        m: Linear<Tensor<'t>>,
        (x, y): (Tensor<'t>, Tensor<'t>),
    ) -> Tensor<'t> {
        (x.matmul(m.w) + m.b).squared_error(y).mean()
    }
    let specs = Linear { w: Spec::f32([2, 1]), b: Spec::f32([1]) };
    let traced = trace(specs, (Spec::f32([4, 2]), Spec::f32([4, 1])), loss)?;
    let model = Linear { w: arr2(&[[1.0f32], [2.0]]).into_dyn(), b: arr1(&[0.0f32]).into_dyn() };
    let (x, y) = (ndarray::Array2::<f32>::ones((4, 2)), ndarray::Array2::<f32>::zeros((4, 1)));
    let (value, d): (Array, Linear<Array>) = traced.value_and_grad()?.eval(&model, &(&x, &y))?;
    assert_eq!(value.item::<f32>(), Some(9.0));
    assert_eq!((d.w.to_f64_vec(), d.b.to_f64_vec()), (vec![6.0, 6.0], vec![6.0]));
    Ok(())
}

#[test]
fn a_watched_constant_is_not_the_programs_own() -> Outcome {
    let t = Trace::eager();
    let x = t.constant(arr1(&[-1.0, 1.0, -2.0]));
    // The zeros of `relu` are not `b`.
    let b = t.zeros(DType::F64, [3]);
    let tape = t.tape();
    tape.watch(&b);
    let g = tape.gradient(&(x + b).relu().sum(), &b).expect_connected();
    assert_eq!(all(g), [0.0, 1.0, 0.0]);

    let c = t.scalar(3.0);
    let tape = t.tape();
    tape.watch(&c);
    assert_eq!(item(tape.gradient(&(c * 3.0), &c).expect_connected()), 3.0);
    Ok(())
}

#[test]
fn a_watched_constant_is_seen_inside_bodies() -> Outcome {
    let t = Trace::eager();
    let c = t.scalar(2.0);
    let tape = t.tape();
    tape.watch(&c);
    let y = t.for_loop(3, t.constant(1.0), |_, y| y * c);
    assert_eq!(item(tape.gradient(&y, &c).expect_connected()), 12.0);
    Ok(())
}

#[test]
fn a_square_under_a_root_is_a_source() -> Outcome {
    let t = Trace::eager();
    let x = t.constant(3.0);
    let tape = t.tape();
    tape.watch(&x);
    let y = x * x;
    let g = tape.gradient(&y.sqrt(), &y).expect_connected();
    assert!((item(g) - 1.0 / 6.0).abs() < 1e-15);
    Ok(())
}

#[test]
fn a_tape_watches_tensors_of_its_own_trace() {
    let (a, b) = (Trace::eager(), Trace::eager());
    let x = b.constant(1.0);
    a.tape().watch(&x);
    assert_eq!(a.check().unwrap_err().first().problem, Problem::Scope);
}

#[test]
fn a_gradient_of_what_was_computed_outside_of_a_body_is_refused() {
    let e = trace(Spec::f64([]), (), |t, x, ()| {
        let tape = t.tape().persistent();
        tape.watch(&x);
        let y = x * x;
        t.for_loop(1, x, |_, c| c + tape.gradient(&y, &x).or_zeros())
    });
    let e = e.expect_err("zero would be wrong");
    assert!(e.to_string().contains("outside"), "{e}");
}
