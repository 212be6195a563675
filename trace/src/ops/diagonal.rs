//! Diagonals and triangles of matrices.
//!
//! A diagonal is a view: in memory, one step down it is a whole row and one
//! element, so it is a slice of the matrix as one long row.

use backstitch_ir::{DType, Monoid, Shape, Type};
use smallvec::SmallVec;

use crate::mistake::Problem;
use crate::number::Number;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// Diagonal `k` of the matrices in two axes, which go away; the diagonal is the
    /// last axis of the result. Above the main diagonal `k` is positive. Where there is
    /// no such diagonal, the result has no element. Any element type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 6, 1).reshape([2, 3]);
    /// assert_eq!(x.diagonal(0, [0, 1]).array()?.to_f64_vec(), [0.0, 4.0]);
    /// assert_eq!(x.diagonal(1, [0, 1]).array()?.to_f64_vec(), [1.0, 5.0]);
    /// assert_eq!(x.diagonal(1, [1, 0]).array()?.to_f64_vec(), [3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "diag_part")]
    pub fn diagonal(self, k: i64, axes: [i32; 2]) -> Self {
        match self.two_axes("diagonal", axes) {
            Ok([a, b]) => self.diagonal_view(k, a, b),
            Err(poisoned) => poisoned,
        }
    }

    /// The sum of diagonal `k` of the matrices in two axes, which go away.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.diagonal_sum(0, [0, 1]).item::<f64>()?, 5.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "trace")]
    pub fn diagonal_sum(self, k: i64, axes: [i32; 2]) -> Self {
        match self.two_axes("diagonal_sum", axes) {
            Ok([a, b]) => {
                let diagonal = self.diagonal_view(k, a, b);
                diagonal.reduce(Monoid::Sum, &[diagonal.rank() - 1])
            }
            Err(poisoned) => poisoned,
        }
    }

    /// Two different axes of this array. `Err` is the poisoned result.
    #[track_caller]
    fn two_axes(self, operation: &'static str, axes: [i32; 2]) -> Result<[usize; 2], Self> {
        let [a, b] = [self.axis(operation, axes[0])?, self.axis(operation, axes[1])?];
        if a != b {
            return Ok([a, b]);
        }
        let ty = self.ty();
        let message = format!("axes {} and {} are one", axes[0], axes[1]);
        Err(self.mistake(operation, Problem::Axis, message, ty.with_shape(ty.shape.without(&[a]))))
    }

    /// Diagonal `k` of two axes as the last axis.
    #[track_caller]
    pub(crate) fn diagonal_view(self, k: i64, a: usize, b: usize) -> Self {
        let ty = self.ty();
        let rest = (0..ty.rank()).filter(|&i| i != a && i != b);
        let perm: SmallVec<[usize; 4]> = rest.chain([a, b]).collect();
        let (rows, columns) = (ty.dims()[a], ty.dims()[b]);
        let away = usize::try_from(k.unsigned_abs()).unwrap_or(usize::MAX);
        let (row, column) = if k < 0 { (away, 0) } else { (0, away) };
        let len = rows.saturating_sub(row).min(columns.saturating_sub(column));
        let flat: Shape =
            ty.shape.without(&[a, b]).dims().iter().copied().chain([rows * columns]).collect();
        let flat = self.reorder(perm).reshape(flat);
        if len == 0 {
            return flat.slice(-1, 0..0, 1);
        }
        let (start, step) = (row * columns + column, columns + 1);
        let stop = start + (len - 1) * step + 1;
        flat.slice(-1, start as i64..stop as i64, step as i64)
    }

    /// Of a vector, the matrix that has it as its diagonal `k` and zeros elsewhere;
    /// of a matrix, its diagonal `k`. Any element type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(1, 3, 1).diag(1);
    /// assert_eq!(x.array()?.to_f64_vec(), [0., 1., 0., 0., 0., 2., 0., 0., 0.]);
    /// assert_eq!(x.diag(1).array()?.to_f64_vec(), [1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "diagflat")]
    pub fn diag(self, k: i64) -> Self {
        let ty = self.ty();
        match *ty.dims() {
            [n] => {
                let square: Shape = [n, n].into();
                if square.checked_len().is_none() {
                    let message = format!("a matrix {square} does not fit in memory");
                    let guess = ty.with_shape([1, 1]);
                    return self.mistake("diag", Problem::Shape, message, guess);
                }
                let away = usize::try_from(k.unsigned_abs()).unwrap_or(usize::MAX);
                let rows = if k < 0 { (away, 0) } else { (0, away) };
                let columns = if k < 0 { (0, away) } else { (away, 0) };
                let eye = self.trace.eye(DType::Bool, n, n);
                let zero: Number = match ty.dtype {
                    DType::Bool => false.into(),
                    _ => 0.into(),
                };
                eye.select(self.spread(&square, &[0]), zero).pad([rows, columns], zero)
            }
            [_, _] => self.diagonal_view(k, 0, 1),
            _ => {
                let guess = Type::new(ty.dtype, [1]);
                let message = format!("{ty} is neither a vector nor a matrix");
                self.mistake("diag", Problem::Shape, message, guess)
            }
        }
    }

    /// The matrices in the last two axes with 0 below diagonal `k`.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.ones(DType::I32, [2, 3]).triu(1);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "band_part")]
    pub fn triu(self, k: i64) -> Self {
        self.triangle("triu", |i, j| (j - i).ge(k))
    }

    /// The matrices in the last two axes with 0 above diagonal `k`.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.ones(DType::I32, [2, 3]).tril(0);
    /// assert_eq!(x.array()?.to_f64_vec(), [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "band_part")]
    pub fn tril(self, k: i64) -> Self {
        self.triangle("tril", |i, j| (j - i).le(k))
    }

    #[track_caller]
    fn triangle(self, operation: &'static str, keep: impl Fn(Self, Self) -> Self) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        if ty.rank() < 2 {
            return self.mistake(operation, Problem::Shape, format!("{ty} is no matrix"), ty);
        }
        let matrix: Shape = ty.dims()[ty.rank() - 2..].into();
        let i = self.trace.iota(DType::I64, matrix.clone(), 0);
        let j = self.trace.iota(DType::I64, matrix, 1);
        keep(i, j).select(self, self.zeros_like())
    }
}
