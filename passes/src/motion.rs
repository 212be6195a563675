//! What need not be in a loop leaves it.
//!
//! ```text
//! repeat T { pop x; c = f(c, x·W, exp(k)); s += xᵀ·g(c) }
//!
//! e = exp(k)                                      invariants: computed once
//! P = X·W                                         rows: one product for all iterations
//! repeat T { pop p; c = f(c, p, e); push g(c) }
//! s += Xᵀ·G                                       sums: one product for all iterations
//! ```
//!
//! [`hoist_invariants`] takes out what depends on constants alone, of any
//! loop. [`batch_rows`] takes matrix products out of loops of known length that depend
//! on rows of arrays (what a `scan` runs over, residuals, the number of the iteration),
//! but not on what the loop carries: a product for each row is one product of all rows.
//! [`sum_products`] does the same with products that are only added up, which is what
//! reverse mode makes of weights that all iterations share: the sum over iterations
//! becomes one more axis that a single product sums over. A recurrent network keeps in
//! its loops what has to be there, one product each way. [`map_sums`] and [`start_sums`]
//! do so with other sums: a linear map that is the same in all iterations is applied to
//! the sum, and the sum of an inner loop goes on where the outer one's is.
//!
//! The first two give the same numbers but for what a matrix product of other extents
//! does in the library. The others add up in another order: not one product after the
//! other onto the sum so far, but as a product sums over its axis, which has always been
//! the library's choice. The result is as good an approximation
//! ([`Class::Rounds`](crate::Class::Rounds)), the order is part of the program, and so the
//! bits are the same each time.
//!
//! What leaves a loop has to be kept: as an array of one row per iteration, or between
//! iterations. No array is made larger than [`MOST`] bytes, an invariant is not made larger
//! than what it is made of unless it is small, and rows are kept for a product only if
//! they are no more than the sum that the loop would have read and written instead.
//! A loop without carries is one by choice, to save memory, and its products stay.

mod invariants;
mod maps;
mod rows;
mod starts;
mod sums;

use backstitch_ir::graph::Values;
use backstitch_ir::op::{Family, Structure};
use backstitch_ir::ops::{Loop, Rows, Slice, SliceAxis};
use backstitch_ir::{Graph, IndexVec, Node, Op, Scalar, Shape, Type, Value};

pub use invariants::hoist_invariants;
pub use maps::map_sums;
pub use rows::batch_rows;
pub use starts::start_sums;
pub use sums::sum_products;

use crate::rebuild::{Map, rebuild_into, same};

/// Most bytes of an array of rows that is made so that something can leave a loop.
const MOST: usize = 1 << 30;

/// The array whose rows the iterations pop, if the loop pops all of them; and whether
/// the first iteration has the last row.
fn popped(g: &Graph, stack: Value, trips: usize) -> Option<(Value, bool)> {
    let Op::Rows(Rows::ToStack { back }) = g.op_of(stack) else { return None };
    let array = g.args(g.source(stack).0)[0];
    (g.ty(array).dims()[0] == trips).then_some((array, !back))
}

/// What `from_stack` gives of the stack that `to_stack` made: the array.
pub(crate) fn unstacked(g: &mut Graph, op: &Rows, stack: Value) -> Option<Value> {
    let Rows::FromStack { back, .. } = op else { return None };
    let Op::Rows(Rows::ToStack { back: pushed_back }) = g.op_of(stack) else { return None };
    let flip = back != pushed_back;
    let array = g.args(g.source(stack).0)[0];
    Some(if flip { flipped(g, array) } else { array })
}

/// An array with its rows in the opposite order.
pub(crate) fn flipped(g: &mut Graph, array: Value) -> Value {
    let axes = g.ty(array).dims().iter().enumerate();
    let cut = |(a, &len): (usize, &usize)| match (a, len) {
        (0, 1..) => SliceAxis { start: len - 1, len, step: -1 },
        _ => SliceAxis { start: 0, len, step: 1 },
    };
    let axes = axes.map(cut).collect();
    g.push(Slice { axes }, &[array])
}

/// What a value of a body depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Depends {
    /// Constants of the loop and of the program.
    Constants,
    /// Rows of arrays as well.
    Rows,
    /// What is known only in the iteration.
    Iteration,
}

/// What each value of the body depends on, where these inputs are rows.
fn dependencies(l: &Loop, is_row: impl Fn(usize) -> bool) -> IndexVec<Value, Depends> {
    let b = &*l.body;
    let mut found = IndexVec::filled(Depends::Constants, b.value_count());
    for (i, &v) in b.inputs().iter().enumerate() {
        found[v] = match i {
            _ if is_row(i) => Depends::Rows,
            _ if (l.carries..l.carries + l.consts).contains(&i) => Depends::Constants,
            _ => Depends::Iteration,
        };
    }
    for n in b.nodes().filter(|&n| !b.op(n).is_input()) {
        let of = b.args(n).iter().map(|&a| found[a]).max();
        let of = match of.unwrap_or(Depends::Constants) {
            Depends::Rows if !is_total(b, n) => Depends::Iteration,
            of => of,
        };
        b.results(n).iter().for_each(|&r| found[r] = of);
    }
    found
}

/// Whether an operation is one of arrays that can always be done, and once is enough.
fn is_total(g: &Graph, n: Node) -> bool {
    match g.op(n).family() {
        Family::Array(_) => !matches!(structure(g, n), Some(Structure::Call { .. })),
        _ => false,
    }
}

/// Whether there is nothing to compute: views, and numbers known beforehand.
fn is_view(g: &Graph, n: Node) -> bool {
    use Structure::{Iota, Reshape, Source, View};
    matches!(structure(g, n), Some(Source | Iota { .. } | View(_) | Reshape))
}

fn structure(g: &Graph, n: Node) -> Option<Structure> {
    let Family::Array(p) = g.op(n).family() else { return None };
    let args = g.args(n);
    let types: Vec<&Type> = args.iter().map(|&a| g.ty(a)).collect();
    Some(p.structure(&types))
}

/// The rows of this type that `trips` iterations have, as an array; `None` if there
/// would be too much of it.
fn all_rows(ty: &Type, trips: usize) -> Option<Type> {
    let bytes = trips.checked_mul(ty.checked_bytes()?.max(1))?;
    let dims = std::iter::once(trips).chain(ty.dims().iter().copied());
    (ty.stack == 0 && bytes <= MOST).then(|| ty.with_shape(dims.collect::<Shape>()))
}

/// A graph with the inputs of a body, and more of them from position `at` on, each of
/// which takes the place of a value of the body if one is named.
fn reopened(b: &Graph, at: usize, more: &[(Type, Option<Value>)]) -> (Graph, Map) {
    let mut to = Graph::new(b.name.clone());
    let mut map = Map::filled(None, b.value_count());
    let mut copy = |to: &mut Graph, vs: &[Value]| {
        for &v in vs {
            map[v] = Some(to.input(b.ty(v).clone(), b.name_of(v)));
        }
    };
    copy(&mut to, &b.inputs()[..at]);
    let made: Vec<Value> = more.iter().map(|(ty, _)| to.input(ty.clone(), None)).collect();
    copy(&mut to, &b.inputs()[at..]);
    for ((_, v), input) in more.iter().zip(made) {
        if let Some(v) = v {
            map[*v] = Some(input);
        }
    }
    (to, map)
}

/// The nodes behind these values, copied.
fn fill(to: &mut Graph, b: &Graph, map: &mut Map, outputs: &[Value]) -> Vec<Value> {
    rebuild_into(to, b, map, outputs, |to, n, args| same(to, b, n, args));
    outputs.iter().map(|&v| map[v].expect("roots are live")).collect()
}

/// What a rewritten loop needs to stand where the old one stood.
fn added(to: &mut Graph, pass: &str, l: Loop, args: &[Value]) -> Values {
    to.add(l, args).unwrap_or_else(|e| panic!("{pass}: {e}\n{to}"))
}

/// The terms of a sum of floats, through sums that nothing else reads.
fn terms(g: &Graph, sum: Value, uses: &IndexVec<Value, usize>) -> Vec<Value> {
    let mut open = vec![sum];
    let mut found = Vec::new();
    while let Some(v) = open.pop() {
        match g.op_of(v) {
            Op::Map(m) if m.f == Scalar::Add && (v == sum || uses[v] == 1) => {
                open.extend(g.args(g.source(v).0).into_iter().rev());
            }
            _ => found.push(v),
        }
    }
    found
}

/// How often each value is read, outputs included.
fn uses(g: &Graph) -> IndexVec<Value, usize> {
    let mut uses = IndexVec::filled(0, g.value_count());
    let live = crate::rebuild::live(g, g.outputs(), None);
    for (n, _) in live.entries().filter(|(_, live)| **live) {
        g.args(n).iter().for_each(|&a| uses[a] += 1);
    }
    g.outputs().iter().for_each(|&v| uses[v] += 1);
    uses
}

/// The graph without these inputs, which nothing reads.
fn without_inputs(b: &Graph, gone: impl Fn(usize) -> bool) -> Graph {
    let mut to = Graph::new(b.name.clone());
    let mut map = Map::filled(None, b.value_count());
    for (i, &v) in b.inputs().iter().enumerate() {
        if !gone(i) {
            map[v] = Some(to.input(b.ty(v).clone(), b.name_of(v)));
        }
    }
    let outputs = fill(&mut to, b, &mut map, b.outputs());
    to.set_outputs(outputs);
    to
}
