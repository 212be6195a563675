//! What depends on constants alone is computed before the loop.
//!
//! The same operations on the same numbers, once: the same bits. A loop without
//! iterations computes it in vain; so what can be refused (factors of a matrix) and what
//! takes as long as it takes (a loop) leaves only loops that are known to run, and
//! predicates, which are always asked once.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, IndexVec, Op, Type, Value, threshold};

use super::{added, fill, is_total, is_view, reopened};
use crate::rebuild::{Map, live, rebuild, same};

/// Bytes that an invariant may have, whatever it is made of: it stays in the cache.
const SMALL: usize = threshold(1 << 18, 8);

/// The same program, where no loop computes again what does not change.
pub fn hoist_invariants(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) => hoisted(to, l, args).unwrap_or_else(|| same(to, g, n, args)),
        _ => same(to, g, n, args),
    })
}

fn hoisted(to: &mut Graph, l: &Loop, args: &[Value]) -> Option<Values> {
    let steady = l.carries + l.consts;
    let runs = l.trips(to, args).is_some_and(|n| n > 0);
    let of_body = invariants(l, &l.body, runs);
    let of_test = match &l.trip {
        Trip::While(test) => invariants(l, test, true),
        Trip::Count | Trip::Entries => vec![],
    };
    if of_body.is_empty() && of_test.is_empty() {
        return None;
    }
    let consts = &args[l.lead() + l.carries..l.lead() + steady];
    let mut outside = |b: &Graph, roots: &[Value]| {
        let mut map = Map::filled(None, b.value_count());
        for (&v, &a) in b.inputs()[l.carries..steady].iter().zip(consts) {
            map[v] = Some(a);
        }
        fill(to, b, &mut map, roots)
    };
    let mut made = outside(&l.body, &of_body);
    if let Trip::While(test) = &l.trip {
        made.extend(outside(test, &of_test));
    }
    // Body and predicate take the same constants, and each uses its own.
    let inside = |b: &Graph, own: &[Value], before: usize| {
        let mut more: Vec<(Type, Option<Value>)> =
            made.iter().map(|&v| (to.ty(v).clone(), None)).collect();
        for (place, &v) in more[before..].iter_mut().zip(own) {
            place.1 = Some(v);
        }
        let (mut inner, mut map) = reopened(b, steady, &more);
        let outputs = fill(&mut inner, b, &mut map, b.outputs());
        inner.set_outputs(outputs);
        Arc::new(inner)
    };
    let body = inside(&l.body, &of_body, 0);
    let trip = match &l.trip {
        Trip::While(test) => Trip::While(inside(test, &of_test, of_body.len())),
        trip => trip.clone(),
    };
    let op = Loop { trip, body, consts: l.consts + made.len(), ..l.clone() };
    let mut operands = args.to_vec();
    let at = l.lead() + steady;
    operands.splice(at..at, made);
    Some(added(to, "hoist_invariants", op, &operands))
}

/// The values that are to be made outside: those that the rest reads, as far as they are
/// worth it; `anything`: of operations that need not be total as well.
fn invariants(l: &Loop, b: &Graph, anything: bool) -> Vec<Value> {
    // What is made of constants; for that, how large the largest of them is.
    let mut made_of: IndexVec<Value, Option<usize>> = IndexVec::filled(None, b.value_count());
    for &v in &b.inputs()[l.carries..l.carries + l.consts] {
        made_of[v] = Some(b.ty(v).bytes());
    }
    let live = live(b, b.outputs(), None);
    let mut open: Vec<Value> = b.outputs().to_vec();
    for (n, _) in live.entries().filter(|(_, live)| **live) {
        if b.op(n).is_input() {
            continue;
        }
        let args = b.args(n);
        let largest = args.iter().try_fold(0, |most: usize, &a| Some(most.max(made_of[a]?)));
        match largest.filter(|_| anything || is_total(b, n)) {
            Some(largest) => {
                b.results(n).iter().for_each(|&r| made_of[r] = Some(largest));
            }
            None => open.extend(args),
        }
    }
    let mut seen = IndexVec::filled(false, b.value_count());
    let mut found = Vec::new();
    while let Some(v) = open.pop() {
        let Some(largest) = made_of[v] else { continue };
        let (n, ty) = (b.source(v).0, b.ty(v));
        if b.op(n).is_input() || std::mem::replace(&mut seen[v], true) {
            continue;
        }
        let fits = ty.stack == 0 && ty.bytes() <= largest.max(SMALL);
        // What was computed from nothing is a literal by other means.
        if fits && largest > 0 && !is_view(b, n) {
            found.push(v);
        } else {
            open.extend(b.args(n));
        }
    }
    found.sort_unstable();
    found
}
