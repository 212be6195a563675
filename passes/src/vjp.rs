//! Reverse mode: cotangents of sources from cotangents of targets.
//!
//! One walk over the nodes from the last target to the first source. When a
//! node is reached, all its users have been, so the cotangents of its results
//! are complete; its rule turns them into contributions to the cotangents of its
//! operands. A cotangent that is structurally zero is `None` and costs nothing.
//! Nodes that no source reaches are not visited at all, and `stop_gradient`
//! ends a path before any adjoint is built (Griewank & Walther, *Evaluating
//! Derivatives*, ch. 3).

use backstitch_ir::graph::{Origin, Values};
use backstitch_ir::op::{Cotangents, Family, Site};
use backstitch_ir::{Graph, Idx, IndexVec, Node, Scalar, Value};

use crate::control;

/// Which values depend on a source in a way that a derivative follows.
pub(crate) fn active(g: &Graph, sources: &[Value], end: usize) -> IndexVec<Value, bool> {
    let mut active = IndexVec::filled(false, g.value_count());
    let start = sources.iter().map(|&s| g.source(s).0.index()).min().unwrap_or(end);
    for &s in sources {
        active[s] = true;
    }
    for n in (start..end).map(Node::new) {
        let args = g.args(n);
        let through = |i: usize| match g.op(n).family() {
            Family::Array(p) => p.carries(i) == Some(true),
            Family::Cond(_) | Family::Loop(_) | Family::Rows(_) => true,
            Family::Region(r) => r.with_derivative().contains(&i),
        };
        if args.iter().enumerate().any(|(i, &a)| active[a] && through(i)) {
            for r in g.results(n) {
                active[r] |= g.ty(r).is_float();
            }
        }
    }
    active
}

/// Appends the adjoint of `targets` with respect to `sources` to the graph.
///
/// A target comes with its cotangent; `None` stands for ones. Several targets
/// are summed. Sources may be inputs, intermediate values, targets themselves.
/// Gives the cotangent of each source, `None` where there is structurally none
/// (see [`status`](crate::status()) for the reason).
///
/// Linear in the number of nodes between the first source and the last target.
pub fn reverse(
    g: &mut Graph,
    targets: &[(Value, Option<Value>)],
    sources: &[Value],
) -> Vec<Option<Value>> {
    let node = |g: &Graph, v: Value| g.source(v).0.index();
    let start = sources.iter().map(|&s| node(g, s)).min().unwrap_or(0);
    let end = targets.iter().map(|t| node(g, t.0) + 1).max().unwrap_or(0);
    let active = active(g, sources, end);
    let mut cts: IndexVec<Value, Option<Value>> = IndexVec::filled(None, g.value_count());
    for &(t, ct) in targets {
        if active[t] {
            let ct = ct.unwrap_or_else(|| g.like(t, 1.0));
            accumulate(g, &mut cts, t, ct);
        }
    }
    let before = g.current_origin();
    for n in (start..end).rev().map(Node::new) {
        let (args, results) = (g.args(n), g.results(n));
        let wanted: Vec<bool> = args.iter().map(|&a| active[a]).collect();
        if !wanted.contains(&true) || results.iter().all(|&r| cts[r].is_none()) {
            continue;
        }
        let place = g.origin(n).place.or(before.place);
        g.set_origin(Origin { place, adjoint: true, primal: Some(n) });
        let results_cts: Vec<Option<Value>> = results.iter().map(|&r| cts[r]).collect();
        let arg_cts = node_vjp(g, n, &args, &results, &results_cts, &wanted);
        for ((a, ct), wanted) in args.into_iter().zip(arg_cts).zip(wanted) {
            if let (Some(ct), true) = (ct, wanted) {
                accumulate(g, &mut cts, a, ct);
            }
        }
    }
    g.set_origin(before);
    sources.iter().map(|&s| cts[s]).collect()
}

fn node_vjp(
    g: &mut Graph,
    n: Node,
    args: &Values,
    results: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Cotangents {
    let op = g.op(n).clone();
    match op.family() {
        Family::Array(p) => {
            let Some(ct) = cts[0] else { return Cotangents::new() };
            p.vjp(g, &Site { node: n, args, results, wanted }, ct)
        }
        Family::Cond(c) => control::cond_vjp(g, c, args, cts, wanted),
        Family::Loop(l) => control::loop_vjp(g, l, args, cts, wanted),
        Family::Region(r) => control::region_vjp(g, r, args, results, cts, wanted),
        Family::Rows(r) => {
            let transposed = r.transposed(g.ty(args[0]));
            Cotangents::from_elem(cts[0].map(|ct| g.push(transposed, &[ct])), 1)
        }
    }
}

fn accumulate(g: &mut Graph, cts: &mut IndexVec<Value, Option<Value>>, v: Value, ct: Value) {
    debug_assert_eq!(g.ty(v), g.ty(ct), "a cotangent has the type of its value");
    cts[v] = Some(match cts[v] {
        None => ct,
        Some(sum) if g.ty(v).stack > 0 => control::add_stacks(g, sum, ct),
        Some(sum) => g.map(Scalar::Add, &[sum, ct]),
    });
}
