//! All pairs of a program, in bodies too, and what a step of them costs.

use std::sync::Arc;

use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, Node, Op};
use rustc_hash::FxHashMap;

use super::pair::{Pair, pairs};
use super::rewrite::{Choice, rewritten};

/// Iterations of a loop of which nothing is known.
const LONG: f64 = 100.0;

/// All pairs of a program, wherever they are.
pub(super) struct Sites {
    /// The pairs of each graph, and the number of the first.
    of: FxHashMap<*const Graph, (usize, Vec<Pair>)>,
    count: usize,
}

/// A pair in its place.
pub(super) struct Site<'a> {
    pub graph: &'a Graph,
    pub pair: &'a Pair,
    /// Work of one step forwards, in all the times that the loop runs.
    pub work: f64,
}

impl Sites {
    pub fn of(g: &Graph) -> Self {
        let mut sites = Self { of: FxHashMap::default(), count: 0 };
        sites.visit(g);
        sites
    }

    fn visit(&mut self, g: &Graph) {
        if self.of.contains_key(&std::ptr::from_ref(g)) {
            return;
        }
        let found = pairs(g);
        let first = self.count;
        self.count += found.len();
        self.of.insert(g, (first, found));
        for n in g.nodes() {
            bodies(g.op(n)).for_each(|b| self.visit(b));
        }
    }

    /// The pairs of a graph of the program, and the number of the first.
    pub fn pairs(&self, g: &Graph) -> (usize, &[Pair]) {
        let (first, pairs) = &self.of[&std::ptr::from_ref(g)];
        (*first, pairs)
    }

    /// All pairs, by number.
    pub fn all<'a>(&'a self, g: &'a Graph) -> Vec<Site<'a>> {
        let mut all: Vec<Option<Site<'a>>> = (0..self.count).map(|_| None).collect();
        let mut work = Work::default();
        let mut seen: FxHashMap<*const Graph, ()> = FxHashMap::default();
        let mut left = vec![(g, 1.0)];
        while let Some((g, runs)) = left.pop() {
            if seen.insert(g, ()).is_some() {
                continue;
            }
            let (first, pairs) = self.pairs(g);
            for (i, pair) in pairs.iter().enumerate() {
                let step: f64 = pair.producers.iter().map(|p| work.graph(&p.op.body)).sum();
                all[first + i] = Some(Site { graph: g, pair, work: runs * step });
            }
            for n in g.nodes() {
                let runs = runs * if let Op::Loop(l) = g.op(n) { trips(g, n, l) } else { 1.0 };
                left.extend(bodies(g.op(n)).map(|b| (&**b, runs)));
            }
        }
        all.into_iter().map(|s| s.expect("every graph is reached")).collect()
    }

    /// The program with these choices, by the numbers of pairs.
    pub fn rewritten(&self, g: &Graph, choices: &[Option<Choice>]) -> Graph {
        rewritten(self, g, choices)
    }
}

fn bodies(op: &Op) -> impl Iterator<Item = &Arc<Graph>> {
    let (one, other) = match op {
        Op::Cond(c) => (Some(&c.then), Some(&c.els)),
        Op::Region(r) => (Some(&r.body), None),
        Op::Loop(l) => match &l.trip {
            Trip::While(cond) => (Some(&l.body), Some(cond)),
            _ => (Some(&l.body), None),
        },
        _ => (None, None),
    };
    one.into_iter().chain(other)
}

/// About how many iterations a loop makes.
fn trips(g: &Graph, n: Node, l: &Loop) -> f64 {
    l.trips(g, &g.args(n)).map_or(LONG, |trips| trips as f64)
}

/// About how many operations graphs are.
#[derive(Default)]
struct Work {
    of: FxHashMap<*const Graph, f64>,
}

impl Work {
    fn graph(&mut self, g: &Graph) -> f64 {
        if let Some(&work) = self.of.get(&std::ptr::from_ref(g)) {
            return work;
        }
        let work = 1.0 + g.nodes().map(|n| self.node(g, n)).sum::<f64>();
        self.of.insert(g, work);
        work
    }

    fn node(&mut self, g: &Graph, n: Node) -> f64 {
        let len = |v| g.ty(v).len() as f64;
        let largest = |vs: &[backstitch_ir::Value]| vs.iter().map(|&v| len(v)).fold(0.0, f64::max);
        match g.op(n) {
            Op::Input(_) | Op::Literal(_) => 0.0,
            Op::Loop(l) => trips(g, n, l) * self.graph(&l.body),
            Op::Cond(c) => self.graph(&c.then).max(self.graph(&c.els)),
            Op::Region(r) => self.graph(&r.body),
            // Each element of the result is a sum: of `[m, k]` and `[k, n]`, `m k n` products.
            Op::Contract(_) => {
                let product: f64 = g.args(n).iter().map(|&a| len(a)).product();
                (product * largest(&g.results(n))).sqrt()
            }
            _ => largest(&g.args(n)).max(largest(&g.results(n))),
        }
    }
}
