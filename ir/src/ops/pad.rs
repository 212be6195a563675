//! Elements around and between.

use smallvec::SmallVec;

use crate::nest::Const;

/// One axis of a pad.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PadAxis {
    /// Elements put before the first.
    pub lo: usize,
    /// Elements put after the last.
    pub hi: usize,
    /// Elements put between two neighbours.
    pub inner: usize,
}

/// The operand with elements of one value put around and between its own. The
/// adjoint of a slice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pad {
    /// One for each axis.
    pub axes: SmallVec<[PadAxis; 4]>,
    /// The value; of the operand's element type.
    pub value: Const,
}
