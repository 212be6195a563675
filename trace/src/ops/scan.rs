//! Running sums, products, maxima, and recurrences along an axis.

use backstitch_ir::DType;
use backstitch_ir::ops::{Cumulate, Recurrence};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// Element `i` is the sum of the elements up to `i`. Integers wrap.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.cumsum(0).array()?.to_f64_vec(), [1.0, 3.0, 6.0, 10.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cumsum(self, axis: i32) -> Self {
        self.running("cumsum", Recurrence::Sum, axis, false)
    }

    /// Element `i` is the sum of the elements from `i` on.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.cumsum_reverse(0).array()?.to_f64_vec(), [10.0, 9.0, 7.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cumsum_reverse(self, axis: i32) -> Self {
        self.running("cumsum_reverse", Recurrence::Sum, axis, true)
    }

    /// Element `i` is the product of the elements up to `i`. Its derivative is right
    /// at zeros as well. Integers wrap.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.cumprod(0).array()?.to_f64_vec(), [1.0, 2.0, 6.0, 24.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cumprod(self, axis: i32) -> Self {
        self.running("cumprod", Recurrence::Prod, axis, false)
    }

    /// Element `i` is the product of the elements from `i` on.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.cumprod_reverse(0).array()?.to_f64_vec(), [24.0, 24.0, 12.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cumprod_reverse(self, axis: i32) -> Self {
        self.running("cumprod_reverse", Recurrence::Prod, axis, true)
    }

    /// Element `i` is the largest of the elements up to `i`, and NaN from the first
    /// NaN on. The derivative belongs to the first of equal elements.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 3.0, 2.0]));
    /// assert_eq!(x.cummax(0).array()?.to_f64_vec(), [1.0, 3.0, 3.0]);
    /// assert_eq!(x.cummax_reverse(0).array()?.to_f64_vec(), [3.0, 3.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "maximum.accumulate")]
    pub fn cummax(self, axis: i32) -> Self {
        self.running("cummax", Recurrence::Max, axis, false)
    }

    /// Element `i` is the largest of the elements from `i` on. The derivative belongs
    /// to the last of equal elements, the first that is met from the end.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 3.0, 2.0]));
    /// assert_eq!(x.cummax_reverse(0).array()?.to_f64_vec(), [3.0, 3.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cummax_reverse(self, axis: i32) -> Self {
        self.running("cummax_reverse", Recurrence::Max, axis, true)
    }

    /// Element `i` is the smallest of the elements up to `i`, with the conventions of
    /// [`cummax`](Self::cummax).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, 3.0, 1.0]));
    /// assert_eq!(x.cummin(0).array()?.to_f64_vec(), [2.0, 2.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "minimum.accumulate")]
    pub fn cummin(self, axis: i32) -> Self {
        self.running("cummin", Recurrence::Min, axis, false)
    }

    /// Element `i` is the smallest of the elements from `i` on, with the conventions
    /// of [`cummax_reverse`](Self::cummax_reverse).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, 1.0, 3.0]));
    /// assert_eq!(x.cummin_reverse(0).array()?.to_f64_vec(), [1.0, 1.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cummin_reverse(self, axis: i32) -> Self {
        self.running("cummin_reverse", Recurrence::Min, axis, true)
    }

    /// Element `i` is `log Σ eˣ` over the elements up to `i`, without overflow: -∞ as
    /// long as all are, with derivative 0 there.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 1000.0, 1000.0]));
    /// let y = x.logcumsumexp(0).array()?.to_f64_vec();
    /// assert_eq!(y, [f64::NEG_INFINITY, 1000.0, 1000.0 + std::f64::consts::LN_2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "cumulative_logsumexp")]
    pub fn logcumsumexp(self, axis: i32) -> Self {
        self.running_log_sum("logcumsumexp", axis, false)
    }

    /// Element `i` is `log Σ eˣ` over the elements from `i` on, without overflow.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1000.0, 1000.0, f64::NEG_INFINITY]));
    /// let y = x.logcumsumexp_reverse(0).array()?.to_f64_vec();
    /// assert_eq!(y, [1000.0 + std::f64::consts::LN_2, 1000.0, f64::NEG_INFINITY]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn logcumsumexp_reverse(self, axis: i32) -> Self {
        self.running_log_sum("logcumsumexp_reverse", axis, true)
    }

    /// Along an axis, `y_i = a_i · y_{i-1} + b_i`, from `y_0 = b_0`: `self` is `a`.
    /// Both have one type. Its adjoint is a recurrence from the end, which costs as
    /// much.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr1(&[0.0, 0.5, 0.5]));
    /// let b = t.constant(ndarray::arr1(&[8.0, 0.0, 1.0]));
    /// assert_eq!(a.linear_recurrence(b, 0).array()?.to_f64_vec(), [8.0, 4.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "associative_scan")]
    pub fn linear_recurrence(self, b: Tensor<'t>, axis: i32) -> Self {
        self.recur("linear_recurrence", b, axis, false)
    }

    /// Along an axis, `y_i = a_i · y_{i+1} + b_i`, from the end: `self` is `a`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr1(&[0.5, 0.5, 0.0]));
    /// let b = t.constant(ndarray::arr1(&[1.0, 0.0, 8.0]));
    /// let y = a.linear_recurrence_reverse(b, 0);
    /// assert_eq!(y.array()?.to_f64_vec(), [3.0, 4.0, 8.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn linear_recurrence_reverse(self, b: Tensor<'t>, axis: i32) -> Self {
        self.recur("linear_recurrence_reverse", b, axis, true)
    }

    /// The differences of neighbours along an axis, `order` times over: each time
    /// the axis has one element less, and none if none is left.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 4.0, 9.0, 16.0]));
    /// assert_eq!(x.diff(1, 0).array()?.to_f64_vec(), [3.0, 5.0, 7.0]);
    /// assert_eq!(x.diff(2, 0).array()?.to_f64_vec(), [2.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn diff(self, order: usize, axis: i32) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        let a = match self.axis("diff", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        if !ty.dtype.is_float() && !ty.dtype.is_int() {
            let message = format!("expected numbers, got {}", ty.dtype);
            return self.mistake("diff", Problem::DType, message, ty);
        }
        if order >= ty.dims()[a] {
            return self.slice(axis, ..0, 1);
        }
        let mut x = self;
        for _ in 0..order {
            x = x.slice(axis, 1.., 1) - x.slice(axis, ..-1, 1);
        }
        x
    }

    #[track_caller]
    fn running(self, operation: &'static str, by: Recurrence, axis: i32, reverse: bool) -> Self {
        let ty = self.ty();
        let axis = match self.axis(operation, axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        if ty.dtype == DType::Bool {
            let message = "expected numbers, got bool; `cast` it";
            return self.mistake(operation, Problem::DType, message, ty);
        }
        self.trace.apply(Cumulate { by, axis, reverse }, &[self])
    }

    #[track_caller]
    fn recur(self, operation: &'static str, b: Tensor<'t>, axis: i32, reverse: bool) -> Self {
        let ty = match self.same_type(operation, b) {
            Ok(ty) => ty,
            Err(poisoned) => return poisoned,
        };
        let axis = match self.axis(operation, axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        if ty.dtype == DType::Bool {
            let message = "expected numbers, got bool; `cast` them";
            return self.trace.mistake(operation, Problem::DType, message, &[self, b], ty);
        }
        self.trace.apply(Cumulate { by: Recurrence::Linear, axis, reverse }, &[self, b])
    }

    /// With the running maximum `m` the sum `s_i = Σ e^(x_j - m_i)` follows from the
    /// one before as `s_i = e^(m_{i-1} - m_i) · s_{i-1} + e^(x_i - m_i)`. It is at least
    /// 1, and no term is above 1. The result does not depend on `m`, so nor does its
    /// derivative.
    #[track_caller]
    fn running_log_sum(self, operation: &'static str, axis: i32, reverse: bool) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        if let Err(poisoned) = self.floats(operation) {
            return poisoned;
        }
        let a = match self.axis(operation, axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let n = ty.dims()[a];
        if n == 0 {
            return self;
        }
        let max = self.stop_gradient().running(operation, Recurrence::Max, axis, reverse);
        // Nothing is subtracted of what is not finite.
        let shift = max.is_finite().select(max, 0);
        let step = match reverse {
            false => shift.slice(axis, ..-1, 1) - shift.slice(axis, 1.., 1),
            true => shift.slice(axis, 1.., 1) - shift.slice(axis, ..-1, 1),
        };
        let mut margins = vec![(0, 0); ty.rank()];
        margins[a] = if reverse { (0, 1) } else { (1, 0) };
        // Above 0 only where the sum before is 0.
        let decay = step.minimum(0).exp().pad(margins, 0);
        let terms = (self - shift).exp();
        let sum = decay.recur(operation, terms, axis, reverse);
        // All were -∞ so far: no logarithm, whose slope at 0 is infinite.
        let some = max.ne(f64::NEG_INFINITY);
        some.select(shift + some.select(sum, 1).log(), max)
    }
}
