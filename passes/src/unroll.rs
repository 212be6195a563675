//! Short loops as straight-line programs, and loops with several bodies per iteration.
//!
//! A loop whose number of iterations is a constant, and small, is written out: its
//! iterations fuse with each other and with what is around them, its index becomes
//! constants, and no row goes through memory. The cost of a loop that stays is a few
//! copies and jumps per iteration; the cost of one written out is code, which takes
//! time to compile. So the bound is on the number of operations that come of it.
//!
//! A loop that counts may also be written out by a factor `k`: its body is `k` of the
//! bodies before, it has a `k`-th of the iterations, and the rest come behind it. Its
//! stacks are arrays, whose rows it takes `k` at a time. Loops that end by a predicate
//! stay: it would be asked as often as before.
//!
//! Each loop may say what is to become of it ([`Unroll`]).

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Concat, Loop, Rows, Slice, SliceAxis, Trip, Unroll};
use backstitch_ir::{Graph, Node, Op, Scalar, Shape, Type, Value};

use crate::motion::unstacked;
use crate::rebuild::{inline, rebuild, same};

/// What a loop, branch or region inside counts for.
const INNER: usize = 48;

/// How many operations a loop may become that asks to be written out.
const MOST: usize = 1 << 18;

/// What becomes of a loop.
#[derive(Clone, Copy)]
enum Way {
    /// All of so many iterations, one after the other.
    Whole(usize),
    /// So many iterations in one.
    By(usize),
}

/// Whether a graph has loops that are to be written out.
pub(crate) fn has_short_loops(g: &Graph, limit: usize) -> bool {
    g.has_control() && g.nodes().any(|n| way(g, n, limit).is_some())
}

/// The same program with loops written out that become at most `limit` operations, or
/// that say how they want it. Bits stay the same: the same operations are done on the
/// same numbers, in the same order.
pub fn unroll(g: &Graph, limit: usize) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) => {
            let made = match way(g, n, limit) {
                Some(Way::Whole(trips)) => written_out(to, l, args, trips),
                Some(Way::By(factor)) => by_factor(to, l, args, factor, l.trips(g, &g.args(n))),
                None => None,
            };
            made.unwrap_or_else(|| same(to, g, n, args))
        }
        // Both ends of a stack that is no more.
        Op::Rows(op) => match unstacked(to, op, args[0]) {
            Some(array) => Values::from_slice(&[array]),
            None => same(to, g, n, args),
        },
        _ => same(to, g, n, args),
    })
}

/// What becomes of a node, if it is a loop that is to be written out.
fn way(g: &Graph, n: Node, limit: usize) -> Option<Way> {
    let Op::Loop(l) = g.op(n) else { return None };
    if l.trip != Trip::Count {
        return None;
    }
    let (cost, trips) = (cost(l), l.trips(g, &g.args(n)));
    let whole = |limit: usize| {
        let trips = trips.filter(|&trips| cost.saturating_mul(trips) <= limit);
        trips.map(Way::Whole)
    };
    match l.unroll {
        Unroll::Auto => whole(limit),
        Unroll::Never | Unroll::By(0 | 1) => None,
        Unroll::Fully => whole(MOST),
        Unroll::UpTo(limit) => whole(limit.min(MOST)),
        Unroll::By(factor) => match trips {
            _ if cost.saturating_mul(factor) > MOST => None,
            Some(trips) if trips <= factor => Some(Way::Whole(trips)),
            _ => Some(Way::By(factor)),
        },
    }
}

/// Operations of one iteration.
fn cost(l: &Loop) -> usize {
    let work = |n: Node| match l.body.op(n) {
        Op::Input(_) | Op::Literal(_) => 0,
        Op::Loop(_) | Op::Cond(_) | Op::Region(_) => INNER,
        _ => 1,
    };
    l.body.nodes().map(work).sum::<usize>().max(1)
}

/// Iterations of a loop, one after the other.
struct Iterations<'a> {
    l: &'a Loop,
    carries: Vec<Value>,
    consts: &'a [Value],
    /// What was pushed, one row each.
    pushed: Vec<Vec<Value>>,
}

impl<'a> Iterations<'a> {
    fn new(l: &'a Loop, steady: &'a [Value]) -> Self {
        let (carries, consts) = steady.split_at(l.carries);
        Self { l, carries: carries.to_vec(), consts, pushed: vec![vec![]; l.pushes()] }
    }

    /// One more iteration, which pops these.
    fn step(&mut self, to: &mut Graph, popped: Vec<Value>) {
        let inputs = [&self.carries[..], self.consts, &popped].concat();
        let outputs = inline(to, &self.l.body, &inputs);
        let (carries, pushed) = outputs.split_at(self.l.carries);
        for (rows, &v) in self.pushed.iter_mut().zip(pushed) {
            let dims = std::iter::once(1).chain(to.ty(v).dims().iter().copied());
            let shape = dims.collect::<Shape>();
            rows.push(to.reshape(v, shape));
        }
        self.carries = carries.to_vec();
    }

    /// For each stack, an array of what was pushed.
    fn arrays(&self, to: &mut Graph) -> Vec<Value> {
        self.pushed.iter().map(|rows| joined(to, rows)).collect()
    }
}

/// Arrays, one behind the other.
fn joined(to: &mut Graph, rows: &[Value]) -> Value {
    match rows {
        [row] => *row,
        _ => to.push(Concat { axis: 0 }, rows),
    }
}

/// The arrays whose rows a loop pops; `None` if it pops anything else. `true`: the
/// first row is popped first.
fn popped(to: &Graph, stacks: &[Value]) -> Option<Vec<(Value, bool)>> {
    let array = |&stack: &Value| match to.op_of(stack) {
        Op::Rows(Rows::ToStack { back }) => Some((to.args(to.source(stack).0)[0], *back)),
        _ => None,
    };
    stacks.iter().map(array).collect()
}

/// Whether a loop pushes what may be a row of an array.
fn pushes_rows(l: &Loop) -> bool {
    l.body.outputs()[l.carries..].iter().all(|&v| l.body.ty(v).stack == 0)
}

/// The results of a loop written out; `None` if it pops or pushes what is no row.
fn written_out(to: &mut Graph, l: &Loop, args: &[Value], trips: usize) -> Option<Values> {
    let (steady, stacks) = args[l.lead()..].split_at(l.carries + l.consts);
    let arrays = popped(to, stacks)?;
    // Without iterations there is nothing to put together; stacks stay on stacks.
    if !pushes_rows(l) || l.pushes() > 0 && trips == 0 {
        return None;
    }
    let mut all = Iterations::new(l, steady);
    for t in 0..trips {
        // What was pushed last comes off first.
        let at = |to: &Graph, array, back| if back { t } else { to.ty(array).dims()[0] - 1 - t };
        let rows = arrays.iter().map(|&(array, back)| {
            let i = at(to, array, back);
            row(to, array, i)
        });
        let rows = rows.collect();
        all.step(to, rows);
    }
    let made = all.arrays(to);
    let mut results: Values = all.carries.into();
    results.extend(made.into_iter().map(|array| to.push(Rows::ToStack { back: false }, &[array])));
    Some(results)
}

/// The results of a loop of `factor` bodies per iteration and, behind it, of the rest of
/// the iterations; `None` if it pops or pushes what is no row of an array.
fn by_factor(
    to: &mut Graph,
    l: &Loop,
    args: &[Value],
    factor: usize,
    trips: Option<usize>,
) -> Option<Values> {
    let (steady, stacks) = args[l.lead()..].split_at(l.carries + l.consts);
    let consts = &steady[l.carries..];
    let arrays = popped(to, stacks)?;
    if !pushes_rows(l) {
        return None;
    }
    let step = Arc::new(several(l, &arrays, factor));
    let main = Loop { body: step, unroll: Unroll::Never, ..l.clone() };
    let add = |to: &mut Graph, l: &Loop, args: &[Value]| {
        to.add(l.clone(), args).unwrap_or_else(|e| panic!("unroll: {e}\n{to}"))
    };
    let Some(trips) = trips else {
        if l.pops > 0 || l.pushes() > 0 {
            return None;
        }
        let (zero, k) = (to.constant(0i64), to.constant(factor as i64));
        let count = to.map(Scalar::Max, &[args[0], zero]);
        let times = to.map(Scalar::Quot, &[count, k]);
        let left = to.map(Scalar::Rem, &[count, k]);
        let carries = add(to, &main, &[&[times], steady].concat());
        let rest = Loop { unroll: Unroll::Never, ..l.clone() };
        return Some(add(to, &rest, &[&[left], &carries[..], consts].concat()));
    };
    let (times, left) = (trips / factor, trips % factor);
    let mut operands = vec![to.constant(times as i64)];
    operands.extend(steady);
    for &(array, back) in &arrays {
        let start = if back { 0 } else { left };
        let rows = rows(to, array, start, times * factor);
        let dims = [times, factor].into_iter().chain(to.ty(rows).dims()[1..].iter().copied());
        let shape = dims.collect::<Shape>();
        let blocks = to.reshape(rows, shape);
        operands.push(to.push(Rows::ToStack { back }, &[blocks]));
    }
    let made = add(to, &main, &operands);
    let (carries, pushed) = made.split_at(l.carries);
    let steady = [carries, consts].concat();
    let mut rest = Iterations::new(l, &steady);
    for t in 0..left {
        let last = |back: bool| if back { times * factor + t } else { left - 1 - t };
        let rows = arrays.iter().map(|&(array, back)| row(to, array, last(back))).collect();
        rest.step(to, rows);
    }
    let mut results: Values = rest.carries.clone().into();
    for (&stack, rows) in pushed.iter().zip(&rest.pushed) {
        let entry = to.ty(stack).unstacked();
        let dims = |lead: &[usize], rest: &[usize]| Shape::from([lead, rest].concat());
        let ty = entry.with_shape(dims(&[times], entry.dims()));
        let blocks = to.push(Rows::FromStack { ty, back: false }, &[stack]);
        let first = to.reshape(blocks, dims(&[times * factor], &entry.dims()[1..]));
        let array = joined(to, &[&[first], &rows[..]].concat());
        results.push(to.push(Rows::ToStack { back: false }, &[array]));
    }
    Some(results)
}

/// So many iterations as one body: it pops and pushes so many rows at a time.
fn several(l: &Loop, arrays: &[(Value, bool)], factor: usize) -> Graph {
    let mut to = Graph::new(l.body.name.clone());
    let (steady, entries) = l.body.inputs().split_at(l.carries + l.consts);
    let steady: Vec<Value> =
        steady.iter().map(|&v| to.input(l.body.ty(v).clone(), l.body.name_of(v))).collect();
    let block = |ty: &Type| {
        let dims = std::iter::once(factor).chain(ty.dims().iter().copied());
        ty.with_shape(dims.collect::<Shape>())
    };
    let blocks: Vec<Value> =
        entries.iter().map(|&v| to.input(block(l.body.ty(v)), l.body.name_of(v))).collect();
    let mut all = Iterations::new(l, &steady);
    for t in 0..factor {
        let at = |back: bool| if back { t } else { factor - 1 - t };
        let rows = blocks.iter().zip(arrays);
        let rows = rows.map(|(&block, &(_, back))| row(&mut to, block, at(back))).collect();
        all.step(&mut to, rows);
    }
    let pushed = all.arrays(&mut to);
    to.set_outputs([all.carries, pushed].concat());
    to
}

/// Row `i` of an array.
fn row(g: &mut Graph, array: Value, i: usize) -> Value {
    let dims = g.ty(array).dims().to_vec();
    let row = rows(g, array, i, 1);
    g.reshape(row, &dims[1..])
}

/// So many rows of an array, from row `start` on.
fn rows(g: &mut Graph, array: Value, start: usize, len: usize) -> Value {
    let dims = g.ty(array).dims().to_vec();
    if len == dims[0] {
        return array;
    }
    let mut cuts: Vec<SliceAxis> =
        dims.iter().map(|&len| SliceAxis { start: 0, len, step: 1 }).collect();
    cuts[0] = SliceAxis { start, len, step: 1 };
    g.push(Slice { axes: cuts.into() }, &[array])
}
