//! Cholesky factorisation.

use std::fmt;

use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::{MatMut, Par};

use super::dense::{Real, matrices, matrices_mut, stack, words};
use super::{Fault, Word, extent, representable};
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

    /// Memory for one matrix after the other, in words.
    pub(super) fn words(&self) -> usize {
        if self.batch == 0 {
            return 0;
        }
        // `f32` needs no more.
        words(cholesky_in_place_scratch::<f64>(representable(self.n), Par::Seq, Default::default()))
    }

    pub(super) fn run<T: Real>(
        &self,
        a: &[T],
        work: &mut [Word],
        out: &mut [T],
    ) -> Result<(), Fault> {
        let n = self.n;
        let mut first = Ok(());
        let half = (T::one() + T::one()).recip();
        for (matrix, (a, out)) in matrices(a, n, n).zip(matrices_mut(out, n, n)).enumerate() {
            // Our upper triangle is the lower one of the columns that are wanted there.
            for i in 0..n {
                out[i * n + i] = a[i * n + i];
                for j in i + 1..n {
                    out[i * n + j] = half * a[i * n + j] + half * a[j * n + i];
                }
            }
            let columns = MatMut::from_column_major_slice_mut(out, n, n);
            let (regularization, params) = Default::default();
            let done = cholesky_in_place(columns, regularization, Par::Seq, stack(work), params);
            if done.is_err() {
                out.fill(T::NAN);
                first = first.and(Err(Fault::NotPositiveDefinite { matrix }));
                continue;
            }
            for i in 0..n {
                for j in 0..i {
                    out[i * n + j] = std::mem::replace(&mut out[j * n + i], T::zero());
                }
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
