//! Reductions that leave out what is not a number.
//!
//! An element that is NaN is as good as not there, to values and derivatives alike.
//! Integers have no NaN: for them these are the plain reductions.

use backstitch_ir::{DType, Monoid};

use super::reduce::reductions;
use crate::number::Number;
use crate::tensor::Tensor;

reductions! {
    /// The [sum](Self::sum) of the elements that are not NaN; 0 if there are none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, f64::NAN, 3.0]));
    /// assert_eq!(x.nansum().item::<f64>()?, 4.0);
    /// assert_eq!(x.nanmean().item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nansum, nansum_over, nansum_keep => |x, axes| x.nan_as(Monoid::Sum).reduce(Monoid::Sum, &axes);
    /// The [product](Self::prod) of the elements that are not NaN; 1 if there are none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, f64::NAN], [5.0, 3.0]]));
    /// assert_eq!(x.nanprod().item::<f64>()?, 15.0);
    /// assert_eq!(x.nanprod_over(1).array()?.to_f64_vec(), [1.0, 15.0]);
    /// assert_eq!(x.nanprod_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nanprod, nanprod_over, nanprod_keep => |x, axes| {
        x.nan_as(Monoid::Prod).reduce(Monoid::Prod, &axes)
    };
    /// The [largest](Self::max) element that is not NaN; NaN if there is none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, f64::NAN], [5.0, 3.0]]));
    /// assert_eq!(x.nanmax().item::<f64>()?, 5.0);
    /// assert_eq!(x.nanmax_over(1).array()?.to_f64_vec(), [1.0, 5.0]);
    /// assert_eq!(x.nanmax_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nanmax, nanmax_over, nanmax_keep => |x, axes| x.nan_extreme(Monoid::Max, &axes);
    /// The [smallest](Self::min) element that is not NaN; NaN if there is none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, f64::NAN], [5.0, 3.0]]));
    /// assert_eq!(x.nanmin().item::<f64>()?, 1.0);
    /// assert_eq!(x.nanmin_over(1).array()?.to_f64_vec(), [1.0, 3.0]);
    /// assert_eq!(x.nanmin_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nanmin, nanmin_over, nanmin_keep => |x, axes| x.nan_extreme(Monoid::Min, &axes);
    /// The [mean](Self::mean) of the elements that are not NaN; NaN if there are none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, f64::NAN], [5.0, 3.0]]));
    /// assert_eq!(x.nanmean().item::<f64>()?, 3.0);
    /// assert_eq!(x.nanmean_over(1).array()?.to_f64_vec(), [1.0, 4.0]);
    /// assert_eq!(x.nanmean_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nanmean, nanmean_over, nanmean_keep => |x, axes| match x.floats("nanmean") {
        Ok(()) => x.nan_as(Monoid::Sum).reduce(Monoid::Sum, &axes) / x.numbers(&axes),
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
    /// The [variance](Self::var) of the elements that are not NaN; NaN if there are
    /// none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, f64::NAN], [4.0, 1.0]]));
    /// assert_eq!(x.nanvar().item::<f64>()?, 2.0);
    /// assert_eq!(x.nanvar_over(1).array()?.to_f64_vec(), [0.0, 2.25]);
    /// assert_eq!(x.nanvar_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nanvar, nanvar_over, nanvar_keep => |x, axes| x.nan_variance("nanvar", &axes, 0);
    /// The [deviation](Self::std) of the elements that are not NaN; NaN if there are
    /// none. Its derivative at equal values is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[2.0, f64::NAN], [2.0, 2.0]]));
    /// assert_eq!(x.nanstd().item::<f64>()?, 0.0);
    /// assert_eq!(x.nanstd_over(1).array()?.to_f64_vec(), [0.0, 0.0]);
    /// assert_eq!(x.nanstd_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    nanstd, nanstd_over, nanstd_keep => |x, axes| x.nan_variance("nanstd", &axes, 0).root_or_zero();
}

impl<'t> Tensor<'t> {
    /// [`nanvar`](Self::nanvar) over some axes, with the number of elements that are
    /// not NaN less `ddof` as the divisor; NaN where that is not positive.
    #[track_caller]
    pub fn nanvar_with(self, axes: impl Into<crate::axes::Axes>, ddof: usize) -> Self {
        match self.axes("nanvar_with", axes.into()) {
            Ok(axes) => self.nan_variance("nanvar_with", &axes, ddof),
            Err(poisoned) => poisoned,
        }
    }

    /// The root of [`nanvar_with`](Self::nanvar_with); its derivative is 0 where that
    /// is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, f64::NAN, 1.0, 4.0]));
    /// assert_eq!(x.nanstd_with(0, 1).flatten().array()?.to_f64_vec(), [3f64.sqrt()]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn nanstd_with(self, axes: impl Into<crate::axes::Axes>, ddof: usize) -> Self {
        match self.axes("nanstd_with", axes.into()) {
            Ok(axes) => self.nan_variance("nanstd_with", &axes, ddof).root_or_zero(),
            Err(poisoned) => poisoned,
        }
    }

    /// The index of the largest element along an axis that is not NaN, as `i64`; of
    /// equal ones, the first. The last index where all are NaN.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NAN, 1.0, 3.0]));
    /// assert_eq!(x.nanargmax(0).item::<i64>()?, 2);
    /// assert_eq!(x.nanargmin(0).item::<i64>()?, 1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn nanargmax(self, axis: i32) -> Self {
        self.first_extreme("nanargmax", Monoid::Max, axis, true)
    }

    /// The index of the smallest element along an axis that is not NaN, as `i64`; of
    /// equal ones, the first. The last index where all are NaN.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NAN, 3.0, 1.0]));
    /// assert_eq!(x.nanargmin(0).item::<i64>()?, 2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn nanargmin(self, axis: i32) -> Self {
        self.first_extreme("nanargmin", Monoid::Min, axis, true)
    }

    /// With what changes nothing in place of NaN.
    #[track_caller]
    pub(super) fn nan_as(self, monoid: Monoid) -> Self {
        let neutral: Number = match monoid {
            _ if !self.dtype().is_float() => return self,
            Monoid::Sum => 0.into(),
            Monoid::Prod => 1.into(),
            Monoid::Max => f64::NEG_INFINITY.into(),
            Monoid::Min => f64::INFINITY.into(),
            Monoid::Any | Monoid::All => return self,
        };
        self.is_nan().select(neutral, self)
    }

    #[track_caller]
    fn nan_extreme(self, monoid: Monoid, axes: &[usize]) -> Self {
        let best = self.nan_as(monoid).extreme(monoid, axes);
        if !self.dtype().is_float() {
            return best;
        }
        self.is_nan().reduce(Monoid::All, axes).select(f64::NAN, best)
    }

    /// How many are not NaN, as floats.
    #[track_caller]
    fn numbers(self, axes: &[usize]) -> Self {
        self.eq(self).cast(DType::I64).reduce(Monoid::Sum, axes).cast(self.dtype())
    }

    /// As `variance`, with a choice in place of each sum.
    #[track_caller]
    fn nan_variance(self, operation: &'static str, axes: &[usize], ddof: usize) -> Self {
        if let Err(poisoned) = self.floats(operation) {
            return poisoned.reduce(Monoid::Sum, axes);
        }
        let n = self.numbers(axes);
        let mean = self.stop_gradient().nan_as(Monoid::Sum).reduce(Monoid::Sum, axes) / n;
        let away = self - mean.unreduce(&self.shape(), axes);
        let away = self.is_nan().select(0, away);
        let squares = away.square().reduce(Monoid::Sum, axes);
        let squares = squares - away.reduce(Monoid::Sum, axes).square() / n;
        let divisor = n - ddof as f64;
        divisor.gt(0).select(squares.lt(0).select(0, squares) / divisor, f64::NAN)
    }
}
