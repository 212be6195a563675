//! A linear map on all unit vectors, without multiplying by zeros.
//!
//! The batch of all unit vectors is an identity matrix. What is computed of it by
//! scaling stays a diagonal, of which only the diagonal is kept: a product with a
//! matrix then scales its rows. So the Jacobian of `tanh(A·x)` is `A` with scaled rows,
//! and no product of matrices. What is no diagonal any more is a batch like any other.

use backstitch_ir::op::{Family, Lane, materialise};
use backstitch_ir::{DType, Graph, IndexVec, Node, Op, Scalar, Shape, Type, Value, ops};
use backstitch_passes::batch;

/// A value of the map.
#[derive(Clone, Copy)]
enum Lanes {
    /// Lane `i` has the `i`-th element of this value and zeros elsewhere.
    Diagonal(Value),
    /// A batch, or the same for all lanes.
    Plain(Lane),
}

impl Lanes {
    fn shared(self) -> Option<Value> {
        match self {
            Self::Plain(Lane { value, batched: false }) => Some(value),
            _ => None,
        }
    }

    fn diagonal(self) -> Option<Value> {
        match self {
            Self::Diagonal(d) => Some(d),
            Self::Plain(_) => None,
        }
    }
}

/// The outputs of `map` for each unit vector of its first input, batched; its other
/// inputs are `shared`.
pub(crate) fn on_units(g: &mut Graph, map: &Graph, shared: &[Value]) -> Vec<Value> {
    let argument = map.inputs()[0];
    let n = map.ty(argument).len();
    let mut found: IndexVec<Value, Option<Lanes>> = IndexVec::filled(None, map.value_count());
    found[argument] = Some(Lanes::Diagonal(g.splat(map.ty(argument), 1.0)));
    for (&v, &value) in map.inputs()[1..].iter().zip(shared) {
        found[v] = Some(Lanes::Plain(Lane { value, batched: false }));
    }
    let before = g.current_origin();
    for node in map.nodes().filter(|&node| matches!(map.op(node).family(), Family::Array(_))) {
        let args: Option<Vec<Lanes>> = map.args(node).iter().map(|&a| found[a]).collect();
        if let Some(args) = args.filter(|_| !map.op(node).is_input()) {
            g.set_origin(map.origin(node));
            found[map.results(node)[0]] = kept(g, map.op(node), &args, n);
        }
    }
    g.set_origin(before);
    let (rest, lanes) = rest(g, map, &found, n);
    let outputs = batch(g, &rest, &lanes, n);
    outputs.into_iter().map(|lane| materialise(g, lane, n)).collect()
}

/// What is left of the map: a graph of its own whose inputs are what was found, and
/// that as batches.
fn rest(
    g: &mut Graph,
    map: &Graph,
    found: &IndexVec<Value, Option<Lanes>>,
    n: usize,
) -> (Graph, Vec<Lane>) {
    let mut rest = Graph::new(map.name.clone());
    let mut lanes = Vec::new();
    let mut images: IndexVec<Value, Option<Value>> = IndexVec::filled(None, map.value_count());
    let mut given = |g: &mut Graph, rest: &mut Graph, image: &mut Option<Value>, v: Value| {
        if image.is_none()
            && let Some(lane) = found[v]
        {
            lanes.push(plain(g, lane, n));
            *image = Some(rest.input(map.ty(v).clone(), None));
        }
    };
    let left = |node: &Node| map.results(*node).iter().any(|&r| found[r].is_none());
    for node in map.nodes().filter(left) {
        let args = map.args(node);
        args.iter().for_each(|&a| given(g, &mut rest, &mut images[a], a));
        let args: Vec<Value> =
            args.iter().map(|&a| images[a].expect("operands come first")).collect();
        rest.set_origin(map.origin(node));
        let made = rest.add(map.op(node).clone(), &args).unwrap_or_else(|e| panic!("units: {e}"));
        map.results(node).into_iter().zip(made).for_each(|(r, v)| images[r] = Some(v));
    }
    map.outputs().iter().for_each(|&v| given(g, &mut rest, &mut images[v], v));
    let outputs: Vec<Value> =
        map.outputs().iter().map(|&v| images[v].expect("outputs are computed")).collect();
    rest.set_outputs(outputs);
    (rest, lanes)
}

/// The result of an operation on what all lanes share, or that makes use of a diagonal.
fn kept(g: &mut Graph, op: &Op, args: &[Lanes], n: usize) -> Option<Lanes> {
    if let Some(shared) = args.iter().map(|a| a.shared()).collect::<Option<Vec<Value>>>() {
        let result = g.add(op.clone(), &shared).unwrap_or_else(|e| panic!("units: {e}\n{g}"));
        return Some(Lanes::Plain(Lane { value: result[0], batched: false }));
    }
    let diagonals: Vec<Option<Value>> = args.iter().map(|a| a.diagonal()).collect();
    let all = |g: &mut Graph, values: &[Value]| {
        let result = g.add(op.clone(), values).unwrap_or_else(|e| panic!("units: {e}\n{g}"));
        Some(Lanes::Diagonal(result[0]))
    };
    match (op, &diagonals[..]) {
        (Op::Reshape(_) | Op::Map(ops::Map { f: Scalar::Neg }), &[Some(d)]) => all(g, &[d]),
        (Op::Map(ops::Map { f: Scalar::Add | Scalar::Sub }), &[Some(a), Some(b)]) => {
            all(g, &[a, b])
        }
        (
            Op::Map(ops::Map { f: Scalar::Mul | Scalar::MulZ | Scalar::MulZLeft }),
            &[Some(d), None],
        ) => {
            let factor = args[1].shared()?;
            if g.is_splat(d, 1.0) { Some(Lanes::Diagonal(factor)) } else { all(g, &[d, factor]) }
        }
        (Op::Map(ops::Map { f: Scalar::Mul }), &[None, Some(d)]) => {
            let factor = args[0].shared()?;
            if g.is_splat(d, 1.0) { Some(Lanes::Diagonal(factor)) } else { all(g, &[factor, d]) }
        }
        (Op::Contract(c), &[Some(d), None]) => scaled(g, c, 0, d, args[1].shared()?, n),
        (Op::Contract(c), &[None, Some(d)]) => scaled(g, c, 1, d, args[0].shared()?, n),
        _ => None,
    }
}

/// The product of a diagonal, all of whose axes are summed over, with what all lanes
/// share: lane `i` is the part of it that is at element `i` of the diagonal, scaled.
fn scaled(
    g: &mut Graph,
    c: &ops::Contract,
    side: usize,
    d: Value,
    other: Value,
    n: usize,
) -> Option<Lanes> {
    let rank = g.ty(d).rank();
    if c.over[side].len() != rank {
        return None;
    }
    // The axes of the other in the order of the diagonal's, then those that stay.
    let paired = |axis: usize| {
        let at = c.over[side].iter().position(|&a| a == axis);
        c.over[1 - side][at.expect("all axes are summed over")]
    };
    let free = c.free(1 - side, g.ty(other).rank());
    let perm: ops::Axes = (0..rank).map(paired).chain(free.iter().copied()).collect();
    let rows: Shape =
        std::iter::once(n).chain(free.iter().map(|&i| g.ty(other).dims()[i])).collect();
    let sorted = perm.is_sorted();
    let moved = if sorted { other } else { g.push(ops::Permute { perm }, &[other]) };
    let moved = g.reshape(moved, rows.clone());
    if g.is_splat(d, 1.0) {
        return Some(Lanes::Plain(Lane { value: moved, batched: true }));
    }
    let scale = g.reshape(d, [n]);
    let scale = g.broadcast(scale, &rows, &[0]);
    let value = g.map(Scalar::Mul, &[scale, moved]);
    Some(Lanes::Plain(Lane { value, batched: true }))
}

/// A diagonal as a batch.
fn plain(g: &mut Graph, lanes: Lanes, n: usize) -> Lane {
    let d = match lanes {
        Lanes::Plain(lane) => return lane,
        Lanes::Diagonal(d) => d,
    };
    let ty = g.ty(d).clone();
    let square = Type::new(DType::I32, [n, n]);
    let i = g.push(ops::Iota { ty: square.clone(), axis: 0 }, &[]);
    let j = g.push(ops::Iota { ty: square.clone(), axis: 1 }, &[]);
    let same = g.map(Scalar::Eq, &[i, j]);
    let flat = g.reshape(d, [n]);
    // Along the rows, so that a diagonal made row by row is at hand where its row is.
    let rows = g.broadcast(flat, &square.shape, &[0]);
    let zero = g.like(rows, 0.0);
    let all = g.map(Scalar::Select, &[same, rows, zero]);
    let dims: Shape = std::iter::once(n).chain(ty.dims().iter().copied()).collect();
    Lane { value: g.reshape(all, dims), batched: true }
}
