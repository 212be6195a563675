//! One step of a pair of loops, forwards and backwards, anywhere.

use std::ops::Range;
use std::sync::Arc;

use backstitch_ir::{Graph, Value};

use super::nest::{Body, row};
use super::pair::{Pair, Pop, Push};

/// One of the loops that push residuals.
pub(super) struct Forward {
    pub body: Body,
    pub carries: usize,
    /// Which carries are kept: what residuals depend on.
    pub needed: Vec<bool>,
    /// Which outputs of the body are residuals.
    pub residuals: Vec<usize>,
    /// Which other pushes are asked for, as outputs of the body, and in which order.
    pub kept: Vec<Push>,
    /// Among the values from outside, its constants and after them arrays of rows.
    pub outside: Range<usize>,
    forward: Vec<bool>,
}

/// A pair of loops, step by step.
pub(super) struct Stepper {
    pub producers: Vec<Forward>,
    consumer: Body,
    /// Number of cotangents that the reverse carries.
    pub carries: usize,
    /// Number of carries that are kept.
    pub kept: usize,
    pops: Vec<Pop>,
    /// Which outputs of the reverse are pushes that are asked for, and in which order.
    pub pushes: Vec<Push>,
    consts: Range<usize>,
    arrays: Range<usize>,
}

/// Pushes as outputs of a body.
fn outputs(pushes: &[Push], carries: usize) -> Vec<Push> {
    pushes.iter().map(|p| Push { index: carries + p.index, ..*p }).collect()
}

impl Stepper {
    /// For a pair whose bodies are now these.
    pub fn new(pair: &Pair, mut body: impl FnMut(&Arc<Graph>) -> Arc<Graph>) -> Self {
        let mut outside = 0;
        let mut take = |n: usize| {
            outside += n;
            outside - n..outside
        };
        let producers = pair.producers.iter().map(|p| Forward {
            body: Body::new(body(&p.op.body)),
            carries: p.op.carries,
            needed: p.needed.clone(),
            residuals: p.residuals.iter().map(|r| p.op.carries + r).collect(),
            kept: outputs(&p.kept, p.op.carries),
            outside: take(p.op.consts + p.op.pops),
            forward: p.forward.clone(),
        });
        let producers: Vec<Forward> = producers.collect();
        let l = &pair.op;
        let needed = producers.iter().flat_map(|p| &p.needed);
        let kept = needed.filter(|needed| **needed).count();
        let rows = pair.pops.iter().filter(|p| matches!(p, Pop::Rows(_))).count();
        Self {
            producers,
            consumer: Body::new(body(&l.body)),
            carries: l.carries,
            kept,
            pops: pair.pops.clone(),
            pushes: outputs(&pair.pushes, l.carries),
            consts: take(l.consts),
            arrays: take(rows),
        }
    }

    /// The state one step later.
    pub fn advance(
        &self,
        g: &mut Graph,
        state: &[Value],
        outside: &[Value],
        t: Option<Value>,
    ) -> Vec<Value> {
        self.each(g, state, outside, t, |p| (0..p.carries).filter(|&i| p.needed[i]).collect())
    }

    /// The residuals of a step, as the reverse pops them.
    pub fn record(
        &self,
        g: &mut Graph,
        state: &[Value],
        outside: &[Value],
        t: Option<Value>,
    ) -> Vec<Value> {
        let made = self.each(g, state, outside, t, |p| p.residuals.clone());
        self.in_order(&made)
    }

    /// A step and its residuals.
    pub fn advance_and_record(
        &self,
        g: &mut Graph,
        state: &[Value],
        outside: &[Value],
        t: Option<Value>,
    ) -> (Vec<Value>, Vec<Value>) {
        let needed = |p: &Forward| (0..p.carries).filter(|&i| p.needed[i]).collect::<Vec<_>>();
        let made = self.each(g, state, outside, t, |p| [needed(p), p.residuals.clone()].concat());
        let (mut next, mut residuals, mut at) = (vec![], vec![], 0);
        for p in &self.producers {
            let (n, r) = (needed(p).len(), p.residuals.len());
            next.extend(&made[at..at + n]);
            residuals.extend(&made[at + n..at + n + r]);
            at += n + r;
        }
        (next, self.in_order(&residuals))
    }

    /// Residuals, producer by producer, in the order in which the reverse pops them.
    pub fn in_order(&self, made: &[Value]) -> Vec<Value> {
        let starts: Vec<usize> = self
            .producers
            .iter()
            .scan(0, |at, p| {
                *at += p.residuals.len();
                Some(*at - p.residuals.len())
            })
            .collect();
        let place = |pop: &Pop| match *pop {
            Pop::Residual(i, push) => {
                let p = &self.producers[i];
                let k = p.residuals.iter().position(|&r| r == p.carries + push);
                Some(made[starts[i] + k.expect("a residual of its producer")])
            }
            Pop::Rows(_) => None,
        };
        self.pops.iter().filter_map(place).collect()
    }

    fn each(
        &self,
        g: &mut Graph,
        mut state: &[Value],
        outside: &[Value],
        t: Option<Value>,
        wanted: impl Fn(&Forward) -> Vec<usize>,
    ) -> Vec<Value> {
        let mut made = Vec::new();
        for p in &self.producers {
            let n = p.needed.iter().filter(|&&n| n).count();
            let (own, rest) = state.split_at(n);
            state = rest;
            let (graph, mut own) = (p.body.graph(), own.iter());
            let carries: Vec<Value> = p
                .needed
                .iter()
                .zip(graph.inputs())
                .map(|(&needed, &v)| match needed {
                    true => *own.next().expect("a state of all that is needed"),
                    // No residual depends on it.
                    false => g.splat(graph.ty(v), 0.0),
                })
                .collect();
            let own = &outside[p.outside.clone()];
            made.extend(p.outputs(g, &carries, own, t, &wanted(p)));
        }
        made
    }

    /// The reverse of a step: cotangents before it, and what is pushed.
    pub fn undo(
        &self,
        g: &mut Graph,
        cts: &[Value],
        residuals: &[Value],
        outside: &[Value],
        t: Option<Value>,
    ) -> (Vec<Value>, Vec<Value>) {
        let mut inputs = [cts, &outside[self.consts.clone()]].concat();
        let (mut residuals, mut arrays) = (residuals.iter(), outside[self.arrays.clone()].iter());
        for pop in &self.pops {
            inputs.push(match *pop {
                Pop::Residual(..) => *residuals.next().expect("as many residuals as are popped"),
                Pop::Rows(forward) => {
                    let array = *arrays.next().expect("as many arrays as are popped");
                    row(g, array, t.expect("rows have numbers"), forward)
                }
            });
        }
        let wanted: Vec<usize> =
            (0..self.carries).chain(self.pushes.iter().map(|p| p.index)).collect();
        let made = self.consumer.outputs(g, &inputs, &wanted);
        (made[..self.carries].to_vec(), made[self.carries..].to_vec())
    }

    /// Whether steps have to know their number.
    pub fn is_numbered(&self) -> bool {
        !self.arrays.is_empty() || self.producers.iter().any(Forward::is_numbered)
    }
}

impl Forward {
    /// The carries that are kept.
    pub fn state(&self, carries: &[Value]) -> Vec<Value> {
        carries.iter().zip(&self.needed).filter(|(_, needed)| **needed).map(|(&v, _)| v).collect()
    }

    /// Whether steps have to know their number.
    pub fn is_numbered(&self) -> bool {
        !self.forward.is_empty()
    }

    /// Outputs of a step; `outside` are its own constants and arrays.
    pub fn outputs(
        &self,
        g: &mut Graph,
        carries: &[Value],
        outside: &[Value],
        t: Option<Value>,
        wanted: &[usize],
    ) -> Vec<Value> {
        let (consts, arrays) = outside.split_at(outside.len() - self.forward.len());
        let mut inputs = [carries, consts].concat();
        for (&array, &forward) in arrays.iter().zip(&self.forward) {
            inputs.push(row(g, array, t.expect("rows have numbers"), forward));
        }
        self.body.outputs(g, &inputs, wanted)
    }
}
