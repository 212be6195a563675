//! Repetition along new or stretched axes.

use crate::ops::Axes;
use crate::ty::Shape;

/// The operand repeated to `shape`: its axis `i` becomes axis `dims[i]` (ascending),
/// with the same extent or, if its extent is 1, stretched. Other axes are new.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Broadcast {
    /// Shape of the result.
    pub shape: Shape,
    /// For each axis of the operand, which axis of the result it is. Ascending.
    pub dims: Axes,
}
