//! The sum of an inner loop starts from what it is added to.
//!
//! ```text
//! repeat T { r = 0; repeat U { r += x }; s += r }     repeat T { repeat U { s += x } }
//! ```
//!
//! The adjoint of what both loops read is added up by both; where the inner one adds at
//! indices, neither an array of zeros nor a sum of whole arrays is left. Adding up in
//! another order ([`Class::Rounds`](crate::Class::Rounds)).

use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, IndexVec, Node, Op, Scalar, Value};
use rustc_hash::FxHashMap;

use super::uses;
use crate::rebuild::{rebuild, same};

/// The same program, where sums of loops in a body start from the sums of the body.
pub fn start_sums(g: &Graph) -> Graph {
    let uses = uses(g);
    // Of loops, the carries and the number of the input that each starts from; of sums
    // that are no more, what is left of them.
    let mut starts: FxHashMap<Node, Vec<(usize, usize)>> = FxHashMap::default();
    let mut left: FxHashMap<Node, usize> = FxHashMap::default();
    for n in g.nodes() {
        let Op::Map(m) = g.op(n) else { continue };
        if m.f != Scalar::Add {
            continue;
        }
        let args = g.args(n);
        let Some((r, s)) = [(0, 1), (1, 0)].into_iter().find(|&(r, s)| {
            matches!(g.op_of(args[r]), Op::Loop(_)) && matches!(g.op_of(args[s]), Op::Input(_))
        }) else {
            continue;
        };
        let (inner, i) = g.source(args[r]);
        let Op::Loop(l) = g.op(inner) else { continue };
        let of_zero = i < l.carries && g.is_splat(g.args(inner)[l.lead() + i], 0.0);
        let input = g.inputs().iter().position(|&v| v == args[s]);
        if let Some(input) = input.filter(|_| of_zero && uses[args[r]] == 1 && adds_up(l, i)) {
            starts.entry(inner).or_default().push((i, input));
            left.insert(n, r);
        }
    }
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) if starts.contains_key(&n) => {
            let mut args = args.to_vec();
            for &(i, input) in &starts[&n] {
                args[l.lead() + i] = to.inputs()[input];
            }
            same(to, g, n, &args)
        }
        _ => match left.get(&n) {
            Some(&r) => [args[r]].into_iter().collect(),
            None => same(to, g, n, args),
        },
    })
}

/// Whether all that a loop does to a carry is to add to it: how long it runs does not
/// depend on it either.
fn adds_up(l: &Loop, i: usize) -> bool {
    let b = &*l.body;
    let (from, uses) = (b.inputs()[i], uses(b));
    let decides = |test: &Graph| super::uses(test)[test.inputs()[i]] > 0;
    if matches!(&l.trip, Trip::While(test) if decides(test)) {
        return false;
    }
    b.ty(from).is_float() && uses[from] == 1 && leads(b, b.outputs()[i], from, &uses)
}

/// Whether `v` is `from` and something added to it.
fn leads(b: &Graph, v: Value, from: Value, uses: &IndexVec<Value, usize>) -> bool {
    let mut open = vec![v];
    while let Some(v) = open.pop() {
        if v == from {
            return true;
        }
        let (n, result) = b.source(v);
        let args = b.args(n);
        match b.op(n) {
            _ if uses[v] != 1 => {}
            Op::Map(m) if m.f == Scalar::Add => open.extend(args),
            Op::ScatterAdd(_) => open.push(args[0]),
            Op::Loop(l) if result < l.carries && adds_up(l, result) => {
                open.push(args[l.lead() + result]);
            }
            _ => {}
        }
    }
    false
}
