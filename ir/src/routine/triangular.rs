//! Triangular systems.

use std::fmt;

use faer::linalg::triangular_solve as faer_solve;
use faer::{MatMut, MatRef, Par};

use super::dense::{Real, matrices, matrices_mut, view, view_mut};
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
pub(super) fn solve<T: Real>(triangle: Triangle, a: MatRef<'_, T>, x: MatMut<'_, T>) {
    let Triangle { lower, transpose, unit_diagonal } = triangle;
    let a = if transpose { a.transpose() } else { a };
    match (lower != transpose, unit_diagonal) {
        (true, false) => faer_solve::solve_lower_triangular_in_place(a, x, Par::Seq),
        (true, true) => faer_solve::solve_unit_lower_triangular_in_place(a, x, Par::Seq),
        (false, false) => faer_solve::solve_upper_triangular_in_place(a, x, Par::Seq),
        (false, true) => faer_solve::solve_unit_upper_triangular_in_place(a, x, Par::Seq),
    }
}
