//! What can go wrong between a plan and its results.

use std::fmt;
use std::panic::Location;

use backstitch_ir::routine::{Fault, Raised};
use backstitch_ir::{DType, Shape, Type};

/// Why a plan could not be made executable, or a call could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The wrong number of inputs or outputs.
    #[error("expected {}, got {got}", counted(*expected, *side))]
    Count {
        /// Of which.
        side: Side,
        /// What the program has.
        expected: usize,
        /// What was passed.
        got: usize,
    },
    /// An input or output of the wrong element type or shape.
    #[error("{side} {index}: expected {}, got {}", .types.0, .types.1)]
    Type {
        /// Which of the two lists.
        side: Side,
        /// Position in it, from 0.
        index: usize,
        /// What the program has, and what was passed.
        types: Box<(Type, Type)>,
    },
    /// An input that the program changes, passed where it could only be read.
    #[error("input {index} is donated: it is changed by the call, pass it as one that may be")]
    Donated {
        /// Position among the inputs, from 0.
        index: usize,
    },
    /// The number of elements is not what the shape says.
    #[error("shape {shape} does not describe {got} elements")]
    Length {
        /// The shape.
        shape: Shape,
        /// How many elements there are.
        got: usize,
    },
    /// An array that is not contiguous in row-major order.
    #[error(
        "not contiguous in row-major order: shape {shape} with strides {strides:?}; copy it to standard layout"
    )]
    Layout {
        /// Its shape.
        shape: Shape,
        /// Elements from one index to the next along each axis.
        strides: Box<[isize]>,
    },
    /// The wrong element type where one was asked for.
    #[error("expected elements of {expected}, got {got}")]
    Element {
        /// What was asked for.
        expected: DType,
        /// What there is.
        got: DType,
    },
    /// A matrix that had to be positive definite is not. What depends on it is
    /// NaN in the outputs of `call_into`; the rest is right.
    #[error("{}{operation}: matrix {matrix} is not positive definite", At(*place))]
    NotPositiveDefinite {
        /// Which operation.
        operation: &'static str,
        /// Which of a stack of matrices, in row-major order of the leading axes.
        matrix: usize,
        /// The user's line that asked for it, if known.
        place: Option<&'static Location<'static>>,
    },
    /// A loop went on after as many iterations as it may have. What depends on its
    /// results is NaN, 0 or false in the outputs of `call_into`; the rest is right.
    #[error("{}{operation}: {}", At(*place), Fault::LoopLimit { limit: *limit })]
    LoopLimit {
        /// Which operation.
        operation: &'static str,
        /// How many iterations it may have.
        limit: u64,
        /// The user's line that asked for it, if known.
        place: Option<&'static Location<'static>>,
    },
    /// Memory could not be had.
    #[error("out of memory: {what} of {bytes} bytes")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: usize,
    },
    /// A loop leaves more for its reverse than the workspace lets its stacks have.
    #[error(
        "a loop keeps {bytes} bytes for its reverse on one stack, expected at most {limit}, \
         the limit of the workspace"
    )]
    StackLimit {
        /// How much it has to keep, at least.
        bytes: usize,
        /// What [`Workspace::limit_stacks`](crate::Workspace::limit_stacks) was told.
        limit: usize,
    },
    /// No machine code could be made.
    #[error(transparent)]
    Compile(#[from] backstitch_jit::JitError),
    /// The plan breaks the rules of its language: a mistake in the compiler, or of whoever
    /// wrote the plan.
    #[error("internal error in plan `{plan}`: {reason}")]
    Internal {
        /// The plan's name.
        plan: String,
        /// What was found.
        reason: String,
    },
}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Self {
        match raised.fault {
            Fault::NotPositiveDefinite { matrix } => Self::NotPositiveDefinite {
                operation: raised.operation,
                matrix,
                place: raised.place,
            },
            Fault::LoopLimit { limit } => {
                Self::LoopLimit { operation: raised.operation, limit, place: raised.place }
            }
        }
    }
}

/// A line in front of a message, if there is one.
struct At(Option<&'static Location<'static>>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |place| write!(f, "{place}: "))
    }
}

/// The two ends of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// What goes in.
    Input,
    /// What comes out.
    Output,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

fn counted(n: usize, side: Side) -> String {
    format!("{n} {side}{}", if n == 1 { "" } else { "s" })
}
