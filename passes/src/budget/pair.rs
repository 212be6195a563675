//! Which loops can have their residuals computed again.
//!
//! A *pair* is a loop that pops residuals, and the loops that push them for it alone.
//! Reverse mode makes one of each; forward mode over that makes a second loop that
//! pushes, for the tangents of residuals.

use std::sync::Arc;

use backstitch_ir::ops::{Loop, Rows, Trip};
use backstitch_ir::{Const, DType, Graph, Idx, Node, Op, Scalar, Value};
use rustc_hash::{FxHashMap, FxHashSet};

use super::schedule::Chain;

/// A loop that pushes residuals.
pub(super) struct Producer {
    pub node: Node,
    pub op: Arc<Loop>,
    /// Which carries residuals depend on, now or in later steps.
    pub needed: Vec<bool>,
    /// Which pushes are residuals.
    pub residuals: Vec<usize>,
    /// Which other pushes somebody asks for.
    pub kept: Vec<Push>,
    /// For each stack that it pops, whether step `t` pops row `t`, and not
    /// the `t`-th row from the end.
    pub forward: Vec<bool>,
}

/// A stack that somebody asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Push {
    /// Which of those that the loop makes.
    pub index: usize,
    /// Whether it is asked for as an array whose first row was pushed last.
    pub back: bool,
}

/// Where the consumer pops from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pop {
    /// A residual: which producer, which of its pushes.
    Residual(usize, usize),
    /// Rows of an array. Whether the step of the reverse that undoes step `t` pops row `t`.
    Rows(bool),
}

impl Pop {
    pub const fn is_rows(self) -> bool {
        matches!(self, Self::Rows(_))
    }
}

/// A loop, and the loops whose residuals it pops.
pub(super) struct Pair {
    pub consumer: Node,
    pub op: Arc<Loop>,
    pub producers: Vec<Producer>,
    pub pops: Vec<Pop>,
    /// Which of its pushes somebody asks for.
    pub pushes: Vec<Push>,
    /// Number of steps, if it is known.
    pub steps: Option<usize>,
    /// Between the two ends of stacks that are to be no more.
    pub between: FxHashSet<Node>,
}

impl Pair {
    /// Bytes per step, and how many of them. A loop of unknown length has no steps.
    pub fn chain(&self) -> Chain {
        let (mut carries, mut residuals) = (0, 0);
        for p in &self.producers {
            let body = &p.op.body;
            let bytes = |v: Value| body.ty(v).bytes();
            let inputs = body.inputs().iter().zip(&p.needed).filter(|(_, needed)| **needed);
            carries += inputs.map(|(&v, _)| bytes(v)).sum::<usize>();
            let pushed = p.residuals.iter().map(|&r| body.outputs()[p.op.carries + r]);
            residuals += pushed.map(bytes).sum::<usize>();
        }
        let l = &self.op;
        let cts = l.body.inputs()[..l.carries].iter().map(|&v| l.body.ty(v).bytes());
        // Cotangents and carries have places of their own in each loop.
        let level = cts.sum::<usize>() + 2 * carries;
        Chain { steps: self.steps.unwrap_or(0), carries, residuals, level }
    }
}

/// All pairs of a graph, no loop in two of them; of two that share one, that with more
/// bytes of residuals.
pub(super) fn pairs(g: &Graph) -> Vec<Pair> {
    if !g.nodes().any(|n| matches!(g.op(n), Op::Loop(l) if l.pops > 0)) {
        return vec![];
    }
    let facts = Facts::of(g);
    let loops = g.nodes().filter(|&n| facts.live[n.index()]);
    let mut found: Vec<Pair> = loops.filter_map(|n| pair(g, &facts, n)).collect();
    let weight = |p: &Pair| (p.steps.is_some(), std::cmp::Reverse(p.chain().bytes()));
    found.sort_by_key(weight);
    let mut taken: FxHashSet<Node> = FxHashSet::default();
    found.retain(|p| {
        let nodes = || p.producers.iter().map(|p| p.node).chain([p.consumer]);
        let free = nodes().all(|n| !taken.contains(&n));
        if free {
            taken.extend(nodes());
        }
        free
    });
    found
}

/// Who uses each value of a graph.
struct Facts {
    live: Vec<bool>,
    users: FxHashMap<Value, Vec<Node>>,
    outputs: FxHashSet<Value>,
}

impl Facts {
    fn of(g: &Graph) -> Self {
        let live = crate::rebuild::live(g, g.outputs(), None);
        let live: Vec<bool> = g.nodes().map(|n| live[n]).collect();
        let mut users: FxHashMap<Value, Vec<Node>> = FxHashMap::default();
        for n in g.nodes().filter(|n| live[n.index()]) {
            for a in g.args(n) {
                users.entry(a).or_default().push(n);
            }
        }
        Self { live, users, outputs: g.outputs().iter().copied().collect() }
    }

    /// Whether this node is the only one that uses a value, and once.
    fn only(&self, v: Value, user: Node) -> bool {
        !self.outputs.contains(&v) && self.users.get(&v).is_some_and(|u| u[..] == [user])
    }

    fn is_used(&self, v: Value) -> bool {
        self.outputs.contains(&v) || self.users.contains_key(&v)
    }
}

/// The number that counts a loop's iterations.
fn constant_count(g: &Graph, n: Node) -> Option<usize> {
    match g.op(n) {
        Op::Loop(l) if l.trip == Trip::Count => {
            let count: Const = g.as_splat(g.args(n)[0])?;
            Some((count.bits as i64).max(0) as usize)
        }
        _ => None,
    }
}

fn pair(g: &Graph, facts: &Facts, consumer: Node) -> Option<Pair> {
    let Op::Loop(l) = g.op(consumer) else { return None };
    if l.trip != Trip::Count || l.pops == 0 {
        return None;
    }
    let steps = constant_count(g, consumer);
    if steps == Some(0) {
        return None;
    }
    let args = g.args(consumer);
    let count = args[0];
    let (mut between, mut pops) = (FxHashSet::default(), Vec::new());
    let mut sources: Vec<(Node, Vec<usize>)> = Vec::new();
    for &stack in &args[1 + l.carries + l.consts..] {
        if let Some((from, push, path)) = residual(g, facts, consumer, stack)
            && pushes_for(g, from, count, steps)
        {
            between.extend(path);
            let at = sources.iter().position(|s| s.0 == from).unwrap_or_else(|| {
                sources.push((from, vec![]));
                sources.len() - 1
            });
            sources[at].1.push(push);
            pops.push(Pop::Residual(at, push));
        } else {
            // The reverse of step `t` is number `n - 1 - t`.
            pops.push(Pop::Rows(!rows(g, stack, steps?)?));
        }
    }
    if sources.is_empty() {
        return None;
    }
    // Without a number of steps, somebody has to say how many there were.
    let counts = |n: Node| match g.op(n) {
        Op::Loop(a) if a.trip == Trip::Count => g.args(n)[0] == count,
        Op::Loop(a) => counter(g, n, a, count),
        _ => false,
    };
    if steps.is_none() && !sources.iter().any(|s| counts(s.0)) {
        return None;
    }
    let used = |n: Node, l: &Loop| -> Vec<Push> {
        let results = &g.results(n)[l.carries..];
        let backwards = backwards(g, n);
        let asked = results.iter().enumerate().filter(|(_, stack)| facts.is_used(**stack));
        asked.map(|(index, stack)| Push { index, back: backwards.contains(stack) }).collect()
    };
    let is_array = |l: &Loop, i: usize| l.body.ty(l.body.outputs()[l.carries + i]).stack == 0;
    let arrays = |l: &Loop, which: &[Push]| which.iter().all(|p| is_array(l, p.index));
    let pushed = used(consumer, l);
    let fits = |l: &Loop| l.body.inputs()[..l.carries].iter().all(|&v| l.body.ty(v).stack == 0);
    if !fits(l) || !arrays(l, &pushed) || (steps.is_none() && !pushed.is_empty()) {
        return None;
    }
    let producers: Option<Vec<Producer>> = sources
        .into_iter()
        .map(|(node, residuals)| {
            let Op::Loop(a) = g.op(node) else { return None };
            let used = used(node, a);
            let kept: Vec<Push> =
                used.into_iter().filter(|p| !residuals.contains(&p.index)).collect();
            let whole = arrays(a, &kept) && residuals.iter().all(|&i| is_array(a, i)) && fits(a);
            if !whole || (steps.is_none() && (a.pops > 0 || !kept.is_empty())) {
                return None;
            }
            let stacks = &g.args(node)[a.lead() + a.carries + a.consts..];
            let forward: Option<Vec<bool>> = stacks.iter().map(|&s| rows(g, s, steps?)).collect();
            let (op, needed) = (Arc::clone(a), needed(a, &residuals));
            Some(Producer { node, op, needed, residuals, kept, forward: forward? })
        })
        .collect();
    let op = Arc::clone(l);
    Some(Pair { consumer, op, producers: producers?, pops, pushes: pushed, steps, between })
}

/// The loop and the number of the push that a stack comes from, in the order in which
/// it was pushed, if all there is on the way serves this consumer alone; and the nodes
/// on the way.
fn residual(
    g: &Graph,
    facts: &Facts,
    consumer: Node,
    stack: Value,
) -> Option<(Node, usize, Vec<Node>)> {
    let (n, result) = g.source(stack);
    match g.op(n) {
        Op::Loop(a) if result >= a.carries && facts.only(stack, consumer) => {
            Some((n, result - a.carries, vec![]))
        }
        Op::Rows(Rows::ToStack { back }) if facts.only(stack, consumer) => {
            let array = g.args(n)[0];
            let from = g.source(array).0;
            let Op::Rows(Rows::FromStack { back: popped, .. }) = g.op(from) else { return None };
            let pushed = g.args(from)[0];
            let (source, result) = g.source(pushed);
            let Op::Loop(a) = g.op(source) else { return None };
            let alone = facts.only(array, n) && facts.only(pushed, from) && back == popped;
            (alone && result >= a.carries).then(|| (source, result - a.carries, vec![n, from]))
        }
        _ => None,
    }
}

/// The stacks of a loop of which an array is made whose first row was pushed last: in that
/// order its rows are in memory, see lowering.
fn backwards(g: &Graph, n: Node) -> FxHashSet<Value> {
    let mut orders: FxHashMap<Value, bool> = FxHashMap::default();
    for user in g.users(n) {
        if let Op::Rows(Rows::FromStack { back, .. }) = g.op(user) {
            orders.entry(g.args(user)[0]).or_insert(*back);
        }
    }
    orders.into_iter().filter(|(_, back)| *back).map(|(stack, _)| stack).collect()
}

/// Whether a loop pushes as often as the consumer pops.
fn pushes_for(g: &Graph, producer: Node, count: Value, steps: Option<usize>) -> bool {
    let Op::Loop(a) = g.op(producer) else { return false };
    match (&a.trip, steps) {
        (Trip::Count, Some(steps)) => constant_count(g, producer) == Some(steps),
        (Trip::Count, None) => g.args(producer)[0] == count,
        // Stacks are popped whole.
        (Trip::While(_), None) => true,
        _ => false,
    }
}

/// Whether a value is the number of iterations that a loop has made.
fn counter(g: &Graph, n: Node, l: &Loop, count: Value) -> bool {
    let (source, i) = g.source(count);
    if source != n || i >= l.carries || !g.is_splat(g.args(n)[l.lead() + i], 0.0) {
        return false;
    }
    let body = &l.body;
    let (from, to) = (body.inputs()[i], body.outputs()[i]);
    let adds = matches!(body.op_of(to), Op::Map(m) if m.f == Scalar::Add);
    let terms = body.args(body.source(to).0);
    adds && *body.ty(to) == backstitch_ir::Type::scalar(DType::I64)
        && (terms[0] == from && body.is_splat(terms[1], 1.0)
            || terms[1] == from && body.is_splat(terms[0], 1.0))
}

/// Whether a stack is the rows of an array of that many, and the first comes off first.
fn rows(g: &Graph, stack: Value, steps: usize) -> Option<bool> {
    match g.op_of(stack) {
        Op::Rows(Rows::ToStack { back }) => {
            let array = g.args(g.source(stack).0)[0];
            (g.ty(array).dims()[0] == steps).then_some(*back)
        }
        _ => None,
    }
}

/// The carries that these pushes depend on, in this iteration or through later ones.
fn needed(l: &Loop, residuals: &[usize]) -> Vec<bool> {
    let body = &l.body;
    let mut needed = vec![false; l.carries];
    loop {
        let next = (0..l.carries).filter(|&i| needed[i]).map(|i| body.outputs()[i]);
        let roots: Vec<Value> =
            residuals.iter().map(|&r| body.outputs()[l.carries + r]).chain(next).collect();
        let live = crate::rebuild::live(body, &roots, None);
        let now: Vec<bool> =
            body.inputs()[..l.carries].iter().map(|&v| live[body.source(v).0]).collect();
        if now == needed {
            return needed;
        }
        needed = now;
    }
}

/// Whether the results of a body are the same bits whatever is computed beside it: each
/// element by itself, in an order that is given by the operation.
pub(super) fn is_pointwise(body: &Graph) -> bool {
    body.nodes().all(|n| match body.op(n) {
        // Floats round, and of two zeros either may be the larger.
        Op::Reduce(_) => body.results(n).iter().all(|&v| !body.ty(v).is_float()),
        Op::Input(_)
        | Op::Literal(_)
        | Op::Iota(_)
        | Op::Map(_)
        | Op::Reshape(_)
        | Op::Permute(_)
        | Op::Broadcast(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concat(_)
        | Op::Gather(_) => true,
        _ => false,
    })
}
