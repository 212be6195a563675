//! What checkpoints keep, decided when they are made.
//!
//! A region gives the values to keep as further results, so that whatever becomes of it
//! (a batch, a tangent, the body of a loop) gives them as well. Its adjoint takes them
//! and computes the rest again.

use std::sync::Arc;

use backstitch_ir::ops::{Region, Rule};
use backstitch_ir::{Graph, Op, Value};

use super::joint::Joint;
use crate::rebuild::part;
use crate::residuals::Aim;

/// What is kept of a region between forward and reverse.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// These values of its body.
    Values(&'a [Value]),
    /// The results of its products.
    Products,
    /// The fewest bytes with which nothing dear is run again: no product, sum, routine
    /// or loop, for cotangents of all results and of all inputs.
    Fewest,
}

/// The region that computes a body, and the number of bytes that it keeps. Behind the
/// results of the body it gives what it keeps.
pub fn checkpoint(body: &Graph, keep: Keep<'_>) -> (Region, usize) {
    let float = |vs: &[Value]| -> Vec<usize> {
        (0..vs.len()).filter(|&i| body.ty(vs[i]).is_float()).collect()
    };
    let joint;
    let (graph, inputs, outputs, mut kept) = match keep {
        Keep::Values(values) => (body, body.inputs(), body.outputs(), values.to_vec()),
        Keep::Products => {
            let products = body.nodes().filter(|&n| matches!(body.op(n), Op::Contract(_)));
            let kept = products.flat_map(|n| body.results(n)).collect();
            (body, body.inputs(), body.outputs(), kept)
        }
        Keep::Fewest => {
            joint = Joint::new(body, &float(body.outputs()), &float(body.inputs()));
            let kept = joint.residuals(Aim::Bytes);
            (&joint.graph, &joint.inputs[..], &joint.outputs[..], kept)
        }
    };
    kept.sort_unstable();
    kept.dedup();
    kept.retain(|&v| !graph.op_of(v).is_input());
    let bytes = kept.iter().map(|&v| graph.ty(v).bytes()).sum();
    let body = Arc::new(part(graph, inputs, &[outputs, &kept].concat()));
    (Region { body, rule: Rule::Checkpoint { kept: kept.len() } }, bytes)
}
