//! A loop that adds up what a linear map makes adds up what the map is applied to.
//!
//! ```text
//! repeat T { …; s += pad(y); r += y · K }     repeat T { …; z += y }; s += pad(z); r += z · K
//! ```
//!
//! Where the map is the same in all iterations, it is applied once, to the sum. Such are
//! the adjoints of what iterations read of a constant: of a slice of it, which would be
//! padded to its extent each time, or of its product with another constant, which is an
//! invariant. Adding up in another order, as a product does
//! ([`Class::Rounds`](crate::Class::Rounds)).

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::{Graph, IndexVec, Op, Scalar, Type, Value};

use super::{Depends, added, dependencies, fill, reopened, terms, uses, without_inputs};
use crate::rebuild::{Map, rebuild, same};

/// The same program, with linear maps behind the loops that add up what they make.
pub fn map_sums(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) => mapped(to, l, args).unwrap_or_else(|| same(to, g, n, args)),
        _ => same(to, g, n, args),
    })
}

/// A term of the sum that a carry is, and what it is a linear map of.
struct Term {
    carry: usize,
    term: Value,
    of: Value,
}

fn mapped(to: &mut Graph, l: &Loop, args: &[Value]) -> Option<Values> {
    if l.trip != Trip::Count {
        return None;
    }
    let b = &*l.body;
    let (depends, uses) = (dependencies(l, |_| false), uses(b));
    let mut found: Vec<Term> = Vec::new();
    let mut rests: Vec<Option<Vec<Value>>> = vec![None; l.carries];
    for (carry, rest) in rests.iter_mut().enumerate() {
        let (from, next) = (b.inputs()[carry], b.outputs()[carry]);
        if uses[from] != 1 || uses[next] != 1 || !b.ty(from).is_float() {
            continue;
        }
        let mut terms = terms(b, next, &uses);
        let Some(at) = terms.iter().position(|&v| v == from) else { continue };
        terms.remove(at);
        let before = found.len();
        terms.retain(|&term| match argument(b, term, &depends, &uses) {
            Some(of) => {
                found.push(Term { carry, term, of });
                false
            }
            None => true,
        });
        *rest = (found.len() > before).then_some(terms);
    }
    if found.is_empty() {
        return None;
    }
    let more: Vec<(Type, Option<Value>)> =
        found.iter().map(|t| (b.ty(t.of).clone(), None)).collect();
    let (mut body, mut map) = reopened(b, l.carries, &more);
    let mut outputs = Vec::new();
    let gone = |i: usize| rests[i].as_ref().is_some_and(Vec::is_empty);
    for (i, rest) in rests.iter().enumerate() {
        match rest {
            Some(rest) if rest.is_empty() => {}
            Some(rest) => {
                let rest = fill(&mut body, b, &mut map, rest);
                let from = map[b.inputs()[i]].expect("an input");
                outputs.push(rest.into_iter().fold(from, |s, x| body.map(Scalar::Add, &[s, x])));
            }
            None => outputs.extend(fill(&mut body, b, &mut map, &b.outputs()[i..=i])),
        }
    }
    let stay = outputs.len();
    for (i, term) in found.iter().enumerate() {
        let of = fill(&mut body, b, &mut map, &[term.of])[0];
        let sum = body.inputs()[l.carries + i];
        outputs.push(body.map(Scalar::Add, &[sum, of]));
    }
    let carries = outputs.len();
    outputs.extend(fill(&mut body, b, &mut map, &b.outputs()[l.carries..]));
    body.set_outputs(outputs);
    let body = without_inputs(&body, |i| i < l.carries && gone(i));
    let (lead, rest) = args.split_at(l.lead());
    let (inits, rest) = rest.split_at(l.carries);
    let mut operands = lead.to_vec();
    operands.extend((0..l.carries).filter(|&i| !gone(i)).map(|i| inits[i]));
    for term in &found {
        let ty = b.ty(term.of).clone();
        operands.push(to.splat(&ty, 0.0));
    }
    operands.extend(rest);
    let op = Loop { body: Arc::new(body), carries, ..l.clone() };
    let results = added(to, "map_sums", op, &operands);

    let mut totals = inits.to_vec();
    let mut stayed = results[..stay].iter();
    for (i, total) in totals.iter_mut().enumerate().filter(|&(i, _)| !gone(i)) {
        *total = *stayed.next().unwrap_or_else(|| panic!("map_sums: carry {i} is lost"));
    }
    for (term, &sum) in found.iter().zip(&results[stay..carries]) {
        let mut map = Map::filled(None, b.value_count());
        for (&v, &a) in b.inputs()[l.carries..l.carries + l.consts].iter().zip(rest) {
            map[v] = Some(a);
        }
        map[term.of] = Some(sum);
        let term_sum = fill(to, b, &mut map, &[term.term])[0];
        let total = &mut totals[term.carry];
        // What a sum of nothing begins with adds nothing.
        let nothing = to.is_splat(*total, 0.0);
        *total = if nothing { term_sum } else { to.map(Scalar::Add, &[*total, term_sum]) };
    }
    Some(totals.into_iter().chain(results[carries..].iter().copied()).collect())
}

/// What a term is a linear map of, if that does not change and it is better applied once:
/// it has a product, or makes something larger.
fn argument(
    b: &Graph,
    term: Value,
    depends: &IndexVec<Value, Depends>,
    uses: &IndexVec<Value, usize>,
) -> Option<Value> {
    let is_constant = |v: Value| depends[v] == Depends::Constants;
    let (mut at, mut product) = (term, false);
    while !is_constant(at) && uses[at] == 1 {
        let args = b.args(b.source(at).0);
        at = match b.op_of(at) {
            Op::Pad(p) if p.value.to_f64() == 0.0 => args[0],
            Op::Permute(_) | Op::Reshape(_) | Op::Broadcast(_) => args[0],
            Op::ScatterAdd(_) if b.is_splat(args[0], 0.0) && is_constant(args[1]) => args[2],
            Op::Map(m) if m.f == Scalar::Neg => args[0],
            Op::Contract(_) if is_constant(args[0]) || is_constant(args[1]) => {
                product = true;
                if is_constant(args[0]) { args[1] } else { args[0] }
            }
            _ => break,
        };
    }
    let worth = product || b.ty(at).bytes() < b.ty(term).bytes();
    (at != term && worth && !is_constant(at)).then_some(at)
}
