//! Jacobians: a linear map applied to all unit vectors at once.
//!
//! The adjoint of a target is a linear map of its cotangent. It is built once, on
//! a copy of the graph with a placeholder for the cotangent; what was added
//! becomes a graph of its own, which is then vectorised over the rows of an
//! identity, as far as these do not stay multiples of unit vectors
//! ([`on_units`]). With fewer source elements than target elements the same is done
//! with the tangent program instead.

use backstitch_ir::op::{Lane, materialise};
use backstitch_ir::{Array, DType, Graph, Idx, IndexVec, Scalar, Shape, Type, Value, ops};
use backstitch_passes::{batch, forward, reverse};

use crate::identity::on_units;

/// A linear map cut out of a graph: its first inputs are the arguments, the others
/// are values of the graph.
pub(crate) struct Linear {
    graph: Graph,
    shared: Vec<Value>,
    /// For each result, which output of the graph it is; `None` is zero.
    results: Vec<Option<usize>>,
}

/// Whether a matrix of this many rows and columns can be addressed in memory.
pub(crate) fn fits(n: usize) -> bool {
    n.checked_mul(n).is_some_and(|len| len <= isize::MAX as usize / size_of::<i64>())
}

/// Adds the derivative of `target` with respect to each source: an array of the
/// target's shape followed by the source's. `None` if there is structurally none.
pub(crate) fn jacobian(g: &mut Graph, target: Value, sources: &[Value]) -> Vec<Option<Value>> {
    let rows = g.ty(target).len();
    let columns: usize = sources.iter().map(|&s| g.ty(s).len()).sum();
    if columns < rows {
        return jacobian_forward(g, target, sources);
    }
    jacobian_reverse(g, target, sources)
}

/// As [`jacobian`], by the tangents along each element of the sources.
pub(crate) fn jacobian_forward(
    g: &mut Graph,
    target: Value,
    sources: &[Value],
) -> Vec<Option<Value>> {
    sources.iter().map(|&s| by_columns(g, target, s)).collect()
}

/// As [`jacobian`], by the cotangents of each element of the target.
pub(crate) fn jacobian_reverse(
    g: &mut Graph,
    target: Value,
    sources: &[Value],
) -> Vec<Option<Value>> {
    let ty = g.ty(target).clone();
    let found = adjoint(g, target, sources).on_units(g);
    let shaped = |(v, &s): (Option<Value>, &Value)| {
        let v = v?;
        let dims: Shape = ty.dims().iter().chain(g.ty(s).dims()).copied().collect();
        Some(g.reshape(v, dims))
    };
    found.into_iter().zip(sources).map(shaped).collect()
}

/// Adds, for a target and sources whose first axis counts independent examples,
/// the derivative of each example of the target with respect to the same example
/// of each source: `[examples, target…, source…]`.
pub(crate) fn batch_jacobian(
    g: &mut Graph,
    target: Value,
    sources: &[Value],
) -> Vec<Option<Value>> {
    // All examples share a cotangent lane: what one does not depend on is zero.
    let ty = g.ty(target).clone();
    let rest = ty.with_shape(&ty.dims()[1..]);
    let n = rest.len();
    let unit = identity(g, &rest);
    let dims: Shape = [n, ty.dims()[0]].into_iter().chain(rest.dims().iter().copied()).collect();
    let places: Vec<usize> = std::iter::once(0).chain(2..dims.rank()).collect();
    let ct = g.broadcast(unit, &dims, &places);
    let found = adjoint(g, target, sources).apply(g, &[ct], n);
    let shaped = |(v, &s): (Option<Value>, &Value)| {
        let v = v?;
        let source = g.ty(s).dims().to_vec();
        let swapped: ops::Axes = [1, 0].into_iter().chain(2..source.len() + 1).collect();
        let v = g.push(ops::Permute { perm: swapped }, &[v]);
        let dims: Shape = ty.dims().iter().chain(&source[1..]).copied().collect();
        Some(g.reshape(v, dims))
    };
    found.into_iter().zip(sources).map(shaped).collect()
}

/// The adjoint of the target, as a map of its cotangent.
fn adjoint(g: &Graph, target: Value, sources: &[Value]) -> Linear {
    let ty = g.ty(target).clone();
    linear(g, &[ty], |h, ct| reverse(h, &[(target, Some(ct[0]))], sources))
}

/// The tangent of the target along each element of one source.
fn by_columns(g: &mut Graph, target: Value, source: Value) -> Option<Value> {
    let (ty, of) = (g.ty(target).clone(), g.ty(source).clone());
    let map =
        linear(g, std::slice::from_ref(&of), |h, dot| forward(h, &[(source, dot[0])], &[target]));
    let columns = map.on_units(g)[0]?;
    let perm: ops::Axes = (1..=ty.rank()).chain([0]).collect();
    let moved = if ty.rank() == 0 { columns } else { g.push(ops::Permute { perm }, &[columns]) };
    Some(g.reshape(moved, ty.dims().iter().chain(of.dims()).copied().collect::<Shape>()))
}

/// One row per element of an array of this type, 1 at the element and 0 elsewhere.
fn identity(g: &mut Graph, ty: &Type) -> Value {
    let n = ty.len();
    let square = Type::new(DType::I64, [n, n]);
    let i = g.push(ops::Iota { ty: square.clone(), axis: 0 }, &[]);
    let j = g.push(ops::Iota { ty: square, axis: 1 }, &[]);
    let same = g.map(Scalar::Eq, &[i, j]);
    let ones = g.cast(same, ty.dtype);
    g.reshape(ones, std::iter::once(n).chain(ty.dims().iter().copied()).collect::<Shape>())
}

/// Cuts out what `build` adds to the graph for placeholders of these types.
pub(crate) fn linear(
    g: &Graph,
    types: &[Type],
    build: impl FnOnce(&mut Graph, &[Value]) -> Vec<Option<Value>>,
) -> Linear {
    let mut h = g.clone();
    let (first_value, first_node) = (h.value_count(), h.node_count());
    let placeholders: Vec<Value> = types.iter().map(|ty| h.input(ty.clone(), None)).collect();
    let found = build(&mut h, &placeholders);

    let mut live: IndexVec<Value, bool> = IndexVec::filled(false, h.value_count());
    found.iter().flatten().for_each(|&v| live[v] = true);
    for n in h.nodes().rev().take_while(|n| n.index() >= first_node) {
        if h.results(n).iter().any(|&r| live[r]) {
            h.args(n).iter().for_each(|&a| live[a] = true);
        }
    }
    let mut graph = Graph::new("linear");
    let mut shared = Vec::new();
    let mut map: IndexVec<Value, Option<Value>> = IndexVec::filled(None, h.value_count());
    for (&placeholder, ty) in placeholders.iter().zip(types) {
        map[placeholder] = Some(graph.input(ty.clone(), None));
    }
    for v in (0..first_value).map(Value::new).filter(|&v| live[v]) {
        map[v] = Some(match h.as_splat(v) {
            Some(c) => {
                let c = graph.constant(Array::scalar(c));
                graph.broadcast(c, &h.ty(v).shape, &[])
            }
            None => {
                shared.push(v);
                graph.input(h.ty(v).clone(), None)
            }
        });
    }
    for n in h.nodes().skip(first_node + types.len()) {
        let results = h.results(n);
        if !results.iter().any(|&r| live[r]) {
            continue;
        }
        let args: Vec<Value> =
            h.args(n).iter().map(|&a| map[a].expect("operands come first")).collect();
        graph.set_origin(h.origin(n));
        let copies = graph.add(h.op(n).clone(), &args).unwrap_or_else(|e| panic!("jacobian: {e}"));
        results.into_iter().zip(copies).for_each(|(r, c)| map[r] = Some(c));
    }
    let mut outputs = Vec::new();
    let results = found
        .iter()
        .map(|v| {
            v.map(|v| {
                outputs.push(map[v].expect("results are live"));
                outputs.len() - 1
            })
        })
        .collect();
    graph.set_outputs(outputs);
    Linear { graph, shared, results }
}

impl Linear {
    /// The map on each of `n` arguments, which are stacked.
    pub(crate) fn apply(&self, g: &mut Graph, arguments: &[Value], n: usize) -> Vec<Option<Value>> {
        let batched = |&value: &Value| Lane { value, batched: true };
        let mut lanes: Vec<Lane> = arguments.iter().map(batched).collect();
        lanes.extend(self.shared.iter().map(|&value| Lane { value, batched: false }));
        let outputs = batch(g, &self.graph, &lanes, n);
        let result = |&i: &Option<usize>| i.map(|i| materialise(g, outputs[i], n));
        self.results.iter().map(result).collect()
    }

    /// The map, of one argument, on each unit vector.
    fn on_units(&self, g: &mut Graph) -> Vec<Option<Value>> {
        let outputs = on_units(g, &self.graph, &self.shared);
        self.results.iter().map(|&i| i.map(|i| outputs[i])).collect()
    }
}
