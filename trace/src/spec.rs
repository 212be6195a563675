//! Types of leaves: what a program takes and gives, before there are values.

use std::fmt;

use backstitch_ir::{Array, DType, Element, Shape, Type};
use ndarray::{ArrayBase, Data, Dimension};

use crate::tree::{Leaf, Tree, leaf};

/// Element type and shape of an array.
///
/// ```
/// use backstitch_trace::Spec;
/// let spec = Spec::f32([2, 3]);
/// assert_eq!(spec.to_string(), "f32[2,3]");
/// assert_eq!(spec, Spec::of(&ndarray::Array2::<f32>::zeros((2, 3))));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Spec(Type);

leaf!(Spec);

impl Spec {
    /// An array of that element type and shape.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self(Type::new(dtype, shape))
    }

    /// An array of `f32`.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self::new(DType::F32, shape)
    }

    /// An array of `f64`.
    pub fn f64(shape: impl Into<Shape>) -> Self {
        Self::new(DType::F64, shape)
    }

    /// An array of `i32`.
    pub fn i32(shape: impl Into<Shape>) -> Self {
        Self::new(DType::I32, shape)
    }

    /// An array of `i64`.
    pub fn i64(shape: impl Into<Shape>) -> Self {
        Self::new(DType::I64, shape)
    }

    /// An array of `bool`.
    pub fn bool(shape: impl Into<Shape>) -> Self {
        Self::new(DType::Bool, shape)
    }

    /// That of a value.
    pub fn of(value: &(impl Typed + ?Sized)) -> Self {
        value.spec()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Extents.
    pub fn dims(&self) -> &[usize] {
        self.0.dims()
    }

    /// As a type of the graph language.
    pub fn ty(&self) -> &Type {
        &self.0
    }
}

impl From<Type> for Spec {
    fn from(ty: Type) -> Self {
        Self(ty)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A value that has an element type and a shape.
pub trait Typed {
    /// What they are.
    fn spec(&self) -> Spec;
}

impl Typed for Spec {
    fn spec(&self) -> Spec {
        self.clone()
    }
}

impl Typed for Array {
    fn spec(&self) -> Spec {
        Spec(self.ty())
    }
}

impl<S: Data<Elem: Element>, D: Dimension> Typed for ArrayBase<S, D> {
    fn spec(&self) -> Spec {
        Spec::new(S::Elem::DTYPE, self.shape())
    }
}

macro_rules! scalars {
    ($($t:ty)*) => {$(
        impl Typed for $t {
            fn spec(&self) -> Spec {
                Spec::new(<$t>::DTYPE, [])
            }
        }
    )*};
}
scalars!(f32 f64 i32 i64 bool);

/// The specs of all leaves of a tree of values: how to trace a program for
/// parameters that are there already.
///
/// ```
/// use backstitch_trace::{Spec, specs};
/// let params = (ndarray::Array2::<f32>::zeros((3, 1)), ndarray::Array2::<f32>::zeros((1, 1)));
/// assert_eq!(specs(&params), (Spec::f32([3, 1]), Spec::f32([1, 1])));
/// ```
pub fn specs<L: Leaf + Typed, T: Tree<L>>(tree: &T) -> T::With<Spec> {
    tree.map_leaves(&mut |leaf| leaf.spec())
}
