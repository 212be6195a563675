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
//! The body's adjoint is built first, as one joint graph, and dead code in it is
//! left behind; only what the rest still reads of the primal part is a residual.
//! Of that, what depends on constants alone is computed again, and so are views
//! (a broadcast is pushed as what was broadcast). Integer and boolean carries
//! have no cotangent.

use std::sync::Arc;

use backstitch_ir::array::Array;
use backstitch_ir::graph::Values;
use backstitch_ir::op::Cotangents;
use backstitch_ir::ops::{Loop, Rows, Trip};
use backstitch_ir::{DType, Graph, Idx, Node, Op, Scalar, Shape, Type, Value};

use super::{open, zeros_like};
use crate::rebuild::{Map, live, rebuild_into, same};
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

/// How the adjoint part gets hold of each primal value that it reads.
struct Residuals {
    /// Pushed by the augmented loop, popped by the reverse.
    pushed: Vec<Value>,
    /// Whether a value is computed again in the reverse.
    again: Vec<bool>,
}

fn residuals(j: &Joint, l: &Loop) -> Residuals {
    let g = &j.graph;
    let adjoint = live(g, &j.grads, None);
    let is_primal = |v: Value| g.source(v).0.index() < j.primal;
    // Known in the reverse for free: constants of the loop and of the program,
    // and whatever depends on those alone.
    let mut known = vec![false; g.value_count()];
    for &v in &j.inputs[l.carries..l.carries + l.consts] {
        known[v.index()] = true;
    }
    for n in (0..j.primal).map(Node::new).filter(|&n| !g.op(n).is_input()) {
        let is_known = g.args(n).iter().all(|&a| known[a.index()]);
        g.results(n).iter().for_each(|r| known[r.index()] = is_known);
    }
    let mut read: Vec<Value> = Vec::new();
    for n in (j.primal..g.node_count()).map(Node::new).filter(|&n| adjoint[n]) {
        read.extend(g.args(n).into_iter().filter(|&a| is_primal(a)));
    }
    read.extend(j.grads.iter().copied().filter(|&v| is_primal(v)));
    let mut again = known;
    let mut seen = vec![false; g.value_count()];
    let mut pushed = Vec::new();
    while let Some(v) = read.pop() {
        if again[v.index()] || std::mem::replace(&mut seen[v.index()], true) {
            continue;
        }
        let n = g.source(v).0;
        match g.op(n) {
            // Cheaper to make than to keep.
            Op::Broadcast(_) | Op::Reshape(_) | Op::Permute(_) => {
                again[v.index()] = true;
                read.extend(g.args(n));
            }
            _ => pushed.push(v),
        }
    }
    pushed.sort_unstable();
    Residuals { pushed, again }
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

/// The reverse loop. Carries: cotangents of carries, sums of cotangents of
/// constants. Constants: those of the loop. Pops: residuals, cotangents of pushed
/// entries. Pushes: cotangents of popped entries.
fn backward(l: &Loop, j: &Joint, r: &Residuals) -> Loop {
    let g = &j.graph;
    let mut to = Graph::new(format!("{}.vjp", l.body.name));
    let mut map = Map::filled(None, g.value_count());
    for &(_, ct) in &j.carries {
        map[ct] = Some(to.input(g.ty(ct).clone(), None));
    }
    let sums: Vec<Value> =
        j.consts.iter().map(|&i| to.input(g.ty(j.inputs[l.carries + i]).clone(), None)).collect();
    for &v in &j.inputs[l.carries..l.carries + l.consts] {
        map[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
    }
    for &v in r.pushed.iter().chain(j.pushes.iter().map(|(_, ct)| ct)) {
        map[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
    }
    rebuild_into(&mut to, g, &mut map, &j.grads, |to, n, args| {
        debug_assert!(
            n.index() >= j.primal || g.results(n).iter().all(|v| r.again[v.index()]),
            "loop_vjp: only what was chosen is computed again"
        );
        same(to, g, n, args)
    });
    let grads: Vec<Value> = j.grads.iter().map(|&v| map[v].expect("roots are live")).collect();
    let (carried, rest) = grads.split_at(j.carries.len());
    let (consts, popped) = rest.split_at(j.consts.len());
    let sums: Vec<Value> =
        sums.iter().zip(consts).map(|(&s, &ct)| to.map(Scalar::Add, &[s, ct])).collect();
    to.set_outputs(carried.iter().chain(&sums).chain(popped).copied());
    Loop {
        trip: Trip::Count,
        carries: j.carries.len() + j.consts.len(),
        consts: l.consts,
        pops: r.pushed.len() + j.pushes.len(),
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
    let j = joint(l, cts, wanted);
    let r = residuals(&j, l);
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
    operands.extend(&rest[..l.consts]);
    operands.extend(&kept);
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
    for (place, ct) in places.zip(made) {
        out[lead + place] = Some(ct);
    }
    out
}
