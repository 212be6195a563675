//! Conditionals. The adjoint of a conditional is a conditional on the same
//! predicate, whose branches run the branch forward again as far as their
//! adjoint needs it, and then backward.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::op::Cotangents;
use backstitch_ir::ops::Cond;
use backstitch_ir::{Graph, Value};

use super::{open, zeros_like};
use crate::jvp::forward;
use crate::rebuild::prune;
use crate::vjp::reverse;

pub(crate) fn cond_vjp(
    g: &mut Graph,
    cond: &Cond,
    args: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Cotangents {
    let given: Vec<(usize, Value)> =
        cts.iter().enumerate().filter_map(|(i, ct)| Some((i, (*ct)?))).collect();
    let sources: Vec<usize> = (1..args.len()).filter(|&i| wanted[i]).collect();
    let inner: Vec<usize> = sources.iter().map(|&i| i - 1).collect();
    let branch = |branch: &Graph| adjoint(g, branch, &given, &inner);
    let op = Cond { then: Arc::new(branch(&cond.then)), els: Arc::new(branch(&cond.els)) };
    let operands: Vec<Value> =
        args.iter().copied().chain(given.iter().map(|&(_, ct)| ct)).collect();
    let results = g.add(op, &operands).unwrap_or_else(|e| panic!("cond_vjp: {e}\n{g}"));
    let mut out = Cotangents::from_elem(None, args.len());
    for (i, r) in sources.into_iter().zip(results) {
        out[i] = Some(r);
    }
    out
}

pub(crate) fn cond_jvp(
    g: &mut Graph,
    cond: &Cond,
    args: &Values,
    tangents: &[Option<Value>],
) -> Vec<Option<Value>> {
    let given: Vec<(usize, Value)> =
        tangents.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))).collect();
    let results: Vec<usize> = {
        let float = |&i: &usize| cond.then.ty(cond.then.outputs()[i]).is_float();
        (0..cond.then.outputs().len()).filter(float).collect()
    };
    let inner: Vec<(usize, Value)> = given.iter().map(|&(i, t)| (i - 1, t)).collect();
    let branch = |branch: &Graph| tangent(g, branch, &inner, &results);
    let op = Cond { then: Arc::new(branch(&cond.then)), els: Arc::new(branch(&cond.els)) };
    let operands: Vec<Value> = args.iter().copied().chain(given.iter().map(|&(_, t)| t)).collect();
    let made = g.add(op, &operands).unwrap_or_else(|e| panic!("cond_jvp: {e}\n{g}"));
    let mut out = vec![None; cond.then.outputs().len()];
    for (i, r) in results.into_iter().zip(made) {
        out[i] = Some(r);
    }
    out
}

/// The body run forward, as far as that is needed, and then backward: from its inputs
/// and cotangents of some outputs (those given in the graph around it) to the
/// cotangents of some inputs.
pub(super) fn adjoint(
    g: &Graph,
    body: &Graph,
    given: &[(usize, Value)],
    sources: &[usize],
) -> Graph {
    let (mut to, inputs, outputs) = open(body);
    let targets: Vec<(Value, Option<Value>)> =
        given.iter().map(|&(i, ct)| (outputs[i], Some(to.input(g.ty(ct).clone(), None)))).collect();
    let from: Vec<Value> = sources.iter().map(|&i| inputs[i]).collect();
    let grads = reverse(&mut to, &targets, &from);
    let grads: Vec<Value> = grads
        .into_iter()
        .zip(&from)
        .map(|(grad, &x)| grad.unwrap_or_else(|| zeros_like(&mut to, x)))
        .collect();
    to.set_outputs(grads);
    prune(&to)
}

/// From the inputs of a body and tangents of some to the tangents of some outputs.
pub(super) fn tangent(
    g: &Graph,
    body: &Graph,
    given: &[(usize, Value)],
    results: &[usize],
) -> Graph {
    let (mut to, inputs, outputs) = open(body);
    let sources: Vec<(Value, Value)> =
        given.iter().map(|&(i, t)| (inputs[i], to.input(g.ty(t).clone(), None))).collect();
    let targets: Vec<Value> = results.iter().map(|&i| outputs[i]).collect();
    let made = forward(&mut to, &sources, &targets);
    let made: Vec<Value> = made
        .into_iter()
        .zip(&targets)
        .map(|(t, &y)| t.unwrap_or_else(|| zeros_like(&mut to, y)))
        .collect();
    to.set_outputs(made);
    prune(&to)
}
