//! Products for each row become one product of all rows, before the loop.
//!
//! Where a value of the body depends only on rows of arrays, on constants, and on the
//! number of the iteration, all iterations' values are to be had at once: by batching
//! what leads to them ([`batch`]). That is done for matrix products. What else depends on
//! rows alone stays where it is used, and fuses there; but what leads to a product is
//! computed for the product. A row that is pushed as it was popped needs no push either.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::op::{Lane, materialise};
use backstitch_ir::ops::{Iota, Loop, Rows};
use backstitch_ir::{Graph, IndexVec, Node, Op, Scalar, Type, Value};

use super::{Depends, added, all_rows, dependencies, fill, flipped, popped, reopened, unstacked};
use crate::rebuild::{Map, live, rebuild, same};
use crate::vmap::batch;

/// The same program, with matrix products of rows before the loops over these rows.
pub fn batch_rows(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) => batched(to, l, args).unwrap_or_else(|| same(to, g, n, args)),
        Op::Rows(op) => match unstacked(to, op, args[0]) {
            Some(array) => Values::from_slice(&[array]),
            None => same(to, g, n, args),
        },
        _ => same(to, g, n, args),
    })
}

/// Inputs of a body of which all iterations' values are known.
pub(super) struct Sources {
    pub trips: usize,
    /// For each input, where the rows come from.
    pub of: Vec<Option<Source>>,
    /// Whether row `t` of the arrays that are made is that of iteration `trips - 1 - t`.
    pub back: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    /// Rows of an array, and whether the first iteration has the last.
    Array(Value, bool),
    /// A carry that begins so and becomes so much more each time.
    Counter(Value, i64),
}

impl Sources {
    pub fn of(g: &Graph, l: &Loop, args: &[Value]) -> Option<Self> {
        let trips = l.trips(g, args).filter(|&n| n > 1)?;
        let operands = &args[l.lead()..];
        let steady = l.carries + l.consts;
        let of = (0..operands.len()).map(|i| {
            if i < l.carries {
                let step = counter(&l.body, i)?;
                Some(Source::Counter(operands[i], step))
            } else if i >= steady {
                let (array, back) = popped(g, operands[i], trips)?;
                Some(Source::Array(array, back))
            } else {
                None
            }
        });
        let of: Vec<Option<Source>> = of.collect();
        // As most arrays lie.
        let arrays = || of.iter().flatten().filter(|s| matches!(s, Source::Array(..)));
        let against = arrays().filter(|s| matches!(s, Source::Array(_, true))).count();
        let back = 2 * against > arrays().count();
        Some(Self { trips, of, back })
    }

    pub fn depends(&self, l: &Loop) -> IndexVec<Value, Depends> {
        dependencies(l, |i| self.of[i].is_some())
    }

    /// All iterations' values of these values of the body, which depend on rows and
    /// constants, as arrays.
    pub fn all(&self, to: &mut Graph, l: &Loop, args: &[Value], roots: &[Value]) -> Vec<Value> {
        let b = &*l.body;
        let mut part = Graph::new(b.name.clone());
        let mut map = Map::filled(None, b.value_count());
        let live = live(b, roots, None);
        let mut lanes = Vec::new();
        for (i, &v) in b.inputs().iter().enumerate().filter(|(_, v)| live[b.source(**v).0]) {
            map[v] = Some(part.input(b.ty(v).clone(), b.name_of(v)));
            lanes.push(match self.of[i] {
                None => Lane { value: args[l.lead() + i], batched: false },
                Some(source) => Lane { value: self.rows(to, source), batched: true },
            });
        }
        let outputs = fill(&mut part, b, &mut map, roots);
        part.set_outputs(outputs);
        let made = batch(to, &part, &lanes, self.trips);
        made.into_iter().map(|lane| materialise(to, lane, self.trips)).collect()
    }

    fn rows(&self, to: &mut Graph, source: Source) -> Value {
        match source {
            Source::Array(array, back) if back == self.back => array,
            Source::Array(array, _) => flipped(to, array),
            Source::Counter(start, step) => {
                let ty = to.ty(start).with_shape([self.trips]);
                let t = to.push(Iota { ty: ty.clone(), axis: 0 }, &[]);
                let step = to.splat(&ty, step as f64);
                let t = to.map(Scalar::Mul, &[t, step]);
                let start = to.broadcast(start, &ty.shape, &[]);
                let all = to.map(Scalar::Add, &[start, t]);
                if self.back { flipped(to, all) } else { all }
            }
        }
    }
}

/// By how much an integer carry grows each time, if that is all that happens to it.
fn counter(b: &Graph, i: usize) -> Option<i64> {
    let (from, next) = (b.inputs()[i], b.outputs()[i]);
    let Op::Map(m) = b.op_of(next) else { return None };
    let ty = b.ty(from);
    if m.f != Scalar::Add || ty.rank() > 0 || !ty.dtype.is_int() {
        return None;
    }
    let args = b.args(b.source(next).0);
    let step = match args[..] {
        [x, step] if x == from => step,
        [step, x] if x == from => step,
        _ => return None,
    };
    let step = b.as_splat(step)?.to_f64() as i64;
    // So that it is what it is as a float, which constants are made of.
    (step.abs() < 1 << 31).then_some(step)
}

fn batched(to: &mut Graph, l: &Loop, args: &[Value]) -> Option<Values> {
    if l.carries == 0 {
        return None;
    }
    let sources = Sources::of(to, l, args)?;
    let b = &*l.body;
    let depends = sources.depends(l);
    let is_product =
        |v: Value| matches!(b.op_of(v), Op::Contract(_)) && depends[v] == Depends::Rows;
    let steady = l.carries + l.consts;
    // Pushes that are pops, by the number of the push.
    let straight = |v: Value| {
        let i = b.inputs().iter().position(|&x| x == v)?;
        if i < steady { None } else { sources.of[i] }
    };
    let (carried, pushed) = b.outputs().split_at(l.carries);
    let rows: Vec<Option<Source>> = pushed.iter().map(|&v| straight(v)).collect();
    let kept: Vec<Value> =
        pushed.iter().zip(&rows).filter(|(_, row)| row.is_none()).map(|(&v, _)| v).collect();
    let outputs = [carried, &kept].concat();

    // The products that the rest reads; not those that only lead to others.
    let mut roots = Vec::new();
    let mut seen: IndexVec<Node, bool> = IndexVec::filled(false, b.node_count());
    let mut open = outputs.clone();
    while let Some(v) = open.pop() {
        let n = b.source(v).0;
        if std::mem::replace(&mut seen[n], true) {
            continue;
        }
        if is_product(v) && all_rows(b.ty(v), sources.trips).is_some() {
            roots.push(v);
        } else {
            open.extend(b.args(n));
        }
    }
    if roots.is_empty() && kept.len() == pushed.len() {
        return None;
    }
    roots.sort_unstable();
    let made = sources.all(to, l, args, &roots);
    // The first iteration pops what was pushed last.
    let to_stack =
        |to: &mut Graph, array: Value, back: bool| to.push(Rows::ToStack { back: !back }, &[array]);
    let stacks: Vec<Value> = made.iter().map(|&v| to_stack(to, v, sources.back)).collect();
    let more: Vec<(Type, Option<Value>)> =
        roots.iter().map(|&v| (b.ty(v).clone(), Some(v))).collect();
    let (mut body, mut map) = reopened(b, b.inputs().len(), &more);
    let outputs = fill(&mut body, b, &mut map, &outputs);
    body.set_outputs(outputs);
    let (body, operands, pops) =
        without_dead_pops(&body, steady, &[args, &stacks].concat(), l.lead());
    let op = Loop { body: Arc::new(body), pops, ..l.clone() };
    let results = added(to, "batch_rows", op, &operands);
    let (carried, mut kept) = (&results[..l.carries], results[l.carries..].iter());
    let mut all = Values::from_slice(carried);
    for row in rows {
        all.push(match row {
            None => *kept.next().expect("as many as were kept"),
            // Pushed in the order of the iterations.
            Some(Source::Array(array, back)) => to.push(Rows::ToStack { back }, &[array]),
            Some(Source::Counter(..)) => unreachable!("counters are carries"),
        });
    }
    Some(all)
}

/// The body without the rows that it no longer reads, what is left of the operands, and
/// how many stacks are popped.
pub(super) fn without_dead_pops(
    b: &Graph,
    steady: usize,
    args: &[Value],
    lead: usize,
) -> (Graph, Vec<Value>, usize) {
    let live = live(b, b.outputs(), None);
    let is_kept = |i: usize| i < steady || live[b.source(b.inputs()[i]).0];
    let mut to = Graph::new(b.name.clone());
    let mut map = Map::filled(None, b.value_count());
    let mut operands = args[..lead].to_vec();
    for (i, &v) in b.inputs().iter().enumerate().filter(|&(i, _)| is_kept(i)) {
        map[v] = Some(to.input(b.ty(v).clone(), b.name_of(v)));
        operands.push(args[lead + i]);
    }
    let outputs = fill(&mut to, b, &mut map, b.outputs());
    to.set_outputs(outputs);
    let pops = to.inputs().len() - steady;
    (to, operands, pops)
}
