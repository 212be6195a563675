//! Where kernels come from: their operations, and why they begin where they do.

use std::fmt;

use backstitch_ir::plan::Kernel;
use backstitch_ir::ty::Shape;

/// What a kernel computes, and why it is a kernel of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KernelOrigin {
    /// Its operations, in the order of the graph.
    pub operations: Vec<Operation>,
    /// Why the first of them joined no earlier kernel.
    pub cut: Cut,
    /// The kernel that it would have joined.
    pub not_joined: Option<Kernel>,
}

/// An operation of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// Whether differentiation made it.
    pub adjoint: bool,
}

/// Why a kernel begins where it does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cut {
    /// No earlier kernel makes what it reads, or has its loops.
    First,
    /// Fusion is off: each operation is a kernel.
    Unfused,
    /// What it does is not a loop over a domain: it puts pieces together, adds at
    /// indices, or runs a recurrence.
    Alone,
    /// It combines what the chunks of the kernel before it have left.
    Chunks,
    /// It reads what a library call, a loop or a branch makes.
    NoKernel,
    /// Its loops are neither those of the earlier kernel, nor the outer part of
    /// them, nor do they go on inside them.
    OtherLoops {
        /// Extents of the loops of the earlier kernel.
        kernel: Shape,
        /// Extents of its own.
        own: Shape,
    },
    /// It reads other elements of what the earlier kernel makes than the one that is
    /// there at the time.
    Permuted,
    /// It picks elements of what the earlier kernel makes by an index.
    Gathered,
    /// It reads a reduction over rows, which is complete only when the earlier kernel is.
    Unfinished,
    /// It reads a reduction over so many elements that it is cut into chunks, and
    /// is known only when all of them are done.
    LongReduction {
        /// Elements of the earlier kernel's loops.
        elements: usize,
        /// How many there may be.
        most: usize,
    },
    /// It would be one inner loop too many.
    TooManyPhases {
        /// How many there may be.
        most: usize,
    },
    /// It reads an array a piece at a time, for which the loops of the earlier kernel cannot
    /// be cut.
    Joined,
    /// It is the largest of the parts into which the loops of the kernel before it are cut.
    Largest,
    /// The earlier kernel is full.
    TooManyItems {
        /// How many there may be.
        most: usize,
    },
}

impl KernelOrigin {
    /// Of a kernel that is no fusion group.
    pub(crate) fn alone(name: &'static str) -> Self {
        let operations = vec![Operation { name, adjoint: false }];
        Self { operations, cut: Cut::Alone, not_joined: None }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("nothing earlier to join"),
            Self::Unfused => f.write_str("fusion is off"),
            Self::Alone => f.write_str("not a loop over a domain"),
            Self::Chunks => f.write_str("combines what chunks have left"),
            Self::NoKernel => f.write_str("reads what a library call, a loop or a branch makes"),
            Self::OtherLoops { kernel, own } => write!(f, "its loops are {own}, not {kernel}"),
            Self::Permuted => f.write_str("reads other elements than those being made"),
            Self::Gathered => f.write_str("picks elements by an index"),
            Self::Unfinished => f.write_str("reads a reduction over rows"),
            Self::LongReduction { elements, most } => {
                write!(f, "reads a reduction over {elements} elements, more than {most}")
            }
            Self::TooManyPhases { most } => write!(f, "more than {most} inner loops"),
            Self::Joined => f.write_str("reads an array a piece at a time"),
            Self::Largest => f.write_str("the largest part of the loops of the kernel before"),
            Self::TooManyItems { most } => write!(f, "more than {most} operations"),
        }
    }
}
