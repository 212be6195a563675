//! Every so many elements of a part, forwards or backwards.

use smallvec::SmallVec;

/// One axis of a slice: elements `start, start + step, …`, `len` of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SliceAxis {
    /// The first element taken.
    pub start: usize,
    /// How many are taken. May be 0.
    pub len: usize,
    /// From one to the next; not 0, may be negative.
    pub step: isize,
}

/// A part of the operand, all of it inside. Python's rules for negative and
/// missing bounds are the tracer's business.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// One for each axis.
    pub axes: SmallVec<[SliceAxis; 4]>,
}
