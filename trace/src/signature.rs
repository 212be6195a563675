//! What a call's arguments are: the types of all arrays, in the structure they are in.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use backstitch_ir::{Array, Element};
use ndarray::{ArrayBase, Data, Dimension};

use crate::sparse::Sparse;
use crate::spec::{Spec, Typed};

/// A structure of arrays that says of what types they are.
///
/// All that can be passed to a call is one; `#[derive(Tree)]` makes a struct one. Parts
/// that are no arrays (`#[tree(skip)]`) are the same in the result.
///
/// ```
/// use backstitch_trace::{Signature, Spec};
///
/// let (w, x) = (ndarray::Array2::<f32>::zeros((3, 1)), vec![1i64, 2]);
/// assert_eq!((&w, &x).signature(), (Spec::f32([3, 1]), vec![Spec::i64([]), Spec::i64([])]));
/// ```
#[doc(alias = "abstractify")]
#[doc(alias = "ShapeDtypeStruct")]
#[diagnostic::on_unimplemented(
    message = "the types of the arrays in `{Self}` are not known",
    note = "arguments are ndarray arrays and views, scalars, `Array`s, and structures of them; \
            `#[derive(Tree)]` makes a struct such a structure"
)]
pub trait Signature {
    /// The same structure, of types.
    type Specs;

    /// The types of all arrays.
    fn signature(&self) -> Self::Specs;
}

impl<S: Data<Elem: Element>, D: Dimension> Signature for ArrayBase<S, D> {
    type Specs = Spec;

    fn signature(&self) -> Spec {
        self.spec()
    }
}

macro_rules! leaves {
    ($($t:ty)*) => {$(
        impl Signature for $t {
            type Specs = Spec;

            fn signature(&self) -> Spec {
                self.spec()
            }
        }
    )*};
}
leaves!(f32 f64 i32 i64 bool Array Spec);

impl<T: Signature + ?Sized> Signature for &T {
    type Specs = T::Specs;

    fn signature(&self) -> T::Specs {
        (**self).signature()
    }
}

impl<T: Signature + ?Sized> Signature for &mut T {
    type Specs = T::Specs;

    fn signature(&self) -> T::Specs {
        (**self).signature()
    }
}

impl<T: Signature> Signature for Box<T> {
    type Specs = Box<T::Specs>;

    fn signature(&self) -> Self::Specs {
        Box::new((**self).signature())
    }
}

impl<T: Signature> Signature for [T] {
    type Specs = Vec<T::Specs>;

    fn signature(&self) -> Self::Specs {
        self.iter().map(T::signature).collect()
    }
}

impl<T: Signature> Signature for Vec<T> {
    type Specs = Vec<T::Specs>;

    fn signature(&self) -> Self::Specs {
        self.iter().map(T::signature).collect()
    }
}

impl<T: Signature> Signature for Option<T> {
    type Specs = Option<T::Specs>;

    fn signature(&self) -> Self::Specs {
        self.as_ref().map(T::signature)
    }
}

impl<T: Signature, const N: usize> Signature for [T; N] {
    type Specs = [T::Specs; N];

    fn signature(&self) -> Self::Specs {
        std::array::from_fn(|i| self[i].signature())
    }
}

impl<K: Ord + Clone, T: Signature> Signature for BTreeMap<K, T> {
    type Specs = BTreeMap<K, T::Specs>;

    fn signature(&self) -> Self::Specs {
        self.iter().map(|(k, x)| (k.clone(), x.signature())).collect()
    }
}

impl<K: Eq + Hash + Clone, T: Signature, H: BuildHasher + Default> Signature for HashMap<K, T, H> {
    type Specs = HashMap<K, T::Specs, H>;

    fn signature(&self) -> Self::Specs {
        self.iter().map(|(k, x)| (k.clone(), x.signature())).collect()
    }
}

impl<T: Signature> Signature for Sparse<T> {
    type Specs = Sparse<T::Specs>;

    fn signature(&self) -> Self::Specs {
        self.with(self.values.signature())
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Signature),*> Signature for ($($name,)*) {
            type Specs = ($($name::Specs,)*);

            #[allow(clippy::unused_unit, reason = "there may be no part")]
            fn signature(&self) -> Self::Specs {
                ($(self.$index.signature(),)*)
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
