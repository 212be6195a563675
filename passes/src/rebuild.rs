//! Copying nodes from one graph to another: the skeleton of every pass.
//!
//! A pass walks the live nodes of a graph in order and adds what it makes of
//! each to the next graph. Walking from the outputs is dead-code elimination;
//! adding to a hash-consed graph is common-subexpression elimination.

use backstitch_ir::graph::{Origin, Values};
use backstitch_ir::{Graph, Idx, IndexVec, Node, Value};

/// From values of one graph to values of another.
pub type Map = IndexVec<Value, Option<Value>>;

/// Nodes that `roots` depend on. Values already in `done` are not looked behind.
pub fn live(g: &Graph, roots: &[Value], done: Option<&Map>) -> IndexVec<Node, bool> {
    let mut live = IndexVec::filled(false, g.node_count());
    let is_done = |v: Value| done.is_some_and(|m| m[v].is_some());
    let mut last = None;
    for &v in roots {
        if !is_done(v) {
            let n = g.source(v).0;
            live[n] = true;
            last = last.max(Some(n));
        }
    }
    let end = last.map_or(0, |n| n.index() + 1);
    for n in (0..end).rev().map(Node::new) {
        if live[n] {
            for a in g.args(n) {
                if !is_done(a) {
                    live[g.source(a).0] = true;
                }
            }
        }
    }
    live
}

/// Adds to `to` what `roots` of `from` need, beyond what is in `map` already, one
/// node at a time through `f`, which gives the node's results from its operands.
pub fn rebuild_into(
    to: &mut Graph,
    from: &Graph,
    map: &mut Map,
    roots: &[Value],
    mut f: impl FnMut(&mut Graph, Node, &[Value]) -> Values,
) {
    let live = live(from, roots, Some(map));
    let before = to.current_origin();
    for (n, _) in live.entries().filter(|(_, live)| **live) {
        let results = from.results(n);
        if results.iter().all(|&r| map[r].is_some()) {
            continue;
        }
        let args: Values = from
            .args(n)
            .iter()
            .map(|&a| map[a].expect("rebuild: operands come before their users"))
            .collect();
        let origin = from.origin(n);
        to.set_origin(Origin {
            place: origin.place.or(before.place),
            adjoint: origin.adjoint || before.adjoint,
            primal: before.primal,
        });
        let made = f(to, n, &args);
        for (r, m) in results.into_iter().zip(made) {
            if map[r].is_none() {
                map[r] = Some(m);
                if let Some(name) = from.name_of(r)
                    && to.name_of(m).is_none()
                {
                    let name = name.to_owned();
                    to.set_name(m, &name);
                }
            }
        }
    }
    to.set_origin(before);
}

/// The node as it is, with other operands.
///
/// # Panics
/// If the operands have other types than before: a bug in the pass.
pub fn same(to: &mut Graph, from: &Graph, n: Node, args: &[Value]) -> Values {
    match to.add(from.op(n).clone(), args) {
        Ok(results) => results,
        Err(e) => panic!("rebuild: {e}\n{from}"),
    }
}

/// A new graph with the same inputs, whose outputs are made by `f` node by node.
pub fn rebuild(g: &Graph, mut f: impl FnMut(&mut Graph, Node, &[Value]) -> Values) -> Graph {
    let mut to = g.successor();
    let mut map = Map::filled(None, g.value_count());
    for &v in g.inputs() {
        to.set_origin(g.origin(g.source(v).0));
        map[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
    }
    to.set_origin(Origin::default());
    // Adjoint nodes keep pointing at the primal node, under its new number.
    let mut nodes: IndexVec<Node, Option<Node>> = IndexVec::filled(None, g.node_count());
    let live = live(g, g.outputs(), Some(&map));
    for (n, _) in live.entries().filter(|(_, live)| **live) {
        let results = g.results(n);
        if results.iter().all(|&r| map[r].is_some()) {
            continue;
        }
        let args: Values = g
            .args(n)
            .iter()
            .map(|&a| map[a].expect("rebuild: operands come before their users"))
            .collect();
        let mut origin = g.origin(n);
        origin.primal = origin.primal.and_then(|p| nodes[p]);
        to.set_origin(origin);
        let made = f(&mut to, n, &args);
        for (r, m) in results.into_iter().zip(made) {
            nodes[n] = Some(to.source(m).0);
            map[r] = Some(m);
            if let Some(name) = g.name_of(r)
                && to.name_of(m).is_none()
            {
                to.set_name(m, name);
            }
        }
    }
    to.set_origin(Origin::default());
    to.set_outputs(g.outputs().iter().map(|&v| map[v].expect("outputs are live")));
    to
}

/// The same program without dead nodes.
pub fn prune(g: &Graph) -> Graph {
    g.pruned(&live(g, g.outputs(), None))
}

/// What is between some values of a graph and others, as a graph of its own: its inputs
/// stand for the former.
pub fn part(g: &Graph, inputs: &[Value], outputs: &[Value]) -> Graph {
    let mut to = Graph::new(g.name.clone());
    let mut map = Map::filled(None, g.value_count());
    for &v in inputs {
        to.set_origin(g.origin(g.source(v).0));
        let input = to.input(g.ty(v).clone(), g.name_of(v));
        map[v].get_or_insert(input);
    }
    to.set_origin(Origin::default());
    rebuild_into(&mut to, g, &mut map, outputs, |to, n, args| same(to, g, n, args));
    to.set_outputs(outputs.iter().map(|&v| map[v].expect("outputs are live")));
    to
}

/// Adds the nodes of `f` to `g`, with `args` for its inputs, and gives its outputs.
pub fn inline(g: &mut Graph, f: &Graph, args: &[Value]) -> Vec<Value> {
    let mut map = Map::filled(None, f.value_count());
    for (&v, &a) in f.inputs().iter().zip(args) {
        map[v] = Some(a);
    }
    rebuild_into(g, f, &mut map, f.outputs(), |g, n, args| same(g, f, n, args));
    f.outputs().iter().map(|&v| map[v].expect("outputs are live")).collect()
}
