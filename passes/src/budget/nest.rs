//! Pieces of loops inside loops: bodies as they are, rows by number, loops by closure.
//!
//! Results have to be the same bits as before, and the order of a sum depends on what is
//! computed beside it. So a body in which that matters is not opened: it stays a region,
//! which is lowered by itself, as a loop's body is.

use std::sync::Arc;

use backstitch_ir::ops::{Concat, Gather, Loop, Region, Rows, Rule, Trip, Unroll};
use backstitch_ir::{Graph, Scalar, Shape, Value};

use super::pair::is_pointwise;
use crate::rebuild::{Map, rebuild_into, same};

/// The body of a loop, to be computed in other places.
#[derive(Clone)]
pub(super) struct Body {
    graph: Arc<Graph>,
    open: bool,
}

impl Body {
    pub fn new(graph: Arc<Graph>) -> Self {
        let open = is_pointwise(&graph);
        Self { graph, open }
    }

    /// Some of its outputs.
    pub fn outputs(&self, g: &mut Graph, inputs: &[Value], wanted: &[usize]) -> Vec<Value> {
        let f = &*self.graph;
        if !self.open {
            let op = Region { body: self.graph.clone(), rule: Rule::Recompute };
            let made = g.add(op, inputs).unwrap_or_else(|e| panic!("budget: {e}\n{g}"));
            return wanted.iter().map(|&i| made[i]).collect();
        }
        let mut map = Map::filled(None, f.value_count());
        for (&v, &a) in f.inputs().iter().zip(inputs) {
            map[v] = Some(a);
        }
        let roots: Vec<Value> = wanted.iter().map(|&i| f.outputs()[i]).collect();
        rebuild_into(g, f, &mut map, &roots, |g, n, args| same(g, f, n, args));
        roots.iter().map(|&v| map[v].expect("roots are live")).collect()
    }

    /// A body that gives only its first outputs, if that changes no bits.
    pub fn first(&self, outputs: usize) -> Arc<Graph> {
        if !self.open {
            return self.graph.clone();
        }
        let mut part = (*self.graph).clone();
        let first: Vec<Value> = part.outputs()[..outputs].to_vec();
        part.set_outputs(first);
        Arc::new(crate::rebuild::prune(&part))
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}

/// What one iteration of a loop gives: carries, and what it pushes.
pub(super) type Iteration = (Vec<Value>, Vec<Value>);

/// A loop whose body is made by a closure of carries, constants and popped entries.
/// Gives the last carries and the stacks.
pub(super) fn repeat(
    to: &mut Graph,
    count: Value,
    carries: &[Value],
    consts: &[Value],
    stacks: &[Value],
    iteration: impl FnOnce(&mut Graph, &[Value], &[Value], &[Value]) -> Iteration,
) -> Iteration {
    let mut body = Graph::new("segment");
    let mut inputs = |vs: &[Value]| -> Vec<Value> {
        vs.iter().map(|&v| body.input(to.ty(v).clone(), to.name_of(v))).collect()
    };
    let (c, k) = (inputs(carries), inputs(consts));
    let popped: Vec<Value> =
        stacks.iter().map(|&s| body.input(to.ty(s).unstacked(), None)).collect();
    let (next, pushed) = iteration(&mut body, &c, &k, &popped);
    body.set_outputs(next.into_iter().chain(pushed));
    let carried = carries.len();
    let op = Loop {
        trip: Trip::Count,
        body: Arc::new(body),
        carries: carried,
        consts: consts.len(),
        pops: stacks.len(),
        unroll: Unroll::Never,
    };
    let operands = [&[count], carries, consts, stacks].concat();
    let made = to.add(op, &operands).unwrap_or_else(|e| panic!("budget: {e}\n{to}"));
    (made[..carried].to_vec(), made[carried..].to_vec())
}

/// A part of a graph that is lowered by itself, made by a closure.
pub(super) fn region(
    to: &mut Graph,
    name: &str,
    inputs: &[Value],
    f: impl FnOnce(&mut Graph, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let mut body = Graph::new(name);
    let own: Vec<Value> =
        inputs.iter().map(|&v| body.input(to.ty(v).clone(), to.name_of(v))).collect();
    let outputs = f(&mut body, &own);
    body.set_outputs(outputs);
    let op = Region { body: Arc::new(body), rule: Rule::Recompute };
    to.add(op, inputs).unwrap_or_else(|e| panic!("budget: {e}\n{to}")).to_vec()
}

/// A whole number as a constant.
pub(super) fn number(g: &mut Graph, n: usize) -> Value {
    g.constant(i64::try_from(n).expect("a number of steps"))
}

/// `i + by`.
pub(super) fn moved(g: &mut Graph, i: Value, by: isize) -> Value {
    let by = g.constant(by as i64);
    g.map(Scalar::Add, &[i, by])
}

/// Row `i` of an array of `n`, or row `n - 1 - i`.
pub(super) fn row(g: &mut Graph, array: Value, i: Value, forward: bool) -> Value {
    let index = if forward {
        i
    } else {
        let last = number(g, g.ty(array).dims()[0].saturating_sub(1));
        g.map(Scalar::Sub, &[last, i])
    };
    g.push(Gather { axis: 0 }, &[array, index])
}

/// The entries of a stack as the rows of an array.
pub(super) fn as_array(g: &mut Graph, stack: Value, n: usize) -> Value {
    let entry = g.ty(stack).unstacked();
    let dims = std::iter::once(n).chain(entry.dims().iter().copied());
    let ty = entry.with_shape(dims.collect::<Shape>());
    g.push(Rows::FromStack { ty, back: false }, &[stack])
}

/// The rows of an array, the last on top.
pub(super) fn as_stack(g: &mut Graph, array: Value) -> Value {
    g.push(Rows::ToStack { back: false }, &[array])
}

/// A value as the only row of an array.
pub(super) fn as_row(g: &mut Graph, v: Value) -> Value {
    let dims = std::iter::once(1).chain(g.ty(v).dims().iter().copied());
    let shape = dims.collect::<Shape>();
    g.reshape(v, shape)
}

/// Rows of rows as rows.
pub(super) fn flat(g: &mut Graph, array: Value) -> Value {
    let dims = g.ty(array).dims();
    let shape: Shape =
        std::iter::once(dims[0] * dims[1]).chain(dims[2..].iter().copied()).collect();
    g.reshape(array, shape)
}

/// The rows of one after those of the other, where there are any.
pub(super) fn joined(g: &mut Graph, parts: &[Vec<Value>]) -> Vec<Value> {
    match parts {
        [] => vec![],
        [one] => one.clone(),
        [first, rest @ ..] => (0..first.len())
            .map(|i| {
                let rows: Vec<Value> =
                    std::iter::once(first[i]).chain(rest.iter().map(|p| p[i])).collect();
                g.push(Concat { axis: 0 }, &rows)
            })
            .collect(),
    }
}
