//! Products that a loop only adds up become one product, after the loop.
//!
//! ```text
//! repeat T { pop x; …; s += x · y }        repeat T { …; push y }; s += Σ_t X[t] · Y[t]
//! ```
//!
//! The product has one more axis to sum over, the iterations. Its operands are arrays that
//! are there already (rows that the loop pops, or what depends on rows alone), or are
//! pushed. Of a sum of several terms, those that are products leave.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Axes, Contract, Loop, Permute, Rows};
use backstitch_ir::{Graph, IndexVec, Op, Scalar, Value};
use rustc_hash::FxHashMap;

use super::rows::{Sources, without_dead_pops};
use super::{Depends, added, all_rows, fill, reopened, terms, unstacked, uses, without_inputs};
use crate::rebuild::{rebuild, same};

/// The same program, with products that loops add up after these loops.
pub fn sum_products(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) => summed(to, l, args).unwrap_or_else(|| same(to, g, n, args)),
        Op::Rows(op) => match unstacked(to, op, args[0]) {
            Some(array) => Values::from_slice(&[array]),
            None => same(to, g, n, args),
        },
        _ => same(to, g, n, args),
    })
}

/// A carry to which nothing is done but that products, and maybe more, are added to it.
struct Sum {
    /// The number of the carry.
    carry: usize,
    products: Vec<Term>,
    /// What stays in the loop.
    rest: Vec<Value>,
}

/// `permute(x · y)`.
struct Term {
    op: Contract,
    operands: [Value; 2],
    perm: Option<Axes>,
}

fn summed(to: &mut Graph, l: &Loop, args: &[Value]) -> Option<Values> {
    let sources = Sources::of(to, l, args)?;
    let b = &*l.body;
    let (depends, uses) = (sources.depends(l), uses(b));
    let mut pushed: FxHashMap<Value, usize> = FxHashMap::default();
    for (i, &v) in b.outputs()[l.carries..].iter().enumerate() {
        pushed.entry(v).or_insert(i);
    }
    let mut sums = Vec::new();
    // What is pushed for the sake of products.
    let mut more: Vec<Value> = Vec::new();
    for carry in 0..l.carries {
        let choice = Choice { b, depends: &depends, uses: &uses, trips: sources.trips };
        if let Some(sum) = choice.sum(carry, &mut pushed, &mut more, l.pushes()) {
            sums.push(sum);
        }
    }
    if sums.is_empty() {
        return None;
    }
    // The loop without these products; sums of nothing else are no carries any more.
    let gone = |i: usize| sums.iter().any(|s| s.carry == i && s.rest.is_empty());
    let (mut body, mut map) = reopened(b, b.inputs().len(), &[]);
    let mut outputs = Vec::new();
    for i in 0..l.carries {
        match sums.iter().find(|s| s.carry == i) {
            Some(sum) if sum.rest.is_empty() => {}
            Some(sum) => {
                let rest = fill(&mut body, b, &mut map, &sum.rest);
                let from = map[b.inputs()[i]].expect("an input");
                let next = rest.into_iter().fold(from, |s, x| body.map(Scalar::Add, &[s, x]));
                outputs.push(next);
            }
            None => outputs.extend(fill(&mut body, b, &mut map, &b.outputs()[i..=i])),
        }
    }
    let carries = outputs.len();
    outputs.extend(fill(&mut body, b, &mut map, &b.outputs()[l.carries..]));
    outputs.extend(fill(&mut body, b, &mut map, &more));
    body.set_outputs(outputs);
    let body = without_inputs(&body, |i| i < l.carries && gone(i));
    let operands: Vec<Value> = (0..args.len())
        .filter(|&i| !(l.lead()..l.lead() + l.carries).contains(&i) || !gone(i - l.lead()))
        .map(|i| args[i])
        .collect();
    let (body, operands, pops) = without_dead_pops(&body, carries + l.consts, &operands, l.lead());
    let op = Loop { body: Arc::new(body), carries, pops, ..l.clone() };
    let results = added(to, "sum_products", op, &operands);
    // The arrays of the operands, in one order of iterations.
    let mut arrays: FxHashMap<Value, Value> = FxHashMap::default();
    let mut array = |to: &mut Graph, v: Value| {
        if let Some(&array) = arrays.get(&v) {
            return array;
        }
        let made = if depends[v] == Depends::Rows {
            sources.all(to, l, args, &[v])[0]
        } else {
            let stack = results[carries + pushed[&v]];
            let ty = all_rows(b.ty(v), sources.trips).expect("it was small enough");
            to.push(Rows::FromStack { ty, back: sources.back }, &[stack])
        };
        arrays.insert(v, made);
        made
    };
    let mut all = Values::new();
    let mut stayed = results[..carries].iter();
    for i in 0..l.carries {
        let mut total = match gone(i) {
            true => args[l.lead() + i],
            false => *stayed.next().expect("a carry for each that stayed"),
        };
        for term in sums.iter().filter(|s| s.carry == i).flat_map(|s| &s.products) {
            let [x, y] = term.operands.map(|v| array(to, v));
            let product = to.push(over_iterations(&term.op), &[x, y]);
            let product = match &term.perm {
                Some(perm) => to.push(Permute { perm: perm.clone() }, &[product]),
                None => product,
            };
            // What a sum of nothing begins with adds nothing.
            let nothing = to.is_splat(total, 0.0);
            total = if nothing { product } else { to.map(Scalar::Add, &[total, product]) };
        }
        all.push(total);
    }
    all.extend_from_slice(&results[carries..carries + l.pushes()]);
    Some(all)
}

/// The product of arrays of all rows, summed over the rows too.
fn over_iterations(op: &Contract) -> Contract {
    let shifted = |axes: &[Axes; 2], first: Option<usize>| {
        [0, 1].map(|side| first.into_iter().chain(axes[side].iter().map(|a| a + 1)).collect())
    };
    Contract { batch: shifted(&op.batch, None), over: shifted(&op.over, Some(0)) }
}

/// What decides whether a product leaves.
struct Choice<'a> {
    b: &'a Graph,
    depends: &'a IndexVec<Value, Depends>,
    uses: &'a IndexVec<Value, usize>,
    trips: usize,
}

impl Choice<'_> {
    fn sum(
        &self,
        carry: usize,
        pushed: &mut FxHashMap<Value, usize>,
        more: &mut Vec<Value>,
        pushes: usize,
    ) -> Option<Sum> {
        let (b, uses) = (self.b, self.uses);
        let (from, next) = (b.inputs()[carry], b.outputs()[carry]);
        if uses[from] != 1 || uses[next] != 1 || !b.ty(from).is_float() {
            return None;
        }
        let mut terms = terms(b, next, uses);
        let at = terms.iter().position(|&v| v == from)?;
        terms.remove(at);
        let (mut products, mut rest) = (Vec::new(), Vec::new());
        for v in terms {
            match self.product(v).filter(|term| self.is_worth(v, term, pushed)) {
                Some(term) => {
                    for v in term.operands {
                        if self.depends[v] == Depends::Iteration && !pushed.contains_key(&v) {
                            pushed.insert(v, pushes + more.len());
                            more.push(v);
                        }
                    }
                    products.push(term);
                }
                None => rest.push(v),
            }
        }
        (!products.is_empty()).then_some(Sum { carry, products, rest })
    }

    fn product(&self, v: Value) -> Option<Term> {
        let b = self.b;
        if self.uses[v] != 1 {
            return None;
        }
        let args = b.args(b.source(v).0);
        match b.op_of(v) {
            Op::Contract(op) => {
                Some(Term { op: (**op).clone(), operands: [args[0], args[1]], perm: None })
            }
            Op::Permute(p) if self.uses[args[0]] == 1 => {
                let inner = self.product(args[0]).filter(|t| t.perm.is_none())?;
                Some(Term { perm: Some(p.perm.clone()), ..inner })
            }
            _ => None,
        }
    }

    /// Whether all rows of the operands can be had, and those that have to be pushed are
    /// less than the sum that the loop reads and writes.
    fn is_worth(&self, v: Value, term: &Term, pushed: &FxHashMap<Value, usize>) -> bool {
        let mut new = 0;
        for x in term.operands {
            let ty = self.b.ty(x);
            if self.depends[x] == Depends::Constants || all_rows(ty, self.trips).is_none() {
                return false;
            }
            if self.depends[x] == Depends::Iteration && !pushed.contains_key(&x) {
                new += ty.bytes();
            }
        }
        new <= self.b.ty(v).bytes()
    }
}
