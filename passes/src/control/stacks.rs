//! Sums of stacks: cotangents of what a loop pushed, when two later loops pop it.
//!
//! The number of entries is taken from the loop that made one of the two. Of stacks
//! inside stacks, both of which come off another stack, it is not known: such sums
//! are not supported.

use std::sync::Arc;

use backstitch_ir::op::Family;
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, Scalar, Value};

/// Entry by entry, `a + b`. Both have as many entries as the loops that made them
/// had iterations.
pub(crate) fn add_stacks(g: &mut Graph, a: Value, b: Value) -> Value {
    let count = trip_count(g, a).or_else(|| trip_count(g, b));
    let count = count.unwrap_or_else(|| panic!("add_stacks: {a} and {b} of unknown length\n{g}"));
    // Popping reverses the order; doing it twice restores it.
    let entry = g.ty(a).unstacked();
    let mut body = Graph::new("add");
    let (x, y) = (body.input(entry.clone(), None), body.input(entry.clone(), None));
    let sum =
        if entry.stack > 0 { add_stacks(&mut body, x, y) } else { body.map(Scalar::Add, &[x, y]) };
    body.set_outputs([sum]);
    let mut back = Graph::new("reverse");
    let x = back.input(entry, None);
    back.set_outputs([x]);
    let mut run = |body: Graph, stacks: &[Value]| {
        let pops = stacks.len();
        let op = Loop { trip: Trip::Count, body: Arc::new(body), carries: 0, consts: 0, pops };
        let args: Vec<Value> = std::iter::once(count).chain(stacks.iter().copied()).collect();
        g.push(op, &args)
    };
    let reversed = run(body, &[a, b]);
    run(back, &[reversed])
}

/// The number of entries of a stack made by a counted loop, as adjoint loops are.
fn trip_count(g: &Graph, stack: Value) -> Option<Value> {
    let n = g.source(stack).0;
    match g.op(n).family() {
        Family::Loop(l) if l.trip == Trip::Count => Some(g.args(n)[0]),
        _ => None,
    }
}
