//! Triangular systems, in blocks of rows: a block takes the product with all
//! rows solved before it away, then is solved row by row.

use std::fmt;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::dense::{
    BLOCK, Real, matrices, matrices_mut, subtract_multiple, subtract_product, view, view_mut,
};
use super::extent;
use crate::text::{Attrs, ParseError};
use crate::ty::DType;

/// For each of a batch of pairs `A`, `B`: the `X` with `op(A)·X = B`, where only
/// one triangle of `A` is read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TriangularSolve {
    /// Of the elements.
    pub dtype: DType,
    /// How many pairs there are.
    pub batch: usize,
    /// Rows and columns of `A`, rows of `B`.
    pub n: usize,
    /// Columns of `B`.
    pub k: usize,
    /// Which triangle of `A` is read.
    pub triangle: Triangle,
}

/// How a matrix is read as a triangular one.
///
/// ```
/// use backstitch_ir::routine::Triangle;
/// let t = Triangle::LOWER.transposed();
/// assert!(t.lower && t.transpose && !t.unit_diagonal);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Triangle {
    /// Its lower triangle; else its upper one.
    pub lower: bool,
    /// Transposed, after the triangle was taken.
    pub transpose: bool,
    /// With ones on the diagonal, which is not read.
    pub unit_diagonal: bool,
}

impl TriangularSolve {
    pub(super) const NAME: &'static str = "triangular_solve";

    pub(super) fn run<T: Real>(&self, a: &[T], b: &[T], out: &mut [T]) {
        let &Self { n, k, .. } = self;
        out.copy_from_slice(b);
        for (a, x) in matrices(a, n, n).zip(matrices_mut(out, n, k)) {
            solve(self.triangle, view(a, n, n), view_mut(x, n, k));
        }
    }

    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let dtype = attrs.dtype()?;
        let batch = extent(attrs, "batch")?;
        let (n, k) = (extent(attrs, "n")?, extent(attrs, "k")?);
        Ok(Self { dtype, batch, n, k, triangle: Triangle::parse(attrs)? })
    }
}

impl fmt::Display for TriangularSolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, n, k, triangle } = self;
        write!(f, "{} {dtype} batch {batch} n {n} k {k} {triangle}", Self::NAME)
    }
}

impl Triangle {
    /// The lower triangle, with its diagonal.
    pub const LOWER: Self = Self { lower: true, transpose: false, unit_diagonal: false };
    /// The upper triangle, with its diagonal.
    pub const UPPER: Self = Self { lower: false, ..Self::LOWER };

    /// The same triangle, transposed.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self { transpose: !self.transpose, ..self }
    }

    /// With ones on the diagonal, which is not read.
    #[must_use]
    pub const fn with_unit_diagonal(self) -> Self {
        Self { unit_diagonal: true, ..self }
    }

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// If it is not of that form.
    pub(crate) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let lower = attrs.eat("lower");
        if !lower {
            attrs.expect("upper")?;
        }
        let transpose = attrs.eat("transpose");
        Ok(Self { lower, transpose, unit_diagonal: attrs.eat("unit") })
    }
}

impl fmt::Display for Triangle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lower { "lower" } else { "upper" })?;
        f.write_str(if self.transpose { " transpose" } else { "" })?;
        f.write_str(if self.unit_diagonal { " unit" } else { "" })
    }
}

/// Solves in place.
pub(super) fn solve<T: Real>(
    triangle: Triangle,
    a: ArrayView2<'_, T>,
    mut x: ArrayViewMut2<'_, T>,
) {
    let Triangle { lower, transpose, unit_diagonal } = triangle;
    let a = if transpose { a.reversed_axes() } else { a };
    let n = a.nrows();
    if x.is_empty() {
        return;
    }
    let blocks = n.div_ceil(BLOCK);
    let forward = lower != transpose;
    for block in 0..blocks {
        let block = if forward { block } else { blocks - 1 - block };
        let (start, end) = (block * BLOCK, ((block + 1) * BLOCK).min(n));
        let (before, rest) = x.view_mut().split_at(Axis(0), start);
        let (mut rows, after) = rest.split_at(Axis(0), end - start);
        let (solved, columns) = if forward { (before, 0..start) } else { (after, end..n) };
        let others = a.slice(s![start..end, columns]);
        subtract_product(&mut rows, &others, &solved.view());
        diagonal(a.slice(s![start..end, start..end]), rows, forward, unit_diagonal);
    }
}

/// Solves for the rows of a block.
fn diagonal<T: Real>(
    a: ArrayView2<'_, T>,
    mut x: ArrayViewMut2<'_, T>,
    forward: bool,
    unit_diagonal: bool,
) {
    let n = a.nrows();
    for step in 0..n {
        let i = if forward { step } else { n - 1 - step };
        let (above, mut rest) = x.view_mut().split_at(Axis(0), i);
        let (mut row, below) = rest.view_mut().split_at(Axis(0), 1);
        let row = row.row_mut(0).into_slice().expect("rows are contiguous");
        let (solved, columns) = if forward { (above, 0..i) } else { (below, i + 1..n) };
        for (y, j) in solved.rows().into_iter().zip(columns) {
            subtract_multiple(row, a[(i, j)], y.to_slice().expect("rows are contiguous"));
        }
        if !unit_diagonal {
            let pivot = a[(i, i)];
            row.iter_mut().for_each(|x| *x = *x / pivot);
        }
    }
}
