//! Order along an axis: sorted elements, and statistics of order.
//!
//! Positions come from one primitive and carry no derivative; elements are picked
//! at them, and picking has one. A median or quantile is an element of the array,
//! of which several may be equal: those share its derivative. So it is written as
//! the mean of the elements that are equal to it.

use backstitch_ir::{DType, Monoid, Scalar, Shape, Type, ops};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The elements along an axis, the smallest first, NaN last. The derivative of
    /// each belongs to the element it was.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, 3.0, 1.0]));
    /// assert_eq!(x.sort(0).array()?.to_f64_vec(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn sort(self, axis: i32) -> Self {
        self.sorted("sort", axis, false)
    }

    /// The elements along an axis, the largest first, NaN last.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, f64::INFINITY, 1.0]));
    /// assert_eq!(x.sort_descending(0).array()?.to_f64_vec(), [f64::INFINITY, 2.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn sort_descending(self, axis: i32) -> Self {
        self.sorted("sort_descending", axis, true)
    }

    /// The positions (`i64`) along an axis of its elements in the order of
    /// [`sort`](Self::sort). Equal elements stay in order.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, 1.0, 2.0, 1.0]));
    /// assert_eq!(x.argsort(0).array()?.to_f64_vec(), [1.0, 3.0, 0.0, 2.0]);
    /// assert_eq!(x.argsort_descending(0).array()?.to_f64_vec(), [0.0, 2.0, 1.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn argsort(self, axis: i32) -> Self {
        self.positions("argsort", axis, false, None)
    }

    /// The positions along an axis of its elements, the largest first, NaN last. Equal
    /// elements stay in order.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, 1.0, f64::NAN, 2.0]));
    /// assert_eq!(x.argsort_descending(0).array()?.to_f64_vec(), [0.0, 3.0, 1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn argsort_descending(self, axis: i32) -> Self {
        self.positions("argsort_descending", axis, true, None)
    }

    /// The `k` largest elements along the last axis, the largest first, and their
    /// positions (`i64`). Of equal elements the first comes first.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let (values, positions) = t.constant(ndarray::arr1(&[2.0, 5.0, 3.0])).top_k(2);
    /// assert_eq!(values.array()?.to_f64_vec(), [5.0, 3.0]);
    /// assert_eq!(positions.array()?.to_f64_vec(), [1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn top_k(self, k: usize) -> (Self, Self) {
        let _line = self.trace.line();
        let positions = self.positions("top_k", -1, true, Some(k));
        (self.take_along_axis(positions, -1), positions)
    }

    /// The middle one of the elements along an axis, which goes away; the mean of
    /// the middle two if their number is even. NaN if any is NaN. Elements that are
    /// equal to a middle one share its derivative equally.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[4.0, 1.0, 2.0, 9.0]));
    /// assert_eq!(x.median(0).array()?.to_f64_vec(), [3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn median(self, axis: i32) -> Self {
        let _line = self.trace.line();
        self.ranked("median", axis, &[0.5]).0
    }

    /// The median along an axis of the elements that are not NaN; NaN if there are
    /// none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[4.0, f64::NAN, 2.0, 9.0]));
    /// assert_eq!(x.nan_median(0).array()?.to_f64_vec(), [4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "nanmedian")]
    pub fn nan_median(self, axis: i32) -> Self {
        let _line = self.trace.line();
        let a = match self.some_along("nan_median", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let (shape, fixed) = (self.shape(), self.stop_gradient());
        let one: Shape = with_extent(&shape, a, 1);
        let count = fixed.is_nan().not().cast(DType::I64).reduce(Monoid::Sum, &[a]).reshape(one);
        let sorted = fixed.sort(a as i32);
        let last = (count - 1).maximum(0i64);
        // The middle two of an odd number are the same one.
        let low = last.floor_divide(2i64);
        let [low, high] = [low, last - low].map(|at| {
            let value = sorted.take_along_axis(at, a as i32).reshape(shape.without(&[a]));
            self.equal_to(value, a)
        });
        let none = count.reshape(shape.without(&[a])).eq(0i64);
        none.select(f64::NAN, low * 0.5 + high * 0.5)
    }

    /// The element along an axis, which goes away, below which a part `q` of the
    /// elements lies, `q` from 0 to 1: that at position `q · (n - 1)` of the sorted
    /// ones, linearly interpolated. NaN if any is NaN. Elements that are equal to one
    /// of the two neighbours share its derivative equally.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[4.0, 1.0, 2.0]));
    /// assert_eq!(x.quantile(0.75, 0).array()?.to_f64_vec(), [3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "percentile")]
    pub fn quantile(self, q: f64, axis: i32) -> Self {
        let _line = self.trace.line();
        self.ranked("quantile", axis, &[q]).0
    }

    /// Several [quantiles](Self::quantile) along an axis, which goes away; a new first
    /// axis counts them.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[4.0, 1.0, 2.0]));
    /// assert_eq!(x.quantiles([0.0, 1.0], 0).array()?.to_f64_vec(), [1.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn quantiles(self, qs: impl AsRef<[f64]>, axis: i32) -> Self {
        let _line = self.trace.line();
        let qs = qs.as_ref();
        if qs.is_empty() {
            let (ty, message) = (self.ty(), "expected at least one quantile");
            return self.mistake("quantiles", Problem::Parameter, message, ty);
        }
        let (first, rest) = self.ranked("quantiles", axis, qs);
        let all: Vec<Self> = std::iter::once(first).chain(rest).collect();
        self.trace.stack(all, 0)
    }

    /// For each value the number of elements of this sorted vector that are less: the
    /// first place (`i64`) where it can be put in without disorder. NaN counts as
    /// the largest. No derivative.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 2.0, 3.0]));
    /// let v = t.constant(ndarray::arr1(&[0.0, 2.0, 9.0]));
    /// assert_eq!(x.search_sorted(v).array()?.to_f64_vec(), [0.0, 1.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "searchsorted")]
    pub fn search_sorted(self, values: Tensor<'t>) -> Self {
        let _line = self.trace.line();
        let (ty, of) = (self.ty(), values.ty());
        let guess = of.with_dtype(DType::I64);
        let operands = [self, values];
        if ty.rank() != 1 || ty.dtype != of.dtype || ty.dtype == DType::Bool {
            let message = format!("expected a vector and values of its type, got {ty} and {of}");
            return self.trace.mistake("search_sorted", Problem::Shape, message, &operands, guess);
        }
        let n = ty.dims()[0] as i64;
        let mut below = self.trace.zeros(DType::I64, of.shape.clone());
        if n == 0 {
            return below;
        }
        let is_nan = |x: Self| x.ne(x);
        // Half of what is left each time: the number below is at least `below`.
        let mut step = 1i64 << n.ilog2();
        while step > 0 {
            let next = below + step;
            let element = self.take((next - 1).minimum(n - 1), 0);
            let less = element.lt(values).or(is_nan(values).and(is_nan(element).not()));
            below = next.le(n).and(less).select(next, below);
            step /= 2;
        }
        below
    }

    #[track_caller]
    fn sorted(self, operation: &'static str, axis: i32, descending: bool) -> Self {
        let _line = self.trace.line();
        let positions = self.positions(operation, axis, descending, None);
        match self.axis(operation, axis) {
            Ok(_) => self.take_along_axis(positions, axis),
            Err(poisoned) => poisoned,
        }
    }

    /// Positions of the first `take` elements in order; of all, if not given.
    #[track_caller]
    fn positions(
        self,
        operation: &'static str,
        axis: i32,
        descending: bool,
        take: Option<usize>,
    ) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        let a = match self.axis(operation, axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned.cast(DType::I64),
        };
        let n = ty.dims()[a];
        let take = take.unwrap_or(n);
        if take > n {
            let guess = Type::new(DType::I64, with_extent(&ty.shape, a, take));
            let message = format!("{take} of {n} elements");
            return self.mistake(operation, Problem::Parameter, message, guess);
        }
        let last = ty.rank() as i32 - 1;
        let x = self.stop_gradient().swap_axes(a as i32, last);
        let positions = self.trace.apply(ops::Argsort { descending, take }, &[x]);
        positions.swap_axes(a as i32, last)
    }

    /// The elements at these parts of the sorted axis: the first, and the others.
    #[track_caller]
    fn ranked(self, operation: &'static str, axis: i32, qs: &[f64]) -> (Self, Vec<Self>) {
        let fail = |poisoned: Self| (poisoned, vec![poisoned; qs.len() - 1]);
        let a = match self.some_along(operation, axis) {
            Ok(a) => a,
            Err(poisoned) => return fail(poisoned),
        };
        let shape = self.shape();
        let rest = shape.without(&[a]);
        if let Some(q) = qs.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            let message = format!("{q} is not between 0 and 1");
            let guess = self.ty().with_shape(rest);
            return fail(self.mistake(operation, Problem::Parameter, message, guess));
        }
        let n = shape.dims()[a];
        let place = |q: f64| q * (n - 1) as f64;
        let most = qs.iter().fold(0.0, |m: f64, &q| m.max(place(q).ceil())) as usize;
        let fixed = self.stop_gradient();
        let positions = fixed.positions(operation, a as i32, false, Some(most + 1));
        let at = |i: usize| {
            let place = positions.slice(a as i32, i as i64..i as i64 + 1, 1);
            self.equal_to(fixed.take_along_axis(place, a as i32).reshape(rest.clone()), a)
        };
        let wrong = fixed.is_nan().reduce(Monoid::Any, &[a]);
        let value = |&q: &f64| {
            let (low, part) = (place(q).floor(), place(q).fract());
            let value = match part {
                0.0 => at(low as usize),
                _ => at(low as usize) * (1.0 - part) + at(low as usize + 1) * part,
            };
            wrong.select(f64::NAN, value)
        };
        let mut all = qs.iter().map(value);
        let first = all.next().expect("at least one is asked for");
        (first, all.collect())
    }

    /// `value`, an element of each line along an axis, as a function of the elements
    /// that are equal to it.
    #[track_caller]
    fn equal_to(self, value: Self, axis: usize) -> Self {
        let all = value.unreduce(&self.shape(), &[axis]);
        let same = self.eq(all);
        let count = same.cast(self.dtype()).reduce(Monoid::Sum, &[axis]);
        // The mean of those that are equal, written as the value and differences from it
        // that are 0: exact, and infinite ones may be equal.
        let away = same.select(self.binary(Scalar::SubZ, all), 0);
        value + away.reduce(Monoid::Sum, &[axis]) / count
    }

    /// An axis of floats with at least one element. `Err` is the poisoned result.
    #[track_caller]
    fn some_along(self, operation: &'static str, axis: i32) -> Result<usize, Self> {
        self.floats(operation)?;
        let a = self.axis(operation, axis)?;
        let ty = self.ty();
        if ty.dims()[a] > 0 {
            return Ok(a);
        }
        let message = format!("axis {a} has no element");
        let guess = ty.with_shape(ty.shape.without(&[a]));
        Err(self.mistake(operation, Problem::Shape, message, guess))
    }
}

fn with_extent(shape: &Shape, axis: usize, extent: usize) -> Shape {
    let mut dims: Vec<usize> = shape.dims().into();
    dims[axis] = extent;
    dims.into()
}
