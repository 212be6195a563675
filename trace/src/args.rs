//! Arguments of calls: arrays in place, without copying.
//!
//! A call takes structures of ndarray arrays, views of them, scalars, and
//! [`Array`]s, with any mixture of element types, in the order of the leaves of
//! the traced structure. Each leaf is seen as a [`View`]: element type, extents,
//! strides and where the data is.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::marker::PhantomData;

use backstitch_ir::{Array, DType, Element, Shape, with_array, with_dtype};
use ndarray::{ArrayBase, Data, DataMut, Dimension};

use crate::sparse::Sparse;
use crate::tree::by_key;

/// An array that the caller owns, to be read.
#[derive(Clone, Copy)]
pub struct View<'a> {
    dtype: DType,
    dims: &'a [usize],
    strides: &'a [isize],
    data: *const u8,
    life: PhantomData<&'a u8>,
}

/// An array that the caller owns, to be written.
pub struct ViewMut<'a> {
    dtype: DType,
    dims: &'a [usize],
    strides: &'a [isize],
    data: *mut u8,
    life: PhantomData<&'a mut u8>,
}

impl<'a> View<'a> {
    /// Of an array.
    #[inline]
    pub fn of<T: Element, S: Data<Elem = T>, D: Dimension>(array: &'a ArrayBase<S, D>) -> Self {
        let (dims, strides, data) = (array.shape(), array.strides(), array.as_ptr().cast());
        Self { dtype: T::DTYPE, dims, strides, data, life: PhantomData }
    }

    /// Of a scalar.
    #[inline]
    pub fn of_scalar<T: Element>(x: &'a T) -> Self {
        let data = std::ptr::from_ref(x).cast();
        Self { dtype: T::DTYPE, dims: &[], strides: &[], data, life: PhantomData }
    }

    /// Element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    #[inline]
    pub fn dims(&self) -> &'a [usize] {
        self.dims
    }

    /// Elements from one index to the next, for each axis.
    #[inline]
    pub fn strides(&self) -> &'a [isize] {
        self.strides
    }

    /// Where element (0, …, 0) is.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Whether elements follow each other row by row, without gaps.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        is_contiguous(self.dims, self.strides)
    }

    /// A copy.
    pub fn to_array(&self) -> Array {
        with_dtype!(self.dtype, T => {
            let shape = Shape::from(self.dims);
            let mut elements: Vec<T> = Vec::with_capacity(shape.len());
            self.collect(0, 0, &mut elements);
            Array::from_vec(&shape, elements).expect("every element was collected")
        })
    }

    /// Appends the elements from `axis` on, where `at` is the first.
    fn collect<T: Element>(&self, axis: usize, at: isize, out: &mut Vec<T>) {
        debug_assert_eq!(T::DTYPE, self.dtype);
        if axis == self.dims.len() {
            // SAFETY: the view was made of an array of `T` that is borrowed for
            // `'a`, and `at` is the sum of stride times an index in range for each
            // of its axes, so this is one of its elements.
            out.push(unsafe { *self.data.cast::<T>().offset(at) });
            return;
        }
        for i in 0..self.dims[axis] {
            self.collect(axis + 1, at + i as isize * self.strides[axis], out);
        }
    }
}

impl<'a> ViewMut<'a> {
    /// Of an array.
    #[inline]
    pub fn of<T: Element, S: DataMut<Elem = T>, D: Dimension>(
        array: &'a mut ArrayBase<S, D>,
    ) -> Self {
        let data = array.as_mut_ptr().cast();
        let array: &'a ArrayBase<S, D> = array;
        let (dims, strides) = (array.shape(), array.strides());
        Self { dtype: T::DTYPE, dims, strides, data, life: PhantomData }
    }

    /// Of a scalar.
    #[inline]
    pub fn of_scalar<T: Element>(x: &'a mut T) -> Self {
        let data = std::ptr::from_mut(x).cast();
        Self { dtype: T::DTYPE, dims: &[], strides: &[], data, life: PhantomData }
    }

    /// Element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    #[inline]
    pub fn dims(&self) -> &'a [usize] {
        self.dims
    }

    /// Elements from one index to the next, for each axis.
    #[inline]
    pub fn strides(&self) -> &'a [isize] {
        self.strides
    }

    /// Where element (0, …, 0) is. Writing a `bool` other than 0 or 1 is undefined
    /// behaviour.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data
    }

    /// Whether elements follow each other row by row, without gaps.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        is_contiguous(self.dims, self.strides)
    }
}

/// Axes of extent 1 and empty arrays may have any strides.
#[inline]
fn is_contiguous(dims: &[usize], strides: &[isize]) -> bool {
    dims.is_empty() || follow(dims, strides)
}

fn follow(dims: &[usize], strides: &[isize]) -> bool {
    if dims.contains(&0) {
        return true;
    }
    let mut step = 1;
    dims.iter().zip(strides).rev().all(|(&d, &s)| {
        let fits = d == 1 || s == step;
        step *= d as isize;
        fits
    })
}

/// A structure of arrays that a call reads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a call",
    note = "arguments are ndarray arrays and views, scalars, `Array`s, and structures of them; \
            `#[derive(Tree)]` makes a struct such a structure"
)]
pub trait Args {
    /// Calls `f` with each array, in order.
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>));
}

/// A structure of arrays that a call writes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot take the results of a call",
    note = "results go to ndarray arrays and mutable views, scalars, `Array`s, and structures of them"
)]
pub trait ArgsMut {
    /// Calls `f` with each array, in order.
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>));
}

impl<S: Data<Elem: Element>, D: Dimension> Args for ArrayBase<S, D> {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        f(View::of(self));
    }
}

impl<S: DataMut<Elem: Element>, D: Dimension> ArgsMut for ArrayBase<S, D> {
    #[inline]
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        f(ViewMut::of(self));
    }
}

impl Args for Array {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        f(with_array!(self, a => View::of(a)));
    }
}

impl ArgsMut for Array {
    #[inline]
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        f(with_array!(self, a => ViewMut::of(a)));
    }
}

macro_rules! scalars {
    ($($t:ty)*) => {$(
        impl Args for $t {
            #[inline]
            fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
                f(View::of_scalar(self));
            }
        }
        impl ArgsMut for $t {
            #[inline]
            fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
                f(ViewMut::of_scalar(self));
            }
        }
    )*};
}
scalars!(f32 f64 i32 i64 bool);

impl<T: Args + ?Sized> Args for &T {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        (**self).views(f);
    }
}

impl<T: Args + ?Sized> Args for &mut T {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        (**self).views(f);
    }
}

impl<T: ArgsMut + ?Sized> ArgsMut for &mut T {
    #[inline]
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        (**self).views_mut(f);
    }
}

impl<T: Args + ?Sized> Args for Box<T> {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        (**self).views(f);
    }
}

impl<T: ArgsMut + ?Sized> ArgsMut for Box<T> {
    #[inline]
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        (**self).views_mut(f);
    }
}

/// Collections whose entries are visited one after the other.
macro_rules! collections {
    ($([$($generics:tt)*] $t:ty;)*) => {$(
        impl<T: Args, $($generics)*> Args for $t {
            #[inline]
            fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
                self.iter().for_each(|x| x.views(f));
            }
        }
        impl<T: ArgsMut, $($generics)*> ArgsMut for $t {
            #[inline]
            fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
                self.iter_mut().for_each(|x| x.views_mut(f));
            }
        }
    )*};
}
collections! {
    [] [T];
    [] Vec<T>;
    [] Option<T>;
    [const N: usize] [T; N];
}

impl<K: Ord, T: Args> Args for BTreeMap<K, T> {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        self.values().for_each(|x| x.views(f));
    }
}

impl<K: Ord, T: ArgsMut> ArgsMut for BTreeMap<K, T> {
    #[inline]
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        self.values_mut().for_each(|x| x.views_mut(f));
    }
}

impl<K: Ord, T: Args, H: BuildHasher> Args for HashMap<K, T, H> {
    #[inline]
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        by_key(self).into_iter().for_each(|(_, x)| x.views(f));
    }
}

impl<K: Ord, T: ArgsMut, H: BuildHasher> ArgsMut for HashMap<K, T, H> {
    #[inline]
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        let mut entries: Vec<_> = self.iter_mut().collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        entries.into_iter().for_each(|(_, x)| x.views_mut(f));
    }
}

impl<T: Args> Args for Sparse<T> {
    fn views<'a>(&'a self, f: &mut dyn FnMut(View<'a>)) {
        self.values.views(f);
    }
}

impl<T: ArgsMut> ArgsMut for Sparse<T> {
    fn views_mut<'a>(&'a mut self, f: &mut dyn FnMut(ViewMut<'a>)) {
        self.values.views_mut(f);
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Args),*> Args for ($($name,)*) {
            fn views<'a>(&'a self, _f: &mut dyn FnMut(View<'a>)) {
                $(self.$index.views(_f);)*
            }
        }
        impl<$($name: ArgsMut),*> ArgsMut for ($($name,)*) {
            fn views_mut<'a>(&'a mut self, _f: &mut dyn FnMut(ViewMut<'a>)) {
                $(self.$index.views_mut(_f);)*
            }
        }
    )*};
}

tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
}

/// Copies of all arrays.
pub(crate) fn to_arrays(args: &(impl Args + ?Sized)) -> Vec<Array> {
    let mut all = Vec::new();
    args.views(&mut |v| all.push(v.to_array()));
    all
}

#[cfg(test)]
mod tests {
    use ndarray::{arr1, arr2, s};

    use super::*;

    fn views(args: &impl Args) -> Vec<View<'_>> {
        let mut all = Vec::new();
        args.views(&mut |v| all.push(v));
        all
    }

    #[test]
    fn views_point_at_the_callers_data() {
        let (x, y) = (arr2(&[[1.0f32, 2.0]]), arr1(&[3i64]));
        let args = (&x, (&y, 1.5f64), vec![true]);
        let all = views(&args);
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].as_ptr(), x.as_ptr().cast());
        assert_eq!((all[1].dtype(), all[1].dims()), (DType::I64, &[1][..]));
        assert_eq!((all[2].dtype(), all[2].dims()), (DType::F64, &[][..]));
        assert!(all[3].to_array().item::<bool>().unwrap());
    }

    #[test]
    fn strided_views_are_known_and_copied_in_order() {
        let x = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let (transposed, flipped) = (x.t(), x.slice(s![..;-1, 1..]));
        assert!(views(&x)[0].is_contiguous());
        assert!(!views(&transposed)[0].is_contiguous());
        assert_eq!(views(&transposed)[0].to_array().to_f64_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(views(&flipped)[0].to_array().to_f64_vec(), [5.0, 6.0, 2.0, 3.0]);
    }

    #[test]
    fn shared_arrays_are_copied_before_they_are_written() {
        let mut x = Array::from(arr1(&[1.0, 2.0]));
        let y = x.clone();
        let before = views(&y)[0].as_ptr();
        x.views_mut(&mut |mut v| assert_ne!(v.as_mut_ptr().cast_const(), before));
    }
}
