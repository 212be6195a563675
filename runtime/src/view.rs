//! Arrays of the caller: borrowed, contiguous, row-major.
//!
//! A view is an address, an element type and a borrowed shape. Making one
//! copies nothing and allocates nothing. That outputs overlap neither inputs
//! nor one another is what Rust's borrows say.

use std::slice;

use backstitch_ir::{Array, DType, Element, Shape, Type, with_array};
use ndarray::{ArrayBase, Data, DataMut, Dimension};

use crate::error::Error;

/// Extents of a view.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dims<'a> {
    /// Somebody else's.
    Of(&'a [usize]),
    /// Of a plain slice.
    Line(usize),
}

impl Dims<'_> {
    #[inline]
    pub(crate) fn get(&self) -> &[usize] {
        match self {
            Dims::Of(dims) => dims,
            Dims::Line(n) => slice::from_ref(n),
        }
    }
}

/// An array to read.
///
/// ```
/// use backstitch_runtime::ArrayRef;
/// let data = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// assert_eq!(ArrayRef::new(&data, &[2, 3])?.ty().to_string(), "f32[2,3]");
/// assert_eq!(ArrayRef::from(&data[..]).ty().to_string(), "f32[6]");
/// assert_eq!(ArrayRef::from(&data[0]).ty().to_string(), "f32[]");
/// assert!(ArrayRef::new(&data, &[4]).is_err());
/// # Ok::<(), backstitch_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a> {
    bytes: &'a [u8],
    dims: Dims<'a>,
    dtype: DType,
}

/// An array to write.
///
/// ```
/// use backstitch_runtime::ArrayMut;
/// let mut x = ndarray::Array2::<f64>::zeros((2, 3));
/// assert_eq!(ArrayMut::try_from(&mut x)?.ty().to_string(), "f64[2,3]");
/// let columns = ArrayMut::try_from(&mut x.view_mut().reversed_axes()).map(|_| ());
/// assert!(columns.unwrap_err().to_string().contains("row-major"));
/// # Ok::<(), backstitch_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct ArrayMut<'a> {
    bytes: &'a mut [u8],
    dims: Dims<'a>,
    dtype: DType,
}

impl<'a> ArrayRef<'a> {
    /// From row-major elements.
    pub fn new<T: Element>(data: &'a [T], dims: &'a [usize]) -> Result<Self, Error> {
        check_len(dims, data.len())?;
        Ok(Self::over(data, Dims::Of(dims)))
    }

    fn over<T: Element>(data: &'a [T], dims: Dims<'a>) -> Self {
        // SAFETY: elements are plain numbers or booleans, without padding.
        let bytes = unsafe { slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) };
        Self { bytes, dims, dtype: T::DTYPE }
    }

    /// From an address.
    ///
    /// # Safety
    ///
    /// At `data` are all elements of an array of that type, row-major and aligned,
    /// and for `'a` nobody writes them.
    #[inline]
    pub unsafe fn from_raw(dtype: DType, dims: &'a [usize], data: *const u8) -> Self {
        let bytes = dims.iter().product::<usize>() * dtype.size();
        // SAFETY: as required.
        let bytes = unsafe { slice::from_raw_parts(data, bytes) };
        Self { bytes, dims: Dims::Of(dims), dtype }
    }

    /// Element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    #[inline]
    pub fn dims(&self) -> &[usize] {
        self.dims.get()
    }

    /// Element type and extents.
    pub fn ty(&self) -> Type {
        Type::new(self.dtype(), self.dims())
    }

    /// The elements in order.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], Error> {
        check_element::<T>(self.dtype)?;
        // SAFETY: that is what the bytes were made from.
        Ok(unsafe {
            slice::from_raw_parts(self.bytes.as_ptr().cast(), self.bytes.len() / size_of::<T>())
        })
    }

    /// Whether it is of this type.
    pub(crate) fn fits(&self, ty: &Type) -> bool {
        ty.dtype == self.dtype && ty.dims() == self.dims()
    }

    #[inline]
    pub(crate) fn extents(&self) -> Dims<'a> {
        self.dims
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
}

impl<'a> ArrayMut<'a> {
    /// Over row-major elements.
    pub fn new<T: Element>(data: &'a mut [T], dims: &'a [usize]) -> Result<Self, Error> {
        check_len(dims, data.len())?;
        Ok(Self::over(data, Dims::Of(dims)))
    }

    fn over<T: Element>(data: &'a mut [T], dims: Dims<'a>) -> Self {
        let n = size_of_val(data);
        // SAFETY: elements are plain numbers or booleans, without padding. What
        // is written through the view are elements of the same type.
        let bytes = unsafe { slice::from_raw_parts_mut(data.as_mut_ptr().cast(), n) };
        Self { bytes, dims, dtype: T::DTYPE }
    }

    /// From an address.
    ///
    /// # Safety
    ///
    /// At `data` are all elements of an array of that type, row-major and aligned,
    /// and for `'a` nobody else reads or writes them.
    #[inline]
    pub unsafe fn from_raw(dtype: DType, dims: &'a [usize], data: *mut u8) -> Self {
        let bytes = dims.iter().product::<usize>() * dtype.size();
        // SAFETY: as required.
        let bytes = unsafe { slice::from_raw_parts_mut(data, bytes) };
        Self { bytes, dims: Dims::Of(dims), dtype }
    }

    /// The same array, borrowed for less long.
    #[inline]
    pub fn reborrow(&mut self) -> ArrayMut<'_> {
        ArrayMut { bytes: self.bytes, dims: self.dims, dtype: self.dtype }
    }

    /// Copies the elements of another array of the same type.
    pub(crate) fn copy_from(&mut self, from: ArrayRef<'_>) {
        // SAFETY: the other view is of so many bytes, which are elements.
        let bytes = unsafe { slice::from_raw_parts(from.as_ptr(), self.bytes.len()) };
        self.bytes.copy_from_slice(bytes);
    }

    /// Element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    #[inline]
    pub fn dims(&self) -> &[usize] {
        self.dims.get()
    }

    /// Element type and extents.
    pub fn ty(&self) -> Type {
        Type::new(self.dtype(), self.dims())
    }

    #[inline]
    pub(crate) fn extents(&self) -> Dims<'a> {
        self.dims
    }

    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }
}

fn check_len(dims: &[usize], got: usize) -> Result<(), Error> {
    let shape = Shape::from(dims);
    if shape.checked_len() == Some(got) { Ok(()) } else { Err(Error::Length { shape, got }) }
}

fn check_element<T: Element>(got: DType) -> Result<(), Error> {
    if got == T::DTYPE { Ok(()) } else { Err(Error::Element { expected: T::DTYPE, got }) }
}

impl<'a, T: Element> From<&'a [T]> for ArrayRef<'a> {
    fn from(data: &'a [T]) -> Self {
        Self::over(data, Dims::Line(data.len()))
    }
}

impl<'a, T: Element> From<&'a mut [T]> for ArrayMut<'a> {
    fn from(data: &'a mut [T]) -> Self {
        let dims = Dims::Line(data.len());
        Self::over(data, dims)
    }
}

macro_rules! from_scalars {
    ($($t:ty)*) => {$(
        impl<'a> From<&'a $t> for ArrayRef<'a> {
            fn from(x: &'a $t) -> Self {
                Self::over(slice::from_ref(x), Dims::Of(&[]))
            }
        }
        impl<'a> From<&'a mut $t> for ArrayMut<'a> {
            fn from(x: &'a mut $t) -> Self {
                Self::over(slice::from_mut(x), Dims::Of(&[]))
            }
        }
    )*};
}
from_scalars!(f32 f64 i32 i64 bool);

impl<'a, T: Element, S: Data<Elem = T>, D: Dimension> TryFrom<&'a ArrayBase<S, D>>
    for ArrayRef<'a>
{
    type Error = Error;
    fn try_from(array: &'a ArrayBase<S, D>) -> Result<Self, Error> {
        match array.as_slice() {
            Some(data) => Ok(Self::over(data, Dims::Of(array.shape()))),
            None => Err(layout(array)),
        }
    }
}

impl<'a, T: Element, S: DataMut<Elem = T>, D: Dimension> TryFrom<&'a mut ArrayBase<S, D>>
    for ArrayMut<'a>
{
    type Error = Error;
    fn try_from(array: &'a mut ArrayBase<S, D>) -> Result<Self, Error> {
        if !array.is_standard_layout() {
            return Err(layout(array));
        }
        let (first, len) = (array.as_mut_ptr(), array.len());
        // SAFETY: in standard layout the elements are `len` in a row from the
        // first on. They are borrowed for as long as the array is; what is
        // borrowed again below is the array's shape, which is not among them.
        let data = unsafe { slice::from_raw_parts_mut(first, len) };
        let array: &'a ArrayBase<S, D> = array;
        Ok(Self::over(data, Dims::Of(array.shape())))
    }
}

impl<'a> TryFrom<&'a Array> for ArrayRef<'a> {
    type Error = Error;
    fn try_from(array: &'a Array) -> Result<Self, Error> {
        with_array!(array, a => a.try_into())
    }
}

impl<'a> TryFrom<&'a mut Array> for ArrayMut<'a> {
    type Error = Error;
    fn try_from(array: &'a mut Array) -> Result<Self, Error> {
        with_array!(array, a => a.try_into())
    }
}

#[cold]
fn layout<T: Element, S: Data<Elem = T>, D: Dimension>(array: &ArrayBase<S, D>) -> Error {
    Error::Layout { shape: Shape::from(array.shape()), strides: array.strides().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, ArrayD, IxDyn, arr0, arr2};

    #[test]
    fn views_know_their_type() {
        let a = Array3::<i32>::zeros((2, 1, 3));
        assert_eq!(ArrayRef::try_from(&a).unwrap().ty(), Type::new(DType::I32, [2, 1, 3]));
        let v = a.view();
        assert_eq!(ArrayRef::try_from(&v).unwrap().dims(), [2, 1, 3]);
        assert_eq!(ArrayRef::try_from(&arr0(true)).unwrap().ty().to_string(), "bool[]");
        let any = Array::from(a);
        assert_eq!(ArrayRef::try_from(&any).unwrap().dims(), [2, 1, 3]);
        let empty = ArrayD::<f64>::zeros(IxDyn(&[2, 0]));
        assert_eq!(ArrayRef::try_from(&empty).unwrap().dims(), [2, 0]);
        assert_eq!(ArrayMut::from(&mut 3i64).ty().to_string(), "i64[]");
        assert_eq!(ArrayMut::from(&mut [1.0f32; 4][..]).ty().to_string(), "f32[4]");
    }

    #[test]
    fn views_give_their_elements() {
        let a = arr2(&[[1i64, 2], [3, 4]]);
        let view = ArrayRef::try_from(&a).unwrap();
        assert_eq!(view.as_slice::<i64>().unwrap(), [1, 2, 3, 4]);
        let e = view.as_slice::<f64>().unwrap_err();
        assert_eq!(e.to_string(), "expected elements of f64, got i64");
        let rows = a.slice(ndarray::s![1.., ..]);
        assert_eq!(ArrayRef::try_from(&rows).unwrap().as_slice::<i64>().unwrap(), [3, 4]);
    }

    #[test]
    fn other_layouts_are_refused() {
        let mut a = arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let e = ArrayRef::try_from(&a.t()).map(|_| ()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "not contiguous in row-major order: shape [3,2] with strides [1, 3]; copy it to standard layout"
        );
        let shared = a.slice(ndarray::s![.., 1..]);
        assert!(matches!(ArrayRef::try_from(&shared), Err(Error::Layout { .. })));
        let mut view = a.slice_mut(ndarray::s![..;-1, ..]);
        assert!(matches!(ArrayMut::try_from(&mut view), Err(Error::Layout { .. })));
    }

    #[test]
    fn lengths_are_checked() {
        let e = ArrayRef::new(&[1.0f32, 2.0], &[3]).unwrap_err();
        assert_eq!(e.to_string(), "shape [3] does not describe 2 elements");
        assert!(ArrayRef::new::<f32>(&[], &[usize::MAX, usize::MAX]).is_err());
        assert!(ArrayRef::new::<f32>(&[], &[5, 0]).is_ok());
        assert!(ArrayRef::new::<f32>(&[], &[usize::MAX, 0]).is_err());
        assert!(ArrayMut::new(&mut [true; 4], &[2, 2]).is_ok());
    }
}
