//! Reductions.
//!
//! `x.sum()` reduces over all axes, `x.sum_over(axes)` over some, which go away,
//! and `x.sum_keep(axes)` leaves them with extent 1.

use backstitch_ir::{DType, Monoid, Shape, Type, ops};
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
            pub fn $over(self, axes: impl Into<Axes>) -> Self {
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
            pub fn $keep(self, axes: impl Into<Axes>) -> Self {
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
    sum, sum_over, sum_keep => |x, axes| x.reduce(Monoid::Sum, &axes);
    /// The product of all elements; 1 if there are none.
    prod, prod_over, prod_keep => |x, axes| x.reduce(Monoid::Prod, &axes);
    /// The largest element. Equal ones share the derivative.
    max, max_over, max_keep => |x, axes| x.extreme(Monoid::Max, &axes);
    /// The smallest element. Equal ones share the derivative.
    min, min_over, min_keep => |x, axes| x.extreme(Monoid::Min, &axes);
    /// Whether any truth value holds.
    any, any_over, any_keep => |x, axes| x.reduce(Monoid::Any, &axes);
    /// Whether all truth values hold.
    all, all_over, all_keep => |x, axes| x.reduce(Monoid::All, &axes);
    /// The mean of all elements, which are floats.
    mean, mean_over, mean_keep => |x, axes| match x.floats("mean") {
        Ok(()) => x.reduce(Monoid::Sum, &axes) / x.count(&axes),
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
    /// The mean square deviation from the mean.
    var, var_over, var_keep => |x, axes| x.variance(&axes, 0);
    /// The root of the [variance](Self::var); its derivative is 0 where that is 0.
    std, std_over, std_keep => |x, axes| x.variance(&axes, 0).root_or_zero();
    /// The root of the sum of squares; its derivative at 0 is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(ndarray::arr1(&[3.0, 4.0])).norm().item::<f64>()?, 5.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    norm, norm_over, norm_keep => |x, axes| match x.floats("norm") {
        Ok(()) => x.square().reduce(Monoid::Sum, &axes).root_or_zero(),
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
    /// The sum of the absolute values.
    norm1, norm1_over, norm1_keep => |x, axes| x.abs().reduce(Monoid::Sum, &axes);
    /// The largest absolute value. Equal ones share the derivative.
    norm_inf, norm_inf_over, norm_inf_keep => |x, axes| x.abs().extreme(Monoid::Max, &axes);
    /// `log Σ eˣ`, without overflow. Where all elements are -∞ it is -∞, and its
    /// derivative 0.
    logsumexp, logsumexp_over, logsumexp_keep => |x, axes| match x.floats("logsumexp") {
        Ok(()) => {
            let (shifted, m) = x.below_max(&axes);
            shifted.exp().reduce(Monoid::Sum, &axes).log() + m
        }
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
}

impl<'t> Tensor<'t> {
    /// Variance over some axes with `n - ddof` as the divisor.
    #[track_caller]
    pub fn var_with(self, axes: impl Into<Axes>, ddof: usize) -> Self {
        match self.axes("var", axes.into()) {
            Ok(axes) => self.variance(&axes, ddof),
            Err(poisoned) => poisoned,
        }
    }

    /// The root of [`var_with`](Self::var_with); its derivative is 0 where that is 0.
    #[track_caller]
    pub fn std_with(self, axes: impl Into<Axes>, ddof: usize) -> Self {
        self.var_with(axes, ddof).root_or_zero()
    }

    /// The index of the largest element along an axis, as `i64`; of equal ones,
    /// the first.
    #[track_caller]
    pub fn argmax(self, axis: i32) -> Self {
        self.first_extreme("argmax", Monoid::Max, axis)
    }

    /// The index of the smallest element along an axis, as `i64`; of equal ones,
    /// the first.
    #[track_caller]
    pub fn argmin(self, axis: i32) -> Self {
        self.first_extreme("argmin", Monoid::Min, axis)
    }

    #[track_caller]
    fn first_extreme(self, operation: &'static str, monoid: Monoid, axis: i32) -> Self {
        let ty = self.ty();
        let a = match self.axis(operation, axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned.cast(DType::I64),
        };
        let extent = ty.dims()[a];
        if extent == 0 {
            let guess = Type::new(DType::I64, ty.shape.without(&[a]));
            let message = format!("axis {a} has no element");
            return self.mistake(operation, Problem::Shape, message, guess);
        }
        let x = self.stop_gradient();
        let best = x.reduce(monoid, &[a]).keep(&ty.shape, &[a]);
        let index = self.trace.iota(DType::I64, ty.shape.clone(), a);
        // NaN equals nothing: then the last index stands for all of them.
        let hits = x.eq(best).select(index, extent as i64 - 1);
        hits.reduce(Monoid::Min, &[a])
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
    fn extreme(self, monoid: Monoid, axes: &[usize]) -> Self {
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
    fn variance(self, axes: &[usize], ddof: usize) -> Self {
        if let Err(poisoned) = self.floats("var") {
            return poisoned.reduce(Monoid::Sum, axes);
        }
        let n = self.count(axes);
        let mean = self.reduce(Monoid::Sum, axes) / n;
        let away = self - mean.unreduce(&self.shape(), axes);
        away.square().reduce(Monoid::Sum, axes) / (n - ddof as f64)
    }

    /// The elements less the largest over some axes, and that largest. It is kept
    /// finite, so that infinite elements leave no NaN behind, and is constant to
    /// derivatives, since any other shift gives the same in the end.
    #[track_caller]
    pub(crate) fn below_max(self, axes: &[usize]) -> (Self, Self) {
        let largest = match self.dtype() {
            DType::F32 => f32::MAX.into(),
            _ => f64::MAX,
        };
        let m = self.stop_gradient().reduce(Monoid::Max, axes).maximum(-largest).minimum(largest);
        let m = m.stop_gradient();
        (self - m.unreduce(&self.shape(), axes), m)
    }
}
