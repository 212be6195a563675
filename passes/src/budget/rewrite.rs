//! A program with some of its pairs of loops rewritten.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Cond, Loop, Region, Rows, Trip};
use backstitch_ir::{Graph, Node, Op, Value};
use rustc_hash::FxHashMap;

use super::pair::Pair;
use super::schedule::Schedule;
use super::sites::Sites;
use super::step::Stepper;
use super::{known, open};
use crate::motion::unstacked;
use crate::rebuild::{rebuild, same};

/// How a pair is computed again.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Choice {
    /// A loop of known length.
    Known(Schedule),
    /// One of unknown length: segments at each level.
    Open(Vec<usize>),
}

/// The program with these choices, by the numbers of pairs.
pub(super) fn rewritten(sites: &Sites, g: &Graph, choices: &[Option<Choice>]) -> Graph {
    Rewrite { sites, choices, done: FxHashMap::default() }.graph(g)
}

struct Rewrite<'a> {
    sites: &'a Sites,
    choices: &'a [Option<Choice>],
    /// A body may occur in several places: it is worked on once, and stays one.
    done: FxHashMap<*const Graph, Arc<Graph>>,
}

/// What a node is in the rewriting.
enum Role {
    /// Number `.1` of the producers of pair `.0`.
    Producer(usize, usize),
    Consumer(usize),
    /// Between the two ends of a stack that is no more.
    Between,
}

/// What the producers of a pair became.
#[derive(Default)]
struct Made {
    /// Constants and arrays of all of them.
    outside: Vec<Value>,
    starts: Vec<Value>,
    tail: Vec<Value>,
}

impl Rewrite<'_> {
    fn body(&mut self, b: &Arc<Graph>) -> Arc<Graph> {
        if let Some(done) = self.done.get(&Arc::as_ptr(b)) {
            return done.clone();
        }
        let made = Arc::new(self.graph(b));
        self.done.insert(Arc::as_ptr(b), made.clone());
        made
    }

    fn graph(&mut self, g: &Graph) -> Graph {
        let sites = self.sites;
        let (first, pairs) = sites.pairs(g);
        let chosen = |i: usize| self.choices[first + i].as_ref();
        let mut roles: FxHashMap<Node, Role> = FxHashMap::default();
        for (i, p) in pairs.iter().enumerate().filter(|(i, _)| chosen(*i).is_some()) {
            roles.insert(p.consumer, Role::Consumer(i));
            let producers = p.producers.iter().enumerate();
            roles.extend(producers.map(|(k, p)| (p.node, Role::Producer(i, k))));
            roles.extend(p.between.iter().map(|&n| (n, Role::Between)));
        }
        let mut steppers: FxHashMap<usize, Stepper> = FxHashMap::default();
        for (i, p) in pairs.iter().enumerate() {
            if self.choices[first + i].is_some() {
                steppers.insert(i, Stepper::new(p, |b| self.body(b)));
            }
        }
        let mut made: FxHashMap<(usize, usize), Made> = FxHashMap::default();
        rebuild(g, |to, n, args| match roles.get(&n) {
            Some(Role::Between) => Values::from_slice(args),
            Some(&Role::Producer(i, k)) => {
                let choice = self.choices[first + i].as_ref().expect("it was chosen");
                let (results, left) = produced(to, &pairs[i], &steppers[&i], k, choice, args);
                made.insert((i, k), left);
                results
            }
            Some(&Role::Consumer(i)) => {
                let choice = self.choices[first + i].as_ref().expect("it was chosen");
                let mut all = Made::default();
                for k in 0..pairs[i].producers.len() {
                    let part = made.remove(&(i, k)).expect("producers come first");
                    all.outside.extend(part.outside);
                    all.starts.extend(part.starts);
                    all.tail.extend(part.tail);
                }
                consumed(to, &pairs[i], &steppers[&i], choice, args, all)
            }
            None => self.other(to, g, n, args),
        })
    }

    fn other(&mut self, to: &mut Graph, g: &Graph, n: Node, args: &[Value]) -> Values {
        let op: Op = match g.op(n) {
            Op::Cond(c) => Cond { then: self.body(&c.then), els: self.body(&c.els) }.into(),
            Op::Region(r) => Region { body: self.body(&r.body), rule: r.rule.clone() }.into(),
            Op::Loop(l) => {
                let trip = match &l.trip {
                    Trip::While(c) => Trip::While(self.body(c)),
                    other => other.clone(),
                };
                Loop { trip, body: self.body(&l.body), ..Loop::clone(l) }.into()
            }
            // A sweep left an array.
            Op::Rows(op) => {
                return match unstacked(to, op, args[0]) {
                    Some(array) => Values::from_slice(&[array]),
                    None => same(to, g, n, args),
                };
            }
            _ => return same(to, g, n, args),
        };
        to.add(op, args).unwrap_or_else(|e| panic!("budget: {e}\n{g}"))
    }
}

/// The array whose rows a stack is.
fn array_of(g: &Graph, stack: Value) -> Value {
    g.args(g.source(stack).0)[0]
}

/// A producer's results, and what the consumer is to find. Results that are no more are
/// any value.
fn produced(
    to: &mut Graph,
    pair: &Pair,
    stepper: &Stepper,
    k: usize,
    choice: &Choice,
    args: &[Value],
) -> (Values, Made) {
    let (l, p) = (&pair.producers[k].op, &stepper.producers[k]);
    let (inits, rest) = args[l.lead()..].split_at(l.carries);
    let (consts, stacks) = rest.split_at(l.consts);
    let arrays: Vec<Value> = stacks.iter().map(|&s| array_of(to, s)).collect();
    let outside = [consts, &arrays].concat();
    match choice {
        Choice::Known(schedule) => {
            let swept = known::sweep(to, p, schedule, inits, &outside);
            let dead = swept.carries.iter().chain(&swept.starts).copied().next();
            let dead = dead.or(args.first().copied()).expect("a loop has a count");
            let mut results: Values = swept.carries.into();
            results.extend(std::iter::repeat_n(dead, l.pushes()));
            for (kept, array) in p.kept.iter().zip(swept.kept) {
                results[kept.index] = to.push(Rows::ToStack { back: kept.back }, &[array]);
            }
            (results, Made { outside, starts: swept.starts, tail: swept.tail })
        }
        Choice::Open(_) => {
            let trip = l.trip.clone();
            let body = p.body.first(l.carries);
            let results = to.add(Loop { trip, body, ..(**l).clone() }, args);
            let mut results = results.unwrap_or_else(|e| panic!("budget: {e}\n{to}"));
            results.truncate(l.carries);
            let dead = args.first().copied().expect("a loop of unknown length has carries");
            results.extend(std::iter::repeat_n(dead, l.pushes()));
            (results, Made { outside, starts: p.state(inits), tail: vec![] })
        }
    }
}

fn consumed(
    to: &mut Graph,
    pair: &Pair,
    stepper: &Stepper,
    choice: &Choice,
    args: &[Value],
    made: Made,
) -> Values {
    let l = &pair.op;
    let (cts, rest) = args[1..].split_at(l.carries);
    let (consts, stacks) = rest.split_at(l.consts);
    let mut outside = made.outside;
    outside.extend(consts);
    let rows = stacks.iter().zip(&pair.pops).filter(|(_, pop)| pop.is_rows());
    outside.extend(rows.map(|(&s, _)| array_of(to, s)));
    match choice {
        Choice::Known(schedule) => {
            let (carries, pushed) =
                known::unwind(to, stepper, schedule, cts, &outside, &made.starts, &made.tail);
            let dead = args[0];
            let mut results: Values = carries.into();
            results.extend(std::iter::repeat_n(dead, l.pushes()));
            for (push, array) in stepper.pushes.iter().zip(pushed) {
                results[push.index] = to.push(Rows::ToStack { back: push.back }, &[array]);
            }
            results
        }
        Choice::Open(levels) => {
            let made = open::unwind(to, stepper, levels, args[0], cts, &made.starts, &outside);
            let mut results: Values = made.into();
            results.extend(std::iter::repeat_n(args[0], l.pushes()));
            results
        }
    }
}
