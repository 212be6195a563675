//! Forward mode of loops: tangents are carried beside the carries, pushed beside
//! what is pushed and popped beside what is popped.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, Value};

use super::zeros_like;
use crate::jvp::forward;
use crate::rebuild::inline;
use crate::vjp::active;

pub(crate) fn loop_jvp(
    g: &mut Graph,
    l: &Loop,
    args: &Values,
    tangents: &[Option<Value>],
) -> Vec<Option<Value>> {
    let (lead, steady) = (l.lead(), l.carries + l.consts);
    let body = &*l.body;
    let float = |i: usize| body.ty(body.inputs()[i]).is_float();
    let given = |i: usize| tangents[lead + i].is_some() && float(i);
    // A carry has a tangent if it starts with one, or gets one in some iteration.
    let mut carried: Vec<bool> = (0..l.carries).map(given).collect();
    let moving = loop {
        let has = |i: &usize| if *i < l.carries { carried[*i] } else { given(*i) };
        let sources: Vec<Value> =
            (0..body.inputs().len()).filter(has).map(|i| body.inputs()[i]).collect();
        let moving = active(body, &sources, body.node_count());
        let now: Vec<bool> =
            (0..l.carries).map(|i| carried[i] || moving[body.outputs()[i]]).collect();
        if now == carried {
            break moving;
        }
        carried = now;
    };
    let pick = |range: std::ops::Range<usize>, keep: &dyn Fn(usize) -> bool| {
        range.filter(|&i| keep(i)).collect::<Vec<usize>>()
    };
    let with_carry = pick(0..l.carries, &|i| carried[i]);
    let with_const = pick(l.carries..steady, &given);
    let with_pop = pick(steady..steady + l.pops, &given);
    let with_push = pick(l.carries..body.outputs().len(), &|i| moving[body.outputs()[i]]);

    // Inputs: carries, their tangents, constants, their tangents, and so on.
    let groups = [
        (0..l.carries, &with_carry),
        (l.carries..steady, &with_const),
        (steady..steady + l.pops, &with_pop),
    ];
    let sided = |from: &Graph, name: &str, parts: usize| {
        let mut to = Graph::new(name);
        let (mut inputs, mut pairs) = (Vec::new(), Vec::new());
        for (range, with) in &groups[..parts] {
            for i in range.clone() {
                let v = from.inputs()[i];
                inputs.push(to.input(from.ty(v).clone(), from.name_of(v)));
            }
            for &i in *with {
                let ty = from.ty(from.inputs()[i]).clone();
                pairs.push((inputs[i], to.input(ty, None)));
            }
        }
        (to, inputs, pairs)
    };
    let trip = match &l.trip {
        Trip::Count | Trip::Entries => l.trip.clone(),
        Trip::While(cond) => {
            let (mut to, inputs, _) = sided(cond, &cond.name, 2);
            let pred = inline(&mut to, cond, &inputs);
            to.set_outputs(pred);
            Trip::While(Arc::new(to))
        }
    };
    let (mut to, inputs, pairs) = sided(body, &body.name, 3);
    let outputs = inline(&mut to, body, &inputs);
    let targets: Vec<Value> = with_carry.iter().chain(&with_push).map(|&i| outputs[i]).collect();
    let made = forward(&mut to, &pairs, &targets);
    let made: Vec<Value> = made
        .into_iter()
        .zip(&targets)
        .map(|(t, &v)| t.unwrap_or_else(|| zeros_like(&mut to, v)))
        .collect();
    let (made_carries, made_pushes) = made.split_at(with_carry.len());
    let (carries, pushes) = outputs.split_at(l.carries);
    to.set_outputs([carries, made_carries, pushes, made_pushes].concat());
    let op = Loop {
        trip,
        body: Arc::new(to),
        carries: l.carries + with_carry.len(),
        consts: l.consts + with_const.len(),
        pops: l.pops + with_pop.len(),
        unroll: l.unroll,
    };

    let mut operands: Vec<Value> = args[..lead].to_vec();
    for (range, with) in groups {
        operands.extend(&args[lead + range.start..lead + range.end]);
        for &i in with {
            let zero = |g: &mut Graph| zeros_like(g, args[lead + i]);
            operands.push(tangents[lead + i].unwrap_or_else(|| zero(g)));
        }
    }
    let results = g.add(op, &operands).unwrap_or_else(|e| panic!("loop_jvp: {e}\n{g}"));
    let mut out = vec![None; body.outputs().len()];
    for (k, &i) in with_carry.iter().enumerate() {
        out[i] = Some(results[l.carries + k]);
    }
    let first = l.carries + with_carry.len() + l.pushes();
    for (k, &i) in with_push.iter().enumerate() {
        out[i] = Some(results[first + k]);
    }
    out
}
