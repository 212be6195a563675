//! Every operation called wrongly, in as many ways as there are: none may panic, and
//! each mistake is told with the line of the caller.
//!
//! Each row of the tables is called with all combinations of odd operands and odd
//! parameters, in eager mode and while tracing. What is right is not looked at here
//! (most of these calls are mistakes), but a result that cannot be read has to have a
//! mistake that says why. That the tables are complete is checked against the sources.

mod calls;
mod tables;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use backstitch_trace::{DType, Spec, Tensor, Trace, trace_tree};
use ndarray::{arr0, arr1, arr2};

use calls::Row;
use tables::{of_none, of_one, of_three, of_two, reductions};

/// Odd operands of an eager trace; the last two are the result of a mistake, and a tensor
/// of another trace.
fn operands<'t>(t: &'t Trace, other: &'t Trace) -> Vec<Tensor<'t>> {
    let small = arr2(&[[2.0, 1.0, -3.0], [f64::NAN, 0.0, f64::INFINITY]]);
    let volume =
        ndarray::Array::from_shape_fn((2, 2, 4), |(i, j, k)| (i + 2 * j) as f64 - k as f64);
    let poisoned = t.constant(1.0).index(0, 0);
    vec![
        t.constant(2.0),
        t.constant(arr1(&[1.0, -2.0, 0.5])),
        t.constant(small),
        t.constant(arr2(&[[2.0, 1.0], [1.0, 3.0]])),
        t.constant(volume.mapv(|x| x as f32)),
        t.constant(volume.into_shape_with_order((1, 2, 4, 2)).expect("as many")),
        t.zeros(DType::F64, [0]),
        t.zeros(DType::F32, [0, 3]),
        t.zeros(DType::F64, [2, 0, 3]),
        t.constant(arr1(&[1.0f32, 2.0, 3.0])),
        t.constant(arr1(&[0, 2, -1])),
        t.constant(arr2(&[[1i64, 0, 1], [0, i64::MAX, 1]])),
        t.constant(arr0(1i32)),
        t.zeros(DType::I64, [0]),
        t.constant(arr1(&[true, false, true])),
        t.constant(true),
        t.zeros(DType::Bool, [0]),
        poisoned,
        other.constant(arr1(&[1.0, 2.0, 3.0])),
    ]
}

/// Those of a program that is traced: also larger ones than there is memory for.
fn huge() -> Vec<Spec> {
    vec![
        Spec::f32([1 << 61]),
        Spec::f64([1 << 30, 1 << 30]),
        Spec::i32([1 << 40, 2]),
        Spec::i64([0, usize::MAX]),
        Spec::f32([1, 1, 1 << 40]),
        Spec::bool([1 << 62]),
        Spec::f64([1 << 31, 1 << 27, 1]),
        Spec::f32([1 << 30, 1 << 29, 2]),
    ]
}

/// Whether a file is one of this test's, as its callers are.
fn is_here(file: &str) -> bool {
    Path::new(file).parent() == Path::new(file!()).parent()
}

/// What is wrong with a call, if anything.
fn judge(t: &Trace, call: impl FnOnce() -> Vec<Result<(), String>>) -> Result<(), String> {
    let before = t.check().err().map_or(0, |e| e.mistakes.len());
    let results = catch_unwind(AssertUnwindSafe(call)).map_err(|e| {
        let text = e.downcast_ref::<String>().cloned();
        let text = text.or_else(|| e.downcast_ref::<&str>().map(|&s| s.to_owned()));
        format!("panics: {}", text.unwrap_or_default())
    })?;
    let Err(e) = t.check() else {
        return results.into_iter().find(Result::is_err).unwrap_or(Ok(()));
    };
    for m in &e.mistakes[before..] {
        if !is_here(m.place.file()) {
            return Err(format!("is told at {}: {m}", m.place));
        }
        if m.message.is_empty() {
            return Err("is told without a word".to_owned());
        }
    }
    Ok(())
}

/// Calls a row with tensors of an eager trace.
fn eager(arity: usize, (name, call): &Row, at: [usize; 3]) -> Option<String> {
    let (t, other) = (Trace::eager(), Trace::eager());
    let all = operands(&t, &other);
    let args = at.map(|i| all[i]);
    let types: Vec<String> = args[..arity].iter().map(|x| Spec::of(x).to_string()).collect();
    let told = judge(&t, || {
        let results = call(&t, args);
        // What follows from a mistake is silent.
        results.iter().for_each(|&x| _ = (x.flatten(), x.size(), x.eq(x).any()));
        let told = t.check().is_err() || other.check().is_err();
        let readable = |x: &Tensor<'_>| match x.array() {
            Ok(a) if a.ty() != *Spec::of(x).ty() => Err(format!("{} is not {x}", a.ty())),
            Ok(_) => Ok(()),
            Err(_) if told => Ok(()),
            Err(e) => Err(format!("cannot be read: {e}")),
        };
        results.iter().map(readable).collect()
    });
    told.err().map(|e| format!("{name} of {}: {e}", types.join(" and ")))
}

/// Calls a row with inputs of a program.
fn traced(arity: usize, (name, call): &Row, specs: [Spec; 3]) -> Option<String> {
    let types: Vec<String> = specs[..arity].iter().map(ToString::to_string).collect();
    let [x, y, z] = specs;
    let told = catch_unwind(AssertUnwindSafe(|| {
        trace_tree((x, y, z), (), |t, (x, y, z), ()| t.outputs(&call(t, [x, y, z])))
    }));
    let what = match told {
        Ok(Ok(_)) => return None,
        Ok(Err(e)) => match e.mistakes.iter().find(|m| !is_here(m.place.file())) {
            None => return None,
            Some(m) => format!("is told at {}: {m}", m.place),
        },
        Err(e) => {
            let text = e.downcast_ref::<String>().cloned();
            let text = text.or_else(|| e.downcast_ref::<&str>().map(|&s| s.to_owned()));
            format!("panics: {}", text.unwrap_or_default())
        }
    };
    Some(format!("tracing {name} of {}: {what}", types.join(" and ")))
}

fn none_is_wrong(wrong: Vec<String>) {
    let mut text = String::new();
    wrong.iter().for_each(|w| writeln!(text, "{w}").expect("text can be written"));
    assert!(wrong.is_empty(), "{} calls:\n{text}", wrong.len());
}

/// Ways to choose operands among `n`; those that a row does not take are the first.
fn choices(arity: usize, n: usize) -> Vec<[usize; 3]> {
    let n: [usize; 3] = std::array::from_fn(|k| if k < arity { n } else { 1 });
    let all = 0..n.iter().product();
    all.map(|i| [i % n[0], i / n[0] % n[1], i / n[0] / n[1]]).collect()
}

fn of_tables(arity: usize, rows: &[Row]) {
    let count = {
        let (t, other) = (Trace::eager(), Trace::eager());
        operands(&t, &other).len()
    };
    let specs: Vec<Spec> = {
        let (t, other) = (Trace::eager(), Trace::eager());
        let own = operands(&t, &other);
        own[..count - 2].iter().map(Spec::of).chain(huge()).collect()
    };
    let mut wrong = Vec::new();
    for row in rows {
        let found = wrong.len();
        for at in choices(arity, count) {
            wrong.extend(eager(arity, row, at));
        }
        for at in choices(arity, specs.len()) {
            wrong.extend(traced(arity, row, at.map(|i| specs[i].clone())));
        }
        // One of a kind is enough.
        wrong.truncate(found + 2);
    }
    none_is_wrong(wrong);
}

#[test]
fn making_arrays() {
    of_tables(0, &of_none());
}

#[test]
fn reducing() {
    of_tables(1, &reductions());
}

#[test]
fn one_operand() {
    of_tables(1, &of_one());
}

#[test]
fn two_operands() {
    of_tables(2, &of_two());
}

#[test]
fn three_operands() {
    of_tables(3, &of_three());
}
