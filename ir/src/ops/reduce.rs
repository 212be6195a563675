//! Combination along axes.

use crate::nest::Monoid;
use crate::ops::Axes;

/// The operand's elements combined along some axes, which go away. Over no
/// element it is the identity.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    /// The combination.
    pub monoid: Monoid,
    /// The axes, ascending.
    pub axes: Axes,
}
