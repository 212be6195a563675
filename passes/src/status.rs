//! Why a source has a gradient, or has none.
//!
//! A source is *connected* to a target if some path of uses carries a derivative
//! all the way; *flat* if there are paths, but each passes a function that is
//! constant almost everywhere; *unconnected* if every path ends in something that
//! is not a number that can be differentiated, in `stop_gradient`, or if there is
//! none. Decided on the graph alone.

use std::fmt;
use std::panic::Location;

use backstitch_ir::op::Family;
use backstitch_ir::ops::{Region, Rule};
use backstitch_ir::{Graph, IndexVec, Node, Op, Value};

/// How a source is connected to the targets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// There is a gradient.
    Connected,
    /// The gradient is zero almost everywhere; where the path goes flat.
    Flat(Break),
    /// There is no gradient; where the path breaks.
    Unconnected(Break),
}

/// Where and why a path from a source breaks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Break {
    /// Why.
    pub reason: Reason,
    /// The operation where it breaks, if there is one.
    pub node: Option<Node>,
    /// Its name.
    pub op: Option<&'static str>,
    /// The user's line.
    pub place: Option<&'static Location<'static>>,
}

/// Why a path from a source breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing that the targets need uses the source.
    Unused,
    /// The source itself is not a float.
    NotFloat,
    /// All paths pass `stop_gradient`.
    Stopped,
    /// All paths pass a truth value, an index or an integer.
    Discrete,
    /// All paths pass a function that is constant almost everywhere.
    Flat,
    /// The tape was not watching it.
    NotWatched,
    /// Some conditional or loop uses it, but not in a way that carries a derivative.
    Inside,
}

impl Break {
    /// A break without a place.
    pub fn new(reason: Reason) -> Self {
        Self { reason, node: None, op: None, place: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unused => "the target does not depend on it",
            Self::NotFloat => "it is not a float",
            Self::Stopped => "every path passes stop_gradient",
            Self::Discrete => "every path passes a truth value, an index or an integer",
            Self::Flat => "every path passes a function that is constant almost everywhere",
            Self::NotWatched => "the tape does not watch it",
            Self::Inside => "no path carries a derivative through a branch or a loop",
        })
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(op) = self.op {
            write!(f, " (`{op}`")?;
            if let Some(place) = self.place {
                write!(f, " at {place}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Flat(b) => write!(f, "flat: {b}"),
            Self::Unconnected(b) => write!(f, "unconnected: {b}"),
        }
    }
}

/// How far a derivative of a value gets towards the targets, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reach {
    None,
    /// There is a path, but it is cut at this node.
    Cut(Node),
    Flat(Node),
    Connected,
}

/// How each source is connected to the targets. Linear in the graph.
pub fn status(g: &Graph, targets: &[Value], sources: &[Value]) -> Vec<Status> {
    let reach = reach(g, targets);
    sources
        .iter()
        .map(|&s| {
            if !g.ty(s).is_float() {
                return Status::Unconnected(Break::new(Reason::NotFloat));
            }
            let at = |n: Node, reason| Break {
                reason,
                node: Some(n),
                op: Some(g.op(n).name()),
                place: g.origin(n).place,
            };
            match reach[s] {
                Reach::Connected => Status::Connected,
                Reach::Flat(n) => Status::Flat(at(n, Reason::Flat)),
                Reach::None => Status::Unconnected(Break::new(Reason::Unused)),
                Reach::Cut(n) => Status::Unconnected(at(
                    n,
                    match g.op(n) {
                        Op::StopGradient(_) => Reason::Stopped,
                        Op::Cond(_) | Op::Loop(_) | Op::Region(_) => Reason::Inside,
                        _ => Reason::Discrete,
                    },
                )),
            }
        })
        .collect()
}

fn reach(g: &Graph, targets: &[Value]) -> IndexVec<Value, Reach> {
    let mut reach = IndexVec::filled(Reach::None, g.value_count());
    for &t in targets {
        // A target that is not a float has no derivative, but is reached.
        reach[t] = if g.ty(t).is_float() { Reach::Connected } else { Reach::Cut(g.source(t).0) };
    }
    for n in g.nodes().rev() {
        let results = g.results(n);
        let best = results.iter().map(|&r| reach[r]).max().unwrap_or(Reach::None);
        if best == Reach::None {
            continue;
        }
        let bodies = bodies(g, n, &reach);
        for (i, a) in g.args(n).into_iter().enumerate() {
            let through = match g.op(n).family() {
                Family::Array(p) => pass(best, p.carries(i), n),
                Family::Rows(_) => best,
                Family::Region(r) => region(r, &bodies, best, i, n),
                Family::Cond(_) if i == 0 => Reach::Cut(n),
                Family::Cond(_) => bodies.iter().map(|b| b[i - 1]).max().unwrap_or(Reach::None),
                Family::Loop(l) => match i.checked_sub(l.lead()) {
                    None => Reach::Cut(n),
                    Some(i) if i < l.carries => reach[results[i]].max(bodies[0][i]),
                    Some(i) => bodies[0][i],
                },
            };
            let through = if g.ty(a).is_float() || through == Reach::None {
                through
            } else {
                // Whatever is not a float ends here, at the latest.
                Reach::Cut(n)
            };
            reach[a] = reach[a].max(through);
        }
    }
    reach
}

/// A region whose rule is given is connected to whatever the rule is for.
fn region(r: &Region, bodies: &[Vec<Reach>], best: Reach, i: usize, n: Node) -> Reach {
    match r.rule {
        Rule::Custom { wrt, .. } if i < wrt => best,
        Rule::Custom { .. } => Reach::Cut(n),
        Rule::Checkpoint | Rule::Recompute => bodies[0][i],
    }
}

fn pass(best: Reach, carries: Option<bool>, n: Node) -> Reach {
    match (carries, best) {
        (None, _) => Reach::Cut(n),
        (Some(_), Reach::Cut(m)) => Reach::Cut(m),
        (Some(true), best) => best,
        (Some(false), _) => Reach::Flat(n),
    }
}

/// How the inputs of the bodies of a node reach the targets.
fn bodies(g: &Graph, n: Node, reach: &IndexVec<Value, Reach>) -> Vec<Vec<Reach>> {
    let outs: Vec<Reach> = g.results(n).iter().map(|&r| reach[r]).collect();
    match g.op(n).family() {
        Family::Array(_) | Family::Rows(_) => Vec::new(),
        Family::Cond(c) => vec![inside(&c.then, &outs, n), inside(&c.els, &outs, n)],
        Family::Region(r) => vec![inside(&r.body, &outs, n)],
        Family::Loop(l) => {
            // A carry may influence any result in a later iteration.
            let best = outs.iter().copied().max().unwrap_or(Reach::None);
            vec![inside(&l.body, &vec![best; outs.len()], n)]
        }
    }
}

/// How the inputs of a body reach the targets, given how its outputs do. Breaks
/// inside are reported at the node that holds the body.
fn inside(body: &Graph, outs: &[Reach], n: Node) -> Vec<Reach> {
    let reached = |&(_, r): &(&Value, &Reach)| *r > Reach::None;
    let best = outs.iter().copied().max().unwrap_or(Reach::None);
    let targets: Vec<Value> =
        body.outputs().iter().zip(outs).filter(reached).map(|(&v, _)| v).collect();
    let within = reach(body, &targets);
    let outside = |&v: &Value| match within[v] {
        Reach::Connected => best,
        Reach::Flat(_) if best > Reach::Cut(n) => Reach::Flat(n),
        Reach::None => Reach::None,
        _ => Reach::Cut(n),
    };
    body.inputs().iter().map(outside).collect()
}
