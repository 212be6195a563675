//! Reverse mode of loops.
//!
//! ```text
//! c = c0; while p(c, k) { c = f(c, k) }              the loop
//!
//! c = c0; t = 0                                      augmented:
//! while p(c, k) { c, r = f'(c, k); push r; t += 1 }    the same, keeping residuals
//!
//! c_ct, k_ct = (cotangent of the result), 0          reverse:
//! repeat t { pop r; c_ct, dk = f*(c_ct, k, r); k_ct += dk }
//! ```
//!
//! The body's adjoint is built first, as one joint graph; what it needs of the primal
//! part is kept or computed again as [`mod@residuals`] says. Three things
//! are had without being kept: what depends on constants alone; a carry that has a
//! known number added in each iteration, a counter, which the reverse counts back; and
//! the rows of an array that the loop runs through, which the reverse runs through the
//! other way. Integer and boolean carries have no cotangent.

use std::sync::Arc;

use backstitch_ir::array::Array;
use backstitch_ir::graph::Values;
use backstitch_ir::op::{Cotangents, sum_parts};
use backstitch_ir::ops::{Loop, Rows, Trip, strong_product};
use backstitch_ir::{DType, Graph, IndexVec, Op, Scalar, Shape, Type, Value};

use super::{open, zeros_like};
use crate::jvp::forward;
use crate::rebuild::{Map, inline, live, rebuild_into, same};
use crate::residuals::{self, Aim, spread_known};
use crate::vjp::{active, reverse};

/// The body's adjoint and the parts of it.
struct Joint {
    /// Primal body first, adjoint after it.
    graph: Graph,
    /// Number of primal nodes.
    primal: usize,
    /// Inputs and outputs of the primal body.
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    /// Carries with cotangents; for each, the input that takes it.
    carries: Vec<(usize, Value)>,
    /// Pushed stacks whose cotangents are given; the input that takes an entry.
    pushes: Vec<(usize, Value)>,
    /// Constants and popped stacks with cotangents (numbered among themselves).
    consts: Vec<usize>,
    pops: Vec<usize>,
    /// Cotangents of those carries, constants and popped entries.
    grads: Vec<Value>,
}

fn joint(l: &Loop, cts: &[Option<Value>], wanted: &[bool]) -> Joint {
    let (mut graph, inputs, outputs) = open(&l.body);
    let primal = graph.node_count();
    let steady = l.carries + l.consts;
    let is_wanted = |i: usize| wanted[l.lead() + i] && graph.ty(inputs[i]).is_float();
    // A carry is active if it starts so, or becomes so in some iteration.
    let mut carried: Vec<bool> = (0..l.carries).map(is_wanted).collect();
    loop {
        let sources: Vec<Value> = (0..inputs.len())
            .filter(|&i| if i < l.carries { carried[i] } else { is_wanted(i) })
            .map(|i| inputs[i])
            .collect();
        let active = active(&graph, &sources, primal);
        let now: Vec<bool> = (0..l.carries).map(|i| carried[i] || active[outputs[i]]).collect();
        if now == carried {
            break;
        }
        carried = now;
    }
    let consts: Vec<usize> = (0..l.consts).filter(|&i| is_wanted(l.carries + i)).collect();
    let pops: Vec<usize> = (0..l.pops).filter(|&i| is_wanted(steady + i)).collect();
    let mut ct_input = |v: Value| {
        let ty = graph.ty(v).clone();
        graph.input(ty, None)
    };
    let carries: Vec<(usize, Value)> =
        (0..l.carries).filter(|&i| carried[i]).map(|i| (i, ct_input(outputs[i]))).collect();
    let pushes: Vec<(usize, Value)> = (0..l.pushes())
        .filter(|&i| cts[l.carries + i].is_some())
        .map(|i| (i, ct_input(outputs[l.carries + i])))
        .collect();
    let targets: Vec<(Value, Option<Value>)> = carries
        .iter()
        .map(|&(i, ct)| (outputs[i], Some(ct)))
        .chain(pushes.iter().map(|&(i, ct)| (outputs[l.carries + i], Some(ct))))
        .collect();
    let sources: Vec<Value> = carries
        .iter()
        .map(|&(i, _)| inputs[i])
        .chain(consts.iter().map(|&i| inputs[l.carries + i]))
        .chain(pops.iter().map(|&i| inputs[steady + i]))
        .collect();
    let grads = reverse(&mut graph, &targets, &sources);
    let grads = grads
        .into_iter()
        .zip(&sources)
        .map(|(ct, &x)| ct.unwrap_or_else(|| zeros_like(&mut graph, x)))
        .collect();
    Joint { graph, primal, inputs, outputs, carries, pushes, consts, pops, grads }
}

/// How the adjoint part gets hold of what it reads of the primal part.
struct Residuals {
    /// Pushed by the augmented loop, popped by the reverse.
    pushed: Vec<Value>,
    /// Popped by the loop from the rows of an array: number of the stack, and the array.
    rows: Vec<(usize, Value, bool)>,
    /// Carries that are counted back, how, and by what.
    counters: Vec<Counter>,
}

/// A carry that becomes `carry f step` in each iteration.
#[derive(Clone, Copy)]
struct Counter {
    carry: usize,
    back: Scalar,
    step: Value,
}

fn residuals(g: &Graph, j: &Joint, l: &Loop, args: &[Value]) -> Residuals {
    let body = &j.graph;
    let steady = l.carries + l.consts;
    let mut known = IndexVec::filled(false, body.value_count());
    j.inputs[l.carries..steady].iter().for_each(|&v| known[v] = true);
    spread_known(body, &mut known, |_| true);
    let mut counters = counters(j, l, &known);
    let mut rows: Vec<(usize, Value, bool)> = (0..l.pops)
        .filter_map(|i| {
            let (array, back) = all_rows(g, l, args, args[l.lead() + steady + i])?;
            Some((i, array, back))
        })
        .collect();
    counters.iter().for_each(|c| known[j.inputs[c.carry]] = true);
    rows.iter().for_each(|&(i, ..)| known[j.inputs[steady + i]] = true);
    let cotangents: Vec<Value> = j.carries.iter().chain(&j.pushes).map(|&(_, ct)| ct).collect();
    let question = residuals::Joint {
        graph: body,
        primal: j.primal,
        known: &known,
        cotangents: &cotangents,
        roots: &j.grads,
        stacks: true,
    };
    let pushed = question.residuals(Aim::Time);
    // What the reverse asks for, given those.
    let mut had = Map::filled(None, body.value_count());
    pushed.iter().for_each(|&v| had[v] = Some(v));
    let asked = live(body, &j.grads, Some(&had));
    rows.retain(|&(i, ..)| asked[body.source(j.inputs[steady + i]).0]);
    counters.retain(|c| asked[body.source(j.inputs[c.carry]).0]);
    Residuals { pushed, rows, counters }
}

/// The integer carries to which something known is added or of which it is taken away.
fn counters(j: &Joint, l: &Loop, known: &IndexVec<Value, bool>) -> Vec<Counter> {
    let g = &j.graph;
    let counter = |carry: usize| {
        let (v, next) = (j.inputs[carry], j.outputs[carry]);
        let Op::Map(m) = g.op_of(next) else { return None };
        let args = g.args(g.source(next).0);
        let is_int = g.ty(v).dtype.is_int() && g.ty(v).stack == 0;
        // Integers wrap: what was added is taken away again exactly.
        let (back, step) = match m.f {
            Scalar::Add if args[0] == v => (Scalar::Sub, args[1]),
            Scalar::Add if args[1] == v => (Scalar::Sub, args[0]),
            Scalar::Sub if args[0] == v => (Scalar::Add, args[1]),
            _ => return None,
        };
        (is_int && known[step]).then_some(Counter { carry, back, step })
    };
    (0..l.carries).filter_map(counter).collect()
}

/// The array whose rows are on a stack, if the loop pops all of them.
fn all_rows(g: &Graph, l: &Loop, args: &[Value], stack: Value) -> Option<(Value, bool)> {
    let Op::Rows(Rows::ToStack { back }) = g.op_of(stack) else { return None };
    let array = g.args(g.source(stack).0)[0];
    (l.trips(g, args) == Some(g.ty(array).dims()[0])).then_some((array, *back))
}

/// The loop that also counts its iterations (as its last carry, if they are not
/// counted already) and pushes residuals.
fn augmented(l: &Loop, j: &Joint, r: &Residuals) -> Loop {
    let counted = l.trip == Trip::Count;
    let with_counter = |g: &Graph, roots: &[Value], name: &str| {
        let mut to = Graph::new(name);
        let mut map = Map::filled(None, g.value_count());
        let mut counter = None;
        for (i, &v) in g.inputs().iter().enumerate() {
            if i == l.carries && !counted {
                counter = Some(to.input(Type::scalar(DType::I64), Some("t")));
            }
            if i < l.carries + l.consts + l.pops {
                map[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
            }
        }
        if !counted && counter.is_none() {
            counter = Some(to.input(Type::scalar(DType::I64), Some("t")));
        }
        rebuild_into(&mut to, g, &mut map, roots, |to, n, args| same(to, g, n, args));
        let made: Vec<Value> = roots.iter().map(|&v| map[v].expect("roots are live")).collect();
        (to, made, counter)
    };
    let trip = match &l.trip {
        Trip::Count | Trip::Entries => l.trip.clone(),
        Trip::While(cond) => {
            let (mut to, made, _) = with_counter(cond, cond.outputs(), &cond.name);
            to.set_outputs(made);
            Trip::While(Arc::new(to))
        }
    };
    let roots: Vec<Value> = j.outputs.iter().chain(&r.pushed).copied().collect();
    let (mut to, made, counter) = with_counter(&j.graph, &roots, &l.body.name);
    let next = counter.map(|t| {
        let one = to.constant(1i64);
        to.map(Scalar::Add, &[t, one])
    });
    let (carries, pushes) = made.split_at(l.carries);
    to.set_outputs(carries.iter().copied().chain(next).chain(pushes.iter().copied()));
    let carries = l.carries + usize::from(!counted);
    let (consts, pops, unroll) = (l.consts, l.pops, l.unroll);
    Loop { trip, body: Arc::new(to), carries, consts, pops, unroll }
}

/// The reverse loop. Carries: cotangents of carries, sums of cotangents of constants,
/// counters. Constants: those of the loop. Pops: residuals, rows, cotangents of pushed
/// entries. Pushes: cotangents of popped entries.
fn backward(l: &Loop, j: &Joint, r: &Residuals) -> Loop {
    let g = &j.graph;
    let mut to = Graph::new(format!("{}.vjp", l.body.name));
    let mut map = Map::filled(None, g.value_count());
    let copy = |to: &mut Graph, v: Value| to.input(g.ty(v).clone(), g.name_of(v));
    for &(_, ct) in &j.carries {
        map[ct] = Some(copy(&mut to, ct));
    }
    let sums: Vec<Value> =
        j.consts.iter().map(|&i| to.input(g.ty(j.inputs[l.carries + i]).clone(), None)).collect();
    let after: Vec<Value> = r.counters.iter().map(|c| copy(&mut to, j.inputs[c.carry])).collect();
    for &v in &j.inputs[l.carries..l.carries + l.consts] {
        map[v] = Some(copy(&mut to, v));
    }
    let rows = r.rows.iter().map(|&(i, ..)| j.inputs[l.carries + l.consts + i]);
    let popped = r.pushed.iter().copied().chain(rows).chain(j.pushes.iter().map(|&(_, ct)| ct));
    for v in popped {
        map[v] = Some(copy(&mut to, v));
    }
    let steps: Vec<Value> = r.counters.iter().map(|c| c.step).collect();
    rebuild_into(&mut to, g, &mut map, &steps, |to, n, args| same(to, g, n, args));
    for (c, &after) in r.counters.iter().zip(&after) {
        let step = map[c.step].expect("roots are live");
        map[j.inputs[c.carry]] = Some(to.map(c.back, &[after, step]));
    }
    rebuild_into(&mut to, g, &mut map, &j.grads, |to, n, args| same(to, g, n, args));
    let image = |v: &Value| map[*v].expect("roots are live");
    let grads: Vec<Value> = j.grads.iter().map(image).collect();
    let counters: Vec<Value> = r.counters.iter().map(|c| image(&j.inputs[c.carry])).collect();
    let (carried, rest) = grads.split_at(j.carries.len());
    let (consts, popped) = rest.split_at(j.consts.len());
    let sums: Vec<Value> =
        sums.iter().zip(consts).map(|(&s, &ct)| to.map(Scalar::Add, &[s, ct])).collect();
    to.set_outputs(carried.iter().chain(&sums).chain(&counters).chain(popped).copied());
    Loop {
        trip: Trip::Count,
        carries: j.carries.len() + j.consts.len() + r.counters.len(),
        consts: l.consts,
        pops: r.pushed.len() + r.rows.len() + j.pushes.len(),
        unroll: l.unroll,
        body: Arc::new(to),
    }
}

/// Most bytes that a stack of known length is given before the program runs. A longer
/// one grows as it is pushed to: its loop may not get there.
const PLANNED: usize = 1 << 30;

/// A stack of arrays by way of an array, if its length is known: so its memory is known
/// before the program runs.
fn as_rows(g: &mut Graph, stack: Value, count: Value) -> Value {
    let entry = g.ty(stack).unstacked();
    let Some(n) = g.as_splat(count).filter(|_| entry.stack == 0) else { return stack };
    let rows = (n.bits as i64).max(0) as usize;
    if rows.checked_mul(entry.bytes().max(1)).is_none_or(|bytes| bytes > PLANNED) {
        return stack;
    }
    let dims = std::iter::once(rows).chain(entry.dims().iter().copied());
    let ty = entry.with_shape(dims.collect::<Shape>());
    let array = g.push(Rows::FromStack { ty, back: false }, &[stack]);
    g.push(Rows::ToStack { back: false }, &[array])
}

pub(crate) fn loop_vjp(
    g: &mut Graph,
    l: &Loop,
    args: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Cotangents {
    if let Some(found) = by_tangent(g, l, args, cts, wanted) {
        return found;
    }
    let j = joint(l, cts, wanted);
    let r = residuals(g, &j, l, args);
    let (lead, steady) = (l.lead(), l.carries + l.consts);
    let (inits, rest) = args[lead..].split_at(l.carries);

    let aug = augmented(l, &j, &r);
    let counter = (lead == 0).then(|| g.constant(Array::from(0i64)));
    let operands: Vec<Value> = [&args[..lead], inits, counter.as_slice(), rest].concat();
    let carries = aug.carries;
    let made = g.add(aug, &operands).unwrap_or_else(|e| panic!("loop_vjp: {e}\n{g}"));
    let count = if lead == 1 { args[0] } else { made[l.carries] };
    let kept: Vec<Value> =
        made[carries + l.pushes()..].iter().map(|&stack| as_rows(g, stack, count)).collect();

    let mut operands = vec![count];
    for &(i, _) in &j.carries {
        operands.push(cts[i].unwrap_or_else(|| zeros_like(g, inits[i])));
    }
    for &i in &j.consts {
        operands.push(zeros_like(g, rest[i]));
    }
    operands.extend(r.counters.iter().map(|c| made[c.carry]));
    operands.extend(&rest[..l.consts]);
    operands.extend(&kept);
    for &(_, array, back) in &r.rows {
        operands.push(g.push(Rows::ToStack { back: !back }, &[array]));
    }
    operands.extend(j.pushes.iter().map(|&(i, _)| cts[l.carries + i].expect("given")));
    let made =
        g.add(backward(l, &j, &r), &operands).unwrap_or_else(|e| panic!("loop_vjp: {e}\n{g}"));

    let mut out = Cotangents::from_elem(None, args.len());
    let places = j
        .carries
        .iter()
        .map(|&(i, _)| i)
        .chain(j.consts.iter().map(|&i| l.carries + i))
        .chain(j.pops.iter().map(|&i| steady + i));
    let (cts, popped) = made.split_at(j.carries.len() + j.consts.len());
    let found = cts.iter().chain(&popped[r.counters.len()..]);
    for (place, &ct) in places.zip(found) {
        out[lead + place] = Some(ct);
    }
    out
}

/// The cotangent by a tangent, where that is all it takes.
///
/// Of a loop of unknown length in which each element of one carry depends on the same
/// element of one operand, and on no other, all derivatives are one tangent: that along
/// ones. It is carried beside the carry; nothing is kept, and nothing runs backwards.
///
/// ```text
/// c, c_dot = c0, 1
/// while p(c, k) { c, c_dot = f(c, k), ∂f/∂c · c_dot + ∂f/∂k · k_dot }
/// ```
fn by_tangent(
    g: &mut Graph,
    l: &Loop,
    args: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Option<Cotangents> {
    let b = &*l.body;
    if !matches!(l.trip, Trip::While(_)) || l.pops > 0 || l.pushes() > 0 {
        return None;
    }
    let is_wanted = |&i: &usize| wanted[l.lead() + i] && b.ty(b.inputs()[i]).is_float();
    let mut sources = (0..b.inputs().len()).filter(is_wanted);
    let (Some(source), None) = (sources.next(), sources.next()) else { return None };
    // The carry that depends on it; if it is one, that may be itself.
    let outputs = b.outputs();
    let reached = |from: &[usize]| -> (Vec<usize>, IndexVec<Value, bool>) {
        let inputs: Vec<Value> = from.iter().map(|&i| b.inputs()[i]).collect();
        let moving = active(b, &inputs, b.node_count());
        ((0..l.carries).filter(|&i| moving[outputs[i]]).collect(), moving)
    };
    let mut from = vec![source];
    let (carry, moving) = loop {
        let (carries, moving) = reached(&from);
        match carries[..] {
            [only] if from.contains(&only) => break (only, moving),
            [only] => from.push(only),
            _ => return None,
        }
    };
    if source < l.carries && source != carry {
        return None;
    }
    let ty = b.ty(b.inputs()[carry]);
    let is_map = |v: Value| matches!(b.op_of(v), Op::Map(_));
    let is_moving = |&v: &Value| moving[v] && !from.iter().any(|&i| b.inputs()[i] == v);
    let all = live(b, outputs, None);
    let values = all.entries().filter(|(_, live)| **live).flat_map(|(n, _)| b.results(n));
    if b.ty(b.inputs()[source]) != ty || !values.filter(is_moving).all(is_map) {
        return None;
    }
    let ct = cts[carry]?;
    // The tangent is the last carry, so that the loop without it is the one that was there.
    let trip = match &l.trip {
        Trip::While(test) => Trip::While(Arc::new(with_tangent(test, l.carries, carry).0)),
        other => other.clone(),
    };
    let (mut body, dot) = with_tangent(b, l.carries, carry);
    let inputs: Vec<Value> = body.inputs().iter().copied().filter(|&v| v != dot).collect();
    let outputs = body.outputs().to_vec();
    // The slope by the carry is made once, of numbers that are known to be finite more often
    // than the tangent is, and then multiplied: not each of its terms.
    let one = body.like(inputs[carry], 1.0);
    let mut slope = |by: usize| forward(&mut body, &[(inputs[by], one)], &[outputs[carry]])[0];
    let (own, other) = (slope(carry), if source == carry { None } else { slope(source) });
    let moved = own.map(|slope| strong_product(&mut body, dot, slope));
    let next = sum_parts(&mut body, [moved, other])?;
    body.set_outputs(outputs.into_iter().chain([next]));
    let op = Loop { trip, body: Arc::new(body), carries: l.carries + 1, ..l.clone() };
    let (inits, consts) = args.split_at(l.carries);
    let first = g.like(inits[carry], if source == carry { 1.0 } else { 0.0 });
    let made = g.add(op, &[inits, &[first], consts].concat());
    let dot = made.unwrap_or_else(|e| panic!("loop_vjp: {e}\n{g}"))[l.carries];
    let mut found = Cotangents::from_elem(None, args.len());
    found[l.lead() + source] = Some(match g.is_splat(ct, 1.0) {
        true => dot,
        false => g.map(Scalar::MulZ, &[ct, dot]),
    });
    Some(found)
}

/// A graph of a loop with one more input behind the carries: the tangent of one of them.
fn with_tangent(of: &Graph, carries: usize, carry: usize) -> (Graph, Value) {
    let mut to = Graph::new(of.name.clone());
    let mut inputs = Vec::new();
    let mut dot = None;
    for (i, &v) in of.inputs().iter().enumerate() {
        if i == carries {
            dot = Some(to.input(of.ty(of.inputs()[carry]).clone(), None));
        }
        inputs.push(to.input(of.ty(v).clone(), of.name_of(v)));
    }
    let dot = dot.unwrap_or_else(|| to.input(of.ty(of.inputs()[carry]).clone(), None));
    let outputs = inline(&mut to, of, &inputs);
    to.set_outputs(outputs);
    (to, dot)
}
