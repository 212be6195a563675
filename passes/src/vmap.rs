//! Vectorisation over a batch: a graph on one lane becomes a graph on all.
//!
//! Values are batched (the batch is their first axis) or shared by all lanes.
//! What depends on no batched value is computed once. A conditional on a batched
//! predicate runs both branches and selects; a loop with a batched trip count
//! runs as long as any lane does, and lanes that are done keep their carries.

use std::sync::Arc;

use backstitch_ir::array::Array;
use backstitch_ir::op::{Family, Lane, materialise};
use backstitch_ir::ops::{Cond, FixedPoint, Loop, Region, Rule, Trip};
use backstitch_ir::{DType, Graph, IndexVec, Monoid, Node, Op, Scalar, Shape, Type, Value};

use crate::rebuild::live;

/// Adds to `g` what `f` computes on each of `n` lanes, and gives its outputs.
///
/// Each argument is batched (its first axis has extent `n`) or shared. Linear in
/// the size of `f`.
pub fn batch(g: &mut Graph, f: &Graph, args: &[Lane], n: usize) -> Vec<Lane> {
    let mut map: IndexVec<Value, Option<Lane>> = IndexVec::filled(None, f.value_count());
    for (&v, &a) in f.inputs().iter().zip(args) {
        map[v] = Some(a);
    }
    let live = live(f, f.outputs(), None);
    let before = g.current_origin();
    for (node, _) in live.entries().filter(|(_, live)| **live) {
        if f.op(node).is_input() {
            continue;
        }
        let lanes: Vec<Lane> =
            f.args(node).iter().map(|&a| map[a].expect("operands come first")).collect();
        g.set_origin(f.origin(node));
        let results = batch_node(g, f, node, &lanes, n);
        for (r, lane) in f.results(node).into_iter().zip(results) {
            map[r] = Some(lane);
        }
    }
    g.set_origin(before);
    f.outputs().iter().map(|&v| map[v].expect("outputs are live")).collect()
}

fn batch_node(g: &mut Graph, f: &Graph, node: Node, lanes: &[Lane], n: usize) -> Vec<Lane> {
    let op = f.op(node);
    if !lanes.iter().any(|l| l.batched) {
        let args: Vec<Value> = lanes.iter().map(|l| l.value).collect();
        let results = g.add(op.clone(), &args).unwrap_or_else(|e| panic!("vmap: {e}\n{f}"));
        return results.into_iter().map(|value| Lane { value, batched: false }).collect();
    }
    match op.family() {
        Family::Array(p) => vec![Lane { value: p.vmap(g, lanes, n), batched: true }],
        Family::Cond(c) => batch_cond(g, c, lanes, n),
        Family::Loop(l) => batch_loop(g, l, joins_late(f, node), lanes, n),
        Family::Region(r) => batch_region(g, r, lanes, n),
        Family::Rows(r) => vec![Lane { value: r.vmap(g, lanes[0], n), batched: true }],
    }
}

/// The type of all lanes of a value of this type.
fn batched(ty: &Type, n: usize) -> Type {
    let dims = ty.dims().iter().copied();
    ty.with_shape(std::iter::once(n).chain(dims).collect::<Shape>())
}

/// `c` repeated along the axes that a batched value has beyond the batch.
fn spread(g: &mut Graph, c: Value, like: Value) -> Value {
    let shape = g.ty(like).shape.clone();
    g.broadcast(c, &shape, &[0])
}

/// `if c { x } else { y }` per lane.
fn select(g: &mut Graph, c: Value, x: Lane, y: Lane, n: usize) -> Lane {
    let (x, y) = (materialise(g, x, n), materialise(g, y, n));
    let c = spread(g, c, x);
    Lane { value: g.map(Scalar::Select, &[c, x, y]), batched: true }
}

/// The body over all lanes, as a graph whose inputs are batched as `lanes` says.
/// Outputs are made batched where `force` says so; gives which are.
fn batch_body(
    f: &Graph,
    lanes: &[bool],
    force: &[bool],
    n: usize,
    finish: impl FnOnce(&mut Graph, &[Lane], Vec<Lane>) -> Vec<Lane>,
) -> (Graph, Vec<bool>) {
    let mut to = Graph::new(f.name.clone());
    let inputs: Vec<Lane> = f
        .inputs()
        .iter()
        .zip(lanes)
        .map(|(&v, &is)| {
            let ty = if is { batched(f.ty(v), n) } else { f.ty(v).clone() };
            Lane { value: to.input(ty, f.name_of(v)), batched: is }
        })
        .collect();
    let outputs = batch(&mut to, f, &inputs, n);
    let outputs = finish(&mut to, &inputs, outputs);
    let flags: Vec<bool> = outputs
        .iter()
        .enumerate()
        .map(|(i, o)| o.batched || force.get(i).copied().unwrap_or(false))
        .collect();
    let values: Vec<Value> = outputs
        .iter()
        .zip(&flags)
        .map(|(&o, &is)| if is { materialise(&mut to, o, n) } else { o.value })
        .collect();
    to.set_outputs(values);
    (to, flags)
}

fn batch_cond(g: &mut Graph, c: &Cond, lanes: &[Lane], n: usize) -> Vec<Lane> {
    let (pred, args) = (lanes[0], &lanes[1..]);
    if pred.batched {
        let then = batch(g, &c.then, args, n);
        let els = batch(g, &c.els, args, n);
        return then.into_iter().zip(els).map(|(x, y)| select(g, pred.value, x, y, n)).collect();
    }
    let flags: Vec<bool> = args.iter().map(|l| l.batched).collect();
    let (_, a) = batch_body(&c.then, &flags, &[], n, |_, _, o| o);
    let (_, b) = batch_body(&c.els, &flags, &[], n, |_, _, o| o);
    let force: Vec<bool> = a.iter().zip(&b).map(|(&a, &b)| a || b).collect();
    let branch = |f: &Graph| Arc::new(batch_body(f, &flags, &force, n, |_, _, o| o).0);
    let op = Cond { then: branch(&c.then), els: branch(&c.els) };
    let operands: Vec<Value> = lanes.iter().map(|l| l.value).collect();
    let results = g.add(op, &operands).unwrap_or_else(|e| panic!("vmap: {e}\n{g}"));
    results.into_iter().zip(force).map(|(value, batched)| Lane { value, batched }).collect()
}

fn batch_region(g: &mut Graph, r: &Region, lanes: &[Lane], n: usize) -> Vec<Lane> {
    let mut lanes = lanes.to_vec();
    if let Rule::FixedPoint(_) = r.rule {
        // What it finds has the type of where it starts.
        for lane in &mut lanes[..r.body.outputs().len()] {
            *lane = Lane { value: materialise(g, *lane, n), batched: true };
        }
    }
    let flags: Vec<bool> = lanes.iter().map(|l| l.batched).collect();
    let force = vec![true; r.body.outputs().len()];
    let body = Arc::new(batch_body(&r.body, &flags, &force, n, |_, _, o| o).0);
    let rule = match &r.rule {
        Rule::Custom { wrt, jvp, vjp } => {
            // A tangent is batched as its operand is, a cotangent as its result.
            let inner = r.with_derivative();
            let given: Vec<bool> = inner.iter().map(|&i| flags[i]).collect();
            let jvp = jvp.as_ref().map(|jvp| {
                let flags = [&flags[..], &given].concat();
                Arc::new(batch_body(jvp, &flags, &force, n, |_, _, o| o).0)
            });
            let vjp = vjp.as_ref().map(|vjp| {
                let flags = [&flags[..], &vec![true; r.float_results().len()]].concat();
                // What all lanes share gets the sum of their cotangents.
                let shared = |to: &mut Graph, _: &[Lane], outs: Vec<Lane>| {
                    let lanes = outs.into_iter().zip(&given);
                    let lane = lanes.map(|(out, &batched)| {
                        let all = materialise(to, out, n);
                        if batched {
                            return Lane { value: all, batched };
                        }
                        Lane { value: to.reduce(Monoid::Sum, all, &[0]), batched }
                    });
                    lane.collect()
                };
                Arc::new(batch_body(vjp, &flags, &[], n, shared).0)
            });
            Rule::Custom { wrt: *wrt, jvp, vjp }
        }
        Rule::FixedPoint(rule) => {
            let step = Arc::new(batch_body(&rule.step, &flags, &force, n, |_, _, o| o).0);
            Rule::FixedPoint(FixedPoint { step, ..rule.clone() })
        }
        Rule::Checkpoint { .. } | Rule::Recompute => r.rule.clone(),
    };
    let operands: Vec<Value> = lanes.iter().map(|l| l.value).collect();
    let results =
        g.add(Region { body, rule }, &operands).unwrap_or_else(|e| panic!("vmap: {e}\n{g}"));
    results.into_iter().map(|value| Lane { value, batched: true }).collect()
}

/// Whether a lane of a counted loop that has fewer iterations than others takes part
/// in the last ones instead of the first.
///
/// The reverse of a loop pops what was pushed last first: the lanes that ended early
/// there join late here. Its own reverse is again the other way round.
fn joins_late(f: &Graph, node: Node) -> bool {
    let mut late = false;
    let mut at = node;
    while let Op::Loop(l) = f.op(at)
        && l.pops > 0
    {
        // A loop through the entries of a stack gives one of the same order.
        late ^= l.trip != Trip::Entries;
        let stack = f.args(at)[f.args(at).len() - 1];
        at = f.source(stack).0;
    }
    late
}

fn batch_loop(g: &mut Graph, l: &Loop, late: bool, lanes: &[Lane], n: usize) -> Vec<Lane> {
    let lead = l.lead();
    let steady = l.carries + l.consts;
    let mut flags: Vec<bool> = lanes[lead..].iter().map(|l| l.batched).collect();
    // Whether lanes differ in their number of iterations, and which carries differ,
    // are mutually dependent: both only grow, so a fixed point is reached.
    let mut ragged = lead == 1 && lanes[0].batched;
    loop {
        if let Trip::While(cond) = &l.trip {
            ragged |= batch_body(cond, &flags[..steady], &[], n, |_, _, o| o).1[0];
        }
        let (_, outs) = batch_body(&l.body, &flags, &[], n, |_, _, o| o);
        let now: Vec<bool> = (0..l.carries).map(|i| flags[i] || outs[i] || ragged).collect();
        if now == flags[..l.carries] {
            break;
        }
        flags[..l.carries].copy_from_slice(&now);
    }
    let inits: Vec<Value> = (0..l.carries)
        .map(|i| {
            let lane = lanes[lead + i];
            if flags[i] { materialise(g, lane, n) } else { lane.value }
        })
        .collect();
    let rest: Vec<Value> = lanes[lead + l.carries..].iter().map(|l| l.value).collect();
    if !ragged {
        let trip = match &l.trip {
            Trip::Count | Trip::Entries => l.trip.clone(),
            Trip::While(c) => {
                Trip::While(Arc::new(batch_body(c, &flags[..steady], &[], n, |_, _, o| o).0))
            }
        };
        let (body, outs) = batch_body(&l.body, &flags, &flags[..l.carries], n, |_, _, o| o);
        let op = Loop { trip, body: Arc::new(body), ..l.clone() };
        let lead: Vec<Value> = lanes[..lead].iter().map(|l| l.value).collect();
        let operands = [lead, inits, rest].concat();
        let results = g.add(op, &operands).unwrap_or_else(|e| panic!("vmap: {e}\n{g}"));
        return results
            .into_iter()
            .zip(outs)
            .map(|(value, batched)| Lane { value, batched })
            .collect();
    }
    ragged_loop(g, l, late, lanes, &flags, inits, rest, n)
}

/// A loop whose lanes end at different times. A counted loop runs as often as the
/// greatest count says. Lanes are done after as many iterations as they have; or,
/// because the stacks it pops were pushed by a loop that ran as long, they join when
/// as many are left ([`joins_late`]). One that runs through a stack is never ragged:
/// all lanes share the stack's length.
#[expect(clippy::too_many_arguments, reason = "what is known of a loop and of its operands")]
fn ragged_loop(
    g: &mut Graph,
    l: &Loop,
    late: bool,
    lanes: &[Lane],
    flags: &[bool],
    inits: Vec<Value>,
    rest: Vec<Value>,
    n: usize,
) -> Vec<Lane> {
    let steady = l.carries + l.consts;
    // The masked body gets one more constant (the counts) and one more carry (the
    // iterations left or before) in counted loops, and nothing more in while loops.
    match &l.trip {
        Trip::While(cond) => {
            let any = |to: &mut Graph, _: &[Lane], out: Vec<Lane>| {
                let all = materialise(to, out[0], n);
                vec![Lane { value: to.reduce(Monoid::Any, all, &[0]), batched: false }]
            };
            let (pred, _) = batch_body(cond, &flags[..steady], &[], n, any);
            let mask = |to: &mut Graph, inputs: &[Lane], outs: Vec<Lane>| {
                let pred = batch(to, cond, &inputs[..steady], n)[0];
                let pred = materialise(to, pred, n);
                keep_done(to, inputs, outs, pred, l.carries, n)
            };
            let (body, outs) = batch_body(&l.body, flags, &flags[..l.carries], n, mask);
            let trip = Trip::While(Arc::new(pred));
            let op = Loop { trip, body: Arc::new(body), ..l.clone() };
            let operands = [inits, rest].concat();
            let results = g.add(op, &operands).unwrap_or_else(|e| panic!("vmap: {e}\n{g}"));
            results.into_iter().zip(outs).map(|(value, batched)| Lane { value, batched }).collect()
        }
        Trip::Entries => unreachable!("vmap: all lanes share the length of a stack"),
        Trip::Count => {
            let counts = materialise(g, lanes[0], n);
            let most = g.reduce(Monoid::Max, counts, &[0]);
            let mut to = Graph::new(l.body.name.clone());
            let lane_input = |to: &mut Graph, i: usize| {
                let v = l.body.inputs()[i];
                let ty = l.body.ty(v);
                let ty = if flags[i] { batched(ty, n) } else { ty.clone() };
                Lane { value: to.input(ty, l.body.name_of(v)), batched: flags[i] }
            };
            let mut inputs: Vec<Lane> = (0..l.carries).map(|i| lane_input(&mut to, i)).collect();
            let clock = to.input(Type::scalar(DType::I64), None);
            inputs.extend((l.carries..steady).map(|i| lane_input(&mut to, i)));
            let counts_in = to.input(Type::new(DType::I64, [n]), None);
            inputs.extend((steady..steady + l.pops).map(|i| lane_input(&mut to, i)));
            let outs = batch(&mut to, &l.body, &inputs, n);
            let shape = Shape::from([n]);
            // Iterations left, or iterations before.
            let (compare, step) =
                if late { (Scalar::Le, Scalar::Sub) } else { (Scalar::Lt, Scalar::Add) };
            let clock_all = to.broadcast(clock, &shape, &[]);
            let pred = to.map(compare, &[clock_all, counts_in]);
            let outs = keep_done(&mut to, &inputs, outs, pred, l.carries, n);
            let one = to.constant(Array::from(1i64));
            let next = to.map(step, &[clock, one]);
            let mut values: Vec<Value> = outs.iter().map(|&o| materialise(&mut to, o, n)).collect();
            values.insert(l.carries, next);
            to.set_outputs(values);
            let op = Loop {
                trip: Trip::Count,
                body: Arc::new(to),
                carries: l.carries + 1,
                consts: l.consts + 1,
                pops: l.pops,
                unroll: l.unroll,
            };
            let (consts, pops) = rest.split_at(l.consts);
            let start = if late { most } else { g.constant(Array::from(0i64)) };
            let operands = [&[most][..], &inits, &[start], consts, &[counts], pops].concat();
            let results = g.add(op, &operands).unwrap_or_else(|e| panic!("vmap: {e}\n{g}"));
            let keep = |&(i, _): &(usize, Value)| i != l.carries;
            let lane = |(_, value)| Lane { value, batched: true };
            results.into_iter().enumerate().filter(keep).map(lane).collect()
        }
    }
}

/// Carries of lanes whose predicate does not hold stay as they were.
fn keep_done(
    to: &mut Graph,
    inputs: &[Lane],
    mut outs: Vec<Lane>,
    pred: Value,
    carries: usize,
    n: usize,
) -> Vec<Lane> {
    for (out, &old) in outs.iter_mut().zip(inputs).take(carries) {
        *out = select(to, pred, *out, old, n);
    }
    outs
}
