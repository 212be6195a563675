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
use backstitch_ir::ops::{Loop, Region, Rule};
use backstitch_ir::{Graph, IndexVec, Node, Op, Value};
use rustc_hash::FxHashMap;

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

/// How far a derivative of a value gets towards the targets, best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reach {
    None,
    /// There is a path, but it is cut there.
    Cut(Site),
    Flat(Site),
    Connected,
}

/// Where a path ends or goes flat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Site {
    /// At a node of this graph.
    Node(Node),
    /// Beyond this output of the body.
    Output(usize),
}

impl Reach {
    fn cut(n: Node) -> Self {
        Self::Cut(Site::Node(n))
    }

    /// The same with another site, if there is one.
    fn moved(self, to: impl Fn(Site) -> Site) -> Self {
        match self {
            Self::Cut(site) => Self::Cut(to(site)),
            Self::Flat(site) => Self::Flat(to(site)),
            Self::None | Self::Connected => self,
        }
    }
}

/// What was found for bodies: how their outputs and how their inputs reach the
/// targets. Rounds of a loop ask again for bodies inside, mostly for the same.
type Found = FxHashMap<(*const Graph, Node), (Vec<Reach>, Vec<Reach>)>;

/// How each source is connected to the targets. Linear in the graph.
pub fn status(g: &Graph, targets: &[Value], sources: &[Value]) -> Vec<Status> {
    // A target that is not a float has no derivative, but is reached.
    let start = |&t: &Value| match g.ty(t).is_float() {
        true => (t, Reach::Connected),
        false => (t, Reach::cut(g.source(t).0)),
    };
    let targets: Vec<(Value, Reach)> = targets.iter().map(start).collect();
    let reach = reach(g, &targets, &mut Found::default());
    sources
        .iter()
        .map(|&s| {
            if !g.ty(s).is_float() {
                return Status::Unconnected(Break::new(Reason::NotFloat));
            }
            let node = |site| match site {
                Site::Node(n) => n,
                Site::Output(_) => unreachable!("the whole program is no body"),
            };
            let at = |n: Node, reason| Break {
                reason,
                node: Some(n),
                op: Some(g.op(n).name()),
                place: g.origin(n).place,
            };
            match reach[s] {
                Reach::Connected => Status::Connected,
                Reach::Flat(site) => Status::Flat(at(node(site), Reason::Flat)),
                Reach::None => Status::Unconnected(Break::new(Reason::Unused)),
                Reach::Cut(site) => Status::Unconnected(at(
                    node(site),
                    match g.op(node(site)) {
                        Op::StopGradient(_) => Reason::Stopped,
                        Op::Cond(_) | Op::Loop(_) | Op::Region(_) => Reason::Inside,
                        _ => Reason::Discrete,
                    },
                )),
            }
        })
        .collect()
}

fn reach(g: &Graph, targets: &[(Value, Reach)], found: &mut Found) -> IndexVec<Value, Reach> {
    let mut reach = IndexVec::filled(Reach::None, g.value_count());
    for &(t, start) in targets {
        reach[t] = reach[t].max(start);
    }
    for n in g.nodes().rev() {
        let results = g.results(n);
        let best = results.iter().map(|&r| reach[r]).max().unwrap_or(Reach::None);
        if best == Reach::None {
            continue;
        }
        let bodies = bodies(g, n, &reach, found);
        for (i, a) in g.args(n).into_iter().enumerate() {
            let through = match g.op(n).family() {
                Family::Array(p) => pass(best, p.carries(i), n),
                Family::Rows(_) => best,
                Family::Region(r) => region(r, &bodies, best, i, n),
                Family::Cond(_) if i == 0 => Reach::cut(n),
                Family::Cond(_) => bodies.iter().map(|b| b[i - 1]).max().unwrap_or(Reach::None),
                Family::Loop(l) => match i.checked_sub(l.lead()) {
                    None => Reach::cut(n),
                    Some(i) if i < l.carries => reach[results[i]].max(bodies[0][i]),
                    Some(i) => bodies[0][i],
                },
            };
            let through = if g.ty(a).is_float() || through == Reach::None {
                through
            } else {
                // Whatever is not a float ends here, at the latest.
                Reach::cut(n)
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
        Rule::Custom { .. } => Reach::cut(n),
        // Where it starts makes no difference to what it finds.
        Rule::FixedPoint(_) if i < r.body.outputs().len() => Reach::cut(n),
        Rule::Checkpoint { .. } | Rule::Recompute | Rule::FixedPoint(_) => bodies[0][i],
    }
}

fn pass(best: Reach, carries: Option<bool>, n: Node) -> Reach {
    match (carries, best) {
        (None, _) => Reach::cut(n),
        (Some(_), Reach::Cut(site)) => Reach::Cut(site),
        (Some(true), best) => best,
        (Some(false), _) => Reach::Flat(Site::Node(n)),
    }
}

/// How the inputs of the bodies of a node reach the targets.
fn bodies(
    g: &Graph,
    n: Node,
    reach: &IndexVec<Value, Reach>,
    found: &mut Found,
) -> Vec<Vec<Reach>> {
    let outs: Vec<Reach> = g.results(n).iter().map(|&r| reach[r]).collect();
    match g.op(n).family() {
        Family::Array(_) | Family::Rows(_) => Vec::new(),
        Family::Cond(c) => {
            vec![inside(&c.then, &outs, n, found), inside(&c.els, &outs, n, found)]
        }
        Family::Region(r) => vec![inside(&r.body, &outs, n, found)],
        Family::Loop(l) => vec![repeated(l, outs, n, found)],
    }
}

/// How the inputs of a loop's body reach the targets: at the end, or in a later
/// iteration through what a carry becomes there.
fn repeated(l: &Loop, mut outs: Vec<Reach>, n: Node, found: &mut Found) -> Vec<Reach> {
    /// Iterations after which carries are taken to influence all others. Each tells
    /// of one more carry between a carry and a result.
    const ROUNDS: usize = 8;
    for round in 0..=ROUNDS {
        let inputs = inside(&l.body, &outs, n, found);
        let better = |i: usize| inputs[i] > outs[i];
        if !(0..l.carries).any(better) {
            return inputs;
        }
        let best = outs.iter().copied().max().unwrap_or(Reach::None);
        for (out, &input) in outs.iter_mut().zip(&inputs[..l.carries]) {
            *out = if round + 1 < ROUNDS { (*out).max(input) } else { best };
        }
    }
    inside(&l.body, &outs, n, found)
}

/// How the inputs of a body reach the targets, given how its outputs do. Breaks
/// inside are reported at the node that holds the body.
fn inside(body: &Graph, outs: &[Reach], n: Node, found: &mut Found) -> Vec<Reach> {
    let key = (std::ptr::from_ref(body), n);
    if let Some((before, inputs)) = found.get(&key)
        && before == outs
    {
        return inputs.clone();
    }
    let start = |(j, (&v, out)): (usize, (&Value, &Reach))| (v, out.moved(|_| Site::Output(j)));
    let targets: Vec<(Value, Reach)> =
        body.outputs().iter().zip(outs).enumerate().map(start).collect();
    let within = reach(body, &targets, found);
    let outside = |&v: &Value| match within[v] {
        Reach::Cut(Site::Output(j)) | Reach::Flat(Site::Output(j)) => outs[j],
        here => here.moved(|_| Site::Node(n)),
    };
    let inputs: Vec<Reach> = body.inputs().iter().map(outside).collect();
    found.insert(key, (outs.to_vec(), inputs.clone()));
    inputs
}
