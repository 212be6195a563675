//! Linear algebra: factorisations, systems of equations, determinants.
//!
//! Matrices are the last two axes; the axes before are a batch, of any extents,
//! stretched as NumPy does where there are two operands. Elements are floats.
//! Derivatives are those of the mathematical functions, implicit where there is
//! an equation: with `A·X = B`, `A·dX = dB - dA·X` (Giles, *Collected matrix
//! derivative results for forward and reverse mode algorithmic differentiation*,
//! 2008), so that a gradient takes the factor that the value took.

use backstitch_ir::routine::Triangle;
use backstitch_ir::{DType, Scalar, Shape, Type, ops};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The lower triangular `L` with `L·Lᵀ = A`, for symmetric positive definite
    /// `A`; that is, of `(A + Aᵀ)/2`, so that the gradient is symmetric.
    ///
    /// A matrix that is not positive definite is a mistake in eager mode and an
    /// error of the call of a compiled program; both name the line.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[4.0, 2.0], [2.0, 5.0]]));
    /// assert_eq!(a.cholesky().array()?.to_f64_vec(), [2.0, 0.0, 1.0, 2.0]);
    /// let e = (-a).cholesky().array().unwrap_err();
    /// assert!(e.to_string().contains("matrix 0 is not positive definite"));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cholesky(self) -> Self {
        let _line = self.trace.line();
        match self.matrices("cholesky", Type::clone) {
            Ok(_) => self.trace.apply(ops::Cholesky, &[self]),
            Err(poisoned) => poisoned,
        }
    }

    /// The `X` with `L·Lᵀ·X = B`, where this is `L`, as
    /// [`cholesky`](Self::cholesky) gives it. `B` is a vector or matrices, as for
    /// [`solve`](Self::solve).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[4.0, 2.0], [2.0, 5.0]]));
    /// let b = t.constant(ndarray::arr1(&[8.0, 12.0]));
    /// assert_eq!(a.cholesky().cholesky_solve(b).array()?.to_f64_vec(), [1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "cho_solve")]
    #[track_caller]
    pub fn cholesky_solve(self, b: Tensor<'t>) -> Self {
        let _line = self.trace.line();
        self.system("cholesky_solve", b, |l, b| {
            let half = l.trace.apply(ops::TriangularSolve { triangle: Triangle::LOWER }, &[l, b]);
            let triangle = Triangle::LOWER.transposed();
            l.trace.apply(ops::TriangularSolve { triangle }, &[l, half])
        })
    }

    /// The `X` with `op(A)·X = B`, where one triangle of `A` is read. The
    /// derivative by what is not read is 0. `B` is a vector or matrices, as for
    /// [`solve`](Self::solve). A zero on the diagonal divides by zero: infinities
    /// and NaN.
    ///
    /// ```
    /// # use backstitch_trace::{Trace, Triangle};
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[2.0, 9.0], [1.0, 4.0]]));
    /// let b = t.constant(ndarray::arr1(&[2.0, 9.0]));
    /// let x = a.triangular_solve(b, Triangle::LOWER);
    /// assert_eq!(x.array()?.to_f64_vec(), [1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "solve_triangular")]
    #[track_caller]
    pub fn triangular_solve(self, b: Tensor<'t>, triangle: Triangle) -> Self {
        let _line = self.trace.line();
        self.system("triangular_solve", b, |a, b| {
            a.trace.apply(ops::TriangularSolve { triangle }, &[a, b])
        })
    }

    /// The `X` with `A·X = B`. `B` is a vector, or matrices of as many rows as `A`;
    /// so is `X`. If `A` is singular, there are infinities and NaN in the result.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[0.0, 2.0], [1.0, 1.0]]));
    /// let b = t.constant(ndarray::arr1(&[4.0, 3.0]));
    /// assert_eq!(a.solve(b).array()?.to_f64_vec(), [1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn solve(self, b: Tensor<'t>) -> Self {
        let _line = self.trace.line();
        self.system("solve", b, |a, b| {
            let factor = a.trace.apply(ops::Lu, &[a]);
            a.trace.apply(ops::LuSolve { transpose: false }, &[a, factor, b])
        })
    }

    /// The inverse. To apply one, [`solve`](Self::solve) is quicker and more
    /// accurate. That of a singular matrix has infinities and NaN.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[2.0, 1.0], [0.0, 4.0]]));
    /// assert_eq!(a.inverse().array()?.to_f64_vec(), [0.5, -0.125, 0.0, 0.25]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "inv")]
    #[track_caller]
    pub fn inverse(self) -> Self {
        let _line = self.trace.line();
        match self.matrices("inverse", Type::clone) {
            Ok(ty) => {
                let n = ty.dims()[ty.rank() - 1];
                self.solve(self.trace.eye(ty.dtype, n, n).stretch(&ty.shape))
            }
            Err(poisoned) => poisoned,
        }
    }

    /// The determinant; 1 for a matrix without elements. Its gradient is the matrix
    /// of cofactors, right for singular matrices as well.
    ///
    /// Derivatives of second order cost `n` times as much; those of
    /// [`slogdet`](Self::slogdet) do not.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(a.det().item::<f64>()?, -2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn det(self) -> Self {
        let _line = self.trace.line();
        match self.matrices("det", batch) {
            Ok(_) => {
                let factor = self.trace.apply(ops::Lu, &[self]);
                self.trace.apply(ops::Det { log: false }, &[self, factor])
            }
            Err(poisoned) => poisoned,
        }
    }

    /// The sign of the determinant (-1, 0 or 1, without a derivative) and the
    /// logarithm of its magnitude, which does not overflow; -∞ for a singular
    /// matrix, with a gradient that is not finite.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[0.0, 2.0], [2.0, 0.0]]));
    /// let (sign, log) = a.slogdet();
    /// assert_eq!((sign.item::<f64>()?, log.item::<f64>()?), (-1.0, 4f64.ln()));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn slogdet(self) -> (Self, Self) {
        let _line = self.trace.line();
        let ty = match self.matrices("slogdet", batch) {
            Ok(ty) => ty,
            Err(poisoned) => return (poisoned, poisoned),
        };
        let factor = self.trace.apply(ops::Lu, &[self]);
        let log = self.trace.apply(ops::Det { log: true }, &[self, factor]);
        let n = ty.dims()[ty.rank() - 1] as i64;
        let signs = factor.slice(-2, 0..n, 1).diagonal(0, [-2, -1]).unary(Scalar::Sign);
        let exchanges = factor.index(-2, n);
        let own = self.trace.iota(DType::I64, exchanges.shape(), exchanges.rank() - 1);
        let moved = exchanges.cast(DType::I64).ne(own);
        let sign = moved.select(-signs, signs).prod_over([-1]);
        (sign, log)
    }

    /// Checks that this is square matrices of floats. `Err` is the poisoned result,
    /// of a type guessed from this one.
    #[track_caller]
    fn matrices(
        self,
        operation: &'static str,
        guess: impl FnOnce(&Type) -> Type,
    ) -> Result<Type, Self> {
        let ty = self.ty();
        let wrong = match ty.dims() {
            [.., n, m] if n == m => None,
            _ => Some(format!("expected square matrices, got shape {}", ty.shape)),
        };
        if let Some(message) = wrong {
            return Err(self.mistake(operation, Problem::Shape, message, guess(&ty)));
        }
        if !ty.is_float() {
            let message = format!("expected floats, got {}; `cast` it", ty.dtype);
            let guess = guess(&ty).with_dtype(DType::F64);
            return Err(self.mistake(operation, Problem::DType, message, guess));
        }
        Ok(ty)
    }

    /// Solves a system with this as its matrix: `b` may be a vector, and leading
    /// axes are stretched.
    #[track_caller]
    fn system(
        self,
        operation: &'static str,
        b: Tensor<'t>,
        solve: impl FnOnce(Self, Self) -> Self,
    ) -> Self {
        let a = self;
        let ty = match a.matrices(operation, |_| b.ty()) {
            Ok(ty) => ty,
            Err(poisoned) => return poisoned,
        };
        let bt = b.ty();
        let wrong = |problem, message: String| {
            a.trace.mistake(operation, problem, message, &[a, b], bt.clone())
        };
        if bt.dtype != ty.dtype {
            let message =
                format!("element types {} and {} differ; `cast` one of them", ty.dtype, bt.dtype);
            return wrong(Problem::DType, message);
        }
        let n = ty.dims()[ty.rank() - 1];
        let vector = bt.rank() == 1;
        let rows =
            if vector { bt.dims()[0] } else { bt.dims().iter().rev().nth(1).copied().unwrap_or(0) };
        if bt.rank() == 0 || rows != n {
            let message =
                format!("shapes {} and {} do not fit: expected {n} rows", ty.shape, bt.shape);
            return wrong(Problem::Shape, message);
        }
        let b = if vector { b.reshape([n, 1]) } else { b };
        let columns = b.shape().dims()[b.rank() - 1];
        let lead = |shape: &Shape| Shape::from(&shape.dims()[..shape.rank() - 2]);
        let Some(batch) = lead(&ty.shape).broadcast(&lead(&b.shape())) else {
            let message =
                format!("leading axes of shapes {} and {} do not fit", ty.shape, bt.shape);
            return wrong(Problem::Shape, message);
        };
        let sized = |m: usize| batch.dims().iter().copied().chain([n, m]).collect::<Shape>();
        let x = solve(a.stretch(&sized(n)), b.stretch(&sized(columns)));
        if vector {
            x.reshape(batch.dims().iter().copied().chain([n]).collect::<Shape>())
        } else {
            x
        }
    }
}

/// The type of one number per matrix.
fn batch(ty: &Type) -> Type {
    ty.with_shape(&ty.dims()[..ty.rank().saturating_sub(2)])
}
