//! Counting.

use crate::ty::Type;

/// An array whose element `i` is `i[axis]`; any number type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Iota {
    /// Type of the result.
    pub ty: Type,
    /// The axis that is counted.
    pub axis: usize,
}
