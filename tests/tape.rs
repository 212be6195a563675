//! What a gradient tape does, claim by claim, in eager mode and compiled. `trace/tests/tape.rs`
//! has what only one of the modes can do.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use backstitch::prelude::*;
use backstitch::{Array, DType, Gradients, Options, Status, TraceError, Unconnected};
use ndarray::{arr0, arr1, arr2};

type Program = for<'t> fn(&'t Trace, &[Tensor<'t>]) -> Vec<Tensor<'t>>;

fn eager(inputs: &[Array], program: Program) -> Result<Vec<Array>, TraceError> {
    let t = Trace::eager();
    let xs: Vec<Tensor<'_>> = inputs.iter().map(|x| t.constant(x.clone())).collect();
    let outs = program(&t, &xs);
    t.check()?;
    outs.into_iter().map(|x| x.array()).collect()
}

fn traced(
    inputs: &[Array],
    program: Program,
) -> Result<Traced<Vec<Spec>, (), Vec<Spec>>, TraceError> {
    let specs: Vec<Spec> = inputs.iter().map(|x| Spec::new(x.dtype(), x.dims())).collect();
    trace_tree(specs, (), |t, xs: Vec<Tensor<'_>>, ()| t.outputs(&program(t, &xs)))
}

/// The numbers that a program gives in either mode, with and without optimisation.
fn both(inputs: &[Array], want: &[&[f64]], program: Program) {
    let close = |found: &[Array], mode: &str| {
        assert_eq!(found.len(), want.len(), "{mode}");
        for (found, want) in found.iter().zip(want) {
            let found = found.to_f64_vec();
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
            let same = found.len() == want.len() && found.iter().zip(*want).all(near);
            assert!(same, "{mode}: {found:?}, not {want:?}");
        }
    };
    close(&eager(inputs, program).expect("it runs"), "eager");
    let traced = traced(inputs, program).expect("it is traced");
    let params: Vec<Array> = inputs.to_vec();
    for optimise in [true, false] {
        let compiled =
            traced.compile_with(&Options::default().optimise(optimise)).expect("it compiles");
        close(&compiled.call(&params, &()).expect("it runs"), "compiled");
    }
}

/// The mistake that a program is in either mode: `words` are in its message.
fn refused(inputs: &[Array], words: &[&str], program: Program) {
    let told = |e: TraceError, mode: &str| {
        let first = e.first();
        assert!(first.place.file().ends_with("tests/tape.rs"), "{mode}: {e}");
        for word in words {
            assert!(e.to_string().contains(word), "{mode}: no `{word}` in {e}");
        }
        e.to_string()
    };
    let one = told(eager(inputs, program).expect_err("a mistake"), "eager");
    let other = told(traced(inputs, program).expect_err("a mistake"), "traced");
    assert_eq!(one.lines().next(), other.lines().next());
}

fn number(x: f64) -> Array {
    arr0(x).into_dyn().into()
}

fn numbers<const N: usize>(x: [f64; N]) -> Array {
    arr1(&x).into_dyn().into()
}

#[test]
fn a_target_that_is_a_source() {
    both(&[number(2.0)], &[&[1.0], &[5.0], &[1.0, 4.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let y = x[0] * x[0];
        let itself = tape.gradient(&x[0], &x[0]).expect_connected();
        let sum = tape.gradient(&[x[0], y], &x[0]).expect_connected();
        // The derivative by `y` of what is `y` is 1, by `x` it is 2·x.
        let [dy, dx] = tape.gradient(&y, &[y, x[0]]).expect_connected();
        vec![itself, sum, t.stack([dy, dx], 0)]
    });
}

#[test]
fn a_source_twice() {
    both(&[number(3.0)], &[&[6.0], &[6.0]], |t, x| {
        let tape = t.tape();
        tape.watch(&[x[0], x[0]]);
        let y = x[0] * x[0];
        tape.gradient(&y, &vec![x[0], x[0]]).expect_connected()
    });
}

#[test]
fn two_sources_of_the_same_value() {
    both(&[number(3.0), number(3.0)], &[&[1.0], &[10.0], &[1.0], &[10.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&[x[0], x[1]]);
        let (a, b) = (t.constant(3.0), t.constant(3.0));
        tape.watch(&(a, b));
        let y = x[0] + 10.0 * x[1];
        let z = a + 10.0 * b;
        let inputs = tape.gradient(&y, &[x[0], x[1]]).expect_connected();
        let constants = tape.gradient(&z, &[a, b]).expect_connected();
        [inputs, constants].concat()
    });
}

#[derive(Tree, Clone, Debug)]
struct Layer<T> {
    w: T,
    b: T,
}

#[test]
fn nested_structures_come_back_as_they_are() {
    both(&[number(2.0), number(5.0)], &[&[5.0], &[2.0], &[1.0], &[5.0], &[0.0]], |t, x| {
        let unused = t.variable(7.0);
        let tape = t.tape();
        tape.watch(&[x[0], x[1]]);
        let layer = Layer { w: x[0], b: x[1] };
        let sources =
            (layer, BTreeMap::from([("both", vec![x[1]]), ("first", vec![x[0], unused])]));
        // The sum of all targets, in a structure too.
        let targets =
            BTreeMap::from([("a", (x[0] * x[1], None)), ("b", (x[1], Some(x[1] - x[1])))]);
        let (layer, map) = tape.gradient(&targets, &sources);
        assert_eq!(map["first"].len(), 2);
        let Layer { w, b } = layer.or_zeros();
        let rest =
            [map["both"][0].or_zeros() - b, map["first"][0].or_zeros(), map["first"][1].or_zeros()];
        vec![w, b - 1.0, rest[0] + 1.0, rest[1], rest[2]]
    });
}

#[test]
fn output_gradients_weight_targets_of_any_structure() {
    both(&[numbers([1.0, 2.0])], &[&[20.0, 400.0], &[23.0, 403.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let (y, z) = (x[0] * x[0], x[0].sum());
        let seed = t.constant(arr1(&[10.0, 100.0]));
        let one = tape.gradient_with(&y, &seed, &x[0]).expect_connected();
        let two = tape.gradient_with(&(y, z), &(seed, t.scalar(3.0)), &x[0]).expect_connected();
        vec![one, two]
    });
    refused(&[numbers([1.0, 2.0])], &["f64[2]", "f64[]", "output gradients"], |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        vec![tape.gradient_with(&(x[0] * x[0]), &t.scalar(1.0), &x[0]).or_zeros()]
    });
    refused(&[number(1.0)], &["output gradients"], |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        vec![tape.gradient_with(&[x[0], -x[0]], &[t.scalar(1.0)], &x[0]).or_zeros()]
    });
}

#[test]
fn several_targets_and_their_elements_are_summed() {
    both(&[number(2.0)], &[&[3.75], &[7.0], &[0.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let targets = BTreeMap::from([("square", x[0].square()), ("inverse", 1.0 / x[0])]);
        let wide = x[0] * t.constant(arr1(&[3.0, 4.0]));
        let none: [Tensor<'_>; 0] = [];
        let all = tape.gradient(&targets, &x[0]).expect_connected();
        let elements = tape.gradient(&wide, &x[0]).expect_connected();
        let nothing = tape.gradient(&none, &x[0]);
        assert!(nothing.value().is_none());
        vec![all, elements, nothing.or_zeros()]
    });
}

#[test]
fn a_missing_gradient_is_none_zeros_or_a_mistake_with_its_reason() {
    both(&[numbers([1.0, 2.0]), numbers([3.0, 4.0])], &[&[0.0, 0.0]], |t, x| {
        let tape = t.tape();
        tape.watch(&[x[0], x[1]]);
        let dy = tape.gradient(&x[0].square(), &x[1]);
        assert!(dy.under(Unconnected::None).is_none());
        assert_eq!(dy.status().to_string(), "unconnected: the target does not depend on it");
        vec![dy.under(Unconnected::Zero).expect("zeros")]
    });
    let unused = ["there is no gradient", "the target does not depend on it", "f64[2]"];
    refused(&[numbers([1.0, 2.0]), numbers([3.0, 4.0])], &unused, |t, x| {
        let tape = t.tape();
        tape.watch(&[x[0], x[1]]);
        let dy = tape.gradient(&x[0].square(), &x[1]);
        vec![dy.under(Unconnected::Error).expect("a mistake")]
    });
    refused(&[number(1.0)], &["the tape does not watch it"], |t, x| {
        let tape = t.tape();
        vec![tape.gradient(&x[0].square(), &x[0]).expect_connected()]
    });
}

#[test]
fn what_only_stop_gradient_connects_is_unconnected() {
    both(&[number(3.0)], &[&[0.0], &[6.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let y = x[0].stop_gradient() * 2.0;
        let dx = tape.gradient(&y, &x[0]);
        assert!(dx.value().is_none());
        let text = dx.status().to_string();
        assert!(text.contains("every path passes stop_gradient"), "{text}");
        assert!(text.contains("tests/tape.rs"), "{text}");
        let around = tape.gradient(&(x[0] * y), &x[0]).expect_connected();
        vec![dx.or_zeros(), around]
    });
}

#[test]
fn flat_functions_give_zeros_with_a_reason() {
    both(&[number(1.5)], &[&[0.0]], |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        let dx = tape.gradient(&x[0].floor(), &x[0]);
        assert!(matches!(dx.status(), Status::Flat(_)));
        assert!(dx.status().to_string().contains("`floor` at tests/tape.rs"), "{:?}", dx.status());
        vec![dx.value().expect("zeros")]
    });
    refused(&[number(1.5)], &["constant almost everywhere"], |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        vec![tape.gradient(&x[0].floor(), &x[0]).expect_connected()]
    });
}

#[test]
fn a_reset_tape_has_to_be_told_again_what_to_watch() {
    both(&[number(3.0)], &[&[27.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let y = x[0] * x[0] * x[0];
        tape.reset();
        let gone = tape.gradient(&y, &x[0]);
        assert_eq!(gone.status().to_string(), "unconnected: the tape does not watch it");
        tape.watch(&x[0]);
        vec![tape.gradient(&y, &x[0]).expect_connected()]
    });
}

#[test]
fn what_is_computed_while_recording_is_stopped_is_constant() {
    both(&[number(3.0)], &[&[9.0], &[6.0], &[12.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let (a, b) = tape.stop_recording(|| (x[0] * x[0], x[0].sin()));
        let first = tape.gradient(&(a * x[0] + b), &x[0]).expect_connected();
        // The same expression outside is not affected.
        let second = tape.gradient(&(x[0] * x[0]), &x[0]).expect_connected();
        // A gradient asked for while recording is stopped is one, and is constant.
        let slope = tape.stop_recording(|| tape.gradient(&x[0].square(), &x[0]).expect_connected());
        let third = tape.gradient(&(slope * x[0] * 2.0), &x[0]).expect_connected();
        vec![first, second, third]
    });
    both(&[number(3.0)], &[&[1.0]], |t, x| {
        let (v, w) = (t.variable(2.0), t.variable(5.0));
        let tape = t.tape();
        let y = tape.stop_recording(|| v * x[0]) + w;
        assert_eq!(tape.watched_variables().len(), 1);
        vec![tape.gradient(&y, &w).expect_connected()]
    });
}

#[test]
fn watched_variables_are_in_the_order_of_their_first_use() {
    both(&[number(1.0)], &[&[30.0, 10.0, 20.0]], |t, x| {
        let (a, b, c, d) = (t.variable(10.0), t.variable(20.0), t.variable(30.0), t.variable(0.0));
        let tape = t.tape().persistent();
        let y = c * a + x[0];
        let _ = a * b * c + y;
        let watched = tape.watched_variables();
        let dd = tape.gradient(&y, &d);
        assert_eq!(dd.status().to_string(), "unconnected: the target does not depend on it");
        tape.reset();
        assert!(tape.watched_variables().is_empty());
        vec![t.stack(watched, 0)]
    });
}

#[test]
fn watching_variables_can_be_switched_off() {
    both(&[number(1.0)], &[&[4.0], &[0.0]], |t, x| {
        let (w, b) = (t.variable(2.0), t.variable(1.0));
        let tape = t.tape().watch_accessed_variables(false);
        tape.watch(&w);
        let y = w * w + b * x[0];
        assert_eq!(tape.watched_variables().len(), 1);
        let (dw, db) = tape.gradient(&y, &(w, b));
        assert_eq!(db.status().to_string(), "unconnected: the tape does not watch it");
        vec![dw.expect_connected(), db.or_zeros()]
    });
}

#[test]
fn nested_tapes_give_higher_orders() {
    both(&[number(2.0)], &[&[32.0], &[48.0], &[48.0]], |t, x| {
        let (a, b, c) = (t.tape(), t.tape(), t.tape());
        [&a, &b, &c].into_iter().for_each(|tape| tape.watch(&x[0]));
        let y = x[0].pow(4.0);
        let d1 = c.gradient(&y, &x[0]).expect_connected();
        let d2 = b.gradient(&d1, &x[0]).expect_connected();
        let d3 = a.gradient(&d2, &x[0]).expect_connected();
        vec![d1, d2, d3]
    });
}

#[test]
fn a_persistent_tape_is_asked_twice_inside_of_another() {
    // y = x³·w: y_x = 3x²·w, y_w = x³; of 2·y_x + y_w the derivatives by both.
    both(&[number(2.0), number(5.0)], &[&[60.0], &[8.0], &[132.0], &[24.0]], |t, x| {
        let (x, w) = (x[0], x[1]);
        let outer = t.tape();
        outer.watch(&(x, w));
        let inner = t.tape().persistent();
        inner.watch(&(x, w));
        let y = x.pow(3.0) * w;
        let dx = inner.gradient(&y, &x).expect_connected();
        let dw = inner.gradient(&y, &w).expect_connected();
        let (dxx, dxw) = outer.gradient(&(2.0 * dx + dw), &(x, w)).expect_connected();
        vec![dx, dw, dxx, dxw]
    });
}

#[test]
fn a_persistent_tape_gives_second_derivatives_of_itself() {
    both(&[number(3.0)], &[&[108.0], &[108.0], &[72.0], &[18.0]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let y = x[0] * x[0];
        let z = y * y;
        let dz = tape.gradient(&z, &x[0]).expect_connected();
        let d2z = tape.gradient(&dz, &x[0]).expect_connected();
        let d3z = tape.gradient(&d2z, &x[0]).expect_connected();
        let by_y = tape.gradient(&z, &y).expect_connected();
        vec![dz, d2z, d3z, by_y]
    });
}

#[test]
fn jacobians_have_the_axes_of_targets_before_those_of_sources() {
    let w = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let of_w: Vec<f64> = [1.0, 0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5, -1.0].to_vec();
    let rows: Vec<f64> = w.iter().copied().collect();
    let inputs = [w.into_dyn().into(), numbers([1.0, 0.5, -1.0])];
    both(&inputs, &[&rows, &of_w, &[2.0, 1.0, -2.0], &[0.0; 6]], |t, x| {
        let (w, x) = (x[0], x[1]);
        let tape = t.tape().persistent();
        tape.watch(&(w, x));
        let y = w.matmul(x);
        let (jw, jx) = tape.jacobian(&y, &(w, x));
        let [jw, jx] = [jw.expect_connected(), jx.expect_connected()];
        assert_eq!((jw.shape().dims(), jx.shape().dims()), (&[2, 2, 3][..], &[2, 3][..]));
        let scalar = tape.jacobian(&(x * x).sum(), &x).expect_connected();
        assert_eq!(scalar.shape().dims(), [3]);
        // What is not there has the shape of what would be.
        let none = tape.jacobian(&y, &t.variable(arr1(&[1.0, 2.0, 3.0])));
        assert!(none.value().is_none());
        let flat = tape.jacobian(&y.floor(), &x).value().expect("zeros");
        assert_eq!(flat.shape().dims(), [2, 3]);
        vec![jx, jw, scalar, flat]
    });
    both(&[numbers([])], &[&[], &[]], |t, x| {
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let j = tape.jacobian(&(x[0] * 2.0), &x[0]).expect_connected();
        assert_eq!(j.shape().dims(), [0, 0]);
        vec![j, tape.gradient(&x[0].sum(), &x[0]).expect_connected()]
    });
}

#[test]
fn batch_jacobians_are_those_of_each_example() {
    let x = arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    // y_i = x_i·Σx: ∂y_i/∂x_j = x_i + δ_ij·Σx.
    let want = [4.0, 1.0, 2.0, 5.0, 10.0, 3.0, 4.0, 11.0, 16.0, 5.0, 6.0, 17.0];
    both(&[x.into_dyn().into()], &[&want], |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        let y = x[0] * x[0].sum_keep(1);
        let blocks = tape.batch_jacobian(&y, &x[0]).expect_connected();
        assert_eq!(blocks.shape().dims(), [3, 2, 2]);
        vec![blocks]
    });
}

#[test]
fn batch_jacobians_want_as_many_examples_of_targets_as_of_sources() {
    let words = ["batch_jacobian", "a first axis of the same extent", "f64[3]", "target f64["];
    refused(&[numbers([1.0, 2.0, 3.0])], &words, |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        vec![tape.batch_jacobian(&x[0].sum(), &x[0]).or_zeros()]
    });
    refused(&[numbers([1.0, 2.0, 3.0])], &words, |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        vec![tape.batch_jacobian(&x[0].slice(0, 0..2, 1), &x[0]).or_zeros()]
    });
    refused(&[number(1.0)], &["batch_jacobian", "f64[]"], |t, x| {
        let tape = t.tape();
        tape.watch(&x[0]);
        vec![tape.batch_jacobian(&(x[0] * t.ones(DType::F64, [2])), &x[0]).or_zeros()]
    });
}

#[test]
fn integers_are_not_watched() {
    refused(&[number(1.0)], &["watch", "only floats have gradients; this is i32[2]"], |t, x| {
        let n = t.constant(arr1(&[1, 2]));
        t.tape().watch(&n);
        vec![x[0]]
    });
    refused(&[number(1.0)], &["watch", "only floats have gradients; this is bool[]"], |t, x| {
        t.tape().watch(&x[0].gt(0.0));
        vec![x[0]]
    });
}

#[test]
fn integers_beside_floats_have_no_gradient() {
    both(&[number(1.5)], &[&[3.0], &[0.0]], |t, x| {
        let n = t.constant(3);
        let tape = t.tape().persistent();
        tape.watch(&x[0]);
        let y = x[0] * n.cast(DType::F64);
        let dx = tape.gradient(&y, &x[0]).expect_connected();
        // By way of an integer there is none.
        let by_number = tape.gradient(&(x[0].cast(DType::I64).cast(DType::F64) * 2.0), &x[0]);
        let text = by_number.status().to_string();
        assert!(text.contains("a truth value, an index or an integer"), "{text}");
        vec![dx, by_number.or_zeros()]
    });
    let words = ["only floats have gradients; this is i32[]"];
    refused(&[number(1.5)], &words, |t, x| {
        let n = t.variable(3);
        let tape = t.tape();
        tape.watch(&x[0]);
        let y = x[0] * n.cast(DType::F64);
        let (dx, dn) = tape.gradient(&y, &(x[0], n));
        vec![dx.expect_connected(), dn.or_zeros()]
    });
}

#[test]
fn a_variable_that_is_assigned_to_is_one_source() -> Result<(), TraceError> {
    let t = Trace::eager();
    let x = t.variable(3.0);
    let tape = t.tape().persistent();
    let y = x * x;
    x.assign(t.scalar(4.0));
    let z = x * x;
    let item = |x: Tensor<'_>| x.item::<f64>();
    assert_eq!(item(tape.gradient(&y, &x).expect_connected())?, 6.0);
    assert_eq!(item(tape.gradient(&z, &x).expect_connected())?, 8.0);
    assert_eq!(item(tape.gradient(&(y + z), &x).expect_connected())?, 14.0);
    // Not through the assignment.
    x.assign(x * 2.0);
    assert_eq!(item(tape.gradient(&(x * y), &x).expect_connected())?, 9.0 + 8.0 * 6.0);
    assert_eq!(tape.jacobian(&(y + z), &x).expect_connected().item::<f64>()?, 14.0);
    // A tape that is made afterwards knows what the variable is now.
    drop(tape);
    let tape = t.tape();
    let dy = tape.gradient(&(x * y), &x);
    assert_eq!(item(dy.expect_connected())?, 9.0);
    t.check()
}

#[test]
fn variables_of_compiled_programs_are_not_assigned_to() {
    let e = trace(Spec::f64([]), (), |t, x, ()| {
        let w = t.variable(1.0);
        w.assign(x);
        w * x
    });
    let e = e.expect_err("a mistake").to_string();
    assert!(e.contains("variables of a compiled program cannot be assigned to"), "{e}");
}
