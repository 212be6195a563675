//! Parts of arrays: taken, replaced and added to.

use backstitch_ir::{Const, DType, Shape, ops};
use smallvec::SmallVec;

use crate::axes::Bounds;
use crate::mistake::Problem;
use crate::number::Operand;
use crate::tensor::Tensor;

/// Tensors that one call gives at most.
const MOST_PARTS: usize = 1 << 16;

impl<'t> Tensor<'t> {
    /// Every `step`th element along an axis, by Python's rules: negative bounds
    /// count from the end, a negative step goes backwards.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 5, 1);
    /// assert_eq!(x.slice(0, (1, -1), 1).array()?.to_f64_vec(), [1.0, 2.0, 3.0]);
    /// assert_eq!(x.slice(0, .., -2).array()?.to_f64_vec(), [4.0, 2.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn slice(self, axis: i32, range: impl Into<Bounds>, step: i64) -> Self {
        let ty = self.ty();
        let axis = match self.axis("slice", axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        let Some(stride) = isize::try_from(step).ok().filter(|&s| s != 0) else {
            let message = format!("a step of {step}");
            return self.mistake("slice", Problem::Parameter, message, ty);
        };
        let extent = ty.dims()[axis];
        let (start, len) = range.into().resolve(extent, step);
        if (start, len, stride) == (0, extent, 1) {
            return self;
        }
        let whole = |&len: &usize| ops::SliceAxis { start: 0, len, step: 1 };
        let mut axes: SmallVec<[ops::SliceAxis; 4]> = ty.dims().iter().map(whole).collect();
        axes[axis] = ops::SliceAxis { start, len, step: stride };
        self.trace.apply(ops::Slice { axes }, &[self])
    }

    /// The slice at one index of an axis, which goes away. Negative indices count
    /// from the end.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.index(0, -1).array()?.to_f64_vec(), [3.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn index(self, axis: i32, index: i64) -> Self {
        let ty = self.ty();
        let a = match self.axis("index", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let (extent, rest) = (ty.dims()[a], ty.shape.without(&[a]));
        let at = if index < 0 { index.saturating_add(extent as i64) } else { index };
        if at < 0 || at >= extent as i64 {
            let message = format!("index {index} of an axis of extent {extent}");
            return self.mistake("index", Problem::Parameter, message, ty.with_shape(rest));
        }
        self.slice(axis, at..at + 1, 1).reshape(rest)
    }

    /// Parts of these sizes along an axis, one after the other.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let parts = t.range(0, 5, 1).split(0, [2, 3]);
    /// assert_eq!(parts[0].array()?.to_f64_vec(), [0.0, 1.0]);
    /// assert_eq!(parts[1].array()?.to_f64_vec(), [2.0, 3.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn split(self, axis: i32, sizes: impl AsRef<[usize]>) -> Vec<Self> {
        let _line = self.trace.line();
        let (ty, sizes) = (self.ty(), sizes.as_ref());
        let sum = sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s));
        let extent = match self.axis("split", axis) {
            Ok(a) => ty.dims()[a],
            Err(poisoned) => return vec![poisoned; sizes.len()],
        };
        if sum != Some(extent) {
            let message = format!("sizes {sizes:?} do not add up to {extent}");
            let poisoned = self.mistake("split", Problem::Parameter, message, ty);
            return vec![poisoned; sizes.len()];
        }
        let mut at = 0;
        let part = |&size: &usize| {
            let start = at;
            at += size as i64;
            self.slice(axis, start..at, 1)
        };
        sizes.iter().map(part).collect()
    }

    /// Parts of one size along an axis: as many as asked for, which divides the extent.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let parts = t.range(0, 6, 1).split_into(0, 3);
    /// assert_eq!(parts[2].array()?.to_f64_vec(), [4.0, 5.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "array_split")]
    pub fn split_into(self, axis: i32, parts: usize) -> Vec<Self> {
        let ty = self.ty();
        let a = match self.axis("split_into", axis) {
            Ok(a) => a,
            Err(poisoned) => return vec![poisoned; parts.min(MOST_PARTS)],
        };
        if parts == 0 || parts > MOST_PARTS || !ty.dims()[a].is_multiple_of(parts) {
            let message = format!("an axis of extent {} has no {parts} equal parts", ty.dims()[a]);
            let poisoned = self.mistake("split_into", Problem::Parameter, message, ty);
            return vec![poisoned; parts.min(MOST_PARTS)];
        }
        self.split(axis, vec![ty.dims()[a] / parts; parts])
    }

    /// The slices at each index of an axis, which goes away.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let rows = t.range(0, 6, 1).reshape([3, 2]).unstack(0);
    /// assert_eq!(rows[2].array()?.to_f64_vec(), [4.0, 5.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "unbind")]
    pub fn unstack(self, axis: i32) -> Vec<Self> {
        let _line = self.trace.line();
        let Ok(a) = self.axis("unstack", axis) else { return Vec::new() };
        let ty = self.ty();
        let n = ty.dims()[a];
        if n > MOST_PARTS {
            let message = format!("{n} slices are too many to be had one by one; use `scan`");
            self.mistake("unstack", Problem::Parameter, message, ty);
            return Vec::new();
        }
        (0..n as i64).map(|i| self.index(axis, i)).collect()
    }

    /// This array with what [`slice`](Self::slice) would take replaced by these values,
    /// which are stretched. Any element type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 5, 1);
    /// assert_eq!(x.slice_update(0, .., 2, 9).array()?.to_f64_vec(), [9., 1., 9., 3., 9.]);
    /// let two = t.range(7, 9, 1);
    /// assert_eq!(x.slice_update(0, (1, -2), 1, two).array()?.to_f64_vec(), [0., 7., 8., 3., 4.]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// A part of several axes is updated from the inside out: a slice of `x` that is
    /// itself updated goes back into `x`.
    #[track_caller]
    #[doc(alias = "dynamic_update_slice")]
    #[doc(alias = "at")]
    pub fn slice_update(
        self,
        axis: i32,
        range: impl Into<Bounds>,
        step: i64,
        values: impl Into<Operand<'t>>,
    ) -> Self {
        match self.at("slice_update", axis, range.into(), step, values.into()) {
            Ok(Some((there, values))) => there.select(values, self),
            Ok(None) => self,
            Err(poisoned) => poisoned,
        }
    }

    /// This array with these values, which are stretched, added to what
    /// [`slice`](Self::slice) would take.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 5, 1).slice_add(0, 3.., 1, 10);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.0, 1.0, 2.0, 13.0, 14.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "at")]
    pub fn slice_add(
        self,
        axis: i32,
        range: impl Into<Bounds>,
        step: i64,
        values: impl Into<Operand<'t>>,
    ) -> Self {
        match self.at("slice_add", axis, range.into(), step, values.into()) {
            Ok(Some((_, values))) => self + values,
            Ok(None) => self,
            Err(poisoned) => poisoned,
        }
    }

    /// This array with the slice at one index of an axis replaced. Negative indices
    /// count from the end.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 3, 1).index_update(0, -1, 9);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.0, 1.0, 9.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn index_update(self, axis: i32, index: i64, values: impl Into<Operand<'t>>) -> Self {
        match self.at_index("index_update", axis, index, values.into()) {
            Ok((range, values)) => self.slice_update(axis, range, 1, values),
            Err(poisoned) => poisoned,
        }
    }

    /// This array with values added to the slice at one index of an axis. Negative
    /// indices count from the end.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 3, 1).index_add(0, -1, 9);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.0, 1.0, 11.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn index_add(self, axis: i32, index: i64, values: impl Into<Operand<'t>>) -> Self {
        match self.at_index("index_add", axis, index, values.into()) {
            Ok((range, values)) => self.slice_add(axis, range, 1, values),
            Err(poisoned) => poisoned,
        }
    }

    /// The part that an index means, and values with that axis. `Err` is the poisoned
    /// result.
    #[track_caller]
    fn at_index(
        self,
        operation: &'static str,
        axis: i32,
        index: i64,
        values: Operand<'t>,
    ) -> Result<(Bounds, Operand<'t>), Self> {
        let ty = self.ty();
        let a = self.axis(operation, axis)?;
        let extent = ty.dims()[a] as i64;
        let at = if index < 0 { index.saturating_add(extent) } else { index };
        if at < 0 || at >= extent {
            let message = format!("index {index} of axis {a}, which has extent {extent}");
            return Err(self.mistake(operation, Problem::Parameter, message, ty));
        }
        let values = match values {
            // Aligned at the end, the values have the axes behind this one.
            Operand::Tensor(x) if x.rank() + a >= ty.rank() => {
                Operand::Tensor(x.insert_axis(x.rank() + 1 + a - ty.rank()))
            }
            as_they_are => as_they_are,
        };
        Ok(((at..at + 1).into(), values))
    }

    /// Where a slice is taken, and values with zeros around in its place; `None` where
    /// it is empty. `Err` is the poisoned result.
    #[track_caller]
    fn at(
        self,
        operation: &'static str,
        axis: i32,
        range: Bounds,
        step: i64,
        values: Operand<'t>,
    ) -> Result<Option<(Self, Self)>, Self> {
        let _line = self.trace.line();
        let ty = self.ty();
        let a = self.axis(operation, axis)?;
        if step == 0 {
            return Err(self.mistake(operation, Problem::Parameter, "a step of 0", ty));
        }
        let (extent, whole) = (ty.dims()[a], ty.shape.clone());
        let (start, len) = range.resolve(extent, step);
        let mut dims: SmallVec<[usize; 4]> = ty.dims().into();
        dims[a] = len;
        let part = Shape::from(dims.as_slice());
        let [_, values] = self.trace.tensors(operation, [self.into(), values]);
        if values.shape().broadcast(&part).as_ref() != Some(&part) {
            let message = format!("values {} do not stretch to {part}", values.shape());
            let operands = [self, values];
            return Err(self.trace.mistake(operation, Problem::Shape, message, &operands, ty));
        }
        if values.dtype() != ty.dtype {
            let message = format!("values are {}, not {}; `cast` them", values.dtype(), ty.dtype);
            let operands = [self, values];
            return Err(self.trace.mistake(operation, Problem::DType, message, &operands, ty));
        }
        if len == 0 {
            return Ok(None);
        }
        let values = values.stretch(&part);
        let values = if step < 0 { values.flip(a as i32) } else { values };
        let away = step.unsigned_abs() as usize;
        // With one element, the step is never taken.
        let inner = if len > 1 { away - 1 } else { 0 };
        let reach = (len - 1) * (inner + 1);
        let first = if step < 0 { start - reach } else { start };
        let around = ops::PadAxis { lo: first, hi: extent - first - reach - 1, inner };
        let put = |x: Self, at: usize| {
            let mut axes: SmallVec<[ops::PadAxis; 4]> =
                SmallVec::from_elem(ops::PadAxis::NONE, x.rank());
            axes[at] = around;
            let value = Const::of_int(x.dtype(), 0);
            x.trace.apply(ops::Pad { axes, value }, &[x])
        };
        let there = put(self.trace.ones(DType::Bool, [len]), 0).spread(&whole, &[a]);
        Ok(Some((there, put(values, a))))
    }
}
