//! A loop and the same loop that also keeps residuals are one loop.
//!
//! Reverse mode adds an augmented copy of a loop, which keeps residuals, counts its
//! iterations, or both, or carries a tangent; the values of the original are among its
//! results. Here the original is replaced, so that it runs once.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Array, Const, Graph, Node, Op, Type, Value};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::rebuild::{Map, prune, rebuild, rebuild_into, same};

/// Loops, and whether they have one more carry, a counter or a tangent, by what is left of
/// them without it and without residuals.
type Augmented = FxHashMap<(Loop, Values), SmallVec<[(Node, bool); 2]>>;

/// The same program, where no loop runs twice because its residuals are wanted.
pub fn merge_loops(g: &Graph) -> Graph {
    let mut augmented = Augmented::default();
    for n in g.nodes() {
        if let Op::Loop(l) = g.op(n) {
            // Without residuals and a counter it would be the original.
            for counter in [true, false].into_iter().filter(|&c| c || l.pushes() > 0) {
                if let Some(key) = stripped(g, l, &g.args(n), counter, 0) {
                    augmented.entry(key).or_default().push((n, counter));
                }
            }
        }
    }
    if augmented.is_empty() {
        return prune(g);
    }
    rebuild(g, |to, n, args| {
        let Op::Loop(l) = g.op(n) else { return same(to, g, n, args) };
        let Some((a, more)) = with_residuals(g, n, l, &augmented) else {
            return same(to, g, n, args);
        };
        let mut operands = args.to_vec();
        if let Some((ty, c)) = &more {
            let c = to.constant(Array::scalar(*c));
            operands.insert(l.lead() + l.carries, to.broadcast(c, &ty.shape, &[]));
        }
        let made = to.add(a.clone(), &operands);
        let made = made.unwrap_or_else(|e| panic!("merge_loops: {e}\n{g}"));
        let pushed = l.carries + usize::from(more.is_some());
        let first = made[..l.carries].iter().copied();
        first.chain(made[pushed..].iter().copied().take(l.pushes())).collect()
    })
}

/// Of the loops that do what this one does and keep more, the one that keeps most; and
/// what one more carry that it has begins with.
fn with_residuals<'g>(
    g: &'g Graph,
    n: Node,
    l: &Loop,
    augmented: &Augmented,
) -> Option<(&'g Loop, Option<(Type, Const)>)> {
    let args = g.args(n);
    let candidates = augmented.get(&stripped(g, l, &args, false, 0)?)?;
    let own = stripped(g, l, &args, false, l.pushes())?;
    let keeps_more = |&(other, counter): &(Node, bool)| {
        let Op::Loop(a) = g.op(other) else { unreachable!("only loops are in the table") };
        let more = counter || a.pushes() > l.pushes();
        // What this one pushes, the other pushes first.
        let first = || stripped(g, a, &g.args(other), counter, l.pushes());
        let found = more && a.pushes() >= l.pushes() && first().as_ref() == Some(&own);
        found.then_some((&**a, other, counter))
    };
    let found = candidates.iter().filter_map(keeps_more);
    let most = |best: (&'g Loop, Node, bool), next: (&'g Loop, Node, bool)| {
        if next.0.pushes() > best.0.pushes() { next } else { best }
    };
    let (a, other, counter) = found.reduce(most)?;
    let init = counter.then(|| g.args(other)[a.lead() + a.carries - 1]);
    Some((a, init.and_then(|v| Some((g.ty(v).clone(), g.as_splat(v)?)))))
}

/// The loop with the first of its pushes alone and, if asked for, without its last carry,
/// which begins with a number and which nothing else depends on. `None` if it has no such
/// carry.
fn stripped(
    g: &Graph,
    l: &Loop,
    args: &Values,
    counter: bool,
    pushes: usize,
) -> Option<(Loop, Values)> {
    let mut args = args.clone();
    let at = l.carries.checked_sub(1);
    if counter {
        let at = at?;
        g.as_splat(args[l.lead() + at])?;
        args.remove(l.lead() + at);
    }
    let carries = l.carries - usize::from(counter);
    let skip = counter.then_some(carries);
    let without = |from: &Graph, roots: &[Value]| {
        let mut to = Graph::new(from.name.clone());
        let mut map = Map::filled(None, from.value_count());
        let live = crate::rebuild::live(from, roots, None);
        for (i, &v) in from.inputs().iter().enumerate() {
            if Some(i) != skip {
                map[v] = Some(to.input(from.ty(v).clone(), from.name_of(v)));
            } else if live[from.source(v).0] {
                return None;
            }
        }
        rebuild_into(&mut to, from, &mut map, roots, |to, n, args| same(to, from, n, args));
        to.set_outputs(roots.iter().map(|&v| map[v].expect("roots are live")));
        Some(Arc::new(to))
    };
    let trip = match &l.trip {
        Trip::Count | Trip::Entries => l.trip.clone(),
        Trip::While(c) => Trip::While(without(c, c.outputs())?),
    };
    let (carried, pushed) = l.body.outputs().split_at(l.carries);
    let body = without(&l.body, &[&carried[..carries], &pushed[..pushes]].concat())?;
    let (consts, pops, unroll) = (l.consts, l.pops, l.unroll);
    Some((Loop { trip, body, carries, consts, pops, unroll }, args))
}
