//! Arrays with a margin.

use backstitch_ir::{Shape, ops};
use smallvec::SmallVec;

use crate::mistake::Problem;
use crate::number::Number;
use crate::tensor::Tensor;

/// What a margin is filled with that is not one number: see
/// [`Tensor::pad_with`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PadMode {
    /// The nearest element: `a a [a b c] c c`.
    Edge,
    /// The elements mirrored at the first and the last, which are not repeated:
    /// `c b [a b c] b a`.
    Reflect,
    /// The elements mirrored before the first and behind the last: `b a [a b c] c b`.
    Symmetric,
    /// The elements again: `b c [a b c] a b`.
    Wrap,
}

impl<'t> Tensor<'t> {
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
        if let Err(poisoned) = self.margins("pad", margins) {
            return poisoned;
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

    /// With elements of its own put before and after those of each axis: `(before,
    /// after)` per axis. A margin may be longer than the array: the pattern goes on, as
    /// in NumPy. One element reflected is that element. An axis without elements has
    /// nothing to put there, which is a mistake.
    ///
    /// ```
    /// # use backstitch_trace::{PadMode, Trace};
    /// let t = Trace::eager();
    /// let x = t.range(1, 4, 1);
    /// let reflected = x.pad_with([(2, 3)], PadMode::Reflect);
    /// assert_eq!(reflected.array()?.to_f64_vec(), [3., 2., 1., 2., 3., 2., 1., 2.]);
    /// let edge = x.pad_with([(2, 0)], PadMode::Edge);
    /// assert_eq!(edge.array()?.to_f64_vec(), [1., 1., 1., 2., 3.]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn pad_with(self, margins: impl AsRef<[(usize, usize)]>, mode: PadMode) -> Self {
        let _line = self.trace.line();
        let (ty, margins) = (self.ty(), margins.as_ref());
        if let Err(poisoned) = self.margins("pad_with", margins) {
            return poisoned;
        }
        let empty = (0..ty.rank()).find(|&a| ty.dims()[a] == 0 && margins[a] != (0, 0));
        if let Some(a) = empty {
            let message = format!("axis {a} has no element to fill a margin with");
            return self.mistake("pad_with", Problem::Shape, message, ty);
        }
        let wanted = margins.iter().enumerate().filter(|&(_, &m)| m != (0, 0));
        wanted.fold(self, |x, (a, &(lo, hi))| x.pad_axis(mode, a as i32, lo, hi))
    }

    /// Checks that there is a margin for each axis, and that the result has a size.
    #[track_caller]
    fn margins(self, operation: &'static str, margins: &[(usize, usize)]) -> Result<(), Self> {
        let ty = self.ty();
        if margins.len() != ty.rank() {
            let message = format!("{} margins for {} axes", margins.len(), ty.rank());
            return Err(self.mistake(operation, Problem::Parameter, message, ty));
        }
        let extent =
            |(&n, &(lo, hi)): (&usize, &(usize, usize))| n.checked_add(lo)?.checked_add(hi);
        let padded: Option<Vec<usize>> = ty.dims().iter().zip(margins).map(extent).collect();
        let fits = padded.map(Shape::from_iter).and_then(|s| s.checked_len());
        if fits.is_none() {
            let message = "the array with its margins does not fit in memory";
            return Err(self.mistake(operation, Problem::Shape, message, ty));
        }
        Ok(())
    }

    #[track_caller]
    fn pad_axis(self, mode: PadMode, axis: i32, lo: usize, hi: usize) -> Self {
        let n = self.shape().dims()[axis as usize];
        let (l, h, len) = (lo as i64, hi as i64, n as i64);
        // How far the margin is a piece of the array as it is or mirrored.
        let reach = if mode == PadMode::Reflect { n - 1 } else { n };
        let piece = |from: i64, to: i64| self.slice(axis, from..to, 1);
        let mirrored = |from, to| piece(from, to).flip(axis);
        let (before, after) = match mode {
            _ if mode == PadMode::Edge || n == 1 => {
                (piece(0, 1).repeat(lo, axis), piece(len - 1, len).repeat(hi, axis))
            }
            _ if lo > reach || hi > reach => return self.pad_beyond(mode, axis, lo, hi),
            PadMode::Reflect => (mirrored(1, l + 1), mirrored(len - 1 - h, len - 1)),
            PadMode::Symmetric => (mirrored(0, l), mirrored(len - h, len)),
            PadMode::Wrap | PadMode::Edge => (piece(len - l, len), piece(0, h)),
        };
        let parts = [(lo, before), (n, self), (hi, after)];
        let parts: Vec<_> = parts.into_iter().filter(|p| p.0 > 0).map(|p| p.1).collect();
        self.trace.concat(parts, axis)
    }

    /// By a piece out of many periods of the pattern.
    #[track_caller]
    fn pad_beyond(self, mode: PadMode, axis: i32, lo: usize, hi: usize) -> Self {
        let back = self.flip(axis);
        let period = match mode {
            PadMode::Reflect => self.trace.concat([self, back.slice(axis, (1, -1), 1)], axis),
            PadMode::Symmetric => self.trace.concat([self, back], axis),
            PadMode::Edge | PadMode::Wrap => self,
        };
        let dims = period.shape();
        let (n, each) = (self.shape().dims()[axis as usize], dims.dims()[axis as usize]);
        let start = (each - lo % each) % each;
        let end = start + lo + n + hi;
        let mut times: SmallVec<[usize; 4]> = SmallVec::from_elem(1, dims.rank());
        times[axis as usize] = end.div_ceil(each);
        period.tile(times).slice(axis, start as i64..end as i64, 1)
    }
}
