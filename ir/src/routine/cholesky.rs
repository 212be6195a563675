//! Cholesky factorisation, left-looking: a block of columns takes the product of
//! all columns before it away, then goes row by row.

use std::fmt;

use ndarray::{ArrayViewMut2, Axis};

use super::dense::{BLOCK, Real, dot, matrices, matrices_mut, subtract_product, view_mut};
use super::{Fault, extent};
use crate::text::{Attrs, ParseError};
use crate::ty::DType;

/// For each of a batch of matrices `A`, the lower triangular `L` with
/// `L·Lᵀ = (A + Aᵀ)/2`; NaN for one that is not positive definite.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cholesky {
    /// Of the elements.
    pub dtype: DType,
    /// How many matrices there are.
    pub batch: usize,
    /// Rows, and columns.
    pub n: usize,
}

impl Cholesky {
    pub(super) const NAME: &'static str = "cholesky";

    pub(super) fn run<T: Real>(&self, a: &[T], out: &mut [T]) -> Result<(), Fault> {
        let n = self.n;
        let mut first = Ok(());
        let half = T::one() / (T::one() + T::one());
        for (matrix, (a, out)) in matrices(a, n, n).zip(matrices_mut(out, n, n)).enumerate() {
            for i in 0..n {
                for j in 0..i {
                    out[i * n + j] = half * a[i * n + j] + half * a[j * n + i];
                }
                out[i * n + i] = a[i * n + i];
                out[i * n + i + 1..(i + 1) * n].fill(T::zero());
            }
            if !factor(view_mut(out, n, n)) {
                out.fill(T::NAN);
                first = first.and(Err(Fault::NotPositiveDefinite { matrix }));
            }
        }
        first
    }

    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let dtype = attrs.dtype()?;
        Ok(Self { dtype, batch: extent(attrs, "batch")?, n: extent(attrs, "n")? })
    }
}

impl fmt::Display for Cholesky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} batch {} n {}", Self::NAME, self.dtype, self.batch, self.n)
    }
}

/// Factors the lower triangle in place; false if it is not positive definite.
fn factor<T: Real>(mut a: ArrayViewMut2<'_, T>) -> bool {
    let n = a.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (_, rows) = a.view_mut().split_at(Axis(0), start);
        let (left, right) = rows.split_at(Axis(1), start);
        let (mut block, _) = right.split_at(Axis(1), end - start);
        let above = left.slice(ndarray::s![..end - start, ..]);
        subtract_product(&mut block, &left.view(), &above.t());
        if !columns(block) {
            return false;
        }
        // The product also reached above the diagonal.
        for i in start..end {
            a.slice_mut(ndarray::s![i, i + 1..end]).fill(T::zero());
        }
    }
    true
}

/// Factors a block of columns, whose first rows are those of the diagonal.
fn columns<T: Real>(mut a: ArrayViewMut2<'_, T>) -> bool {
    let width = a.ncols();
    for i in 0..a.nrows() {
        let (above, mut below) = a.view_mut().split_at(Axis(0), i);
        let row = below.row_mut(0).into_slice().expect("rows are contiguous");
        for j in 0..width.min(i) {
            let other = above.row(j).to_slice().expect("rows are contiguous");
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        if i < width {
            let square = row[i] - dot(&row[..i], &row[..i]);
            // Not NaN either.
            if !(square > T::zero() && square < T::one() / T::zero()) {
                return false;
            }
            row[i] = square.sqrt();
        }
    }
    true
}
