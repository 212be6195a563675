//! Parts of arrays, and arrays with a margin.

use backstitch_ir::ops;
use smallvec::SmallVec;

use crate::axes::Bounds;
use crate::mistake::Problem;
use crate::number::Number;
use crate::tensor::Tensor;

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

    /// With a number put before and after the elements of each axis: `(before,
    /// after)` per axis.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(1, 3, 1).pad([(1, 2)], 9);
    /// assert_eq!(x.array()?.to_f64_vec(), [9.0, 1.0, 2.0, 9.0, 9.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn pad(self, margins: impl AsRef<[(usize, usize)]>, value: impl Into<Number>) -> Self {
        let (ty, margins, value) = (self.ty(), margins.as_ref(), value.into());
        if margins.len() != ty.rank() {
            let message = format!("{} margins for {} axes", margins.len(), ty.rank());
            return self.mistake("pad", Problem::Parameter, message, ty);
        }
        let Some(value) = value.to(ty.dtype) else {
            let message = format!("{value} is no {}", ty.dtype);
            return self.mistake("pad", Problem::DType, message, ty);
        };
        let axis = |&(lo, hi): &(usize, usize)| ops::PadAxis { lo, hi, inner: 0 };
        let axes: SmallVec<[ops::PadAxis; 4]> = margins.iter().map(axis).collect();
        if margins.iter().all(|&m| m == (0, 0)) {
            return self;
        }
        self.trace.apply(ops::Pad { axes, value }, &[self])
    }
}
