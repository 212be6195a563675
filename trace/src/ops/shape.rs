//! The same elements in another shape or order, and arrays put together.

use backstitch_ir::{DType, Shape, Type, ops};
use smallvec::SmallVec;

use crate::axes::Axes;
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;

impl<'t> Tensor<'t> {
    /// The same elements, row by row, in another shape of the same size.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 6, 1);
    /// assert_eq!(x.reshape([2, 3]).shape().dims(), [2, 3]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        let (shape, ty) = (shape.into(), self.ty());
        if ty.shape == shape {
            return self;
        }
        if shape.checked_len() != Some(ty.len()) {
            let message = format!("{} elements do not fill the shape {shape}", ty.len());
            return self.mistake("reshape", Problem::Shape, message, ty.with_shape(shape));
        }
        self.trace.apply(ops::Reshape { shape }, &[self])
    }

    /// All elements along one axis.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// assert_eq!(t.zeros(DType::F64, [2, 3]).flatten().shape().dims(), [6]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ravel")]
    pub fn flatten(self) -> Self {
        self.reshape([self.size()])
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]`.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.zeros(DType::F64, [2, 3, 4]);
    /// assert_eq!(x.permute([2, 0, 1]).shape().dims(), [4, 2, 3]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "transpose")]
    pub fn permute(self, axes: impl AsRef<[i32]>) -> Self {
        let ty = self.ty();
        let rank = ty.rank();
        let mut perm: SmallVec<[usize; 4]> = SmallVec::new();
        for &a in axes.as_ref() {
            match self.axis("permute", a) {
                Ok(a) => perm.push(a),
                Err(poisoned) => return poisoned,
            }
        }
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..rank) {
            let message = format!("{:?} is no order of {rank} axes", axes.as_ref());
            return self.mistake("permute", Problem::Axis, message, ty);
        }
        self.reorder(perm)
    }

    #[track_caller]
    pub(crate) fn reorder(self, perm: SmallVec<[usize; 4]>) -> Self {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return self;
        }
        self.trace.apply(ops::Permute { perm }, &[self])
    }

    /// The axes in reverse order; of a matrix, the transpose.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0, 3.0]]));
    /// assert_eq!(x.transpose().shape().dims(), [3, 1]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn transpose(self) -> Self {
        self.reorder((0..self.rank()).rev().collect())
    }

    /// With two axes exchanged.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.zeros(DType::F64, [2, 3, 4]);
    /// assert_eq!(x.swap_axes(0, -1).shape().dims(), [4, 3, 2]);
    /// ```
    #[track_caller]
    #[doc(alias = "swapaxes")]
    pub fn swap_axes(self, a: i32, b: i32) -> Self {
        let (a, b) = match (self.axis("swap_axes", a), self.axis("swap_axes", b)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(poisoned), _) | (_, Err(poisoned)) => return poisoned,
        };
        let mut perm: SmallVec<[usize; 4]> = (0..self.rank()).collect();
        perm.swap(a, b);
        self.reorder(perm)
    }

    /// With an axis moved to another place; the others keep their order.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.zeros(DType::F64, [2, 3, 4]);
    /// assert_eq!(x.move_axis(0, -1).shape().dims(), [3, 4, 2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "moveaxis")]
    pub fn move_axis(self, from: i32, to: i32) -> Self {
        let (from, to) = match (self.axis("move_axis", from), self.axis("move_axis", to)) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(poisoned), _) | (_, Err(poisoned)) => return poisoned,
        };
        let mut perm: SmallVec<[usize; 4]> = (0..self.rank()).collect();
        let moved = perm.remove(from);
        perm.insert(to, moved);
        self.reorder(perm)
    }

    /// With a new axis of extent 1, which is axis `axis` of the result.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.zeros(DType::F64, [2, 3]);
    /// assert_eq!(x.expand_dims(-1).shape().dims(), [2, 3, 1]);
    /// assert_eq!(x.expand_dims(-1).squeeze(()).shape().dims(), [2, 3]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "newaxis")]
    #[doc(alias = "unsqueeze")]
    pub fn expand_dims(self, axis: i32) -> Self {
        let ty = self.ty();
        let axis = match crate::axes::axis(axis, ty.rank() + 1) {
            Ok(axis) => axis,
            Err(message) => return self.mistake("expand_dims", Problem::Axis, message, ty),
        };
        self.insert_axis(axis)
    }

    #[track_caller]
    pub(crate) fn insert_axis(self, axis: usize) -> Self {
        let mut dims: SmallVec<[usize; 4]> = self.shape().dims().into();
        dims.insert(axis, 1);
        self.reshape(dims.as_slice())
    }

    /// Without these axes, each of extent 1.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.zeros(DType::F64, [1, 3, 1]);
    /// assert_eq!(x.squeeze(0).shape().dims(), [3, 1]);
    /// assert_eq!(x.squeeze(()).shape().dims(), [3]);
    /// ```
    #[track_caller]
    pub fn squeeze(self, axes: impl Into<Axes>) -> Self {
        let ty = self.ty();
        let axes = match axes.into() {
            Axes::All => (0..ty.rank()).filter(|&a| ty.dims()[a] == 1).collect(),
            list => match list.resolve(ty.rank()) {
                Ok(axes) => axes,
                Err(message) => return self.mistake("squeeze", Problem::Axis, message, ty),
            },
        };
        if let Some(&a) = axes.iter().find(|&&a| ty.dims()[a] != 1) {
            let message = format!("axis {a} has extent {}, not 1", ty.dims()[a]);
            let guess = ty.with_shape(ty.shape.without(&axes));
            return self.mistake("squeeze", Problem::Shape, message, guess);
        }
        self.reshape(ty.shape.without(&axes))
    }

    /// Repeated to that shape, as NumPy stretches.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 2, 1).broadcast_to([2, 2]);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Self {
        let (shape, ty) = (shape.into(), self.ty());
        if ty.shape.broadcast(&shape).as_ref() != Some(&shape) {
            let message = format!("{} does not stretch to {shape}", ty.shape);
            return self.mistake("broadcast_to", Problem::Shape, message, ty.with_shape(shape));
        }
        self.stretch(&shape)
    }

    /// In reverse order along these axes.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.range(0, 3, 1).flip(0).array()?.to_f64_vec(), [2.0, 1.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "reverse")]
    #[track_caller]
    pub fn flip(self, axes: impl Into<Axes>) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        match axes.into().resolve(ty.rank()) {
            Ok(axes) => axes.iter().fold(self, |x, &a| x.slice(a as i32, .., -1)),
            Err(message) => self.mistake("flip", Problem::Axis, message, ty),
        }
    }

    /// Rotated along an axis: what leaves at the end comes in at the start. Along
    /// several axes, one after the other.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.range(0, 4, 1).roll(1, 0).array()?.to_f64_vec(), [3.0, 0.0, 1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn roll(self, shift: i64, axis: i32) -> Self {
        let ty = self.ty();
        let a = match self.axis("roll", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let n = ty.dims()[a] as i64;
        if n == 0 {
            return self;
        }
        let cut = n - shift.rem_euclid(n);
        if cut == n {
            return self;
        }
        self.trace.concat([self.slice(axis, cut.., 1), self.slice(axis, ..cut, 1)], axis)
    }

    /// Each slice along an axis repeated in place.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.range(1, 3, 1).repeat(2, 0).array()?.to_f64_vec(), [1.0, 1.0, 2.0, 2.0]);
    /// assert_eq!(t.range(1, 3, 1).tile([2]).array()?.to_f64_vec(), [1.0, 2.0, 1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn repeat(self, times: usize, axis: i32) -> Self {
        let ty = self.ty();
        let a = match self.axis("repeat", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let mut spread: SmallVec<[usize; 6]> = ty.dims().into();
        spread.insert(a + 1, times);
        let dims: SmallVec<[usize; 4]> = (0..=ty.rank()).filter(|&d| d != a + 1).collect();
        let mut flat: SmallVec<[usize; 4]> = ty.dims().into();
        flat[a] = flat[a].saturating_mul(times);
        self.spread(&spread.as_slice().into(), &dims).reshape(flat.as_slice())
    }

    /// The whole array repeated along each axis; there may be more repetitions
    /// than axes.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(1, 3, 1);
    /// assert_eq!(x.tile([2]).array()?.to_f64_vec(), [1.0, 2.0, 1.0, 2.0]);
    /// assert_eq!(x.tile([3, 1]).shape().dims(), [3, 2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn tile(self, times: impl AsRef<[usize]>) -> Self {
        let times = times.as_ref();
        let mut dims: SmallVec<[usize; 4]> = self.shape().dims().into();
        while dims.len() < times.len() {
            dims.insert(0, 1);
        }
        let lead = dims.len() - times.len();
        let count = |i: usize| if i < lead { 1 } else { times[i - lead] };
        let spread: Shape = (0..dims.len()).flat_map(|i| [count(i), dims[i]]).collect();
        let places: SmallVec<[usize; 4]> = (0..dims.len()).map(|i| 2 * i + 1).collect();
        let flat: Shape = (0..dims.len()).map(|i| count(i).saturating_mul(dims[i])).collect();
        self.reshape(dims.as_slice()).spread(&spread, &places).reshape(flat)
    }
}

impl Trace {
    /// Arrays one after the other along an axis.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.ones(backstitch_trace::DType::F64, [2, 2]);
    /// assert_eq!(t.concat([x, x, x], 0).shape().dims(), [6, 2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "concatenate")]
    pub fn concat<'t>(&'t self, parts: impl AsRef<[Tensor<'t>]>, axis: i32) -> Tensor<'t> {
        let parts = parts.as_ref();
        let Some(&first) = parts.first() else {
            let message = "there is nothing to put together";
            return self.mistake(
                "concat",
                Problem::Parameter,
                message,
                &[],
                Type::scalar(DType::F64),
            );
        };
        let axis = match first.axis("concat", axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        if let [one] = parts {
            return *one;
        }
        let ty = first.ty();
        let rest = ty.shape.without(&[axis]);
        for &part in &parts[1..] {
            let other = part.ty();
            let same = other.rank() == ty.rank() && other.shape.without(&[axis]) == rest;
            let (problem, message) = if !same {
                let message =
                    format!("{} and {} differ outside axis {axis}", ty.shape, other.shape);
                (Problem::Shape, message)
            } else if other.dtype != ty.dtype {
                (Problem::DType, format!("element types {} and {} differ", ty.dtype, other.dtype))
            } else {
                continue;
            };
            return self.mistake("concat", problem, message, &[first, part], ty);
        }
        self.apply(ops::Concat { axis }, parts)
    }

    /// Arrays of one shape along a new axis, which is axis `axis` of the result.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(0, 3, 1);
    /// assert_eq!(t.stack([x, x], 0).shape().dims(), [2, 3]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn stack<'t>(&'t self, parts: impl AsRef<[Tensor<'t>]>, axis: i32) -> Tensor<'t> {
        let parts = parts.as_ref();
        let Some(&first) = parts.first() else {
            let message = "there is nothing to put together";
            return self.mistake(
                "stack",
                Problem::Parameter,
                message,
                &[],
                Type::scalar(DType::F64),
            );
        };
        let ty = first.ty();
        let at = match crate::axes::axis(axis, ty.rank() + 1) {
            Ok(at) => at,
            Err(message) => return self.mistake("stack", Problem::Axis, message, &[first], ty),
        };
        for &part in &parts[1..] {
            let other = part.ty();
            if other != ty {
                let message = format!("{ty} and {other} differ");
                return self.mistake("stack", Problem::Shape, message, &[first, part], ty);
            }
        }
        let _line = self.line();
        let parts: Vec<_> = parts.iter().map(|p| p.insert_axis(at)).collect();
        self.concat(parts, at as i32)
    }

    /// Coordinate arrays of a grid: result `i` has the shape of the grid and is
    /// `axes[i]` along axis `i`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let grid = t.grid([t.range(0, 2, 1), t.range(5, 8, 1)]);
    /// assert_eq!(grid[0].array()?.to_f64_vec(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    /// assert_eq!(grid[1].array()?.to_f64_vec(), [5.0, 6.0, 7.0, 5.0, 6.0, 7.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "meshgrid")]
    pub fn grid<'t>(&'t self, axes: impl AsRef<[Tensor<'t>]>) -> Vec<Tensor<'t>> {
        let _line = self.line();
        self.coordinates("grid", axes.as_ref(), false)
    }

    /// [`grid`](Self::grid) with the first two axes of the results exchanged, as for
    /// pictures, whose rows are `y`: NumPy's `xy`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let grid = t.grid_xy([t.range(0, 2, 1), t.range(5, 8, 1)]);
    /// assert_eq!(grid[0].array()?.to_f64_vec(), [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "meshgrid")]
    pub fn grid_xy<'t>(&'t self, axes: impl AsRef<[Tensor<'t>]>) -> Vec<Tensor<'t>> {
        let _line = self.line();
        self.coordinates("grid_xy", axes.as_ref(), true)
    }

    #[track_caller]
    fn coordinates<'t>(
        &'t self,
        operation: &'static str,
        axes: &[Tensor<'t>],
        exchanged: bool,
    ) -> Vec<Tensor<'t>> {
        let mut places: SmallVec<[usize; 4]> = (0..axes.len()).collect();
        if exchanged && axes.len() > 1 {
            places.swap(0, 1);
        }
        let shape: Shape = places.iter().map(|&i| axes[i].size()).collect();
        if shape.checked_len().is_none() {
            let message = format!("a grid {shape} does not fit in memory");
            let wrong =
                |x: &Tensor<'t>| x.mistake(operation, Problem::Shape, message.clone(), x.ty());
            return axes.iter().map(wrong).collect();
        }
        let spread = |(i, x): (usize, &Tensor<'t>)| {
            let ty = x.ty();
            if ty.rank() != 1 {
                let message = format!("expected one axis, got {ty}");
                return x.mistake(operation, Problem::Shape, message, ty.with_shape(shape.clone()));
            }
            x.spread(&shape, &[places[i]])
        };
        axes.iter().enumerate().map(spread).collect()
    }
}
