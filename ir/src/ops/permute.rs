//! Axes in another order.

use crate::ops::Axes;

/// Axis `i` of the result is axis `perm[i]` of the operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Permute {
    /// A permutation of the operand's axes.
    pub perm: Axes,
}
