//! Reductions.
//!
//! `x.sum()` reduces over all axes, `x.sum_over(axes)` over some, which go away,
//! and `x.sum_keep(axes)` leaves them with extent 1. Over no axes at all
//! (`x.sum_over([])`) each element is taken alone.
//!
//! The variance is that of the deviations from a rounded mean, corrected for what
//! is left of their own mean: `Σd² - (Σd)²/n`. That reads the data twice, is exact
//! for equal values, and the mean itself may be constant to derivatives, since any
//! shift gives the same variance (Chan, Golub, LeVeque: Algorithms for computing the
//! sample variance, 1983).

use backstitch_ir::{DType, Monoid, Scalar, Shape, Type, ops};
use smallvec::SmallVec;

use crate::axes::Axes;
use crate::mistake::Problem;
use crate::tensor::Tensor;

/// The three methods of a reduction.
macro_rules! reductions {
    ($(
        $(#[$doc:meta])*
        $all:ident, $over:ident, $keep:ident => |$x:ident, $axes:ident| $body:expr;
    )*) => {
        impl<'t> Tensor<'t> {
            $(
            $(#[$doc])*
            #[track_caller]
            pub fn $all(self) -> Self {
                self.$over(())
            }

            #[doc = concat!("[`", stringify!($all), "`](Self::", stringify!($all), ") over some axes, which go away.")]
            #[track_caller]
            pub fn $over(self, axes: impl Into<$crate::axes::Axes>) -> Self {
                match self.axes(stringify!($all), axes.into()) {
                    Ok($axes) => {
                        let $x = self;
                        $body
                    }
                    Err(poisoned) => poisoned,
                }
            }

            #[doc = concat!("[`", stringify!($all), "`](Self::", stringify!($all), ") over some axes, which stay with extent 1.")]
            #[track_caller]
            pub fn $keep(self, axes: impl Into<$crate::axes::Axes>) -> Self {
                match self.axes(stringify!($all), axes.into()) {
                    Ok($axes) => {
                        let $x = self;
                        let reduced = $body;
                        reduced.keep(&$x.shape(), &$axes)
                    }
                    Err(poisoned) => poisoned,
                }
            }
            )*
        }
    };
}
pub(super) use reductions;

reductions! {
    /// The sum of all elements; 0 if there are none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.sum().item::<f64>()?, 10.0);
    /// assert_eq!(x.sum_over(-1).array()?.to_f64_vec(), [3.0, 7.0]);
    /// assert_eq!(x.sum_keep([0]).shape().dims(), [1, 2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_sum")]
    sum, sum_over, sum_keep => |x, axes| x.reduce(Monoid::Sum, &axes);
    /// The product of all elements; 1 if there are none. Derivatives of every order
    /// are right where elements are 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.range(1, 5, 1).prod().item::<i32>()?, 24);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_prod")]
    prod, prod_over, prod_keep => |x, axes| x.reduce(Monoid::Prod, &axes);
    /// The largest element; NaN if one is NaN. Equal ones share the derivative. That
    /// there is no element is a mistake.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 5.0], [4.0, 3.0]]));
    /// assert_eq!(x.max_over(1).array()?.to_f64_vec(), [5.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_max")]
    #[doc(alias = "amax")]
    max, max_over, max_keep => |x, axes| x.extreme(Monoid::Max, &axes);
    /// The smallest element; NaN if one is NaN. Equal ones share the derivative. That
    /// there is no element is a mistake.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 5.0], [4.0, 3.0]]));
    /// assert_eq!(x.min().item::<f64>()?, 1.0);
    /// assert_eq!(x.min_over(1).array()?.to_f64_vec(), [1.0, 3.0]);
    /// assert_eq!(x.min_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_min")]
    #[doc(alias = "amin")]
    min, min_over, min_keep => |x, axes| x.extreme(Monoid::Min, &axes);
    /// Whether any truth value holds; of none, no.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, -1.0]));
    /// assert!(x.lt(0).any().is_true()? && !x.lt(0).all().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_any")]
    any, any_over, any_keep => |x, axes| x.reduce(Monoid::Any, &axes);
    /// Whether all truth values hold; of none, yes.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [-1.0, 3.0]])).gt(0);
    /// assert!(!x.all().is_true()?);
    /// assert_eq!(x.all_over(1).array()?.to_f64_vec(), [1.0, 0.0]);
    /// assert_eq!(x.all_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_all")]
    all, all_over, all_keep => |x, axes| x.reduce(Monoid::All, &axes);
    /// The mean of all elements, which are floats; NaN if there are none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(ndarray::arr1(&[1.0, 4.0])).mean().item::<f64>()?, 2.5);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_mean")]
    #[doc(alias = "average")]
    mean, mean_over, mean_keep => |x, axes| match x.floats("mean") {
        Ok(()) => x.reduce(Monoid::Sum, &axes) / x.count(&axes),
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
    /// The mean square deviation from the mean, of floats. With another divisor:
    /// [`var_with`](Self::var_with).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.var().item::<f64>()?, 1.25);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    var, var_over, var_keep => |x, axes| x.variance("var", &axes, 0);
    /// The root of the [variance](Self::var); its derivative is 0 where that is 0,
    /// which it is for equal values.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 3.0], [3.0, 1.0]]));
    /// assert_eq!(x.std().item::<f64>()?, 1.0);
    /// assert_eq!(x.std_over(1).array()?.to_f64_vec(), [1.0, 1.0]);
    /// assert_eq!(x.std_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    std, std_over, std_keep => |x, axes| x.variance("std", &axes, 0).root_or_zero();
    /// The largest element less the smallest.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(ndarray::arr1(&[3.0, -1.0, 2.0])).ptp().item::<f64>()?, 4.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "peak_to_peak")]
    ptp, ptp_over, ptp_keep => |x, axes| {
        // The first of the two complains where there is no element.
        x.extreme(Monoid::Max, &axes) - x.reduce(Monoid::Min, &axes)
    };
    /// How many elements are not 0 (or hold, of truth values), as `i64`. NaN is not 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[0.0, 3.0, f64::NAN]));
    /// assert_eq!(x.count_nonzero().item::<i64>()?, 2);
    /// assert_eq!(x.gt(1.0).count_nonzero().item::<i64>()?, 1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    count_nonzero, count_nonzero_over, count_nonzero_keep => |x, axes| {
        let counted = if x.dtype() == DType::Bool { x } else { x.ne(0) };
        counted.cast(DType::I64).reduce(Monoid::Sum, &axes)
    };
    /// `log Σ eˣ`, without overflow. Where all elements are -∞ it is -∞, and its
    /// derivative 0; where some are ∞ it is ∞, and they share the derivative.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1000.0, 1000.0], [f64::NEG_INFINITY, 0.0]]));
    /// let y = x.logsumexp_over(1).array()?.to_f64_vec();
    /// assert_eq!(y, [1000.0 + std::f64::consts::LN_2, 0.0]);
    /// assert_eq!(x.logsumexp_keep(1).shape().dims(), [2, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reduce_logsumexp")]
    logsumexp, logsumexp_over, logsumexp_keep => |x, axes| match x.floats("logsumexp") {
        Ok(()) => {
            let (shifted, m) = x.below_max(&axes);
            let sum = shifted.exp().reduce(Monoid::Sum, &axes);
            // All elements are -∞: their derivative stops here, once for all of them.
            let none = sum.eq(0);
            none.select(f64::NEG_INFINITY, none.select(1, sum).log()) + m
        }
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
}

impl<'t> Tensor<'t> {
    /// The [variance](Self::var) over some axes with `n - ddof` as the divisor. NaN
    /// where `ddof` is `n` or more.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 3.0]));
    /// assert_eq!(x.var_with((), 1).item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn var_with(self, axes: impl Into<Axes>, ddof: usize) -> Self {
        match self.axes("var_with", axes.into()) {
            Ok(axes) => self.variance("var_with", &axes, ddof),
            Err(poisoned) => poisoned,
        }
    }

    /// The root of [`var_with`](Self::var_with); its derivative is 0 where that is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 3.0]));
    /// assert_eq!(x.std_with((), 1).item::<f64>()?, 2f64.sqrt());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn std_with(self, axes: impl Into<Axes>, ddof: usize) -> Self {
        match self.axes("std_with", axes.into()) {
            Ok(axes) => self.variance("std_with", &axes, ddof).root_or_zero(),
            Err(poisoned) => poisoned,
        }
    }

    /// The index of the largest element along an axis, as `i64`; of equal ones, the
    /// first. The first NaN, if there is one.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 5.0, 5.0], [4.0, 3.0, 2.0]]));
    /// assert_eq!(x.argmax(1).array()?.to_f64_vec(), [1.0, 0.0]);
    /// assert_eq!(x.argmax_flat().item::<i64>()?, 1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn argmax(self, axis: i32) -> Self {
        self.first_extreme("argmax", Monoid::Max, axis, false)
    }

    /// The index of the smallest element along an axis, as `i64`; of equal ones, the
    /// first. The first NaN, if there is one.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[3.0, 1.0, 1.0], [4.0, f64::NAN, 2.0]]));
    /// assert_eq!(x.argmin(1).array()?.to_f64_vec(), [1.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn argmin(self, axis: i32) -> Self {
        self.first_extreme("argmin", Monoid::Min, axis, false)
    }

    /// [`argmax`](Self::argmax) of the elements row by row: one index.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[3.0, 1.0], [5.0, 2.0]]));
    /// assert_eq!(x.argmax_flat().item::<i64>()?, 2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn argmax_flat(self) -> Self {
        self.flatten().first_extreme("argmax_flat", Monoid::Max, 0, false)
    }

    /// [`argmin`](Self::argmin) of the elements row by row: one index.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[3.0, 1.0], [5.0, 2.0]]));
    /// assert_eq!(x.argmin_flat().item::<i64>()?, 1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn argmin_flat(self) -> Self {
        self.flatten().first_extreme("argmin_flat", Monoid::Min, 0, false)
    }

    /// Where along an axis the extreme is; with or without NaN.
    #[track_caller]
    pub(super) fn first_extreme(
        self,
        operation: &'static str,
        monoid: Monoid,
        axis: i32,
        leave_out_nan: bool,
    ) -> Self {
        let ty = self.ty();
        let guess = |shape: Shape| Type::new(DType::I64, shape);
        let a = match crate::axes::axis(axis, ty.rank()) {
            Ok(a) => a,
            Err(message) => {
                return self.mistake(operation, Problem::Axis, message, guess(ty.shape));
            }
        };
        let guess = guess(ty.shape.without(&[a]));
        let extent = ty.dims()[a];
        if extent == 0 {
            return self.mistake(
                operation,
                Problem::Shape,
                format!("axis {a} has no element"),
                guess,
            );
        }
        if !monoid.takes(ty.dtype) {
            let message = format!("expected numbers, got {}", ty.dtype);
            return self.mistake(operation, Problem::DType, message, guess);
        }
        let x = self.stop_gradient();
        let from = if leave_out_nan { x.nan_as(monoid) } else { x };
        let best = from.reduce(monoid, &[a]).unreduce(&ty.shape, &[a]);
        let index = self.trace.iota(DType::I64, ty.shape.clone(), a);
        let hit = match (ty.is_float(), leave_out_nan) {
            (false, _) | (true, true) => x.eq(best),
            // NaN equals nothing, and is what is looked for if it is there.
            (true, false) => x.eq(best).or(x.is_nan()),
        };
        hit.select(index, extent as i64 - 1).reduce(Monoid::Min, &[a])
    }

    /// The axes meant. `Err` is the poisoned result.
    #[track_caller]
    pub(crate) fn axes(
        self,
        operation: &'static str,
        axes: Axes,
    ) -> Result<SmallVec<[usize; 4]>, Self> {
        let ty = self.ty();
        match axes.resolve(ty.rank()) {
            Ok(axes) => Ok(axes),
            Err(message) => Err(self.mistake(operation, Problem::Axis, message, ty)),
        }
    }

    #[track_caller]
    pub(crate) fn reduce(self, monoid: Monoid, axes: &[usize]) -> Self {
        let ty = self.ty();
        if !monoid.takes(ty.dtype) {
            let wanted = if ty.dtype == DType::Bool { "numbers" } else { "truth values" };
            let message = format!("expected {wanted}, got {}", ty.dtype);
            let guess = ty.with_shape(ty.shape.without(axes));
            return self.mistake(monoid.name(), Problem::DType, message, guess);
        }
        if axes.is_empty() {
            return self;
        }
        self.trace.apply(ops::Reduce { monoid, axes: axes.into() }, &[self])
    }

    /// A reduction that has no result over no element.
    #[track_caller]
    pub(super) fn extreme(self, monoid: Monoid, axes: &[usize]) -> Self {
        let ty = self.ty();
        let rest = ty.shape.without(axes);
        if axes.iter().any(|&a| ty.dims()[a] == 0) && !rest.is_empty() {
            let message = format!("there is no element in {ty}");
            return self.mistake(monoid.name(), Problem::Shape, message, ty.with_shape(rest));
        }
        self.reduce(monoid, axes)
    }

    /// Puts axes of extent 1 where axes of `shape` went away.
    #[track_caller]
    pub(crate) fn keep(self, shape: &Shape, axes: &[usize]) -> Self {
        let kept = |(i, &d): (usize, &usize)| if axes.contains(&i) { 1 } else { d };
        let dims: SmallVec<[usize; 4]> = (0..shape.rank()).filter(|i| !axes.contains(i)).collect();
        let shape: Shape = shape.dims().iter().enumerate().map(kept).collect();
        self.spread(&shape, &dims)
    }

    /// Repeats what was reduced over some axes to the shape before.
    #[track_caller]
    pub(crate) fn unreduce(self, shape: &Shape, axes: &[usize]) -> Self {
        let dims: SmallVec<[usize; 4]> = (0..shape.rank()).filter(|i| !axes.contains(i)).collect();
        self.spread(shape, &dims)
    }

    /// Number of elements over some axes, as it divides a sum.
    pub(crate) fn count(self, axes: &[usize]) -> f64 {
        let ty = self.ty();
        axes.iter().map(|&a| ty.dims()[a] as f64).product()
    }

    #[track_caller]
    fn variance(self, operation: &'static str, axes: &[usize], ddof: usize) -> Self {
        if let Err(poisoned) = self.floats(operation) {
            return poisoned.reduce(Monoid::Sum, axes);
        }
        let n = self.count(axes);
        let mean = self.stop_gradient().reduce(Monoid::Sum, axes) / n;
        let away = self - mean.unreduce(&self.shape(), axes);
        let squares = away.square().reduce(Monoid::Sum, axes);
        let squares = squares - away.reduce(Monoid::Sum, axes).square() / n;
        // Rounding may leave less than nothing.
        let divisor = if n > ddof as f64 { n - ddof as f64 } else { f64::NAN };
        squares.lt(0).select(0, squares) / divisor
    }

    /// The elements less the largest over some axes, and that largest. It is constant
    /// to derivatives, since any other shift gives the same in the end. Infinite
    /// elements leave no NaN behind: the largest is 0 below itself, unless all are -∞.
    #[track_caller]
    pub(crate) fn below_max(self, axes: &[usize]) -> (Self, Self) {
        let m = self.stop_gradient().reduce(Monoid::Max, axes).maximum(-self.largest());
        let m = m.stop_gradient();
        (self.binary(Scalar::SubZ, m.unreduce(&self.shape(), axes)), m)
    }
}
