//! Conditionals on one predicate and with the same operands are one conditional.
//!
//! Reverse mode adds to a conditional another one that gives what its branches keep.
//! Made one, each branch computes what both have in common once.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::Cond;
use backstitch_ir::{Graph, Node, Op, Value};
use rustc_hash::FxHashMap;

use crate::rebuild::{inline, live, rebuild, same};

/// The same program, where no branch is taken twice on the same operands.
pub fn merge_conds(g: &Graph) -> Graph {
    let live = live(g, g.outputs(), None);
    let mut groups: FxHashMap<Values, Vec<Node>> = FxHashMap::default();
    for n in g.nodes().filter(|&n| live[n] && matches!(g.op(n), Op::Cond(_))) {
        groups.entry(g.args(n)).or_default().push(n);
    }
    let mut made: FxHashMap<Node, Values> = FxHashMap::default();
    rebuild(g, |to, n, args| {
        if let Some(results) = made.remove(&n) {
            return results;
        }
        let Some(group) = groups.get(&g.args(n)).filter(|group| group.len() > 1) else {
            return same(to, g, n, args);
        };
        if !matches!(g.op(n), Op::Cond(_)) {
            return same(to, g, n, args);
        }
        let branch = |pick: fn(&Cond) -> &Arc<Graph>| {
            let bodies = group.iter().map(|&n| match g.op(n) {
                Op::Cond(c) => &**pick(c),
                _ => unreachable!("only conditionals are in the table"),
            });
            Arc::new(side_by_side(bodies))
        };
        let op = Cond { then: branch(|c| &c.then), els: branch(|c| &c.els) };
        let results = to.add(op, args).unwrap_or_else(|e| panic!("merge_conds: {e}\n{g}"));
        let mut rest = results.into_iter();
        for &n in group {
            made.insert(n, rest.by_ref().take(g.results(n).len()).collect());
        }
        made.remove(&n).expect("it is one of them")
    })
}

/// One graph that gives what several give, on the same inputs.
fn side_by_side<'a>(bodies: impl Iterator<Item = &'a Graph>) -> Graph {
    let mut to = Graph::default();
    let mut inputs: Option<Vec<Value>> = None;
    let mut outputs = Vec::new();
    for body in bodies {
        let inputs = inputs.get_or_insert_with(|| {
            to.name.clone_from(&body.name);
            let copy = |&v: &Value| to.input(body.ty(v).clone(), body.name_of(v));
            body.inputs().iter().map(copy).collect()
        });
        outputs.extend(inline(&mut to, body, inputs));
    }
    to.set_outputs(outputs);
    to
}
