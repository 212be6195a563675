//! Arithmetic of stacks. A cotangent of what a loop pushed is a stack with as many
//! entries; when two later loops pop it there are two, and they are added.

use std::sync::Arc;

use backstitch_ir::ops::{Loop, Trip, Unroll};
use backstitch_ir::{Graph, Scalar, Value};

/// Entry by entry, `a + b`; both have as many entries.
pub(crate) fn add_stacks(g: &mut Graph, a: Value, b: Value) -> Value {
    each(g, &[a, b], &|body, entries| match body.ty(entries[0]).stack {
        0 => body.map(Scalar::Add, entries),
        _ => add_stacks(body, entries[0], entries[1]),
    })
}

/// Zeros like an array, or a stack of as many zeros.
pub(crate) fn zeros_like(g: &mut Graph, v: Value) -> Value {
    if g.ty(v).stack == 0 {
        return g.like(v, 0.0);
    }
    each(g, &[v], &|body, entries| zeros_like(body, entries[0]))
}

/// The stack of what `f` makes of the entries of stacks of one type.
fn each(g: &mut Graph, stacks: &[Value], f: &dyn Fn(&mut Graph, &[Value]) -> Value) -> Value {
    let entry = g.ty(stacks[0]).unstacked();
    let mut body = Graph::new("each");
    let entries: Vec<Value> = stacks.iter().map(|_| body.input(entry.clone(), None)).collect();
    let made = f(&mut body, &entries);
    body.set_outputs([made]);
    let mut back = Graph::new("reverse");
    let x = back.input(entry, None);
    back.set_outputs([x]);
    let mut run = |body: Graph, stacks: &[Value]| {
        let pops = stacks.len();
        let op = Loop {
            trip: Trip::Entries,
            body: Arc::new(body),
            carries: 0,
            consts: 0,
            pops,
            unroll: Unroll::Auto,
        };
        g.push(op, stacks)
    };
    // Popping reverses the order; doing it twice restores it.
    let reversed = run(body, stacks);
    run(back, &[reversed])
}
