//! What the rules of matrix primitives share. Matrices are the last two axes of
//! an array; the axes before are a batch.

use smallvec::SmallVec;

use crate::graph::{Graph, Value};
use crate::nest::Monoid;
use crate::op::{Lane, Op, TypeError, materialise, mistake};
use crate::ops::permute::permute;
use crate::ops::{Axes, Contract, Iota};
use crate::scalar::Scalar;
use crate::ty::{DType, Shape, Type};

/// What is left of the diagonal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Diagonal {
    Whole,
    Half,
    Nothing,
}

/// Checks that the first operand is a batch of square matrices of floats.
pub(super) fn square(op: &str, args: &[&Type]) -> Result<(), TypeError> {
    let dims = args[0].dims();
    let fits = dims.len() >= 2 && dims[dims.len() - 2] == dims[dims.len() - 1];
    if fits && args[0].is_float() {
        return Ok(());
    }
    Err(mistake(op, "square matrices of floats in the last two axes", args))
}

/// Checks that operand `i` has the type of the first with other rows or columns.
pub(super) fn alike(
    op: &str,
    args: &[&Type],
    i: usize,
    [rows, columns]: [Option<usize>; 2],
) -> Result<(), TypeError> {
    let (batch, _, _) = sizes(args[0]);
    let rank = args[i].rank();
    let matches = |axis: usize, n: Option<usize>| n.is_none_or(|n| args[i].dims()[axis] == n);
    let fits = args[i].dtype == args[0].dtype
        && rank == batch.len() + 2
        && args[i].dims()[..rank - 2] == *batch
        && matches(rank - 2, rows)
        && matches(rank - 1, columns);
    if fits {
        return Ok(());
    }
    let extent = |n: Option<usize>| n.map_or("any number of".into(), |n| n.to_string());
    let expected = format!(
        "operand {i} to be {} matrices of {} rows and {} columns, one for each of the first",
        args[0].dtype,
        extent(rows),
        extent(columns)
    );
    Err(mistake(op, expected, args))
}

/// Axes of the batch, rows, columns.
pub(super) fn sizes(x: &Type) -> (&[usize], usize, usize) {
    let (batch, matrix) = x.dims().split_at(x.rank() - 2);
    (batch, matrix[0], matrix[1])
}

/// A batch of matrices of another size.
pub(super) fn resized(x: &Type, rows: usize, columns: usize) -> Type {
    let (batch, ..) = sizes(x);
    x.with_shape(batch.iter().copied().chain([rows, columns]).collect::<Shape>())
}

/// Transposes.
pub(super) fn transpose(g: &mut Graph, x: Value) -> Value {
    let rank = g.ty(x).rank();
    let mut perm: Axes = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    permute(g, x, perm)
}

/// `x · y`.
pub(super) fn product(g: &mut Graph, x: Value, y: Value) -> Value {
    let rank = g.ty(x).rank();
    let batch: Axes = (0..rank - 2).collect();
    let over = [[rank - 1].into_iter().collect(), [rank - 2].into_iter().collect()];
    g.push(Contract { batch: [batch.clone(), batch], over }, &[x, y])
}

/// `x · yᵀ`.
pub(super) fn product_transposed(g: &mut Graph, x: Value, y: Value) -> Value {
    let rank = g.ty(x).rank();
    let batch: Axes = (0..rank - 2).collect();
    let last: Axes = [rank - 1].into_iter().collect();
    g.push(Contract { batch: [batch.clone(), batch], over: [last.clone(), last] }, &[x, y])
}

/// `-x`.
pub(super) fn negated(g: &mut Graph, x: Value) -> Value {
    g.map(Scalar::Neg, &[x])
}

/// `(x + xᵀ)/2`.
pub(super) fn symmetric(g: &mut Graph, x: Value) -> Value {
    let turned = transpose(g, x);
    let sum = g.map(Scalar::Add, &[x, turned]);
    let half = g.like(x, 0.5);
    g.map(Scalar::Mul, &[half, sum])
}

/// One triangle; zeros elsewhere, whatever is there.
pub(super) fn triangle(g: &mut Graph, x: Value, lower: bool, diagonal: Diagonal) -> Value {
    let ty = g.ty(x).with_dtype(DType::I64);
    let rank = ty.rank();
    let row = g.push(Iota { ty: ty.clone(), axis: rank - 2 }, &[]);
    let column = g.push(Iota { ty, axis: rank - 1 }, &[]);
    let (less, more) = if lower { (column, row) } else { (row, column) };
    let inside = g.map(Scalar::Lt, &[less, more]);
    let zero = g.like(x, 0.0);
    let on_diagonal = match diagonal {
        Diagonal::Nothing => zero,
        Diagonal::Whole => x,
        Diagonal::Half => {
            let half = g.like(x, 0.5);
            g.map(Scalar::Mul, &[half, x])
        }
    };
    let is_diagonal = g.map(Scalar::Eq, &[row, column]);
    let rest = g.map(Scalar::Select, &[is_diagonal, on_diagonal, zero]);
    g.map(Scalar::Select, &[inside, x, rest])
}

/// Unit matrices.
pub(super) fn identity(g: &mut Graph, ty: &Type) -> Value {
    let (index, rank) = (ty.with_dtype(DType::I64), ty.rank());
    let row = g.push(Iota { ty: index.clone(), axis: rank - 2 }, &[]);
    let column = g.push(Iota { ty: index, axis: rank - 1 }, &[]);
    let is_diagonal = g.map(Scalar::Eq, &[row, column]);
    g.cast(is_diagonal, ty.dtype)
}

/// A number per matrix, times that matrix.
pub(super) fn scaled(g: &mut Graph, factor: Value, x: Value) -> Value {
    let shape = g.ty(x).shape.clone();
    let dims: Axes = (0..shape.rank() - 2).collect();
    let factor = g.broadcast(factor, &shape, &dims);
    g.map(Scalar::MulZ, &[factor, x])
}

/// The sum of the products of the elements of two matrices.
pub(super) fn inner(g: &mut Graph, x: Value, y: Value) -> Value {
    let rank = g.ty(x).rank();
    let product = g.map(Scalar::MulZ, &[x, y]);
    g.reduce(Monoid::Sum, product, &[rank - 2, rank - 1])
}

/// The operation on a batch of batches: one more axis in front.
pub(super) fn batched(g: &mut Graph, op: impl Into<Op>, args: &[Lane], n: usize) -> Value {
    let args: SmallVec<[Value; 3]> = args.iter().map(|&lane| materialise(g, lane, n)).collect();
    g.push(op, &args)
}
