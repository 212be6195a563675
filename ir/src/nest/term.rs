//! What reductions take in.

use super::{Monoid, Var};
use crate::ty::DType;

/// What is combined with what there is so far: a value, or a product of two.
///
/// ```
/// use backstitch_ir::nest::{Monoid, Term};
///
/// assert_eq!(Term::One(Monoid::Max, 'x').op(), Monoid::Max);
/// assert_eq!(Term::Product(['x', 'y']).op(), Monoid::Sum);
/// assert_eq!(Term::Product(['x', 'y']).values(), ['x', 'y']);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Term<V = Var> {
    /// `old ⊕ value`.
    One(Monoid, V),
    /// `old + a · b`, rounded once; floats only. It is a sum: partial results are added.
    Product([V; 2]),
}

impl<V> Term<V> {
    /// How partial results are combined.
    pub const fn op(&self) -> Monoid {
        match self {
            Self::One(op, _) => *op,
            Self::Product(_) => Monoid::Sum,
        }
    }

    /// What it is made of: one value, or two factors. All have the type of the result.
    pub const fn values(&self) -> &[V] {
        match self {
            Self::One(_, value) => std::slice::from_ref(value),
            Self::Product(factors) => factors,
        }
    }

    /// The same term of other values.
    pub fn map<U>(self, mut f: impl FnMut(V) -> U) -> Term<U> {
        match self {
            Self::One(op, value) => Term::One(op, f(value)),
            Self::Product(factors) => Term::Product(factors.map(f)),
        }
    }

    /// Whether there is such a term of values of this type.
    pub const fn takes(&self, dtype: DType) -> bool {
        match self {
            Self::One(op, _) => op.takes(dtype),
            Self::Product(_) => dtype.is_float(),
        }
    }
}
