//! Conditionals. The adjoint of a conditional is a conditional on the same predicate,
//! whose branches run the branch backward.
//!
//! What that needs of the branch is computed again, or kept, as
//! [`residuals`](crate::residuals) says: by another conditional on the same predicate and
//! operands, which gives what the branches keep. Conditionals that only differ in what
//! they give are made one before they are compiled (`merge_conds`).

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::op::Cotangents;
use backstitch_ir::ops::Cond;
use backstitch_ir::{Graph, Type, Value};
use rustc_hash::FxHashMap;

use super::joint::{Joint, marked, reads};
use super::{open, zeros_like};
use crate::jvp::forward;
use crate::rebuild::{Map, part, rebuild_into, same};
use crate::residuals::Aim;

pub(crate) fn cond_vjp(
    g: &mut Graph,
    cond: &Cond,
    args: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Cotangents {
    let (given, cts): (Vec<usize>, Vec<Value>) =
        cts.iter().enumerate().filter_map(|(i, ct)| Some((i, (*ct)?))).unzip();
    let sources: Vec<usize> = (1..args.len()).filter(|&i| wanted[i]).collect();
    let inner: Vec<usize> = sources.iter().map(|&i| i - 1).collect();
    let joints = [&cond.then, &cond.els].map(|body| Joint::new(body, &given, &inner));
    let slots = Slots::new(&joints);
    let add = |g: &mut Graph, [then, els]: [Graph; 2], operands: &[Value]| {
        let op = Cond { then: Arc::new(then), els: Arc::new(els) };
        g.add(op, operands).unwrap_or_else(|e| panic!("cond_vjp: {e}\n{g}"))
    };
    let kept = match slots.types.is_empty() {
        true => Values::new(),
        false => add(g, [0, 1].map(|i| slots.forward(&joints[i], i)), args),
    };
    // What only one branch reads, both take; what none reads, none takes.
    let branches = [0, 1].map(|i| slots.reverse(&joints[i], i));
    let reads: Vec<bool> =
        reads(&branches[0]).into_iter().zip(reads(&branches[1])).map(|(a, b)| a || b).collect();
    let branches = branches.map(|b| part(&b, &marked(b.inputs(), &reads), b.outputs()));
    let operands = marked(&[&args[1..], &kept, &cts].concat(), &reads);
    let results = add(g, branches, &[&args[..1], &operands].concat());
    let mut out = Cotangents::from_elem(None, args.len());
    for (i, r) in sources.into_iter().zip(results) {
        out[i] = Some(r);
    }
    out
}

/// What a conditional gives its reverse: the values that its branches keep. One branch
/// is taken, so values of one type in both share a result.
struct Slots {
    types: Vec<Type>,
    /// For each branch, the value of it that is there, if there is one.
    values: [Vec<Option<Value>>; 2],
}

impl Slots {
    fn new(joints: &[Joint; 2]) -> Self {
        let mut slots = Self { types: Vec::new(), values: [Vec::new(), Vec::new()] };
        // Slots that a branch has not taken yet, by type.
        let mut free: FxHashMap<Type, Vec<usize>> = FxHashMap::default();
        for (i, joint) in joints.iter().enumerate() {
            for v in joint.residuals(Aim::Time) {
                let ty = joint.graph.ty(v);
                let slot = match free.get_mut(ty).filter(|_| i == 1).and_then(Vec::pop) {
                    Some(slot) => slot,
                    None => {
                        free.entry(ty.clone()).or_default().push(slots.types.len());
                        slots.types.push(ty.clone());
                        slots.values.iter_mut().for_each(|values| values.push(None));
                        slots.types.len() - 1
                    }
                };
                slots.values[i][slot] = Some(v);
            }
        }
        slots
    }

    /// From the inputs of a branch to what is kept of it.
    fn forward(&self, joint: &Joint, branch: usize) -> Graph {
        let kept: Vec<Value> = self.values[branch].iter().flatten().copied().collect();
        let mut to = part(&joint.graph, &joint.inputs, &kept);
        let mut kept = to.outputs().to_vec().into_iter();
        let slots = self.types.iter().zip(&self.values[branch]);
        let outputs: Vec<Value> = slots
            .map(|(ty, value)| match value {
                Some(_) => kept.next().expect("one for each"),
                None => to.splat(ty, 0.0),
            })
            .collect();
        to.set_outputs(outputs);
        to
    }

    /// From the inputs of a branch, what is kept, and cotangents of outputs to cotangents
    /// of inputs.
    fn reverse(&self, joint: &Joint, branch: usize) -> Graph {
        let from = &joint.graph;
        let mut to = Graph::new(format!("{}.vjp", from.name));
        let mut map = Map::filled(None, from.value_count());
        let inputs = joint.inputs.iter().map(|&v| (from.ty(v), Some(v)));
        let slots = self.types.iter().zip(self.values[branch].iter().copied());
        let cotangents = joint.cotangents.iter().map(|&v| (from.ty(v), Some(v)));
        for (ty, v) in inputs.chain(slots).chain(cotangents) {
            let input = to.input(ty.clone(), v.and_then(|v| from.name_of(v)));
            if let Some(v) = v {
                map[v] = Some(input);
            }
        }
        rebuild_into(&mut to, from, &mut map, &joint.grads, |to, n, args| same(to, from, n, args));
        to.set_outputs(joint.grads.iter().map(|&v| map[v].expect("roots are live")));
        to
    }
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
    let branch = |branch: &Graph| tangent(g, branch, 0, &inner, &results);
    let op = Cond { then: Arc::new(branch(&cond.then)), els: Arc::new(branch(&cond.els)) };
    let operands: Vec<Value> = args.iter().copied().chain(given.iter().map(|&(_, t)| t)).collect();
    let made = g.add(op, &operands).unwrap_or_else(|e| panic!("cond_jvp: {e}\n{g}"));
    let mut out = vec![None; cond.then.outputs().len()];
    for (i, r) in results.into_iter().zip(made) {
        out[i] = Some(r);
    }
    out
}

/// From the inputs of a body, its last `kept` outputs, and tangents of some inputs to the
/// tangents of some outputs.
pub(super) fn tangent(
    g: &Graph,
    body: &Graph,
    kept: usize,
    given: &[(usize, Value)],
    results: &[usize],
) -> Graph {
    let (mut to, inputs, outputs) = open(body);
    let dots: Vec<Value> = given.iter().map(|&(_, t)| to.input(g.ty(t).clone(), None)).collect();
    let sources: Vec<(Value, Value)> =
        given.iter().zip(&dots).map(|(&(i, _), &t)| (inputs[i], t)).collect();
    let targets: Vec<Value> = results.iter().map(|&i| outputs[i]).collect();
    let made = forward(&mut to, &sources, &targets);
    let made: Vec<Value> = made
        .into_iter()
        .zip(&targets)
        .map(|(t, &y)| t.unwrap_or_else(|| zeros_like(&mut to, y)))
        .collect();
    let kept = &outputs[outputs.len() - kept..];
    part(&to, &[&inputs[..], kept, &dots].concat(), &made)
}
