//! Forward mode: tangents of targets from tangents of sources.
//!
//! One walk over the nodes from the first source to the last target; each node's
//! rule turns the tangents of its operands into those of its results. A tangent
//! that is structurally zero is `None`.

use backstitch_ir::graph::Origin;
use backstitch_ir::op::{Family, Site};
use backstitch_ir::{Graph, Idx, IndexVec, Node, Scalar, Value};

use crate::control;
use crate::vjp::active;

/// Appends the tangents of `targets` to the graph, given those of `sources`.
///
/// Sources may be inputs or intermediate values; the tangent of an intermediate
/// source is what it has by itself and what it gets from sources before it.
pub fn forward(g: &mut Graph, sources: &[(Value, Value)], targets: &[Value]) -> Vec<Option<Value>> {
    let node = |g: &Graph, v: Value| g.source(v).0.index();
    let start = sources.iter().map(|s| node(g, s.0)).min().unwrap_or(0);
    let end = targets.iter().map(|&t| node(g, t) + 1).max().unwrap_or(0);
    let from: Vec<Value> = sources.iter().map(|s| s.0).collect();
    let active = active(g, &from, end);
    let mut tangents: IndexVec<Value, Option<Value>> = IndexVec::filled(None, g.value_count());
    let add = |g: &mut Graph, sum: Option<Value>, t: Value| match sum {
        None => t,
        Some(s) => g.map(Scalar::Add, &[s, t]),
    };
    for &(s, t) in sources {
        tangents[s] = Some(add(g, tangents[s], t));
    }
    let before = g.current_origin();
    for n in (start..end).map(Node::new) {
        let (args, results) = (g.args(n), g.results(n));
        if !results.iter().any(|&r| active[r]) || !args.iter().any(|&a| tangents[a].is_some()) {
            continue;
        }
        let place = g.origin(n).place.or(before.place);
        g.set_origin(Origin { place, adjoint: true, primal: Some(n) });
        let ts: Vec<Option<Value>> = args.iter().map(|&a| tangents[a]).collect();
        let op = g.op(n).clone();
        let made = match op.family() {
            Family::Array(p) => {
                let wanted = vec![true; args.len()];
                let at = Site { node: n, args: &args, results: &results, wanted: &wanted };
                vec![p.jvp(g, &at, &ts)]
            }
            Family::Cond(c) => control::cond_jvp(g, c, &args, &ts),
            Family::Loop(l) => control::loop_jvp(g, l, &args, &ts),
            Family::Region(r) => control::region_jvp(g, r, &args, &results, &ts),
            Family::Rows(r) => vec![ts[0].map(|t| g.push(r.clone(), &[t]))],
        };
        for (r, t) in results.into_iter().zip(made) {
            if let Some(t) = t {
                tangents[r] = Some(add(g, tangents[r], t));
            }
        }
    }
    g.set_origin(before);
    targets.iter().map(|&t| tangents[t]).collect()
}
