//! Regions: checkpoints, which are computed again in the reverse, and functions whose
//! derivatives are given.
//!
//! A rule that is missing is the transpose of the one that is there. The transpose of
//! a linear graph is its adjoint with respect to the inputs in which it is linear;
//! where these stand makes no difference, so they are set to zero.

use std::sync::Arc;

use backstitch_ir::graph::Values;
use backstitch_ir::op::Cotangents;
use backstitch_ir::ops::{Region, Rule};
use backstitch_ir::{Graph, Op, Value};

use super::cond::tangent;
use super::fixed_point::{fixed_point_jvp, fixed_point_vjp};
use super::joint::{Joint, marked, reads};
use crate::rebuild::{inline, part, prune, rebuild, same};
use crate::vjp::reverse;

pub(crate) fn region_vjp(
    g: &mut Graph,
    region: &Region,
    args: &Values,
    results: &Values,
    cts: &[Option<Value>],
    wanted: &[bool],
) -> Cotangents {
    if let Rule::FixedPoint(rule) = &region.rule {
        return fixed_point_vjp(g, rule, args, results, cts, wanted);
    }
    let mut out = Cotangents::from_elem(None, args.len());
    let Rule::Custom { jvp, vjp, .. } = &region.rule else {
        let (given, cts): (Vec<usize>, Vec<Value>) =
            cts.iter().enumerate().filter_map(|(i, ct)| Some((i, (*ct)?))).unzip();
        let sources: Vec<usize> = (0..args.len()).filter(|&i| wanted[i]).collect();
        let j = Joint::new(&region.body, &given, &sources);
        let first = results.len() - kept(region);
        let inputs = [&j.inputs[..], &j.outputs[first..], &j.cotangents].concat();
        let body = part(&j.graph, &inputs, &j.grads);
        let reads = reads(&body);
        let body = Arc::new(part(&body, &marked(body.inputs(), &reads), body.outputs()));
        let operands = marked(&[&args[..], &results[first..], &cts].concat(), &reads);
        let found = g.add(Region { body, rule: Rule::Recompute }, &operands);
        let found = found.unwrap_or_else(|e| panic!("region_vjp: {e}\n{g}"));
        sources.into_iter().zip(found).for_each(|(i, r)| out[i] = Some(r));
        return out;
    };
    let (inner, results) = (region.with_derivative(), region.float_results());
    let zero = |g: &mut Graph, i: usize| {
        let ty = region.body.ty(region.body.outputs()[i]).clone();
        g.splat(&ty, 0.0)
    };
    let cts: Vec<Value> = results.iter().map(|&i| cts[i].unwrap_or_else(|| zero(g, i))).collect();
    let made = match (vjp, jvp) {
        (Some(vjp), _) => {
            let operands = [args.as_slice(), &cts].concat();
            inline(g, vjp, &operands)
        }
        (None, Some(jvp)) => {
            let dots: Vec<Value> = inner.iter().map(|&i| args[i]).collect();
            transpose(g, jvp, args, &dots, &cts)
        }
        (None, None) => unreachable!("a custom region has a rule"),
    };
    inner.into_iter().zip(made).filter(|(i, _)| wanted[*i]).for_each(|(i, r)| out[i] = Some(r));
    out
}

pub(crate) fn region_jvp(
    g: &mut Graph,
    region: &Region,
    args: &Values,
    results: &Values,
    tangents: &[Option<Value>],
) -> Vec<Option<Value>> {
    if let Rule::FixedPoint(rule) = &region.rule {
        return fixed_point_jvp(g, rule, args, results, tangents);
    }
    let first = results.len() - kept(region);
    let saved = &results[first..];
    let results = region.float_results();
    let mut out = vec![None; region.body.outputs().len()];
    let Rule::Custom { jvp, vjp, .. } = &region.rule else {
        let given: Vec<(usize, Value)> =
            tangents.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))).collect();
        let body = Arc::new(tangent(g, &region.body, saved.len(), &given, &results));
        let dots: Vec<Value> = given.iter().map(|&(_, t)| t).collect();
        let operands = [&args[..], saved, &dots].concat();
        let rule = match region.rule {
            // Of what is kept, the tangents are.
            Rule::Checkpoint { .. } => {
                Rule::Checkpoint { kept: results.iter().filter(|&&i| i >= first).count() }
            }
            _ => region.rule.clone(),
        };
        let made = g.add(Region { body, rule }, &operands);
        let made = made.unwrap_or_else(|e| panic!("region_jvp: {e}\n{g}"));
        results.into_iter().zip(made).for_each(|(i, r)| out[i] = Some(r));
        return out;
    };
    let inner = region.with_derivative();
    if inner.iter().all(|&i| tangents[i].is_none()) {
        return out;
    }
    let dots: Vec<Value> =
        inner.iter().map(|&i| tangents[i].unwrap_or_else(|| g.like(args[i], 0.0))).collect();
    let made = match (jvp, vjp) {
        (Some(jvp), _) => {
            let operands = [args.as_slice(), &dots].concat();
            inline(g, jvp, &operands)
        }
        (None, Some(vjp)) => {
            let like: Vec<Value> = inline(g, &region.body, args);
            let like: Vec<Value> = results.iter().map(|&i| like[i]).collect();
            transpose(g, vjp, args, &like, &dots)
        }
        (None, None) => unreachable!("a custom region has a rule"),
    };
    results.into_iter().zip(made).for_each(|(i, r)| out[i] = Some(r));
    out
}

/// The number of results that are there to be kept.
fn kept(region: &Region) -> usize {
    match region.rule {
        Rule::Checkpoint { kept } => kept,
        _ => 0,
    }
}

/// The transpose of a graph that is linear in its last inputs, which have the types
/// of `like`, applied to `to`.
fn transpose(g: &mut Graph, f: &Graph, args: &[Value], like: &[Value], to: &[Value]) -> Vec<Value> {
    // In a graph of its own, where they are inputs: equal constants would be one
    // value, and share a cotangent.
    let mut h = Graph::new(f.name.clone());
    let outer: Vec<Value> =
        args.iter().chain(to).map(|&v| h.input(g.ty(v).clone(), None)).collect();
    let at: Vec<Value> = like.iter().map(|&v| h.input(g.ty(v).clone(), None)).collect();
    let (inputs, weights) = outer.split_at(args.len());
    let outputs = inline(&mut h, f, &[inputs, &at].concat());
    let targets: Vec<(Value, Option<Value>)> =
        outputs.iter().zip(weights).map(|(&v, &ct)| (v, Some(ct))).collect();
    let found = reverse(&mut h, &targets, &at);
    let found: Vec<Value> =
        found.into_iter().zip(&at).map(|(v, &a)| v.unwrap_or_else(|| h.like(a, 0.0))).collect();
    h.set_outputs(found);
    let zeros: Vec<Value> = like.iter().map(|&v| g.like(v, 0.0)).collect();
    let operands: Vec<Value> = args.iter().chain(to).chain(&zeros).copied().collect();
    inline(g, &prune(&h), &operands)
}

/// The same program with all regions dissolved but those that compute again.
pub fn inline_regions(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Region(r) if r.rule != Rule::Recompute => {
            let body = inline_regions(&r.body);
            inline(to, &body, args).into()
        }
        _ => same(to, g, n, args),
    })
}
