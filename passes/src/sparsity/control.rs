//! Branches, loops and regions: graphs inside graphs.
//!
//! A loop with a known number of iterations is followed through, carries and stacks
//! entry by entry, as long as the [`Sets`] allow ([`Sets::spend`]). Any other loop is
//! run until its carries' sets stop growing; if that takes long, all of them are taken
//! to depend on all that the loop reads.

use std::rc::Rc;

use backstitch_ir::eval::Datum;
use backstitch_ir::op::Family;
use backstitch_ir::ops::{Cond, Loop, Region, Rows, Rule, Trip};
use backstitch_ir::{Graph, Node, Type};

use super::flow::{Flow, Frame, elements, outputs};
use super::sets::{Set, Sets};

/// Iterations after which all carries of a loop are taken to depend on all it reads.
const ROUNDS: usize = 16;

/// What is found out of the results of a node that holds graphs, or of rows.
pub(super) fn node(frame: &mut Frame<'_>, sets: &mut Sets, n: Node) -> Vec<Flow> {
    let g = frame.g;
    let operands = frame.operands(n);
    match g.op(n).family() {
        Family::Array(_) => unreachable!("an array primitive"),
        Family::Cond(c) => cond(sets, c, &operands),
        Family::Loop(l) => looped(sets, l, &operands),
        Family::Rows(r) => vec![rows(r, &operands[0], g.ty(g.args(n)[0]))],
        Family::Region(r) => region(sets, r, &operands),
    }
}

fn cond(sets: &mut Sets, c: &Cond, operands: &[Flow]) -> Vec<Flow> {
    let (pred, args) = (&operands[0], &operands[1..]);
    if let Flow::Array { known: Some(pred), .. } = pred {
        let holds = pred.0.item::<bool>().expect("a predicate was type-checked");
        return outputs(sets, if holds { &c.then } else { &c.els }, args);
    }
    let then = outputs(sets, &c.then, args);
    let els = outputs(sets, &c.els, args);
    then.iter().zip(&els).map(|(a, b)| a.join(b, sets)).collect()
}

fn looped(sets: &mut Sets, l: &Loop, operands: &[Flow]) -> Vec<Flow> {
    let (lead, args) = operands.split_at(l.lead());
    let stacks = &args[l.carries + l.consts..];
    let trips = match &l.trip {
        Trip::While(_) => None,
        Trip::Count => match &lead[0] {
            Flow::Array { known: Some(count), .. } => {
                let count = count.0.item::<i64>().expect("a count was type-checked");
                usize::try_from(count.max(0)).ok()
            }
            _ => None,
        },
        Trip::Entries => match &stacks[0] {
            Flow::Entries(entries) => Some(entries.len()),
            _ => None,
        },
    };
    let followed = trips.and_then(|trips| follow(sets, l, args, trips));
    followed.unwrap_or_else(|| settle(sets, l, args))
}

/// Iteration by iteration; `None` if that is too much.
fn follow(sets: &mut Sets, l: &Loop, args: &[Flow], trips: usize) -> Option<Vec<Flow>> {
    let (steady, stacks) = args.split_at(l.carries + l.consts);
    let work = work(&l.body);
    if !sets.can_spend(work.saturating_mul(trips)) {
        return None;
    }
    let (carries, consts) = steady.split_at(l.carries);
    let mut carries = carries.to_vec();
    let mut pushed: Vec<Vec<Flow>> = vec![Vec::with_capacity(trips); l.pushes()];
    for t in 0..trips {
        sets.spend(work)?;
        let mut inputs = [&carries, consts].concat();
        for stack in stacks {
            inputs.push(stack.popped(t)?);
        }
        let mut found = outputs(sets, &l.body, &inputs);
        pushed.iter_mut().zip(found.drain(l.carries..)).for_each(|(all, entry)| all.push(entry));
        carries = found;
    }
    carries.extend(pushed.into_iter().map(|entries| Flow::Entries(entries.into())));
    Some(carries)
}

/// How many elements a body computes, bodies inside once.
fn work(body: &Graph) -> usize {
    let values = body.nodes().flat_map(|n| body.results(n));
    let own: usize = values.map(|v| body.ty(v).len().max(1)).sum();
    let inside = |n: Node| match body.op(n).family() {
        Family::Array(_) | Family::Rows(_) => 0,
        Family::Cond(c) => work(&c.then) + work(&c.els),
        Family::Loop(l) => work(&l.body),
        Family::Region(r) => work(&r.body),
    };
    own + body.nodes().map(inside).sum::<usize>()
}

/// What holds after any number of iterations.
fn settle(sets: &mut Sets, l: &Loop, args: &[Flow]) -> Vec<Flow> {
    let (carries, rest) = args.split_at(l.carries);
    let (consts, stacks) = rest.split_at(l.consts);
    let mut rest = consts.to_vec();
    rest.extend(stacks.iter().map(|stack| stack.any(sets).varying()));
    let (mut carries, found) = fixed(sets, &l.body, carries, &rest);
    carries.extend(found.into_iter().skip(l.carries).map(|entry| Flow::Any(Rc::new(entry))));
    carries
}

/// Carries that a body takes to parts of themselves, and its outputs for them.
fn fixed(sets: &mut Sets, body: &Graph, carries: &[Flow], rest: &[Flow]) -> (Vec<Flow>, Vec<Flow>) {
    let mut carries: Vec<Flow> = carries.iter().map(Flow::varying).collect();
    for _ in 0..ROUNDS {
        let inputs = [&carries, rest].concat();
        let found = outputs(sets, body, &inputs);
        let next: Vec<Flow> =
            carries.iter().zip(&found).map(|(old, new)| old.join(new, sets)).collect();
        if next == carries {
            return (carries, found);
        }
        carries = next;
    }
    // Rules only unite and move sets: nothing grows beyond the union of all.
    let mut all = Vec::new();
    carries.iter().chain(rest).for_each(|flow| flow.collect(&mut all));
    let all = sets.unite(&mut all);
    for (carry, &v) in carries.iter_mut().zip(body.inputs()) {
        *carry = everywhere(all, body.ty(v));
    }
    let found = outputs(sets, body, &[&carries, rest].concat());
    (carries, found)
}

/// A value whose elements all have that set.
fn everywhere(set: Set, ty: &Type) -> Flow {
    if ty.stack > 0 {
        return Flow::Any(Rc::new(everywhere(set, &ty.unstacked())));
    }
    if ty.is_float() { Flow::of(vec![set; ty.len()]) } else { Flow::NONE }
}

fn rows(rows: &Rows, operand: &Flow, from: &Type) -> Flow {
    match rows {
        Rows::ToStack { back } => {
            let count = from.dims()[0];
            let len = from.shape.without(&[0]).len();
            let place = |i: usize| if *back { count - 1 - i } else { i };
            match operand {
                Flow::Array { known: Some(array), .. } => {
                    let stack = rows_of(rows, array.0.clone());
                    Flow::Entries(stack.into())
                }
                Flow::Array { sets: Some(all), .. } => {
                    let row = |i: usize| Flow::of(all[place(i) * len..][..len].to_vec());
                    Flow::Entries((0..count).map(row).collect())
                }
                _ => Flow::Any(Rc::new(Flow::NONE)),
            }
        }
        Rows::FromStack { ty, back } => {
            let count = ty.dims()[0];
            let len = ty.shape.without(&[0]).len();
            let mut all = Vec::with_capacity(ty.len());
            for i in 0..count {
                // Popping goes from the last pushed to the first.
                let entry = operand.popped(if *back { i } else { count - 1 - i });
                let entry = entry.expect("a stack has as many entries as are asked for");
                all.extend((0..len).map(|i| entry.at(i)));
            }
            Flow::sets(elements(all))
        }
    }
}

/// The rows of a constant.
fn rows_of(rows: &Rows, array: backstitch_ir::Array) -> Vec<Flow> {
    match rows.eval(&[&Datum::Array(array)]) {
        Datum::Stack(entries) => entries.iter().map(|e| Flow::known(e.array().clone())).collect(),
        Datum::Array(_) => unreachable!("rows on a stack"),
    }
}

fn region(sets: &mut Sets, r: &Region, operands: &[Flow]) -> Vec<Flow> {
    match &r.rule {
        Rule::Checkpoint { .. } | Rule::Recompute => outputs(sets, &r.body, operands),
        Rule::FixedPoint(rule) => {
            // Where it starts makes no difference to what it finds.
            let found = r.body.outputs().len();
            let start = vec![Flow::NONE; found];
            fixed(sets, &rule.step, &start, &operands[found..]).0
        }
        Rule::Custom { jvp, vjp, .. } => {
            let mut all = vec![Flow::NONE; r.body.outputs().len()];
            for found in [
                jvp.as_ref().map(|jvp| pushed_forward(sets, r, jvp, operands)),
                vjp.as_ref().map(|vjp| pulled_back(sets, r, vjp, operands)),
            ] {
                for (i, found) in r.float_results().into_iter().zip(found.into_iter().flatten()) {
                    all[i] = all[i].join(&found, sets);
                }
            }
            all
        }
    }
}

/// The results' tangents depend on the operands' tangents as the results depend, with
/// a derivative, on the operands.
fn pushed_forward(sets: &mut Sets, r: &Region, jvp: &Graph, operands: &[Flow]) -> Vec<Flow> {
    let mut inputs = vec![Flow::NONE; operands.len()];
    inputs.extend(r.with_derivative().iter().map(|&i| operands[i].clone()));
    outputs(sets, jvp, &inputs)
}

/// The other way round, the operands' cotangents depend on the results'.
fn pulled_back(sets: &mut Sets, r: &Region, vjp: &Graph, operands: &[Flow]) -> Vec<Flow> {
    let results = r.float_results();
    let lens: Vec<usize> = results.iter().map(|&i| r.body.ty(r.body.outputs()[i]).len()).collect();
    let total = lens.iter().sum();
    let mut own = Sets::new(total);
    let mut inputs = vec![Flow::NONE; operands.len()];
    let mut first = 0;
    for &len in &lens {
        inputs.push(Flow::of((first..first + len).map(|j| own.single(j)).collect()));
        first += len;
    }
    let pulled = outputs(&mut own, vjp, &inputs);
    let mut parts: Vec<Vec<Set>> = vec![Vec::new(); total];
    for (ct, i) in pulled.iter().zip(r.with_derivative()) {
        for j in 0..r.body.ty(r.body.inputs()[i]).len() {
            let set = operands[i].at(j);
            if set != Set::EMPTY {
                own.members(ct.at(j)).iter().for_each(|&k| parts[k as usize].push(set));
            }
        }
    }
    let mut parts = parts.into_iter();
    let mut next = |len: &usize| {
        let all = parts.by_ref().take(*len).map(|mut all| sets.unite(&mut all));
        Flow::of(all.collect())
    };
    lens.iter().map(&mut next).collect()
}
