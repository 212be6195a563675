//! What is kept of a forward pass for the reverse: a minimum cut.
//!
//! A graph and its adjoint behind it, as one graph, fall in two parts: nodes that depend
//! on a cotangent run in the reverse; all others may run forward, in the reverse or in
//! both. A value that the reverse reads is *known* there (a constant), or is *kept*, or
//! is made *again* from values that are had in one of the three ways. Keeping costs
//! memory, making again costs time, and the least sum of both is a minimum cut of a
//! network that has an edge for each price:
//!
//! ```text
//! source ──again──► node ──keep──► result ──∞──► node that uses it
//!                                  result ──∞──► sink, if the reverse reads it
//! ```
//!
//! What is on the source's side is had without doing anything in the reverse. A cut
//! through `keep` keeps the result. A cut through `again` runs the node again, and its
//! operands, from which endless edges come, have to be behind the cut as well. By the
//! theorem of L. R. Ford and D. R. Fulkerson ("Maximal flow through a network", 1956) a
//! minimum cut is where a maximum flow is stuck ([`flow`]). That the choice is a cut was
//! noted by H. Zheng et al. ("AOTAutograd", min-cut rematerialisation, 2022), for prices in
//! bytes alone.
//!
//! Of several minimum cuts it is the one nearest to the source: carries and operands
//! rather than what is made of them. Whatever is kept, the same operations are run on the
//! same numbers, and sums, whose order could depend on what they are fused with, are not run
//! again. But whether a product is rounded before it is added to a sum depends on what else is
//! computed from it there.
//!
//! A flow may take more than linear time. Graphs of more than [`MOST`] nodes get a cut
//! that is found by one walk: whatever is no view and is read is kept.

mod flow;

use backstitch_ir::ops::Cond;
use backstitch_ir::{Graph, Idx, IndexVec, Monoid, Node, Op, Type, Value, threshold};
use flow::{Cut, Network};

use crate::rebuild::live;

/// Nodes up to which a minimum cut is looked for.
const MOST: usize = threshold(4096, 12);

/// The price of keeping a byte. So high that prices of less than a byte can be told
/// apart, for each node of a graph.
const BYTE: u64 = 1 << 13;
/// The price of an addition, for each byte of its operand: what takes as long as 32
/// additions is rather kept than done again.
const ADDITION: u64 = BYTE / 32;
/// The price of keeping something that is large beyond reason, or a stack.
const HUGE: u64 = 1 << 48;
/// More than any sum of prices: never.
const NEVER: u64 = 1 << 62;

/// What is to be as little as possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// The time to keep and to compute again.
    Time,
    /// The memory; what is dear to compute is not computed again all the same.
    Bytes,
}

/// A graph with its adjoint behind it.
pub(crate) struct Joint<'a> {
    pub graph: &'a Graph,
    /// Number of nodes that run forward whether they are kept or not.
    pub primal: usize,
    /// Values that the reverse has without keeping them.
    pub known: &'a IndexVec<Value, bool>,
    /// The inputs that are cotangents.
    pub cotangents: &'a [Value],
    /// What the reverse computes.
    pub roots: &'a [Value],
    /// Whether stacks can be kept. If not, loops that push run again.
    pub stacks: bool,
}

/// Marks values that are made from known ones alone.
pub(crate) fn spread_known(g: &Graph, known: &mut IndexVec<Value, bool>, again: fn(&Op) -> bool) {
    for n in g.nodes().filter(|&n| !g.op(n).is_input() && again(g.op(n))) {
        let is_known = g.args(n).iter().all(|&a| known[a]);
        g.results(n).iter().for_each(|&r| known[r] |= is_known);
    }
}

impl Joint<'_> {
    /// The values to keep, in order.
    pub fn residuals(&self, aim: Aim) -> Vec<Value> {
        let parts = self.parts();
        if parts.forward.iter().filter(|&&is| is).count() > MOST {
            return self.walk(&parts, aim);
        }
        self.cut(&parts, aim).0
    }

    fn parts(&self) -> Parts {
        let g = self.graph;
        let live = live(g, self.roots, None);
        let mut behind = IndexVec::filled(false, g.value_count());
        self.cotangents.iter().for_each(|&v| behind[v] = true);
        let mut forward = IndexVec::filled(false, g.node_count());
        let mut read = IndexVec::filled(false, g.value_count());
        for n in g.nodes().filter(|&n| live[n]) {
            let (args, results) = (g.args(n), g.results(n));
            if results.iter().any(|&r| behind[r]) || args.iter().any(|&a| behind[a]) {
                results.iter().for_each(|&r| behind[r] = true);
                args.iter().for_each(|&a| read[a] |= !behind[a]);
            } else {
                forward[n] = !results.iter().all(|&r| self.known[r]);
            }
        }
        self.roots.iter().for_each(|&v| read[v] |= !behind[v]);
        Parts { forward, read }
    }

    /// The minimum cut, and how long it took to find.
    ///
    /// Much of it is known before. A node that is dearer to run again than to keep is on
    /// the source's side, where nobody looks at its operands; a value that is read is on
    /// the sink's, where nobody looks at its users. Neither is in the network.
    fn cut(&self, parts: &Parts, aim: Aim) -> (Vec<Value>, usize) {
        let g = self.graph;
        let keep = |r: Value| match g.ty(r) {
            ty if ty.stack > 0 && !self.stacks => NEVER,
            ty => keep(ty),
        };
        let mut net = Network::default();
        // Nodes of the network: of a node that may run again, and of a value that is not
        // read itself.
        let mut results: IndexVec<Value, Option<usize>> = IndexVec::filled(None, g.value_count());
        let mut keeps: Vec<(Option<usize>, Value)> = Vec::new();
        for (n, _) in parts.forward.entries().filter(|(_, is)| **is) {
            let unknown = g.results(n).into_iter().filter(|&r| !self.known[r]);
            let prices = |read: bool| {
                let of = unknown.clone().filter(move |&r| parts.read[r] == read).map(keep);
                of.fold(0, u64::saturating_add)
            };
            let (read, again) = (prices(true), self.again(n, aim));
            let node = (again <= read.saturating_add(prices(false))).then(|| net.node(again, read));
            if let Some(node) = node {
                let args = g.args(n).into_iter().filter_map(|a| results[a]);
                args.for_each(|arg| net.arc(arg, node, NEVER));
            }
            for r in unknown {
                if !parts.read[r] {
                    let price = keep(r);
                    let result = net.node(if node.is_none() { price } else { 0 }, 0);
                    if let Some(node) = node {
                        net.arc(node, result, price);
                    }
                    results[r] = Some(result);
                }
                keeps.push((node, r));
            }
        }
        let Cut { near, steps } = net.cut();
        let is_cut = |&(node, r): &(Option<usize>, Value)| {
            node.is_none_or(|n| near[n]) && !results[r].is_some_and(|r| near[r])
        };
        (keeps.into_iter().filter(is_cut).map(|(_, v)| v).collect(), steps)
    }

    /// A cut found by walking back from what is read, as far as that costs nothing.
    fn walk(&self, parts: &Parts, aim: Aim) -> Vec<Value> {
        let g = self.graph;
        let mut wanted = parts.read.clone();
        let mut kept = Vec::new();
        for n in g.nodes().rev().filter(|&n| parts.forward[n]) {
            let results = g.results(n);
            if !results.iter().any(|&r| wanted[r]) {
                continue;
            }
            let stack = |&r: &Value| g.ty(r).stack > 0 && !self.stacks;
            if self.again(n, aim) == 0 || results.iter().any(stack) {
                g.args(n).iter().for_each(|&a| wanted[a] = true);
            } else {
                kept.extend(results.into_iter().filter(|&r| wanted[r] && !self.known[r]));
            }
        }
        kept.sort_unstable();
        kept
    }

    /// The price of running a node in the reverse.
    fn again(&self, n: Node, aim: Aim) -> u64 {
        let g = self.graph;
        let op = g.op(n);
        // Part of the adjoint: it is run once, here or there. But a branch that also
        // gives residuals is one with the branch.
        if n.index() >= self.primal && !op.is_input() && !matches!(op, Op::Cond(_)) {
            return 0;
        }
        let price = again(g, n, aim);
        let has_stacks = || g.results(n).iter().any(|&r| g.ty(r).stack > 0);
        if price == NEVER && !self.stacks && has_stacks() { HUGE } else { price }
    }
}

struct Parts {
    /// Nodes that the reverse needs, that depend on no cotangent, and are not known.
    forward: IndexVec<Node, bool>,
    /// Values that depend on none and are read by what does, or are asked for.
    read: IndexVec<Value, bool>,
}

/// The price of keeping a value of this type.
fn keep(ty: &Type) -> u64 {
    if ty.stack > 0 {
        return HUGE;
    }
    (ty.bytes() as u64).saturating_mul(BYTE).clamp(1, HUGE)
}

/// The price of running a node once more.
fn again(g: &Graph, n: Node, aim: Aim) -> u64 {
    let Some(&result) = g.results(n).first() else { return NEVER };
    let ty = g.ty(result);
    let bytes = |ty: &Type| ty.bytes() as u64;
    let price = match aim {
        Aim::Time => ADDITION,
        Aim::Bytes => 1,
    };
    let moved = |bytes: u64| bytes.saturating_mul(price).min(HUGE);
    match g.op(n) {
        Op::Literal(_)
        | Op::Iota(_)
        | Op::Broadcast(_)
        | Op::Reshape(_)
        | Op::Permute(_)
        | Op::Slice(_)
        | Op::Window(_)
        | Op::StopGradient(_)
        | Op::Rows(_) => 0,
        Op::Map(m) => {
            let widest = g.args(n).iter().map(|&a| bytes(g.ty(a))).max().unwrap_or(0);
            let cost = if aim == Aim::Time { m.f.cost() as u64 } else { 1 };
            moved(widest.max(bytes(ty)).saturating_mul(cost))
        }
        Op::Pad(_) | Op::Concat(_) | Op::Gather(_) => moved(bytes(ty)),
        Op::Reduce(r) if !matches!(r.monoid, Monoid::Sum | Monoid::Prod) || !ty.is_float() => {
            moved(bytes(g.ty(g.args(n)[0])))
        }
        Op::Cond(Cond { then, els }) => {
            let branch = |g: &Graph| {
                let nodes = g.nodes().filter(|&n| !g.op(n).is_input());
                nodes.map(|n| again(g, n, aim)).fold(0, u64::saturating_add)
            };
            branch(then).max(branch(els)).min(NEVER)
        }
        // What a loop pushes is not kept on stacks of stacks: it is pushed again.
        _ => NEVER,
    }
}

#[cfg(test)]
mod tests;
