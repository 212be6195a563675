//! Loops that ask at the end of an iteration whether there is another.
//!
//! ```text
//! while p(c) { c = f(c) }        more = p(c); while more { c = f(c); more = p(c) }
//! ```
//!
//! A predicate that reduces arrays is a kernel that reads again what the body has just
//! written. At the end of the body it is one more reduction of the kernel that writes it,
//! from registers. It is computed as often as before, of the same numbers: before the
//! loop, and after each iteration.
//!
//! A predicate of few numbers stays where it is: it is a few instructions and a jump, and
//! asking it here as well would only be more code.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::op::{Family, Structure};
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, Op, Type, Value, threshold};

use crate::rebuild::{inline, live, rebuild, same};

/// Elements that are as good as scalars: their loops are written out.
const FEW: usize = threshold(8, 1);

/// Whether a graph has loops whose predicate belongs at the end of the body.
pub(crate) fn has_late_predicates(g: &Graph) -> bool {
    g.has_control() && g.nodes().any(|n| late(g.op(n)).is_some())
}

/// The same program, where loops that end by a predicate of arrays compute it at the end
/// of their bodies, and carry it.
pub fn invert_loops(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match late(g.op(n)) {
        Some((l, test)) => inverted(to, l, test, args),
        None => same(to, g, n, args),
    })
}

/// A loop and its predicate, if that belongs at the end of the body: it reduces an array,
/// and all it does can be part of a kernel.
fn late(op: &Op) -> Option<(&Loop, &Graph)> {
    let Op::Loop(l) = op else { return None };
    let Trip::While(test) = &l.trip else { return None };
    let mut reduces = false;
    let live = live(test, test.outputs(), None);
    for (n, _) in live.entries().filter(|(_, live)| **live) {
        let Family::Array(p) = test.op(n).family() else { return None };
        let types: Vec<&Type> = test.args(n).iter().map(|&a| test.ty(a)).collect();
        match p.structure(&types) {
            Structure::Reduce { .. } => {
                reduces |= types[0].shape.len() > FEW;
                // Bodies that are computed again for their residuals may be taken apart
                // where no sum of floats is in them.
                if l.pushes() > 0 && types[0].is_float() {
                    return None;
                }
            }
            Structure::Source
            | Structure::Iota { .. }
            | Structure::Map(_)
            | Structure::View(_)
            | Structure::Reshape => {}
            _ => return None,
        }
    }
    reduces.then_some((l, &**test))
}

fn inverted(to: &mut Graph, l: &Loop, test: &Graph, args: &[Value]) -> Values {
    let steady = l.carries + l.consts;
    let more = inline(to, test, &args[..steady])[0];
    let (ty, at) = (to.ty(more).clone(), l.carries);
    let with_flag = |b: &Graph| {
        let mut made = Graph::new(b.name.clone());
        let mut inputs = Vec::with_capacity(b.inputs().len());
        let mut flag = None;
        for (i, &v) in b.inputs().iter().enumerate() {
            if i == at {
                flag = Some(made.input(ty.clone(), None));
            }
            inputs.push(made.input(b.ty(v).clone(), b.name_of(v)));
        }
        let flag = flag.unwrap_or_else(|| made.input(ty.clone(), None));
        (made, inputs, flag)
    };
    let (mut trip, _, flag) = with_flag(test);
    trip.set_outputs([flag]);
    let (mut body, inputs, _) = with_flag(&l.body);
    let outputs = inline(&mut body, &l.body, &inputs);
    let (carries, pushed) = outputs.split_at(at);
    let asked = inline(&mut body, test, &[carries, &inputs[at..steady]].concat());
    body.set_outputs([carries, &asked, pushed].concat());
    let op = Loop {
        trip: Trip::While(Arc::new(trip)),
        body: Arc::new(body),
        carries: at + 1,
        ..l.clone()
    };
    let operands = [&args[..at], &[more], &args[at..]].concat();
    let mut results = to.add(op, &operands).unwrap_or_else(|e| panic!("invert_loops: {e}\n{to}"));
    results.remove(at);
    results
}
