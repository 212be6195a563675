//! Mistakes are told with the user's line, the operation, and both shapes.

use std::collections::BTreeMap;

use backstitch_trace::{
    Conv, DType, Pool, Problem, Spec, Tensor, Trace, TraceError, trace, trace_tree,
};
use ndarray::{arr1, arr2};

fn error(f: impl for<'t> FnOnce(&'t Trace, Tensor<'t>) -> Tensor<'t>) -> TraceError {
    trace(Spec::f64([2, 3]), (), |t, x, ()| f(t, x)).expect_err("this program is wrong")
}

#[test]
fn a_mistake_names_line_operation_and_shapes() {
    let line = line!() + 1;
    let e = error(|t, x| x.matmul(t.constant(arr1(&[1.0, 2.0]))));
    let m = e.first();
    assert_eq!((m.place.file(), m.place.line()), (file!(), line));
    assert_eq!((m.operation, m.problem), ("matmul", Problem::Shape));
    let text = e.to_string();
    assert!(text.contains("[2,3]") && text.contains("[2]"), "{text}");
    assert!(text.contains("input `params`"), "{text}");
    assert!(text.contains("made at"), "{text}");
}

#[test]
fn operators_have_the_users_line_too() {
    let line = line!() + 1;
    let e = error(|t, x| x + t.ones(DType::F64, [4]));
    assert_eq!(e.first().place.line(), line);
    assert!(e.to_string().contains("[2,3] and [4] do not fit together"));
}

#[test]
fn so_have_composed_operations() {
    let line = line!() + 1;
    let e = error(|_, x| x.softmax(2));
    assert_eq!((e.first().place.line(), e.first().operation), (line, "softmax"));
    let line = line!() + 1;
    let e = error(|_, x| x.gt(0).sinc());
    assert_eq!(e.first().place.line(), line);
    let line = line!() + 1;
    let e = error(|t, x| x.layer_norm(t.ones(DType::F64, [5]), t.zeros(DType::F64, [3]), 1e-5));
    assert_eq!(e.first().place.line(), line);
}

#[test]
fn what_follows_from_a_mistake_is_silent() {
    let e = error(|t, x| {
        let wrong = x.matmul(x);
        let more = (wrong + 1.0).exp().sum_over(0).reshape([7]);
        let other = x.index(0, 5);
        more.sum() + other.sum() + t.ones(DType::I64, [1])
    });
    let operations: Vec<_> = e.mistakes.iter().map(|m| m.operation).collect();
    assert_eq!(operations, ["matmul", "index"]);
}

#[test]
fn element_types_are_never_converted_by_themselves() {
    let e = error(|t, x| x * t.ones(DType::F32, [3]));
    assert_eq!(e.first().problem, Problem::DType);
    assert!(e.to_string().contains("f64 and f32 differ"));
    let e = error(|t, x| x + t.ones(DType::I32, [3]) * 0.5);
    assert!(e.to_string().contains("0.5 is no i32"));
    let e = error(|t, x| x + t.ones(DType::I32, []).mean().cast(DType::F64));
    assert!(e.to_string().contains("mean: expected floats"));
    let e = error(|_, x| x.and(x).select(x, x));
    assert_eq!(e.mistakes.len(), 1);
}

#[test]
fn values_are_not_known_while_tracing() {
    let e = error(|_, x| if x.sum().gt(0.0).is_true().unwrap_or(false) { x } else { -x });
    assert_eq!(e.first().problem, Problem::Read);
    let text = e.to_string();
    assert!(text.contains("while_loop") && text.contains("cond"), "{text}");
}

#[test]
fn a_carry_keeps_its_type() {
    let line = line!() + 1;
    let e = error(|t, x| t.while_loop((x, x.sum()), |c| c.1.lt(5.0), |c| (c.0.sum_over(0), c.1)).1);
    assert_eq!((e.first().place.line(), e.first().problem), (line, Problem::Control));
    let text = e.to_string();
    assert!(text.contains("`0` starts as f64[2,3] but the body gives f64[3]"), "{text}");
}

#[test]
fn branches_give_the_same_types() {
    let e = error(|t, x| t.cond(x.sum().gt(0.0), || x, || x.sum()));
    assert!(e.to_string().contains("(f64[2,3]) and (f64[])"));
    let e = error(|t, x| t.cond(x.gt(0.0), || x, || -x));
    assert!(e.to_string().contains("one truth value"));
}

#[test]
fn a_scan_gives_as_many_carries_as_it_takes() {
    let t = Trace::eager();
    let (x, zero) = (t.constant(arr1(&[1.0, 2.0, 3.0])), t.constant(0.0));
    let one = || vec![zero];
    let (carry, rows) = t.scan(one(), x, |c, r| (vec![c[0] + r, r], r));
    assert!(carry[0].array().is_err() && rows.array().is_err());
    let (carry, rows) = t.scan(vec![zero, zero], x, |c, r| (vec![c[0] + r], r));
    assert!(carry[0].array().is_err() && rows.array().is_err());
    let (carry, rows) = t.scan_back(one(), x, |_, _| (vec![], ()));
    assert!(carry[0].array().is_err());
    assert_eq!(rows, ());
    let e = t.check().unwrap_err();
    let counts =
        ["1 carries go in, (`0`), and 2 come out, (`0`, `1`)", "2 carries go in", "0 come"];
    assert_eq!(e.mistakes.len(), counts.len(), "{e}");
    let operations = ["scan", "scan", "scan_back"];
    for ((m, counts), operation) in e.mistakes.iter().zip(counts).zip(operations) {
        assert_eq!((m.operation, m.problem), (operation, Problem::Control));
        assert!(m.message.contains(counts), "{m}");
    }
}

#[test]
fn a_scan_over_what_has_no_rows_gives_nothing() {
    let t = Trace::eager();
    let (x, zero) = (t.constant(arr1(&[1.0, 2.0, 3.0])), t.constant(0.0));
    let short = t.constant(arr1(&[1.0, 2.0]));
    let wrong = [(zero, zero), (x, short), (x, zero), (t.zeros(DType::F64, [0]), x)];
    for (i, rows) in wrong.into_iter().enumerate() {
        // What the body gives does not matter, even if it uses no row.
        let (sum, ones) = t.scan(zero, rows, |c, _| (c + 1.0, t.scalar(1.0)));
        assert!(sum.array().is_err() && ones.array().is_err(), "case {i}");
        let (sum, _) = t.scan_back(zero, rows, |c, (a, b)| (c + a * b.index(0, 0), a));
        assert!(sum.array().is_err(), "case {i}");
    }
    let e = t.check().unwrap_err();
    let rows: Vec<_> = e.mistakes.iter().filter(|m| m.message.contains("number of rows")).collect();
    assert_eq!(rows.len(), 2 * wrong.len(), "{e}");
    assert!(rows.iter().all(|m| m.problem == Problem::Control && m.place.file() == file!()));
    let (sum, _) = t.scan(zero, (x, x), |c, (a, b)| (c + a * b, ()));
    assert_eq!(sum.item::<f64>().unwrap(), 14.0);
}

#[test]
fn carries_and_branches_agree_by_key() {
    let t = Trace::eager();
    let map =
        |names: [&'static str; 2], x: f64| BTreeMap::from(names.map(|name| (name, t.constant(x))));
    let (here, there) = (["a", "b"], ["b", "c"]);
    let start = || map(here, 0.0);
    let rows = t.constant(arr1(&[1.0, 2.0]));
    let yes = t.scalar(1.0).gt(0.0);
    let found = [
        t.cond(yes, start, || map(there, 1.0)),
        t.while_loop(start(), |c| c["a"].lt(1.0), |_| map(there, 1.0)),
        t.for_loop(2, start(), |_, _| map(there, 1.0)),
        t.scan(start(), rows, |_, r| (map(there, 1.0), r)).0,
    ];
    for (i, map) in found.iter().enumerate() {
        assert!(map.values().all(|x| x.array().is_err()), "case {i}");
    }
    let e = t.check().unwrap_err();
    let operations: Vec<_> = e.mistakes.iter().map(|m| m.operation).collect();
    assert_eq!(operations, ["cond", "while_loop", "for_loop", "scan"], "{e}");
    for m in &e.mistakes[..] {
        assert_eq!((m.problem, m.place.file()), (Problem::Control, file!()));
        assert!(m.message.contains("(`a`, `b`)") && m.message.contains("(`b`, `c`)"), "{m}");
    }
    let e = error(|t, x| t.cond(x.sum().gt(0.0), || (x,), || x).0);
    assert!(e.to_string().contains("the branches give (`0`) and a single tensor"), "{e}");
}

#[test]
fn tensors_do_not_leave_their_body() {
    let e = error(|t, x| {
        let mut kept = x;
        let y = t.cond(
            x.sum().gt(0.0),
            || {
                kept = x * 2.0;
                kept
            },
            || x,
        );
        y + kept
    });
    assert_eq!(e.first().problem, Problem::Scope);
    assert_eq!(e.mistakes.len(), 1);
}

#[test]
fn a_mistake_in_a_body_is_told_once() {
    let e = error(|t, x| t.for_loop(3, x, |_, x| x.matmul(x)));
    assert_eq!(e.mistakes.len(), 1);
    assert_eq!(e.first().operation, "matmul");
}

#[test]
fn two_traces_do_not_mix() {
    let (a, b) = (Trace::eager(), Trace::eager());
    let x = a.constant(1.0) + b.constant(arr1(&[1.0, 2.0]));
    let e = x.array().unwrap_err();
    assert_eq!(e.first().problem, Problem::Scope);
}

#[test]
fn outputs_are_made_by_the_trace_of_the_program() {
    let other = Trace::eager();
    let (x, y) = (other.constant(1.0), other.constant(2.0));
    let line = line!() + 1;
    let e = trace_tree(Spec::f64([]), (), |_, _, ()| other.outputs(&(x, x + y))).unwrap_err();
    assert_eq!((e.first().problem, e.first().place.line()), (Problem::Scope, line));
    let e = trace_tree(Spec::f64([]), (), |_, x, ()| other.outputs(&x)).unwrap_err();
    assert_eq!(e.first().problem, Problem::Scope);

    // Nor by one that was there before, at the same place in memory.
    let mut kept = None;
    let [first, second] = [(); 2].map(|()| {
        let old = kept.take();
        trace_tree(Spec::f64([]), (), |t, x, ()| {
            kept = Some(t.outputs(&(x + 1.0)));
            old.unwrap_or_else(|| t.outputs(&(x * x)))
        })
    });
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().first().problem, Problem::Scope);
}

#[test]
fn outputs_are_not_handed_over_from_a_body() {
    let line = line!() + 4;
    let e = trace_tree(Spec::f64([]), (), |t, x, ()| {
        let mut kept = None;
        let then = || {
            kept = Some(t.outputs(&(x + 1.0)));
            x
        };
        t.cond(x.gt(0.0), then, || x);
        kept.unwrap()
    });
    let e = e.unwrap_err();
    assert_eq!((e.first().problem, e.first().place.line()), (Problem::Scope, line));
    assert_eq!(e.mistakes.len(), 1, "{e}");
}

#[test]
fn gradients_are_of_float_scalars_with_respect_to_floats() {
    let vector = trace(Spec::f64([2]), (), |_, x, ()| x * 2.0).unwrap();
    let e = vector.grad().unwrap_err();
    assert_eq!((e.first().problem, e.first().place.file()), (Problem::Gradient, file!()));
    assert!(e.to_string().contains("f64[2]"), "{e}");
    let counted = trace((Spec::f64([]), Spec::i32([])), (), |_, (x, n), ()| x * n.cast(DType::F64));
    let e = counted.unwrap().value_and_grad().unwrap_err();
    assert!(e.to_string().contains("`params.1` is i32[]"), "{e}");
}

#[test]
fn calls_take_what_the_program_takes() {
    let traced = trace(Spec::f64([2]), Spec::f64([2]), |_, x, y| (x * y).sum()).unwrap();
    let x = arr1(&[1.0, 2.0]);
    let e = traced.eval(&x, &arr2(&[[1.0, 2.0]])).unwrap_err();
    assert!(e.to_string().contains("`data` is f64[2], not f64[1,2]"), "{e}");
    assert!(traced.eval(&x, &()).unwrap_err().to_string().contains("takes 2 arrays, not 1"));
    assert!(traced.eval(&x, &arr1(&[1.0f32, 2.0])).is_err());
}

#[test]
fn eager_values_that_cannot_be_read_are_errors() {
    let t = Trace::eager();
    let x = t.constant(arr1(&[1.0, 2.0]));
    assert!(x.item::<f64>().is_err());
    assert!(x.is_true().is_err());
    assert!(x.to_array::<f32>().is_err());
    assert!(t.check().is_ok());
    let e = (x + t.constant(arr1(&[1.0, 2.0, 3.0]))).exp().sum().item::<f64>().unwrap_err();
    assert_eq!(e.first().operation, "add");
    x.assign(x);
    assert!(t.check().unwrap_err().to_string().contains("only variables"));
}

#[test]
fn odd_parameters_are_mistakes_not_panics() {
    let t = Trace::eager();
    let x = t.constant(arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]));
    let e = t.zeros(DType::F64, [0, 3]);
    let wrong = [
        x.reshape([4]),
        x.reshape([usize::MAX, usize::MAX]),
        x.permute([0, 0]),
        x.permute([0]),
        x.permute([0, 2]),
        x.swap_axes(0, 7),
        x.expand_dims(4),
        x.squeeze(0),
        x.broadcast_to([3, 2]),
        x.slice(0, .., 0),
        x.slice(3, .., 1),
        x.index(1, -4),
        x.pad([(1, 1)], 0),
        x.take(x, 0),
        e.take(t.range(0, 2, 1), 0),
        e.max_over(0),
        e.argmax(0),
        x.sum_over([0, 0]),
        x.sum_over(5),
        x.any(),
        x.one_hot(3, DType::F64),
        x.sparse_cross_entropy(t.range(0, 3, 1)),
        x.scatter_add(t.range(0, 2, 1), x.index(0, 0), 0),
        x.matmul(t.scalar(1.0)),
        x.dot(x),
        x.tensordot(x, [0], [1]),
        x.cumsum(2),
        x.diag(0).diag(0).expand_dims(0).diag(0),
        x.conv(x, &Conv::default()),
        x.expand_dims(0).conv(x.expand_dims(0), &Conv::default().stride([1, 1])),
        x.expand_dims(0).conv(x.expand_dims(0), &Conv::default().stride(0)),
        x.expand_dims(0).conv(x.expand_dims(0), &Conv::default().groups(2)),
        x.expand_dims(0).conv_transpose(x, &Conv::default()),
        x.expand_dims(0).max_pool(&Pool::new(4)),
        x.expand_dims(0).avg_pool(&Pool::new(2).padding(2)),
        e.cast(DType::Bool).cummax(1),
        x.linear_recurrence(e, 0),
        x.top_k(4).0,
        e.median(0),
        x.quantile(1.5, 0),
        x.search_sorted(x),
        t.concat([], 0),
        t.concat([x, e.index(0, 0)], 0),
        t.stack([x, x.transpose()], 0),
        t.range(0, 10, 0),
        t.range(0.0, f64::NAN, 1.0),
        t.iota(DType::Bool, [3], 0),
        t.full(DType::F64, [usize::MAX, 2], 0.0),
        t.full(DType::I32, [2], 0.5),
        t.key(0).normal(DType::I32, [2]),
        x.log().or(1),
    ];
    for (i, x) in wrong.into_iter().enumerate() {
        assert!(x.array().is_err(), "case {i} is wrong");
    }
    let before = t.check().unwrap_err().mistakes.len();
    assert_eq!(before, wrong.len(), "{}", t.check().unwrap_err());
}

#[test]
fn every_node_knows_the_users_line() {
    let traced = trace_tree(Spec::f64([4, 3]), Spec::i32([4]), |t, x, y| {
        let tape = t.tape();
        tape.watch(&x);
        let [a, b] = t.key(1).split();
        let noise = a.normal(DType::F64, [4, 3]) + b.uniform(DType::F64, [3]);
        let parts = (x + noise).split(1, [1, 2]);
        let joined = t.stack([parts[1], parts[1].roll(1, 0)], 0).repeat(2, 1).tile([2, 1, 1, 1]);
        let grid = t.grid([t.linspace(0.0, 1.0, 3), t.range(0.0, 2.0, 1.0)]);
        let shapes = grid[0].flip(()).triu(0).diag(0).sum() + joined.sum();
        let images = x
            .reshape([2, 1, 3, 2])
            .conv(t.ones(DType::F64, [2, 1, 2, 2]), &Conv::default().padding([(1, 0), (0, 1)]));
        let images = images.max_pool(&Pool::new(2).stride(1)) + images.median(0).sum();
        let norms =
            x.normalize(1, 1e-9).cosine_similarity(x, 1, 1e-9).sum() + x.std() + x.logsumexp();
        let loss = x.sparse_cross_entropy(y).mean() + x.cross_entropy(x.softmax(1)).mean();
        let (last, rows) = t.scan_back(t.scalar(0.0), x, |c, r| (c + r.sum(), r.cumsum(0).gt(c)));
        let picked = x.take_along_axis(t.zeros(DType::I32, [4, 1]), 1).sum()
            + x.hypot(1.0).gelu_tanh().sum();
        let looped = t.for_loop(3, last, |i, c| c * i.cast(DType::F64).powi(3).logaddexp(1.0));
        let total = shapes + images.sum() + norms + loss + looped + picked;
        t.outputs(&(tape.jacobian(&total, &x).expect_connected(), rows))
    });
    let traced = traced.unwrap();
    for n in traced.graph().nodes() {
        let place = traced.graph().origin(n).place.expect("every node has a place");
        assert_eq!(place.file(), file!(), "{:?} at {place}", traced.graph().op(n));
    }
}

#[test]
fn sizes_beyond_memory_are_mistakes_not_overflows() {
    let huge = usize::MAX;
    let wrong = |f: &dyn for<'t> Fn(Tensor<'t>) -> Tensor<'t>, dims: &[usize]| {
        let result = trace(Spec::f32(dims), (), |_, x, ()| f(x));
        assert!(result.is_err(), "of {dims:?}");
    };
    wrong(&|x| x.reshape([huge, 0]), &[0]);
    wrong(&|x| x.broadcast_to([0, huge, huge, 3]), &[]);
    wrong(&|x| x.repeat(huge, 0), &[3]);
    wrong(&|x| x.tile([huge, 1]), &[2, 3]);
    wrong(&|x| x.tile([huge, huge, huge]), &[0]);
    wrong(&|x| x.cast(DType::I32).one_hot(huge, DType::F32), &[0]);
}

#[test]
fn a_step_that_is_never_taken_may_have_any_size() {
    for step in [i64::MIN, i64::MAX] {
        let f = trace(Spec::f64([2, 3]), (), |_, x, ()| x.slice(0, .., step).sum()).unwrap();
        let x = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let (value, gradient) = f.value_and_grad().unwrap().eval(&x, &()).unwrap();
        let (sum, row) = if step < 0 { (15.0, 3) } else { (6.0, 0) };
        assert_eq!(value.item::<f64>(), Some(sum));
        assert_eq!(gradient.to_f64_vec()[row..row + 3], [1.0; 3]);
    }
}

#[test]
fn composed_activations_want_floats_under_their_own_names() {
    let t = Trace::eager();
    let x = t.constant(1);
    x.leaky_relu(0.5);
    x.elu(1.0);
    x.celu(1.0);
    x.selu();
    x.softplus();
    x.log_sigmoid();
    x.hard_sigmoid();
    let e = t.check().unwrap_err();
    let told: Vec<&str> = e.mistakes.iter().map(|m| m.operation).collect();
    let names = ["leaky_relu", "elu", "celu", "selu", "softplus", "log_sigmoid", "hard_sigmoid"];
    assert_eq!(told, names, "{e}");
}

#[test]
fn an_input_beyond_memory_is_a_mistake() {
    let e = trace(Spec::f64([1 << 31, 1 << 31]), (), |_, x, ()| x.sum()).unwrap_err();
    assert_eq!((e.first().operation, e.mistakes.len()), ("input", 1));
    assert!(e.to_string().contains("`params` as f64[2147483648,2147483648]"), "{e}");
}

#[test]
fn eager_results_beyond_memory_are_mistakes() {
    let t = Trace::eager();
    let wrong = [
        t.eye(DType::F32, 1 << 30, 1 << 30),
        t.linspace(0, 1, 1 << 50),
        t.zeros(DType::Bool, [1 << 62]),
        t.constant(1).one_hot(1 << 60, DType::F64),
    ];
    assert!(wrong.iter().all(|x| x.array().is_err()));
    let e = t.check().unwrap_err();
    assert!(e.mistakes.len() >= wrong.len(), "{e}");
    assert!(e.mistakes.iter().all(|m| m.message.contains("memory")), "{e}");
    // Of nothing there is nothing to make, however long the other axes are.
    assert_eq!(t.eye(DType::F64, 0, 1 << 40).size(), 0);
}

#[test]
fn what_is_beyond_memory_is_said_once() {
    let once = |f: &dyn Fn(&Trace)| {
        let t = Trace::eager();
        f(&t);
        let e = t.check().unwrap_err();
        assert_eq!(e.mistakes.len(), 1, "{e}");
        assert!(e.first().message.contains("memory"), "{e}");
    };
    // More than can be addressed, and more than there is.
    once(&|t| drop(t.eye(DType::F32, 1 << 30, 1 << 30).array()));
    once(&|t| drop(t.eye(DType::F32, 1 << 27, 1 << 27).array()));
    once(&|t| drop(t.constant(1).one_hot(1 << 62, DType::F64).array()));
    once(&|t| drop(t.constant(1).one_hot(1 << 56, DType::F64).array()));
}

#[test]
fn parts_are_not_more_than_can_be_held() {
    let t = Trace::eager();
    let none = t.zeros(DType::F64, [0]);
    assert!(none.split_into(0, usize::MAX).iter().all(|x| x.array().is_err()));
    assert!(none.reshape([1, 0]).batch_norm(none, none, 0.0).array().is_ok());
    let none = none.reshape([1, 0, 1]);
    assert!(none.group_norm(usize::MAX, none.flatten(), none.flatten(), 0.0).array().is_err());
    assert_eq!(t.check().unwrap_err().mistakes.len(), 2);
    let e = trace(Spec::f64([1 << 40]), (), |_, x, ()| x.unstack(0).first().copied().unwrap_or(x))
        .unwrap_err();
    assert_eq!(e.first().operation, "unstack");
}

#[test]
fn a_guess_of_another_rank_does_no_harm() {
    let e = error(|t, x| {
        let keys = t.ones(DType::F32, [1, 3]);
        let huge = x.broadcast_to([usize::MAX, usize::MAX, 2, 3]);
        huge.causal_attention(keys, keys).flatten()
    });
    assert_eq!(e.mistakes.len(), 1);
}

#[test]
fn deviations_and_norms_of_instances_go_by_their_own_names() {
    type Wrong = for<'t> fn(Tensor<'t>) -> Tensor<'t>;
    let wrong: [(&str, Wrong); 6] = [
        ("std", |x| x.std()),
        ("std_with", |x| x.std_with(0, 1)),
        ("std_with", |x| x.to_f64().std_with(7, 1)),
        ("nanstd", |x| x.nanstd()),
        ("nanstd_with", |x| x.to_f64().nanstd_with(7, 1)),
        ("instance_norm", |x| x.instance_norm(x, x, 0.0)),
    ];
    for (name, f) in wrong {
        let t = Trace::eager();
        assert!(f(t.constant(arr1(&[1, 2]))).array().is_err());
        assert_eq!(t.check().unwrap_err().first().operation, name);
    }
}

#[test]
fn a_variance_with_no_degree_of_freedom_is_nan() {
    let t = Trace::eager();
    let x = t.constant(arr1(&[1.0, 3.0]));
    for ddof in [2, 3, usize::MAX] {
        assert!(x.var_with(0, ddof).item::<f64>().unwrap().is_nan());
        assert!(x.std_with(0, ddof).item::<f64>().unwrap().is_nan());
        assert!(x.nanvar_with(0, ddof).item::<f64>().unwrap().is_nan());
    }
}
