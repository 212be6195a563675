//! Slices of any element type.

use crate::array::Element;

macro_rules! slices {
    ($($variant:ident $t:ty;)*) => {
        /// Elements of any type.
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub enum Slice<'a> {
            $(#[doc = concat!("Of `", stringify!($t), "`.")] $variant(&'a [$t]),)*
        }

        /// Elements of any type, to be written.
        #[derive(PartialEq, Debug)]
        pub enum SliceMut<'a> {
            $(#[doc = concat!("Of `", stringify!($t), "`.")] $variant(&'a mut [$t]),)*
        }

        $(impl Sliced for $t {
            fn wrap(slice: &[Self]) -> Slice<'_> {
                Slice::$variant(slice)
            }
            fn wrap_mut(slice: &mut [Self]) -> SliceMut<'_> {
                SliceMut::$variant(slice)
            }
            fn slice(slice: Slice<'_>) -> Option<&[Self]> {
                match slice {
                    Slice::$variant(slice) => Some(slice),
                    _ => None,
                }
            }
            fn slice_mut(slice: SliceMut<'_>) -> Option<&mut [Self]> {
                match slice {
                    SliceMut::$variant(slice) => Some(slice),
                    _ => None,
                }
            }
        })*
    };
}

/// An element type whose slices are known.
pub trait Sliced: Element {
    /// Wraps a slice of it.
    fn wrap(slice: &[Self]) -> Slice<'_>;
    /// Wraps a slice to be written.
    fn wrap_mut(slice: &mut [Self]) -> SliceMut<'_>;
    /// The slice of it, if it is one.
    fn slice(slice: Slice<'_>) -> Option<&[Self]>;
    /// The slice of it to be written, if it is one.
    fn slice_mut(slice: SliceMut<'_>) -> Option<&mut [Self]>;
}

slices! {
    F32 f32;
    F64 f64;
    I32 i32;
    I64 i64;
    Bool bool;
}
