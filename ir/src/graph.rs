//! The graph: what to compute, and nothing else.
//!
//! A [`Graph`] is a petgraph `DiGraph` whose nodes are operations with their operands
//! and whose edges lead from those to whoever uses them. It is append-only and
//! hash-consed: adding an operation that is there already gives the values that are
//! there already (common subexpressions never exist), and the order of nodes is a
//! topological order by construction. Passes never change a graph: they build the next
//! one, and rebuilding from the outputs leaves dead nodes behind.
//!
//! Operands are kept with the node, in order: `x·x` has two that are one value, and loops
//! and conditionals have several results, so that neighbours alone do not say which.

mod maxima;
mod prune;

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

use crate::array::Array;
use crate::define_index;
use crate::index::{Idx, IndexVec};
use crate::nest::{Const, Monoid};
use crate::op::{Op, TypeError};
use crate::ops;
use crate::range::Range;
use crate::scalar::Scalar;
use crate::ty::{DType, Shape, Type};

define_index! {
    /// A value of a graph: one result of one node.
    Value, "%";
    /// A node of a graph.
    Node, "n";
}

/// A short list of values.
pub type Values = SmallVec<[Value; 4]>;

/// Where a node comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// The user's line that asked for it.
    pub place: Option<&'static Location<'static>>,
    /// Whether it was made by differentiation.
    pub adjoint: bool,
    /// For such a node: the primal node whose rule made it, while that node is
    /// still in the graph.
    pub primal: Option<Node>,
}

#[derive(Clone)]
struct NodeData {
    op: Op,
    args: Values,
    first: Value,
    results: u32,
    origin: Origin,
    /// The node before it whose hash is the same.
    alike: Option<Node>,
}

#[derive(Clone)]
struct ValueData {
    node: Node,
    /// Which of its results it is.
    slot: u32,
    /// The number of its type.
    ty: u32,
    range: Range,
}

/// A program: operations on values, with inputs and outputs.
#[derive(Clone, Default)]
pub struct Graph {
    /// Its name in text.
    pub name: String,
    dag: DiGraph<NodeData, ()>,
    values: IndexVec<Value, ValueData>,
    /// Types of values: each is there once, and mostly they are few.
    types: Vec<Type>,
    type_numbers: FxHashMap<Type, u32>,
    /// The last node of each hash.
    interned: FxHashMap<u64, Node>,
    /// How many nodes hold graphs.
    control: usize,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    origin: Origin,
    /// Names given to values by whoever traced them; for text only.
    names: FxHashMap<Value, Arc<str>>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// An empty graph of the same name, with room for as many nodes: what a pass fills.
    pub fn successor(&self) -> Self {
        let (nodes, edges) = (self.dag.node_count(), self.dag.edge_count());
        let mut next = Self::new(self.name.clone());
        next.dag = DiGraph::with_capacity(nodes, edges);
        next.values.reserve(self.values.len());
        next.interned.reserve(nodes);
        next
    }

    // ---- building ----

    /// Adds an operation, or finds it, and gives its results.
    ///
    /// # Errors
    /// If the operands' types are not what the operation takes.
    pub fn add(&mut self, op: impl Into<Op>, args: &[Value]) -> Result<Values, TypeError> {
        self.insert(op.into(), args).map_err(|wrong| wrong.0)
    }

    /// Adds an operation with one result whose operands are known to fit.
    ///
    /// # Panics
    /// If they do not: a bug in the pass that calls it.
    #[track_caller]
    pub fn push(&mut self, op: impl Into<Op>, args: &[Value]) -> Value {
        match self.insert(op.into(), args) {
            Ok(results) => results[0],
            Err(wrong) => {
                let (error, op) = *wrong;
                panic!("{op:?} of {args:?}: {error}\n{self}")
            }
        }
    }

    /// Adds an operation, or gives it back with what is wrong.
    fn insert(&mut self, op: Op, args: &[Value]) -> Result<Values, Box<(TypeError, Op)>> {
        let hash = hash_of(&op, args);
        let last = self.interned.get(&hash).copied();
        if !op.is_input() {
            let mut found = last;
            while let Some(n) = found {
                let data = self.data(n);
                if data.op == op && data.args.as_slice() == args {
                    return Ok(self.results(n));
                }
                found = data.alike;
            }
        }
        let node = Node::new(self.dag.node_count());
        let first = Value::new(self.values.len());
        let results = if let Some(ty) = self.type_of_map(&op, args) {
            let range =
                range_of(self, &op, args, std::slice::from_ref(&self.types[ty as usize]))[0];
            self.values.push(ValueData { node, slot: 0, ty, range });
            1
        } else {
            let types = {
                let args: SmallVec<[&Type; 4]> = args.iter().map(|&a| self.ty(a)).collect();
                match op.infer(&args) {
                    Ok(types) => types,
                    Err(error) => return Err(Box::new((error, op))),
                }
            };
            let ranges = range_of(self, &op, args, &types);
            let results = types.len() as u32;
            for ((ty, range), slot) in types.into_iter().zip(ranges).zip(0..) {
                let ty = self.type_number(ty);
                self.values.push(ValueData { node, slot, ty, range });
            }
            results
        };
        if op.is_input() {
            self.inputs.push(first);
        }
        self.control += usize::from(op.holds_graphs());
        let at = self.dag.add_node(NodeData {
            op,
            args: Values::from_slice(args),
            first,
            results,
            origin: self.origin,
            alike: last,
        });
        for &value in args {
            let from = NodeIndex::new(self.values[value].node.index());
            self.dag.add_edge(from, at, ());
        }
        self.interned.insert(hash, node);
        Ok(self.results(node))
    }

    /// The type of a function of operands of one type that gives that type, as most do.
    fn type_of_map(&self, op: &Op, args: &[Value]) -> Option<u32> {
        let Op::Map(ops::Map { f }) = op else { return None };
        let number = self.values[*args.first()?].ty;
        let ty = &self.types[number as usize];
        if ty.stack > 0 || args.iter().any(|&a| self.values[a].ty != number) {
            return None;
        }
        let dtypes = SmallVec::<[DType; 3]>::from_elem(ty.dtype, args.len());
        (f.infer(&dtypes) == Ok(ty.dtype)).then_some(number)
    }

    fn type_number(&mut self, ty: Type) -> u32 {
        if let Some(&number) = self.type_numbers.get(&ty) {
            return number;
        }
        let number = self.types.len() as u32;
        self.types.push(ty.clone());
        self.type_numbers.insert(ty, number);
        number
    }

    /// A new input.
    pub fn input(&mut self, ty: Type, name: Option<&str>) -> Value {
        let index = self.inputs.len();
        let v = self.push(ops::Input { index, ty }, &[]);
        if let Some(name) = name {
            self.set_name(v, name);
        }
        v
    }

    /// A constant array.
    pub fn constant(&mut self, array: impl Into<Array>) -> Value {
        self.push(ops::Literal::new(array.into()), &[])
    }

    /// A scalar function of values of one shape.
    #[track_caller]
    pub fn map(&mut self, f: Scalar, args: &[Value]) -> Value {
        self.push(ops::Map { f }, args)
    }

    /// `x` repeated to `shape`; axis `i` of `x` becomes axis `dims[i]`.
    #[track_caller]
    pub fn broadcast(&mut self, x: Value, shape: &Shape, dims: &[usize]) -> Value {
        if self.ty(x).shape == *shape {
            return x;
        }
        self.push(ops::Broadcast { shape: shape.clone(), dims: dims.into() }, &[x])
    }

    /// `x` with the same elements in another shape of the same length.
    #[track_caller]
    pub fn reshape(&mut self, x: Value, shape: impl Into<Shape>) -> Value {
        let shape = shape.into();
        if self.ty(x).shape == shape { x } else { self.push(ops::Reshape { shape }, &[x]) }
    }

    /// `x` reduced over some axes (which go away).
    #[track_caller]
    pub fn reduce(&mut self, monoid: Monoid, x: Value, axes: &[usize]) -> Value {
        if axes.is_empty() { x } else { self.push(ops::Reduce { monoid, axes: axes.into() }, &[x]) }
    }

    /// An array of that type filled with a number.
    pub fn splat(&mut self, ty: &Type, x: f64) -> Value {
        let c = self.constant(Array::scalar(Const::of_float(ty.dtype, x)));
        self.broadcast(c, &ty.shape, &[])
    }

    /// An array like `v`, filled with a number.
    pub fn like(&mut self, v: Value, x: f64) -> Value {
        let ty = self.ty(v).clone();
        self.splat(&ty, x)
    }

    /// `v` cast to `dtype`.
    pub fn cast(&mut self, v: Value, dtype: DType) -> Value {
        if self.ty(v).dtype == dtype { v } else { self.map(Scalar::cast_to(dtype), &[v]) }
    }

    /// The values that the program gives.
    pub fn set_outputs(&mut self, outputs: impl IntoIterator<Item = Value>) {
        self.outputs = outputs.into_iter().collect();
    }

    /// What nodes added from now on come from. Gives what it was.
    pub fn set_origin(&mut self, origin: Origin) -> Origin {
        std::mem::replace(&mut self.origin, origin)
    }

    /// The origin that new nodes get.
    pub fn current_origin(&self) -> Origin {
        self.origin
    }

    /// Names a value in text.
    pub fn set_name(&mut self, v: Value, name: &str) {
        self.names.insert(v, name.into());
    }

    // ---- asking ----

    /// All nodes, operands before users.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = Node> + ExactSizeIterator + use<> {
        (0..self.dag.node_count()).map(Node::new)
    }

    /// Number of values; the next value will have this index.
    #[inline]
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Number of nodes; the next node will have this index.
    #[inline]
    pub fn node_count(&self) -> usize {
        self.dag.node_count()
    }

    /// The operation of a node.
    #[inline]
    pub fn op(&self, n: Node) -> &Op {
        &self.data(n).op
    }

    /// The operands of a node, by slot.
    #[inline]
    pub fn args(&self, n: Node) -> Values {
        Values::from_slice(&self.data(n).args)
    }

    /// Whether some node holds graphs: a loop, a conditional, a region.
    pub fn has_control(&self) -> bool {
        self.control > 0
    }

    /// The nodes that use a result of this one (once per use), latest first.
    pub fn users(&self, n: Node) -> impl Iterator<Item = Node> + '_ {
        self.dag.neighbors(NodeIndex::new(n.index())).map(|m| Node::new(m.index()))
    }

    /// The results of a node.
    #[inline]
    pub fn results(&self, n: Node) -> Values {
        let d = self.data(n);
        match d.results {
            1 => Values::from_slice(&[d.first]),
            n => (0..n as usize).map(|i| Value::new(d.first.index() + i)).collect(),
        }
    }

    /// The node that makes a value, and which of its results it is.
    #[inline]
    pub fn source(&self, v: Value) -> (Node, usize) {
        let ValueData { node, slot, .. } = &self.values[v];
        (*node, *slot as usize)
    }

    /// The operation that makes a value.
    #[inline]
    pub fn op_of(&self, v: Value) -> &Op {
        self.op(self.values[v].node)
    }

    /// The type of a value.
    #[inline]
    pub fn ty(&self, v: Value) -> &Type {
        &self.types[self.values[v].ty as usize]
    }

    /// What is known of the numbers in a value.
    #[inline]
    pub fn range(&self, v: Value) -> Range {
        self.values[v].range
    }

    /// The inputs, in order.
    #[inline]
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// The outputs, in order.
    #[inline]
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Where a node comes from.
    #[inline]
    pub fn origin(&self, n: Node) -> Origin {
        self.data(n).origin
    }

    /// The name of a value, if it was given one.
    pub fn name_of(&self, v: Value) -> Option<&str> {
        self.names.get(&v).map(|n| &**n)
    }

    /// The number that a value is filled with, if it is a splat of a constant.
    pub fn as_splat(&self, v: Value) -> Option<Const> {
        match self.op_of(v) {
            Op::Literal(c) if c.array().dims().is_empty() => c.array().get(0),
            Op::Broadcast(_) | Op::Reshape(_) => self.as_splat(self.args(self.values[v].node)[0]),
            _ => None,
        }
    }

    /// Whether a value is a splat of this number.
    pub fn is_splat(&self, v: Value, x: f64) -> bool {
        self.as_splat(v).is_some_and(|c| c == Const::of_float(c.dtype, x))
    }

    #[inline]
    fn data(&self, n: Node) -> &NodeData {
        &self.dag[NodeIndex::new(n.index())]
    }
}

/// Same operations on the same operands, with the same inputs and outputs. Names
/// and origins do not count.
impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.node_count() == other.node_count()
            && self.inputs == other.inputs
            && self.outputs == other.outputs
            && self.nodes().all(|n| self.op(n) == other.op(n) && self.args(n) == other.args(n))
    }
}

impl Eq for Graph {}

impl Hash for Graph {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for n in self.nodes() {
            self.op(n).hash(state);
            self.args(n).hash(state);
        }
        self.outputs.hash(state);
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What equal operations on equal operands have in common.
fn hash_of(op: &Op, args: &[Value]) -> u64 {
    FxBuildHasher.hash_one((op, args))
}

/// Ranges of the results of an operation.
fn range_of(g: &Graph, op: &Op, args: &[Value], types: &[Type]) -> SmallVec<[Range; 1]> {
    if let Op::Map(ops::Map { f: Scalar::Mul }) = op
        && let Some(square) = as_square(g, args[0], args[1])
    {
        return SmallVec::from_elem(square, 1);
    }
    // What intervals alone do not see: soft-max and softplus rest on it.
    let below_zero = match op {
        Op::Map(ops::Map { f: Scalar::Sub | Scalar::SubZ }) => {
            maxima::over(g, args[1], args[0]).is_some()
        }
        Op::Map(ops::Map { f: Scalar::Select }) => is_minus_abs(g, args),
        _ => false,
    };
    if below_zero {
        let finite = args[args.len() - 2..].iter().all(|&a| g.range(a).finite);
        return SmallVec::from_elem(Range { lo: f64::NEG_INFINITY, hi: 0.0, finite }, 1);
    }
    if let Op::Reduce(reduce) = op {
        match reduce.monoid {
            Monoid::Sum if maxima::is_in_sum(g, args[0], &reduce.axes) => {
                return SmallVec::from_elem(Range { lo: 1.0, ..Range::FINITE }, 1);
            }
            // Over no element the result is infinite, whatever the elements may be.
            Monoid::Max | Monoid::Min if g.ty(args[0]).is_empty() => {
                return SmallVec::from_elem(Range::ANY, 1);
            }
            _ => {}
        }
    }
    let args: SmallVec<[Range; 4]> = args.iter().map(|&a| g.range(a)).collect();
    op.range(&args, types)
}

/// The range of a product of a value with itself or with its negative.
fn as_square(g: &Graph, a: Value, b: Value) -> Option<Range> {
    let square = g.range(a).square();
    let negates = |a: Value, b: Value| {
        matches!(g.op_of(a), Op::Map(m) if m.f == Scalar::Neg) && g.args(g.source(a).0)[0] == b
    };
    if a == b {
        return Some(square);
    }
    (negates(a, b) || negates(b, a)).then(|| square.neg())
}

/// Whether `select c, x, y` is `x` where `x <= 0`, and `-x` elsewhere.
fn is_minus_abs(g: &Graph, args: &[Value]) -> bool {
    let is = |v: Value, f: Scalar| matches!(g.op_of(v), Op::Map(m) if m.f == f);
    let (c, x, y) = (args[0], args[1], args[2]);
    let operands = |v: Value| g.args(g.source(v).0);
    let negative = (is(c, Scalar::Le) || is(c, Scalar::Lt))
        && operands(c)[0] == x
        && g.is_splat(operands(c)[1], 0.0);
    negative && is(y, Scalar::Neg) && operands(y)[0] == x
}

/// Ranges that say nothing but the element type.
pub(crate) fn unknown(types: &[Type]) -> SmallVec<[Range; 1]> {
    types.iter().map(|t| Range::of_dtype(t.dtype)).collect()
}
