//! Linear maps that programs have for derivatives, cut into what is computed once and
//! what is computed for each argument.
//!
//! A tangent program by forward mode mixes both inside of loops. The adjoint does not:
//! it keeps what it needs of the primal loop on stacks. So does the adjoint of the
//! adjoint, which is the tangent program again (R. Frostig et al., "You only linearize
//! once", 2022, go the other way round).

use backstitch_ir::{Graph, IndexVec, Op, Value};

use crate::rebuild::{inline, part, prune};
use crate::vjp::reverse;

/// A graph in two parts.
pub struct Split {
    /// From the other inputs to the residuals, which are its outputs.
    pub before: Graph,
    /// From the first inputs and the residuals to the outputs.
    pub after: Graph,
}

/// Cuts a graph into what depends on its first `along` inputs and what does not.
///
/// Constants and views are made again behind the cut, and so is what leaves stacks:
/// these do not outlive a program.
pub fn split(f: &Graph, along: usize) -> Split {
    let mut behind: IndexVec<Value, bool> = IndexVec::filled(false, f.value_count());
    f.inputs()[..along].iter().for_each(|&v| behind[v] = true);
    for n in f.nodes() {
        if f.args(n).iter().any(|&a| behind[a]) {
            f.results(n).iter().for_each(|&r| behind[r] = true);
        }
    }
    let mut residuals = Vec::new();
    let mut seen: IndexVec<Value, bool> = IndexVec::filled(false, f.value_count());
    let mut wanted = f.outputs().to_vec();
    while let Some(v) = wanted.pop() {
        if std::mem::replace(&mut seen[v], true) {
            continue;
        }
        let n = f.source(v).0;
        let again = !f.op(n).is_input() && (f.args(n).is_empty() || is_view(f.op(n)));
        if behind[v] || again || f.ty(v).stack > 0 {
            wanted.extend(f.args(n));
        } else {
            residuals.push(v);
        }
    }
    residuals.sort_unstable();
    let (first, rest) = f.inputs().split_at(along);
    let before = part(f, rest, &residuals);
    let after = part(f, &[first, &residuals].concat(), f.outputs());
    Split { before, after }
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Broadcast(_) | Op::Reshape(_) | Op::Permute(_))
}

/// The cotangents of the inputs `wrt` of `f` as a graph of its own: its inputs are
/// cotangents of the outputs and the inputs of `f`. All of them are floats.
pub fn pullback(f: &Graph, wrt: &[usize]) -> Graph {
    let mut h = Graph::new(f.name.clone());
    let like = |h: &mut Graph, v: Value| h.input(f.ty(v).clone(), f.name_of(v));
    let cts: Vec<Value> = f.outputs().iter().map(|&v| like(&mut h, v)).collect();
    let xs: Vec<Value> = f.inputs().iter().map(|&v| like(&mut h, v)).collect();
    let outputs = inline(&mut h, f, &xs);
    let targets: Vec<_> = outputs.iter().zip(&cts).map(|(&v, &ct)| (v, Some(ct))).collect();
    let sources: Vec<Value> = wrt.iter().map(|&i| xs[i]).collect();
    let found = reverse(&mut h, &targets, &sources);
    let found = found.into_iter().zip(&sources);
    let found: Vec<Value> = found.map(|(ct, &x)| ct.unwrap_or_else(|| h.like(x, 0.0))).collect();
    h.set_outputs(found);
    prune(&h)
}

/// The tangents of the outputs as a graph of its own: its inputs are tangents of the
/// inputs `wrt` of `f` and the inputs of `f`. All outputs and those inputs are floats.
pub fn tangent(f: &Graph, wrt: &[usize]) -> Graph {
    let mut h = Graph::new(f.name.clone());
    let like = |h: &mut Graph, v: Value| h.input(f.ty(v).clone(), f.name_of(v));
    let dots: Vec<Value> = wrt.iter().map(|&i| like(&mut h, f.inputs()[i])).collect();
    let xs: Vec<Value> = f.inputs().iter().map(|&v| like(&mut h, v)).collect();
    let taken = h.inputs().len();
    let cts: Vec<Value> = f.outputs().iter().map(|&v| like(&mut h, v)).collect();
    let pulled = inline(&mut h, &pullback(f, wrt), &[&cts[..], &xs].concat());
    let moved: Vec<_> = pulled.into_iter().zip(&dots).map(|(ct, &dot)| (ct, Some(dot))).collect();
    let tangents = reverse(&mut h, &moved, &cts);
    let tangents: Vec<Value> = tangents
        .into_iter()
        .zip(&cts)
        .map(|(t, &ct)| t.unwrap_or_else(|| h.like(ct, 0.0)))
        .collect();
    h.set_outputs(tangents);
    // Where the cotangents stand makes no difference to a map that is linear in them.
    let mut to = Graph::new(f.name.clone());
    let mut args: Vec<Value> = Vec::with_capacity(h.inputs().len());
    for &v in &h.inputs()[..taken] {
        args.push(to.input(h.ty(v).clone(), h.name_of(v)));
    }
    for &ct in &cts {
        args.push(to.splat(h.ty(ct), 0.0));
    }
    let found = inline(&mut to, &h, &args);
    to.set_outputs(found);
    prune(&to)
}
