//! Where parameters are in a vector, and from one to the other.

use std::ops::Range;

use backstitch_ir::Type;

/// Where a parameter is in the vector: its elements in row-major order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlatParameter {
    pub(super) name: String,
    pub(super) offset: usize,
    pub(super) ty: Type,
}

impl FlatParameter {
    /// The path of the parameter in its structure: `layers.0.w`. Empty if it is all there is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The place of its first element.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Its extents.
    pub fn dims(&self) -> &[usize] {
        self.ty.dims()
    }

    /// The places of its elements.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.ty.len()
    }
}

/// Whether a value and a product with its Hessian are of the same parameters.
#[cfg(feature = "argmin")]
pub(crate) fn check_same(
    value: &[FlatParameter],
    product: &[FlatParameter],
) -> Result<(), super::BindError> {
    if value == product {
        return Ok(());
    }
    let types =
        |layout: &[FlatParameter]| listed(&layout.iter().map(|part| &part.ty).collect::<Vec<_>>());
    Err(super::BindError::OtherParameters { expected: types(value), got: types(product) })
}

/// Types in words.
pub(super) fn listed(types: &[&Type]) -> String {
    let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!("({})", texts.join(", "))
}

/// What all bound programs say of their vectors.
macro_rules! layouts {
    ($($t:ident)*) => {$(
        impl<P: Tree<Spec> + Clone, T: Element> $t<'_, P, T> {
            /// Where each parameter is in the vector, in order.
            pub fn layout(&self) -> &[FlatParameter] {
                &self.flat.layout
            }

            /// Elements of the vector.
            #[allow(clippy::len_without_is_empty, reason = "it is no collection")]
            pub fn len(&self) -> usize {
                self.flat.len
            }

            /// Parameters as a vector.
            ///
            /// # Errors
            /// If they are not of the program's types.
            #[doc(alias = "ravel_pytree")]
            pub fn flatten<A: Args + ?Sized>(&self, params: &A) -> Result<Vec<T>, Error> {
                self.flat.flatten(params)
            }

            /// A vector as parameters.
            ///
            /// # Errors
            /// If it has another length than all parameters together.
            #[doc(alias = "unravel")]
            pub fn unflatten(&self, x: &[T]) -> Result<P::With<Array>, Error> {
                self.flat.unflatten(x)
            }
        }

        impl<P, T> fmt::Debug for $t<'_, P, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let program = self.flat.executable.name();
                f.debug_struct(stringify!($t))
                    .field("program", &program)
                    .field("layout", &self.flat.layout)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

pub(super) use layouts;
