//! A loop and the same loop that also keeps residuals are one loop.
//!
//! Reverse mode adds an augmented copy of a loop, which keeps residuals, counts its
//! iterations, or both; the values of the original are among its results. Here the
//! original is replaced, so that it runs once.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{DType, Graph, Node, Op, Type, Value};
use rustc_hash::FxHashMap;

use crate::rebuild::{Map, prune, rebuild, rebuild_into, same};

/// The same program, where no loop runs twice because its residuals are wanted.
pub fn merge_loops(g: &Graph) -> Graph {
    let mut plain: FxHashMap<(Loop, Values), (Node, bool)> = FxHashMap::default();
    for n in g.nodes() {
        if let Op::Loop(l) = g.op(n) {
            // Without residuals and a counter it would be the original.
            for counter in [true, false].into_iter().filter(|&c| c || l.pushes() > 0) {
                if let Some((p, args)) = stripped(g, l, &g.args(n), counter) {
                    plain.insert((p, args), (n, counter));
                }
            }
        }
    }
    if plain.is_empty() {
        return prune(g);
    }
    rebuild(g, |to, n, args| {
        let Op::Loop(l) = g.op(n) else { return same(to, g, n, args) };
        let key = (canonical(l), g.args(n));
        let Some(&(augmented, counter)) = plain.get(&key) else { return same(to, g, n, args) };
        let Op::Loop(a) = g.op(augmented) else { unreachable!("only loops are in the table") };
        let mut operands = args.to_vec();
        if counter {
            let zero = to.constant(0i64);
            operands.insert(l.lead() + l.carries, zero);
        }
        let made = to.add(a.clone(), &operands);
        let made = made.unwrap_or_else(|e| panic!("merge_loops: {e}\n{g}"));
        let pushed = l.carries + usize::from(counter);
        let first = made[..l.carries].iter().copied();
        first.chain(made[pushed..].iter().copied().take(l.pushes())).collect()
    })
}

fn canonical(l: &Loop) -> Loop {
    let trip = match &l.trip {
        Trip::Count | Trip::Entries => l.trip.clone(),
        Trip::While(c) => Trip::While(Arc::new(prune(c))),
    };
    Loop { trip, body: Arc::new(prune(&l.body)), ..l.clone() }
}

/// The loop without what it pushes and, if asked for, without its last carry, a
/// counter that nothing else depends on. `None` if it has no such carry.
fn stripped(g: &Graph, l: &Loop, args: &Values, counter: bool) -> Option<(Loop, Values)> {
    let mut args = args.clone();
    let at = l.carries.checked_sub(1);
    if counter {
        let at = at?;
        let v = l.body.inputs()[at];
        if *l.body.ty(v) != Type::scalar(DType::I64) || !g.is_splat(args[l.lead() + at], 0.0) {
            return None;
        }
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
    let body = without(&l.body, &l.body.outputs()[..carries])?;
    let (consts, pops, unroll) = (l.consts, l.pops, l.unroll);
    Some((Loop { trip, body, carries, consts, pops, unroll }, args))
}
