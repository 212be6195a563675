//! Values: arrays of any element type.

use std::fmt;

use ndarray::{ArcArray, ArrayBase, ArrayD, ArrayViewD, Data, Dimension, IxDyn};

use crate::nest::Const;
use crate::ty::{DType, Shape, Type};

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that elements can have: `f32`, `f64`, `i32`, `i64`, `bool`.
pub trait Element: Copy + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    /// Its name here.
    const DTYPE: DType;
    /// Wraps an array of it.
    fn wrap(array: ArcArray<Self, IxDyn>) -> Array;
    /// The array of it, if it is one.
    fn unwrap(array: &Array) -> Option<&ArcArray<Self, IxDyn>>;
    /// Its bits as a constant.
    fn to_const(self) -> Const;
    /// From the bits of a constant of this type.
    fn from_const(c: Const) -> Self;
}

/// Runs the expression with `$a` bound to the typed array inside.
#[macro_export]
macro_rules! with_array {
    ($array:expr, $a:ident => $body:expr) => {
        match $array {
            $crate::Array::F32($a) => $body,
            $crate::Array::F64($a) => $body,
            $crate::Array::I32($a) => $body,
            $crate::Array::I64($a) => $body,
            $crate::Array::Bool($a) => $body,
        }
    };
}

/// Runs the expression with `$T` bound to the Rust type of a [`DType`].
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::Bool => {
                type $T = bool;
                $body
            }
        }
    };
}

macro_rules! elements {
    ($($variant:ident $t:ty, $to:expr, $from:expr;)*) => {
        /// An array of any element type, cheap to clone (the data is shared).
        ///
        /// ```
        /// use backstitch_ir::{Array, DType};
        /// let a = Array::from(ndarray::arr2(&[[1.0f32, 2.0], [3.0, 4.0]]));
        /// assert_eq!(a.dtype(), DType::F32);
        /// assert_eq!(a.view::<f32>().unwrap()[[1, 0]], 3.0);
        /// ```
        #[derive(Clone)]
        pub enum Array {
            $(#[doc = concat!("Of `", stringify!($t), "`.")] $variant(ArcArray<$t, IxDyn>),)*
        }

        $(impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$variant;
            fn wrap(array: ArcArray<Self, IxDyn>) -> Array {
                Array::$variant(array)
            }
            fn unwrap(array: &Array) -> Option<&ArcArray<Self, IxDyn>> {
                match array {
                    Array::$variant(a) => Some(a),
                    _ => None,
                }
            }
            fn to_const(self) -> Const {
                let bits: fn($t) -> u64 = $to;
                Const { dtype: DType::$variant, bits: bits(self) }
            }
            fn from_const(c: Const) -> Self {
                let value: fn(u64) -> $t = $from;
                value(c.bits)
            }
        })*
    };
}

elements! {
    F32 f32, |x| x.to_bits().into(), |b| f32::from_bits(b as u32);
    F64 f64, f64::to_bits, f64::from_bits;
    I32 i32, |x| (x as u32).into(), |b| b as u32 as i32;
    I64 i64, |x| x as u64, |b| b as i64;
    Bool bool, u64::from, |b| b != 0;
}

impl Array {
    /// An array filled with one constant.
    pub fn full(shape: &Shape, value: Const) -> Self {
        with_dtype!(value.dtype, T => {
            T::wrap(ArcArray::from_elem(IxDyn(shape.dims()), T::from_const(value)))
        })
    }

    /// A rank-0 array.
    pub fn scalar(value: Const) -> Self {
        Self::full(&Shape::scalar(), value)
    }

    /// From row-major data. `None` if the count is not the shape's.
    pub fn from_vec<T: Element>(shape: &Shape, data: Vec<T>) -> Option<Self> {
        ArcArray::from_shape_vec(IxDyn(shape.dims()), data).ok().map(T::wrap)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::Bool(_) => DType::Bool,
        }
    }

    /// Extents.
    pub fn dims(&self) -> &[usize] {
        with_array!(self, a => a.shape())
    }

    /// Type of the value.
    pub fn ty(&self) -> Type {
        Type::new(self.dtype(), self.dims())
    }

    /// A typed view, if elements are `T`.
    pub fn view<T: Element>(&self) -> Option<ArrayViewD<'_, T>> {
        T::unwrap(self).map(|a| a.view())
    }

    /// An owned typed copy, if elements are `T`.
    pub fn to_array<T: Element>(&self) -> Option<ArrayD<T>> {
        T::unwrap(self).map(|a| a.to_owned())
    }

    /// The only element, if there is one and it is a `T`.
    pub fn item<T: Element>(&self) -> Option<T> {
        let a = T::unwrap(self)?;
        if a.len() == 1 { a.iter().next().copied() } else { None }
    }

    /// All elements as `f64`, row-major.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        with_array!(self, a => a.iter().map(|x| x.to_const().to_f64()).collect())
    }

    /// The same elements, contiguous and row-major; free if they are already.
    pub fn standard(&self) -> Self {
        with_array!(self, a => {
            if a.is_standard_layout() {
                self.clone()
            } else {
                Element::wrap(a.as_standard_layout().into_owned().into_shared())
            }
        })
    }

    /// Element `i` in row-major order.
    pub fn get(&self, i: usize) -> Option<Const> {
        with_array!(self, a => match a.as_slice() {
            Some(s) => s.get(i).map(|x| x.to_const()),
            None => a.iter().nth(i).map(|x| x.to_const()),
        })
    }

    /// Same type and the same bits (so NaN equals itself and 0 is not -0).
    pub fn same_bits(&self, other: &Self) -> bool {
        self.ty() == other.ty() && with_array!(self, a => same_elements(a, other))
    }
}

fn same_elements<T: Element>(a: &ArcArray<T, IxDyn>, other: &Array) -> bool {
    let bits = |x: &T| x.to_const().bits;
    T::unwrap(other).is_some_and(|b| a.iter().map(bits).eq(b.iter().map(bits)))
}

impl<T: Element, S: Data<Elem = T>, D: Dimension> From<ArrayBase<S, D>> for Array {
    fn from(array: ArrayBase<S, D>) -> Self {
        T::wrap(array.into_owned().into_dyn().into_shared())
    }
}

macro_rules! from_scalars {
    ($($t:ty)*) => {$(
        impl From<$t> for Array {
            fn from(x: $t) -> Self {
                Self::scalar(x.to_const())
            }
        }
    )*};
}
from_scalars!(f32 f64 i32 i64 bool);

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_array!(self, a => write!(f, "{} {a:?}", self.ty()))
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_array!(self, a => write!(f, "{a}"))
    }
}
