//! LU factorisation with row exchanges, and what is computed from a factor.
//!
//! The *factor* of an `n` by `n` matrix is an array of `n + 1` rows: `L` below
//! the diagonal (ones on it are not stored), `U` from the diagonal up, and in
//! the last row the *exchanges*: row `i` was exchanged with row `p[i] ≥ i`, in
//! order, as floats. Whatever is in that row, no routine leaves the matrix.
//!
//! A singular matrix has a factor as well, with a zero on the diagonal of `U`
//! and `L` finite: cofactors are continuous there.

use std::fmt;

use faer::dyn_stack::StackReq;
use faer::linalg::lu::partial_pivoting::factor::{lu_in_place, lu_in_place_scratch};
use faer::{MatRef, Par};

use super::dense::{
    Real, matrices, matrices_mut, stack, subtract_multiple, swap_rows, view, view_mut, words,
};
use super::triangular::{Triangle, solve};
use super::{Word, extent, representable};
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

    /// Memory for one matrix after the other, in words.
    pub(super) fn words(&self) -> usize {
        let n = representable(self.n);
        match self.task {
            _ if self.batch == 0 => 0,
            Task::Factor => words(StackReq::all_of(&[
                StackReq::new::<usize>(n),
                StackReq::new::<usize>(n),
                lu_in_place_scratch::<usize, f64>(n, n, Par::Seq, Default::default()),
            ])),
            // The determinants within the cofactors of a triangular matrix.
            Task::Cofactors => {
                n.saturating_mul(n).saturating_mul(self.dtype.size()).div_ceil(size_of::<Word>())
            }
            Task::Solve { .. } | Task::Det | Task::LogAbsDet => 0,
        }
    }

    pub(super) fn factor<T: Real>(&self, a: &[T], work: &mut [Word], out: &mut [T]) {
        let n = self.n;
        for (a, out) in matrices(a, n, n).zip(matrices_mut(out, n + 1, n)) {
            let (lu, exchanges) = out.split_at_mut(n * n);
            lu.copy_from_slice(a);
            factor(lu, exchanges, work);
            // faer multiplies by the reciprocal of the pivot, which makes NaN of a
            // column that is zero from there on.
            let infinite = |i: usize| lu[i * (n + 1)].recip().is_infinite();
            if (0..n - 1).any(infinite) {
                lu.copy_from_slice(a);
                factor_singular(lu, exchanges);
            }
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
            let lu = view(lu, n, n);
            let turned = |triangle| Triangle { transpose, ..triangle };
            if transpose {
                solve(turned(UPPER), lu, view_mut(x, n, k));
                solve(turned(LOWER), lu, view_mut(x, n, k));
                exchange(x, exchanges, true);
            } else {
                exchange(x, exchanges, false);
                solve(LOWER, lu, view_mut(x, n, k));
                solve(UPPER, lu, view_mut(x, n, k));
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
        for (lu, c) in matrices(lu, n + 1, n).zip(matrices_mut(out, n, n)) {
            let (lu, exchanges) = lu.split_at(n * n);
            let lu = view(lu, n, n);
            // det(A) = ±det(U) where Pᵀ·L·U = A: so C = ±Pᵀ·L⁻ᵀ·C(U).
            triangular_cofactors(lu, scratch, c);
            solve(Triangle { transpose: true, ..LOWER }, lu, view_mut(c, n, n));
            exchange(c, exchanges, true);
            if sign(exchanges) < T::zero() {
                c.iter_mut().for_each(|x| *x = -*x);
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
fn factor<T: Real>(a: &mut [T], exchanges: &mut [T], work: &mut [Word]) {
    let n = exchanges.len();
    let (mut rows, stack) = stack(work).make_with(n, |_| 0usize);
    let (mut places, stack) = stack.make_with(n, |_| 0usize);
    lu_in_place(view_mut(a, n, n), &mut rows, &mut places, Par::Seq, stack, Default::default());
    for (i, &row) in rows.iter().enumerate() {
        // Where that row is now: each exchange so far that was of its place moved it.
        let mut place = row;
        while place < i {
            place = exchanges[place].index();
        }
        exchanges[i] = T::of_index(place);
    }
}

/// Factors in place, leaving out pivots that are zero.
///
/// Singular to the last bit, before the last pivot: that is rare, and mostly of
/// small matrices, so this is elimination as one learns it.
fn factor_singular<T: Real>(a: &mut [T], exchanges: &mut [T]) {
    let n = exchanges.len();
    for j in 0..n {
        let mut best = j;
        for i in j + 1..n {
            if a[i * n + j].abs() > a[best * n + j].abs() {
                best = i;
            }
        }
        exchanges[j] = T::of_index(best);
        if best != j {
            swap_rows(a, n, j, best);
        }
        let (top, below) = a.split_at_mut((j + 1) * n);
        let pivot_row = &top[j * n + j..];
        if pivot_row[0] == T::zero() {
            // The column is zero from here on: nothing to eliminate.
            continue;
        }
        for row in below.chunks_exact_mut(n) {
            row[j] /= pivot_row[0];
            let (left, right) = row.split_at_mut(j + 1);
            subtract_multiple(right, left[j], &pivot_row[1..]);
        }
    }
}

/// Exchanges rows as a factorisation did, or back.
fn exchange<T: Real>(x: &mut [T], exchanges: &[T], back: bool) {
    let n = exchanges.len();
    let k = x.len() / n;
    for step in 0..n {
        let i = if back { n - 1 - step } else { step };
        let other = exchanges[i].index().clamp(i, n - 1);
        if other != i {
            swap_rows(x, k, i, other);
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
fn triangular_cofactors<T: Real>(u: MatRef<'_, T>, scratch: &mut [T], c: &mut [T]) {
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
            between *= u[(k, k)];
        }
    }
    let mut before = T::one();
    for i in 0..n {
        let mut behind = T::one();
        for j in (i..n).rev() {
            c[j * n + i] = d[i * n + j] * before * behind;
            behind *= u[(j, j)];
        }
        before *= u[(i, i)];
    }
}
