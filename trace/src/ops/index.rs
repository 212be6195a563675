//! Elements picked by index, and added to by index.
//!
//! Indices in tensors count from 0; a negative one is out of range. Where indices
//! are known while the program is written down (in eager mode, and of constants), one
//! out of range is a mistake. Otherwise nobody can be told: the compiled program takes
//! it as the nearest index in range, and never reads or writes outside the array.
//! (Indices that are plain numbers, as of [`Tensor::index`], may be negative: they
//! count from the end.)

use backstitch_ir::{Array, DType, Shape, Type, ops};
use rustc_hash::FxHashSet;

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The slices along an axis at these indices (integers, of any shape): the
    /// axis is replaced by the axes of the index.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let i = t.constant(ndarray::arr1(&[1, 0, 1]));
    /// assert_eq!(x.take(i, 0).array()?.to_f64_vec(), [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Mistakes
    /// An axis that is not there, indices that are no integers, an index that is known
    /// and out of range (see [`gather_nd`](Self::gather_nd) for several axes at once).
    #[track_caller]
    #[doc(alias = "gather")]
    pub fn take(self, index: Tensor<'t>, axis: i32) -> Self {
        let (ty, index_ty) = (self.ty(), index.ty());
        let axis = match self.axis("take", axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        let (head, tail) = (&ty.dims()[..axis], &ty.dims()[axis + 1..]);
        let shape = head.iter().chain(index_ty.dims()).chain(tail).copied().collect::<Shape>();
        let guess = ty.with_shape(shape);
        if !index_ty.dtype.is_int() {
            let message = format!("indices are integers, not {}", index_ty.dtype);
            return self.trace.mistake("take", Problem::DType, message, &[self, index], guess);
        }
        if ty.dims()[axis] == 0 && !index_ty.is_empty() {
            let message = format!("axis {axis} has no element to take");
            return self.trace.mistake("take", Problem::Shape, message, &[self, index], guess);
        }
        if let Some(message) = index.out_of_range(ty.dims()[axis], &format!("axis {axis}")) {
            return self.trace.mistake("take", Problem::Parameter, message, &[self, index], guess);
        }
        self.trace.apply(ops::Gather { axis }, &[self, index])
    }

    /// The elements at these indices along an axis, one for each element of the
    /// index, which has the same extents along the other axes.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let i = t.constant(ndarray::arr2(&[[1], [0]]));
    /// assert_eq!(x.take_along_axis(i, 1).array()?.to_f64_vec(), [2.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "gather")]
    pub fn take_along_axis(self, index: Tensor<'t>, axis: i32) -> Self {
        let (ty, index_ty) = (self.ty(), index.ty());
        let a = match self.axis("take_along_axis", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let fits = ty.rank() == index_ty.rank()
            && ty.shape.without(&[a]) == index_ty.shape.without(&[a])
            && index_ty.dtype.is_int();
        let operands = [self, index];
        let guess = || ty.with_shape(index_ty.shape.clone());
        if !fits {
            let message =
                format!("expected integers with the extents of {} but along axis {a}", ty.shape);
            let problem = Problem::Shape;
            return self.trace.mistake("take_along_axis", problem, message, &operands, guess());
        }
        if ty.dims()[a] == 0 && !index_ty.is_empty() {
            let message = format!("axis {a} has no element to take");
            let problem = Problem::Shape;
            return self.trace.mistake("take_along_axis", problem, message, &operands, guess());
        }
        if let Some(message) = index.out_of_range(ty.dims()[a], &format!("axis {a}")) {
            let problem = Problem::Parameter;
            return self.trace.mistake("take_along_axis", problem, message, &operands, guess());
        }
        // The position of each element in the flattened array.
        let last = (ty.dims()[a] as i64 - 1).max(0);
        let strides = ty.shape.strides();
        let mut at = index.cast(DType::I64).clip(0i64, last) * strides[a] as i64;
        for (axis, &stride) in strides.iter().enumerate() {
            if axis != a && ty.dims()[axis] > 1 {
                at = at + self.trace.iota(DType::I64, index_ty.shape.clone(), axis) * stride as i64;
            }
        }
        self.flatten().take(at, 0)
    }

    /// The slices at these index tuples: the last axis of the index counts the
    /// leading axes of this array that are indexed.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let i = t.constant(ndarray::arr2(&[[1, 0], [0, 1]]));
    /// assert_eq!(x.gather_nd(i).array()?.to_f64_vec(), [3.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn gather_nd(self, index: Tensor<'t>) -> Self {
        let (ty, index_ty) = (self.ty(), index.ty());
        let depth = index_ty.dims().last().copied().unwrap_or(usize::MAX);
        if depth > ty.rank() || !index_ty.dtype.is_int() {
            let message = format!("{index_ty} does not index {ty}");
            let operands = [self, index];
            return self.trace.mistake("gather_nd", Problem::Shape, message, &operands, ty);
        }
        let (indexed, rest) = ty.dims().split_at(depth);
        if let Some((at, i)) = index.first_outside(|at| indexed[at % depth]) {
            let axis = at % depth;
            let message = format!("index {i} of axis {axis}, which has extent {}", indexed[axis]);
            let operands = [self, index];
            return self.trace.mistake("gather_nd", Problem::Parameter, message, &operands, ty);
        }
        let last = index_ty.rank() as i32 - 1;
        let mut at = self.trace.zeros(DType::I64, &index_ty.dims()[..last as usize]);
        for (i, &extent) in indexed.iter().enumerate() {
            let part = index.index(last, i as i64).cast(DType::I64);
            at = at * extent as i64 + part.clip(0i64, (extent as i64 - 1).max(0));
        }
        let flat: Shape =
            std::iter::once(indexed.iter().product()).chain(rest.iter().copied()).collect();
        self.reshape(flat).take(at, 0)
    }

    /// This array with the slices of `updates` added at these indices of an
    /// axis; repeated indices add up. `updates` has the type that [`take`](Self::take)
    /// would give.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let i = t.constant(ndarray::arr1(&[0, 2, 0]));
    /// let u = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let x = t.zeros(DType::F64, [3]).scatter_add(i, u, 0);
    /// assert_eq!(x.array()?.to_f64_vec(), [4.0, 0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "index_add")]
    pub fn scatter_add(self, index: Tensor<'t>, updates: Tensor<'t>, axis: i32) -> Self {
        match self.scatter_axis("scatter_add", index, updates, axis) {
            Ok(axis) => self.trace.apply(ops::ScatterAdd { axis }, &[self, index, updates]),
            Err(poisoned) => poisoned,
        }
    }

    /// This array with slices replaced at these indices of an axis. Indices are
    /// distinct, which is checked where they are known; of equal ones, the updates
    /// would add up. Any element type.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let i = t.constant(ndarray::arr1(&[0, 2]));
    /// let u = t.constant(ndarray::arr1(&[5.0, 6.0]));
    /// let x = t.ones(DType::F64, [3]).scatter_update(i, u, 0);
    /// assert_eq!(x.array()?.to_f64_vec(), [5.0, 1.0, 6.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "index_update")]
    pub fn scatter_update(self, index: Tensor<'t>, updates: Tensor<'t>, axis: i32) -> Self {
        let _line = self.trace.line();
        let axis = match self.scatter_axis("scatter_update", index, updates, axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        let (ty, trace) = (self.ty(), self.trace);
        if let Some(twice) = index.known().and_then(|i| repeated(&i)) {
            let message = format!("index {twice} is there twice");
            let operands = [self, index, updates];
            return trace.mistake("scatter_update", Problem::Parameter, message, &operands, ty);
        }
        let put = |updates: Self| {
            let none = trace.zeros(updates.dtype(), ty.shape.clone());
            trace.apply(ops::ScatterAdd { axis }, &[none, index, updates])
        };
        let hit = put(trace.ones(DType::I32, updates.shape())).ne(0);
        let new = match ty.dtype {
            DType::Bool => put(updates.cast(DType::I32)).ne(0),
            _ => put(updates),
        };
        hit.select(new, self)
    }

    /// The axis of a scatter whose operands fit. `Err` is the poisoned result.
    #[track_caller]
    fn scatter_axis(
        self,
        operation: &'static str,
        index: Tensor<'t>,
        updates: Tensor<'t>,
        axis: i32,
    ) -> Result<usize, Self> {
        let (ty, index_ty, got) = (self.ty(), index.ty(), updates.ty());
        let a = self.axis(operation, axis)?;
        let (head, tail) = (&ty.dims()[..a], &ty.dims()[a + 1..]);
        let wanted = head.iter().chain(index_ty.dims()).chain(tail).copied().collect::<Shape>();
        let wanted = ty.with_shape(wanted);
        let extent = ty.dims()[a];
        let (problem, message) = if !index_ty.dtype.is_int() {
            (Problem::DType, format!("indices are integers, not {}", index_ty.dtype))
        } else if got != wanted {
            (Problem::Shape, format!("expected updates {wanted}, got {got}"))
        } else if extent == 0 && !index_ty.is_empty() {
            (Problem::Shape, format!("axis {a} has no element to write to"))
        } else if let Some(message) = index.out_of_range(extent, &format!("axis {a}")) {
            (Problem::Parameter, message)
        } else {
            return Ok(a);
        };
        Err(self.trace.mistake(operation, problem, message, &[self, index, updates], ty))
    }

    /// The value, if it is known before the program runs.
    fn known(self) -> Option<Array> {
        self.trace.state().known(self.id, self.trace.is_eager())
    }

    /// What is wrong with these indices, if they are known.
    pub(crate) fn out_of_range(self, extent: usize, of: &str) -> Option<String> {
        let (_, wrong) = self.first_outside(|_| extent)?;
        Some(format!("index {wrong} of {of}, which has extent {extent}"))
    }

    /// The first index out of range and its position, if they are known. The extent
    /// is that at a position.
    fn first_outside(self, extent: impl Fn(usize) -> usize) -> Option<(usize, i64)> {
        let outside = |(at, i): &(usize, i64)| !usize::try_from(*i).is_ok_and(|i| i < extent(*at));
        match self.known()? {
            Array::I32(a) => a.iter().map(|&i| i64::from(i)).enumerate().find(outside),
            Array::I64(a) => a.iter().copied().enumerate().find(outside),
            _ => None,
        }
    }

    /// The sums of the rows with the same number: row `s` of the result is the sum
    /// of the rows `i` with `ids[i] = s`; zeros where there are none.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 4.0]));
    /// let ids = t.constant(ndarray::arr1(&[2, 0, 2]));
    /// assert_eq!(x.segment_sum(ids, 3).array()?.to_f64_vec(), [2.0, 0.0, 5.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "unsorted_segment_sum")]
    #[doc(alias = "bincount")]
    pub fn segment_sum(self, ids: Tensor<'t>, segments: usize) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        let operands = [self, ids];
        let wrong = |problem, message: String| {
            self.trace.mistake("segment_sum", problem, message, &operands, ty.clone())
        };
        if ty.rank() == 0 || ids.ty().dims() != &ty.dims()[..1] {
            return wrong(Problem::Shape, "expected one segment number for each row".to_owned());
        }
        if let Some(message) = ids.out_of_range(segments, "the segments") {
            return wrong(
                Problem::Parameter,
                message.replace("which has extent", "of which there are"),
            );
        }
        let mut shape: Vec<usize> = ty.dims().into();
        shape[0] = segments;
        self.trace.zeros(ty.dtype, shape.as_slice()).scatter_add(ids, self, 0)
    }

    /// How often each of the numbers from 0 to `length`, without it, is among these
    /// integers, as `i64`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1, 3, 1]));
    /// assert_eq!(x.bincount(4).array()?.to_f64_vec(), [0.0, 2.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn bincount(self, length: usize) -> Self {
        let ids = self.flatten();
        self.trace.ones(DType::I64, ids.shape()).segment_sum(ids, length)
    }

    /// The rows of this table that the indices name: [`take`](Self::take) on axis 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let table = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let words = t.constant(ndarray::arr1(&[1, 1, 0]));
    /// assert_eq!(table.embedding(words).shape().dims(), [3, 2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "embedding_lookup")]
    pub fn embedding(self, indices: Tensor<'t>) -> Self {
        self.take(indices, 0)
    }

    /// A new last axis with 1 where its index equals this number, 0 elsewhere; zeros
    /// alone for a number that is no index of it.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1, 0])).one_hot(3, DType::F64);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn one_hot(self, depth: usize, dtype: DType) -> Self {
        self.hits("one_hot", depth).cast(dtype)
    }

    /// A new last axis that is true where its index equals this number.
    #[track_caller]
    pub(crate) fn hits(self, operation: &'static str, depth: usize) -> Self {
        let ty = self.ty();
        let shape: Shape = ty.dims().iter().copied().chain([depth]).collect();
        if !ty.dtype.is_int() {
            let message = format!("expected integers, got {}", ty.dtype);
            let guess = Type::new(DType::Bool, shape);
            return self.mistake(operation, Problem::DType, message, guess);
        }
        let counted = Type::new(ty.dtype, shape.clone());
        if counted.checked_bytes().is_none() {
            let message = format!("an array {counted} does not fit in memory");
            return self.mistake(operation, Problem::Shape, message, Type::scalar(DType::Bool));
        }
        let dims: Vec<usize> = (0..ty.rank()).collect();
        let count = self.trace.iota(ty.dtype, shape.clone(), ty.rank());
        if self.trace.is_poisoned(count) {
            // There was no memory; the other operand would say so once more.
            return count.ne(count);
        }
        self.spread(&shape, &dims).eq(count)
    }
}

/// An index that is there twice.
fn repeated(index: &Array) -> Option<i64> {
    let mut seen = FxHashSet::default();
    match index {
        Array::I32(a) => a.iter().map(|&i| i64::from(i)).find(|&i| !seen.insert(i)),
        Array::I64(a) => a.iter().copied().find(|&i| !seen.insert(i)),
        _ => None,
    }
}
