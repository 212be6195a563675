//! Fixed points, differentiated by what they are.
//!
//! Let `x = s(x, k)`. By the implicit function theorem
//!
//! ```text
//! dx = A·dx + B·dk        A = ∂s/∂x, B = ∂s/∂k, at the fixed point
//!
//! u = Aᵀ·u + x_ct         the adjoint
//! k_ct = Bᵀ·u
//! ```
//!
//! Both are fixed points again, of steps that converge where `s` does, and at the same
//! rate: so they are regions with the same rule, which are differentiated in turn.
//! Nothing is kept of the iterations (B. Christianson, "Reverse accumulation and
//! attractive fixed points", 1994). What `A` depends on is computed once, before.

use std::sync::Arc;

use backstitch_ir::array::Array;
use backstitch_ir::graph::Values;
use backstitch_ir::op::Cotangents;
use backstitch_ir::ops::{FixedPoint, Loop, Region, Rule, Trip, Unroll};
use backstitch_ir::{DType, Graph, Monoid, Scalar, Type, Value};

use crate::linear::{Split, pullback, split, tangent};
use crate::rebuild::inline;

/// The region that finds `x = step(x, k)` from operands `x0, k`: it iterates until no
/// element changes by more than `tolerance · max(floor, largest element)`, or is NaN, or
/// `limit` iterations have been made.
pub fn fixed_point(step: Arc<Graph>, tolerance: f64, limit: usize, floor: f64) -> Region {
    let carries = step.outputs().len();
    let (xs, ks) = step.inputs().split_at(carries);
    let inputs = |to: &mut Graph, vs: &[Value]| -> Vec<Value> {
        vs.iter().map(|&v| to.input(step.ty(v).clone(), step.name_of(v))).collect()
    };
    let (flag, count) = (Type::scalar(DType::Bool), Type::scalar(DType::I64));

    let mut test = Graph::new("while");
    inputs(&mut test, xs);
    let (far, i) = (test.input(flag.clone(), None), test.input(count.clone(), None));
    inputs(&mut test, ks);
    let most = test.constant(i64::try_from(limit).unwrap_or(i64::MAX));
    let early = test.map(Scalar::Lt, &[i, most]);
    let on = test.map(Scalar::And, &[far, early]);
    test.set_outputs([on]);

    let mut body = Graph::new("step");
    let x = inputs(&mut body, xs);
    let (_, i) = (body.input(flag, None), body.input(count, None));
    let k = inputs(&mut body, ks);
    let mut next = inline(&mut body, &step, &[&x[..], &k].concat());
    let mut far = body.constant(false);
    for (&before, &after) in x.iter().zip(&next) {
        let change = body.map(Scalar::Sub, &[after, before]);
        let (change, size) = (largest(&mut body, change), largest(&mut body, after));
        let ty = body.ty(change).clone();
        let (tolerance, floor) = (body.splat(&ty, tolerance), body.splat(&ty, floor));
        let size = body.map(Scalar::Max, &[size, floor]);
        let bound = body.map(Scalar::Mul, &[tolerance, size]);
        let moves = body.map(Scalar::Gt, &[change, bound]);
        far = body.map(Scalar::Or, &[far, moves]);
    }
    let one = body.constant(1i64);
    let i = body.map(Scalar::Add, &[i, one]);
    next.extend([far, i]);
    body.set_outputs(next);

    let mut to = Graph::new("fixed_point");
    let mut args = inputs(&mut to, xs);
    let rest = inputs(&mut to, ks);
    args.extend([to.constant(true), to.constant(Array::from(0i64))]);
    args.extend(&rest);
    let trip = Trip::While(Arc::new(test));
    let op = Loop {
        trip,
        body: Arc::new(body),
        carries: carries + 2,
        consts: rest.len(),
        pops: 0,
        unroll: Unroll::Auto,
    };
    let found = to.add(op, &args).unwrap_or_else(|e| panic!("fixed_point: {e}\n{to}"));
    to.set_outputs(found.into_iter().take(carries));
    let rule = FixedPoint { step, tolerance: tolerance.to_bits(), limit };
    Region { body: Arc::new(to), rule: Rule::FixedPoint(rule) }
}

/// The largest element in size; of none, less than any.
fn largest(g: &mut Graph, x: Value) -> Value {
    let axes: Vec<usize> = (0..g.ty(x).rank()).collect();
    let size = g.map(Scalar::Abs, &[x]);
    g.reduce(Monoid::Max, size, &axes)
}

/// Solves `x = f(x, r) + b` for the linear part `f` of a graph, whose other part gives
/// the residuals `r` from `operands`.
fn solve(
    g: &mut Graph,
    rule: &FixedPoint,
    parts: &Split,
    operands: &[Value],
    b: &[Value],
) -> Vec<Value> {
    let residuals = inline(g, &parts.before, operands);
    let mut step = Graph::new(rule.step.name.clone());
    let input = |step: &mut Graph, v: &Value| step.input(g.ty(*v).clone(), None);
    let x: Vec<Value> = b.iter().map(|v| input(&mut step, v)).collect();
    let r: Vec<Value> = residuals.iter().map(|v| input(&mut step, v)).collect();
    let shift: Vec<Value> = b.iter().map(|v| input(&mut step, v)).collect();
    let made = inline(&mut step, &parts.after, &[&x[..], &r].concat());
    let made = made.into_iter().zip(&shift);
    let made: Vec<Value> = made.map(|(v, &b)| step.map(Scalar::Add, &[v, b])).collect();
    step.set_outputs(made);
    let region = fixed_point(Arc::new(step), f64::from_bits(rule.tolerance), rule.limit, 0.0);
    let operands = [b, &residuals, b].concat();
    let found = g.add(region, &operands);
    found.unwrap_or_else(|e| panic!("fixed_point: {e}\n{g}")).to_vec()
}

/// The values that the step takes at the fixed point.
fn at(args: &Values, results: &Values) -> Vec<Value> {
    results.iter().chain(&args[results.len()..]).copied().collect()
}

pub(super) fn fixed_point_vjp(
    g: &mut Graph,
    rule: &FixedPoint,
    args: &Values,
    results: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Cotangents {
    let mut out = Cotangents::from_elem(None, args.len());
    let (n, at) = (results.len(), at(args, results));
    let cts: Vec<Value> =
        cts.iter().zip(results).map(|(ct, &x)| ct.unwrap_or_else(|| g.like(x, 0.0))).collect();
    let to_x = pullback(&rule.step, &(0..n).collect::<Vec<_>>());
    let u = solve(g, rule, &split(&to_x, n), &at, &cts);
    let float = |i: usize| g.ty(args[i]).is_float();
    let sources: Vec<usize> = (n..args.len()).filter(|&i| wanted[i] && float(i)).collect();
    let to_k = pullback(&rule.step, &sources);
    let found = inline(g, &to_k, &[&u[..], &at].concat());
    sources.into_iter().zip(found).for_each(|(i, ct)| out[i] = Some(ct));
    out
}

pub(super) fn fixed_point_jvp(
    g: &mut Graph,
    rule: &FixedPoint,
    args: &Values,
    results: &Values,
    tangents: &[Option<Value>],
) -> Vec<Option<Value>> {
    let (n, at) = (results.len(), at(args, results));
    let (sources, dots): (Vec<usize>, Vec<Value>) =
        tangents.iter().enumerate().skip(n).filter_map(|(i, dot)| Some((i, (*dot)?))).unzip();
    if sources.is_empty() {
        return vec![None; n];
    }
    let of_k = tangent(&rule.step, &sources);
    let b = inline(g, &of_k, &[&dots[..], &at].concat());
    let of_x = tangent(&rule.step, &(0..n).collect::<Vec<_>>());
    solve(g, rule, &split(&of_x, n), &at, &b).into_iter().map(Some).collect()
}
