//! LU factorisation with row exchanges, right-looking in blocks of columns, and
//! what is computed from a factor.
//!
//! The *factor* of an `n` by `n` matrix is an array of `n + 1` rows: `L` below
//! the diagonal (ones on it are not stored), `U` from the diagonal up, and in
//! the last row the *exchanges*: row `i` was exchanged with row `p[i] ≥ i`, in
//! order, as floats. Whatever is in that row, no routine leaves the matrix.

use std::fmt;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::dense::{
    BLOCK, Real, matrices, matrices_mut, subtract_multiple, subtract_product, view, view_mut,
};
use super::extent;
use super::triangular::{Triangle, solve};
use crate::text::{Attrs, ParseError};
use crate::ty::DType;

/// Something to do with each of a batch of matrices, or their factors.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lu {
    /// Of the elements.
    pub dtype: DType,
    /// How many matrices there are.
    pub batch: usize,
    /// Rows, and columns.
    pub n: usize,
    /// What is asked for.
    pub task: Task,
}

/// What is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Task {
    /// The factor, from the matrix.
    Factor,
    /// The `X` with `A·X = B`, or `Aᵀ·X = B`, from factor and `B`.
    Solve {
        /// Columns of `B`.
        k: usize,
        /// Whether `A` is transposed.
        transpose: bool,
    },
    /// The determinant, from the factor.
    Det,
    /// The logarithm of the magnitude of the determinant, from the factor.
    LogAbsDet,
    /// The cofactors, from the factor.
    Cofactors,
}

const LOWER: Triangle = Triangle::LOWER.with_unit_diagonal();
const UPPER: Triangle = Triangle::UPPER;

impl Lu {
    pub(super) const NAME: &'static str = "lu";

    /// Memory for the cofactors of a triangular matrix, in elements.
    pub(super) fn scratch(&self) -> usize {
        if self.task == Task::Cofactors && self.batch > 0 { self.n * self.n } else { 0 }
    }

    pub(super) fn factor<T: Real>(&self, a: &[T], out: &mut [T]) {
        let n = self.n;
        for (a, out) in matrices(a, n, n).zip(matrices_mut(out, n + 1, n)) {
            let (lu, exchanges) = out.split_at_mut(n * n);
            lu.copy_from_slice(a);
            factor(view_mut(lu, n, n), exchanges);
        }
    }

    pub(super) fn solve<T: Real>(
        &self,
        (k, transpose): (usize, bool),
        lu: &[T],
        b: &[T],
        out: &mut [T],
    ) {
        let n = self.n;
        out.copy_from_slice(b);
        for (lu, x) in matrices(lu, n + 1, n).zip(matrices_mut(out, n, k)) {
            let (lu, exchanges) = lu.split_at(n * n);
            let (lu, mut x) = (view(lu, n, n), view_mut(x, n, k));
            let turned = |triangle| Triangle { transpose, ..triangle };
            if transpose {
                solve(turned(UPPER), lu, x.view_mut());
                solve(turned(LOWER), lu, x.view_mut());
                exchange(&mut x, exchanges, true);
            } else {
                exchange(&mut x, exchanges, false);
                solve(LOWER, lu, x.view_mut());
                solve(UPPER, lu, x);
            }
        }
    }

    /// The determinant or its logarithm.
    pub(super) fn determinant<T: Real>(&self, lu: &[T], out: &mut [T]) {
        let n = self.n;
        let log = self.task == Task::LogAbsDet;
        if n == 0 {
            return out.fill(if log { T::zero() } else { T::one() });
        }
        for (lu, out) in matrices(lu, n + 1, n).zip(out) {
            let diagonal = (0..n).map(|i| lu[i * (n + 1)]);
            *out = if log {
                diagonal.fold(T::zero(), |sum, u| sum + u.abs().ln())
            } else {
                diagonal.fold(sign(&lu[n * n..]), |product, u| product * u)
            };
        }
    }

    /// `C` with `C[i, j]` the derivative of the determinant by `A[i, j]`.
    pub(super) fn cofactors<T: Real>(&self, lu: &[T], scratch: &mut [T], out: &mut [T]) {
        let n = self.n;
        for (lu, out) in matrices(lu, n + 1, n).zip(matrices_mut(out, n, n)) {
            let (lu, exchanges) = lu.split_at(n * n);
            let (lu, mut c) = (view(lu, n, n), view_mut(out, n, n));
            // det(A) = ±det(U) where Pᵀ·L·U = A: so C = ±Pᵀ·L⁻ᵀ·C(U).
            triangular_cofactors(lu, scratch, &mut c);
            solve(Triangle { transpose: true, ..LOWER }, lu, c.view_mut());
            exchange(&mut c, exchanges, true);
            if sign(exchanges) < T::zero() {
                c.mapv_inplace(|x| -x);
            }
        }
    }

    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let dtype = attrs.dtype()?;
        let (batch, n) = (extent(attrs, "batch")?, extent(attrs, "n")?);
        let task = if attrs.eat("factor") {
            Task::Factor
        } else if attrs.eat("solve") {
            Task::Solve { k: attrs.digits()?, transpose: attrs.eat("transpose") }
        } else if attrs.eat("det") {
            Task::Det
        } else if attrs.eat("log_abs_det") {
            Task::LogAbsDet
        } else {
            attrs.expect("cofactors")?;
            Task::Cofactors
        };
        Ok(Self { dtype, batch, n, task })
    }
}

impl fmt::Display for Lu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} batch {} n {} ", Self::NAME, self.dtype, self.batch, self.n)?;
        match self.task {
            Task::Factor => f.write_str("factor"),
            Task::Solve { k, transpose: false } => write!(f, "solve {k}"),
            Task::Solve { k, transpose: true } => write!(f, "solve {k} transpose"),
            Task::Det => f.write_str("det"),
            Task::LogAbsDet => f.write_str("log_abs_det"),
            Task::Cofactors => f.write_str("cofactors"),
        }
    }
}

/// Factors in place.
fn factor<T: Real>(mut a: ArrayViewMut2<'_, T>, exchanges: &mut [T]) {
    let n = a.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        for j in start..end {
            // NaN is never larger, but stays and spreads if there is nothing else.
            let mut best = j;
            for i in j + 1..n {
                if a[(i, j)].abs() > a[(best, j)].abs() {
                    best = i;
                }
            }
            exchanges[j] = T::of_index(best);
            let (mut top, mut below) = a.view_mut().split_at(Axis(0), j + 1);
            let pivot_row = top.row_mut(j).into_slice().expect("rows are contiguous");
            if best != j {
                let other = below.row_mut(best - j - 1).into_slice();
                pivot_row.swap_with_slice(other.expect("rows are contiguous"));
            }
            let pivot = pivot_row[j];
            if pivot == T::zero() {
                // The column is zero from here on: nothing to eliminate.
                continue;
            }
            for mut row in below.rows_mut() {
                let row = row.as_slice_mut().expect("rows are contiguous");
                row[j] = row[j] / pivot;
                let (left, right) = row.split_at_mut(j + 1);
                subtract_multiple(&mut right[..end - j - 1], left[j], &pivot_row[j + 1..end]);
            }
        }
        if end < n {
            let (top, bottom) = a.view_mut().split_at(Axis(0), end);
            let (square, mut right) = top.slice_move(s![start.., ..]).split_at(Axis(1), end);
            solve(LOWER, square.slice(s![.., start..]), right.view_mut());
            let (left, mut rest) = bottom.split_at(Axis(1), end);
            subtract_product(&mut rest, &left.slice(s![.., start..]), &right.view());
        }
    }
}

/// Exchanges rows as a factorisation did, or back.
fn exchange<T: Real>(x: &mut ArrayViewMut2<'_, T>, exchanges: &[T], back: bool) {
    let n = exchanges.len();
    for step in 0..n {
        let i = if back { n - 1 - step } else { step };
        let other = exchanges[i].index().clamp(i, n - 1);
        if other != i {
            let (mut top, mut bottom) = x.view_mut().split_at(Axis(0), other);
            ndarray::Zip::from(top.row_mut(i)).and(bottom.row_mut(0)).for_each(std::mem::swap);
        }
    }
}

/// The sign of the permutation.
fn sign<T: Real>(exchanges: &[T]) -> T {
    let odd = (exchanges.iter().enumerate()).fold(false, |odd, (i, p)| odd != (p.index() > i));
    if odd { -T::one() } else { T::one() }
}

/// Cofactors of the upper triangle of `u`, without a division: right whatever is
/// on the diagonal.
///
/// Cofactor `(j, i)` for `i ≤ j` is the product of the diagonal before `i` and
/// behind `j`, and in between (with a sign) a determinant of Hessenberg form,
/// `d[i, j] = -Σ_{i<k≤j} u[i, k] · u[i+1, i+1]⋯u[k-1, k-1] · d[k, j]`, `d[j, j] = 1`.
fn triangular_cofactors<T: Real>(
    u: ArrayView2<'_, T>,
    scratch: &mut [T],
    c: &mut ArrayViewMut2<'_, T>,
) {
    let n = u.nrows();
    let d = &mut scratch[..n * n];
    c.fill(T::zero());
    for i in (0..n).rev() {
        let (row, below) = d[i * n..].split_at_mut(n);
        row.fill(T::zero());
        row[i] = T::one();
        let mut between = T::one();
        for k in i + 1..n {
            let first = k - i - 1;
            subtract_multiple(
                &mut row[k..],
                u[(i, k)] * between,
                &below[first * n + k..(first + 1) * n],
            );
            between = between * u[(k, k)];
        }
    }
    let mut before = T::one();
    for i in 0..n {
        let mut behind = T::one();
        for j in (i..n).rev() {
            c[(j, i)] = d[i * n + j] * before * behind;
            behind = behind * u[(j, j)];
        }
        before = before * u[(i, i)];
    }
}
