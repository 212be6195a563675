//! Bad input of loops and branches: what was expected, what came, and on which line, in
//! either mode.

use backstitch_trace::{
    DType, LoopOptions, Problem, Solver, Spec, Status, Tensor, Trace, TraceError, trace, trace_tree,
};

/// The one mistake that a program on `f64[2,3]` is, when it is traced and in eager mode.
fn told(line: u32, f: impl for<'t> Fn(&'t Trace, Tensor<'t>) -> Tensor<'t>) -> String {
    let e = trace(Spec::f64([2, 3]), (), |t, x, ()| f(t, x)).expect_err("it is wrong");
    let t = Trace::eager();
    let eager = f(&t, t.zeros(DType::F64, [2, 3])).array().expect_err("it is wrong");
    for e in [&e, &eager] {
        let m = e.first();
        assert_eq!(e.mistakes.len(), 1, "{e}");
        assert_eq!((m.place.file(), m.place.line()), (file!(), line), "{e}");
    }
    let (m, other) = (e.first(), eager.first());
    assert_eq!(
        (m.operation, m.problem, &m.message),
        (other.operation, other.problem, &other.message)
    );
    let operands: Vec<String> = m.operands.iter().map(|o| o.ty.to_string()).collect();
    let of = if operands.is_empty() { "" } else { "; " };
    format!("{:?}: {}: {}{of}{}", m.problem, m.operation, m.message, operands.join(", "))
}

#[test]
fn a_carry_that_changes_its_shape_is_told_with_both() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.while_loop(x, |x| x.sum().lt(1.0), |x| x.sum_over(0)));
    assert_eq!(m, "Control: while_loop: the carry starts as f64[2,3] but the body gives f64[3]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.for_loop(3, (x.sum(), x), |_, (s, x)| (s, x.sum())).1);
    assert_eq!(m, "Control: for_loop: the carry `1` starts as f64[2,3] but the body gives f64[]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.scan(x.sum(), x, |_, row| (row, row)).0);
    assert_eq!(m, "Control: scan: the carry starts as f64[] but the body gives f64[3]");
}

#[test]
fn a_carry_that_changes_its_element_type_is_told_with_both() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.while_loop(x, |x| x.sum().lt(1.0), |x| x.to_f32()));
    assert_eq!(m, "Control: while_loop: the carry starts as f64[2,3] but the body gives f32[2,3]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.for_loop(3, (x, t.scalar(0)), |i, (x, _)| (x, i)).0);
    assert_eq!(m, "Control: for_loop: the carry `1` starts as i32[] but the body gives i64[]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.scan_back(x.sum(), x, |c, _| (c.gt(0.0), c)).1);
    assert_eq!(m, "Control: scan_back: the carry starts as f64[] but the body gives bool[]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.fixed_point(x, |x| x.sum(), &Solver::default()));
    assert!(m.contains("f64[2,3]") && m.contains("f64[]"), "{m}");
}

#[test]
fn branches_with_other_results_are_told_with_both() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.cond(x.sum().gt(0.0), || (x, x.sum()), || (x, x.sum_over(0))).0);
    assert_eq!(m, "Control: cond: the branches give (f64[2,3], f64[]) and (f64[2,3], f64[3])");
    let line = line!() + 1;
    let m = told(line, |t, x| t.cond(x.sum().gt(0.0), || vec![x], || vec![x, x])[0]);
    assert_eq!(m, "Control: cond: the branches give (`0`) and (`0`, `1`)");
    let line = line!() + 1;
    let m = told(line, |t, x| t.switch(t.scalar(1), [Box::new(|| x), Box::new(|| x.gt(0.0))]));
    assert!(m.contains("(f64[2,3]) and (bool[2,3])"), "{m}");
}

#[test]
fn a_predicate_is_one_truth_value() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.while_loop(x, |x| x.lt(1.0), |x| x + 1.0));
    assert_eq!(m, "Control: while_loop: expected one truth value to go on by, got (bool[2,3])");
    let line = line!() + 1;
    let m = told(line, |t, x| t.while_loop(x, |x| x.sum(), |x| x + 1.0));
    assert_eq!(m, "Control: while_loop: expected one truth value to go on by, got (f64[])");
    let line = line!() + 1;
    let m = told(line, |t, x| t.cond(x.gt(0.0), || x, || -x));
    assert_eq!(m, "Control: cond: expected one truth value to decide by, got bool[2,3]; bool[2,3]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.cond(t.scalar(1), || x, || -x));
    assert_eq!(m, "Control: cond: expected one truth value to decide by, got i32[]; i32[]");
}

#[test]
fn a_count_is_an_integer() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.for_loop(x.sum(), x, |_, x| x * 2.0));
    assert_eq!(m, "Control: for_loop: expected an integer scalar to count to, got f64[]; f64[]");
    let line = line!() + 1;
    let m = told(line, |t, x| t.for_loop(2.5, x, |_, x| x * 2.0));
    assert!(m.contains("for_loop") && m.contains("2.5 is no i64"), "{m}");
    let line = line!() + 1;
    let m = told(line, |t, x| t.switch(x.sum(), [Box::new(|| x), Box::new(|| -x)]));
    assert_eq!(m, "Control: switch: expected an integer scalar to choose by, got f64[]");
}

#[test]
fn rows_of_arrays_of_other_lengths_are_not_gone_over_together() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.scan(x.sum(), (x, t.ones(DType::F64, [4])), |c, _| (c, ())).0);
    let same = "expected arrays with the same number of rows; f64[2,3], f64[4]";
    assert_eq!(m, format!("Control: scan: {same}"));
    let line = line!() + 1;
    let m = told(line, |t, x| t.map_rows((x, t.ones(DType::F64, [4])), |(a, b)| a.sum() * b));
    assert_eq!(m, format!("Control: map_rows: {same}"));
    let line = line!() + 1;
    let m = told(line, |t, x| t.vmap((x, t.ones(DType::F64, [4])), |(a, b)| a.sum() * b));
    assert_eq!(m, format!("Control: vmap: {same}"));
    let line = line!() + 1;
    let m = told(line, |t, x| t.scan_back(x, x.sum(), |c, row| (c, row)).0);
    assert_eq!(m, "Control: scan_back: expected arrays with the same number of rows; f64[]");
}

#[test]
fn a_limit_is_of_at_least_one_iteration() {
    let none = LoopOptions::new().limit(0);
    let line = line!() + 1;
    let m = told(line, |t, x| t.loops(none).while_loop(x, |x| x.sum().lt(1.0), |x| x + 1.0));
    assert_eq!(m, "Control: while_loop: expected a limit of at least 1 iteration, got 0");
}

#[test]
fn a_custom_rule_gives_one_derivative_of_its_type_for_each() {
    let line = line!() + 1;
    let m = told(line, |t, x| t.custom(x, |x| x.sum()).vjp(|_, ct| ct).call());
    assert!(m.contains("expected (f64[2,3]), the rule gives (f64[])"), "{m}");
    let line = line!() + 1;
    let m = told(line, |t, x| t.custom(x, |x| x.sum()).vjp(|x, _| x.to_f32()).call());
    assert!(m.contains("expected (f64[2,3]), the rule gives (f32[2,3])"), "{m}");
    let line = line!() + 1;
    let m = told(line, |t, x| t.custom(vec![x, x], |x| x[0].sum()).vjp(|x, _| vec![x[0]]).call());
    assert_eq!(m, "Control: vjp: expected (`0`, `1`), the rule gives (`0`)");
    let line = line!() + 1;
    let m = told(line, |t, x| t.custom(x, |x| x.sum()).jvp(|_, dx| dx).call());
    assert!(m.contains("expected (f64[]), the rule gives (f64[2,3])"), "{m}");
}

#[test]
fn a_derivative_by_way_of_an_integer_that_is_carried_is_flat_or_none() -> Result<(), TraceError> {
    let status = |t: &Trace, whole: bool| -> Status {
        let x = t.variable(1.5);
        let tape = t.tape();
        let n = if whole { x.cast(DType::I64) } else { x.floor() };
        let (n, _) = t.for_loop(3, (n, x), |_, (n, x)| (n + 1, x * 2.0));
        let g = tape.gradient(&(n.cast(DType::F64) * 2.0), &x);
        assert_eq!(g.or_zeros().item::<f64>().unwrap(), 0.0);
        g.status().clone()
    };
    let t = Trace::eager();
    let (discrete, flat) = (status(&t, true), status(&t, false));
    t.check()?;
    let text = discrete.to_string();
    assert!(text.contains("every path passes a truth value, an index or an integer"), "{text}");
    assert!(text.contains("control_mistakes.rs"), "{text}");
    assert!(matches!(flat, Status::Flat(_)), "{flat}");
    assert!(flat.to_string().contains("`floor` at"), "{flat}");
    // The loop itself makes it whole.
    let x = t.variable(1.5);
    let tape = t.tape();
    let (n, _) = t.for_loop(3, (t.scalar(0i64), x), |_, (n, x)| (n + x.cast(DType::I64), x * 2.0));
    let g = tape.gradient(&n.cast(DType::F64), &x);
    assert!(!matches!(g.status(), Status::Connected), "{}", g.status());
    // What is carried beside it has its own.
    let f = trace_tree(Spec::f64([]), (), |t, x, ()| {
        let tape = t.tape();
        tape.watch(&x);
        let (n, y) = t.for_loop(3, (t.scalar(0i64), x), |_, (n, y)| {
            (n + y.cast(DType::I64), y * n.cast(DType::F64) + x)
        });
        let total = y + n.cast(DType::F64);
        t.outputs(&tape.gradient(&total, &x).expect_connected())
    })?;
    // x = 2.5: n is 0, 2, 4, 14 and y is 2.5, 2.5, 7.5, …; y₃ = 4·(2·x + x) + x.
    assert_eq!(f.eval(&2.5, &())?.item::<f64>(), Some(1.0 + 4.0 * (1.0 + 2.0)));
    Ok(())
}

#[test]
fn a_mistake_in_a_body_is_told_once_with_its_own_line() {
    let e = trace(Spec::f64([2, 3]), (), |t, x, ()| {
        t.for_loop(3, x, |_, x| t.cond(x.sum().gt(0.0), || x.matmul(x), || x))
    });
    let e = e.expect_err("it is wrong");
    assert_eq!((e.mistakes.len(), e.first().operation), (1, "matmul"), "{e}");
    assert_eq!(e.first().problem, Problem::Shape);
}
