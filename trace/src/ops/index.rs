//! Elements picked by index, and added to by index.
//!
//! An index out of range is taken as the nearest one in range.

use backstitch_ir::{DType, Shape, Type, ops};

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
    #[track_caller]
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
        self.trace.apply(ops::Gather { axis }, &[self, index])
    }

    /// The elements at these indices along an axis, one for each element of the
    /// index, which has the same extents along the other axes.
    #[track_caller]
    pub fn take_along_axis(self, index: Tensor<'t>, axis: i32) -> Self {
        let (ty, index_ty) = (self.ty(), index.ty());
        let a = match self.axis("take_along_axis", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let fits = ty.rank() == index_ty.rank()
            && ty.shape.without(&[a]) == index_ty.shape.without(&[a])
            && index_ty.dtype.is_int();
        if !fits {
            let message =
                format!("expected integers with the extents of {} but along axis {a}", ty.shape);
            let guess = ty.with_shape(index_ty.shape);
            let operands = [self, index];
            return self.trace.mistake(
                "take_along_axis",
                Problem::Shape,
                message,
                &operands,
                guess,
            );
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
    pub fn scatter_add(self, index: Tensor<'t>, updates: Tensor<'t>, axis: i32) -> Self {
        let (ty, index_ty, got) = (self.ty(), index.ty(), updates.ty());
        let a = match self.axis("scatter_add", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let (head, tail) = (&ty.dims()[..a], &ty.dims()[a + 1..]);
        let wanted = head.iter().chain(index_ty.dims()).chain(tail).copied().collect::<Shape>();
        let wanted = ty.with_shape(wanted);
        let operands = [self, index, updates];
        if !index_ty.dtype.is_int() {
            let message = format!("indices are integers, not {}", index_ty.dtype);
            return self.trace.mistake("scatter_add", Problem::DType, message, &operands, ty);
        }
        if got != wanted {
            let message = format!("expected updates {wanted}, got {got}");
            return self.trace.mistake("scatter_add", Problem::Shape, message, &operands, ty);
        }
        if ty.dims()[a] == 0 && !index_ty.is_empty() {
            let message = format!("axis {a} has no element to add to");
            return self.trace.mistake("scatter_add", Problem::Shape, message, &operands, ty);
        }
        self.trace.apply(ops::ScatterAdd { axis: a }, &operands)
    }

    /// This array with slices replaced at these indices of an axis. Indices are
    /// distinct; of equal ones, the updates would add up.
    #[track_caller]
    pub fn scatter_update(self, index: Tensor<'t>, updates: Tensor<'t>, axis: i32) -> Self {
        let old = self.take(index, axis);
        let none = self.zeros_like();
        let cleared = none.scatter_add(index, old.ones_like(), axis).eq(0);
        cleared.select(self, none.scatter_add(index, updates, axis))
    }

    /// The sums of the rows with the same number: row `s` of the result is the sum
    /// of the rows `i` with `ids[i] = s`.
    #[track_caller]
    pub fn segment_sum(self, ids: Tensor<'t>, segments: usize) -> Self {
        let ty = self.ty();
        if ty.rank() == 0 || ids.ty().dims() != &ty.dims()[..1] {
            let message = "expected one segment number for each row";
            return self.trace.mistake("segment_sum", Problem::Shape, message, &[self, ids], ty);
        }
        let mut shape: Vec<usize> = ty.dims().into();
        shape[0] = segments;
        self.trace.zeros(ty.dtype, shape.as_slice()).scatter_add(ids, self, 0)
    }

    /// A new last axis with 1 where its index equals this number, 0 elsewhere.
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
        let dims: Vec<usize> = (0..ty.rank()).collect();
        let count = self.trace.iota(ty.dtype, shape.clone(), ty.rank());
        self.spread(&shape, &dims).eq(count)
    }
}
