//! A body and its adjoint in one graph, and the parts that are made of it: a forward
//! part that gives what is kept, and a reverse part that takes it.

use backstitch_ir::{Graph, IndexVec, Value};

use super::{open, zeros_like};
use crate::rebuild::live;
use crate::residuals::{self, Aim};
use crate::vjp::reverse;

/// A body of a branch or region, with its adjoint behind it.
pub(super) struct Joint {
    pub graph: Graph,
    primal: usize,
    /// Inputs and outputs of the body.
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
    /// The inputs that take cotangents of outputs.
    pub cotangents: Vec<Value>,
    /// Cotangents of inputs.
    pub grads: Vec<Value>,
}

impl Joint {
    /// The adjoint with respect to the inputs `sources`, given cotangents of the
    /// outputs `given`.
    pub fn new(body: &Graph, given: &[usize], sources: &[usize]) -> Self {
        let (mut graph, inputs, outputs) = open(body);
        let primal = graph.node_count();
        let cotangents: Vec<Value> =
            given.iter().map(|&i| graph.input(graph.ty(outputs[i]).clone(), None)).collect();
        let targets: Vec<(Value, Option<Value>)> =
            given.iter().zip(&cotangents).map(|(&i, &ct)| (outputs[i], Some(ct))).collect();
        let from: Vec<Value> = sources.iter().map(|&i| inputs[i]).collect();
        let grads = reverse(&mut graph, &targets, &from);
        let grads = grads.into_iter().zip(&from);
        let grads = grads.map(|(ct, &x)| ct.unwrap_or_else(|| zeros_like(&mut graph, x))).collect();
        Self { graph, primal, inputs, outputs, cotangents, grads }
    }

    /// What to keep of the forward run, if the reverse has the inputs.
    pub fn residuals(&self, aim: Aim) -> Vec<Value> {
        let mut known = IndexVec::filled(false, self.graph.value_count());
        self.inputs.iter().for_each(|&v| known[v] = true);
        let joint = residuals::Joint {
            graph: &self.graph,
            primal: self.primal,
            known: &known,
            cotangents: &self.cotangents,
            roots: &self.grads,
            stacks: false,
        };
        joint.residuals(aim)
    }
}

/// Whether the outputs of a graph depend on each input.
pub(super) fn reads(g: &Graph) -> Vec<bool> {
    let live = live(g, g.outputs(), None);
    g.inputs().iter().map(|&v| live[g.source(v).0]).collect()
}

/// Those that are marked.
pub(super) fn marked(values: &[Value], marks: &[bool]) -> Vec<Value> {
    values.iter().zip(marks).filter(|(_, is)| **is).map(|(&v, _)| v).collect()
}
